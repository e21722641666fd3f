#include "knowledge.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/hex.h"
#include "daemon.h"
#include "hot.h"
#include "hub_header.h"
#include "info_form.h"
#include "log.h"
#include "metrics.h"
#include "model.h"

enum {
        ROWS_PER_WRITE = 4096, /* bounds memory and the time that one write holds the others up */
        REFS_LEARNT_MAX =
                32, /* of a /refs document: each is a row that a client may ask for next */
        DOC_KEY_MAX = 65536,
        CURSOR_MAX = 2048,
        WALKS_MAX = 64,
};

/* ---- reading ---- */

static int read_commit(struct index *ix, const struct hub_request *hub, struct knowledge *k)
{
        int found;

        if (hub->rev_is_commit) {
                memcpy(k->commit, hub->rev.ptr, 40);
        } else {
                found = index_find_ref(ix, k->repo.id, hub->rev, k->commit, &k->ref_at, &k->err);
                if (found <= 0)
                        return found;
                k->has_ref = true;
        }
        found = index_find_commit(ix, k->repo.id, slice_str(k->commit), &k->commit_row, &k->err);
        k->has_commit = found > 0;
        return found;
}

static int read_file(struct index *ix, const struct hub_request *hub, struct knowledge *k)
{
        int found = index_find_file(ix, k->commit_row.id, hub->path, &k->file, &k->err);

        if (found < 0)
                return -1;
        k->has_file = found > 0;
        if (!found && k->commit_row.completeness >= TREE_FILES) {
                /* The listing is complete, so what it does not hold does not exist. */
                k->file = (struct file_row){ .type = FILE_ABSENT };
                k->has_file = true;
        }
        return 0;
}

static bool is_info(const struct hub_request *hub)
{
        return hub->op == HUB_REPO_INFO || hub->op == HUB_REVISION_INFO;
}

static void doc_key(const struct hub_request *hub, struct slice commit, struct slice body_key,
                    struct buf *key)
{
        hub_request_key(hub, hub->klass == CLASS_COMMIT_DOC ? commit : SLICE_NONE, key);
        if (body_key.len) {
                buf_add_char(key, '\n');
                buf_add(key, body_key);
        }
}

static int read_doc(struct index *ix, const struct hub_request *hub, struct slice body_key,
                    struct knowledge *k)
{
        scoped(buf_done) struct buf key = BUF_INIT(DOC_KEY_MAX);
        int found;

        doc_key(hub, slice_str(k->commit), body_key, &key);
        if (!buf_ok(&key))
                return 0;
        found = index_find_doc(ix, buf_slice(&key), &k->doc, &k->err);
        if (found == 0 && is_info(hub) && !hub->rev_is_commit) {
                buf_reset(&key);
                hub_request_key(hub, SLICE_NONE, &key);
                found = index_find_doc(ix, buf_slice(&key), &k->doc, &k->err);
                k->doc_by_ref = found > 0;
        }
        if (!k->commit[0] && found > 0)
                k->doc_by_ref = true;
        k->has_doc = found > 0;
        return found < 0 ? -1 : 0;
}

void knowledge_read(struct daemon *d, const struct hub_request *hub, unsigned wants,
                    struct slice body_key, struct knowledge *k)
{
        struct index *ix = store_index(d->store);

        *k = (struct knowledge){ 0 };
        if (hub->has_repo) {
                int found = index_find_repo(ix, (int)hub->kind, hub->repo, &k->repo, &k->alias_at,
                                            &k->err);

                if (found <= 0)
                        return;
                k->has_repo = true;
                if (read_commit(ix, hub, k) < 0)
                        return;
        }
        if ((wants & KNOW_FILE) && k->has_commit && read_file(ix, hub, k) < 0)
                return;
        if ((wants & KNOW_DOC) && (hub->klass != CLASS_COMMIT_DOC || k->commit[0] || is_info(hub)))
                (void)!read_doc(ix, hub, body_key, k);
}

void knowledge_done(struct knowledge *k)
{
        if (k->has_doc)
                doc_row_done(&k->doc);
        *k = (struct knowledge){ 0 };
}

/* ---- learning ---- */

struct learner {
        struct daemon *d;
        struct index *ix;
        const struct question_spec *spec;
        struct finding *f;
        struct hub_request hub;
        int64_t repo, commit;
        int64_t now;
        struct file_row *rows;
        size_t n_rows;
};

/* A failure costs a later question to upstream; it is counted and said once a minute. */
static void note_failure(const char *what, const struct error *err)
{
        metrics_add(M_INDEX_ERRORS, 1);
        log_event(LOG_WARN, "index.write_failed", "what=%s error=\"%s\"", what, err->what);
}

static bool learn_repo(struct learner *l)
{
        struct finding *f = l->f;
        struct error err = { 0 };

        if (index_put_repo(l->ix, (int)f->repo_kind, slice_str(f->repo), &l->repo, &err) < 0) {
                note_failure("repo", &err);
                return false;
        }
        if (l->hub.has_repo && !slice_is(l->hub.repo, f->repo) && l->hub.kind == f->repo_kind &&
            index_put_alias(l->ix, (int)l->hub.kind, l->hub.repo, l->repo, l->now, &err) < 0)
                note_failure("alias", &err);
        return true;
}

static void learn_visibility(struct learner *l, enum visibility v, struct slice upstream_id)
{
        struct error err = { 0 };

        if (index_set_visibility(l->ix, l->repo, v, l->now, upstream_id, &err) < 0)
                note_failure("visibility", &err);
}

static void learn_ref(struct learner *l, struct slice ref, struct slice commit)
{
        struct error err = { 0 };

        if (index_put_ref(l->ix, l->repo, ref, commit, l->now, &err) < 0)
                note_failure("ref", &err);
}

static bool learn_commit(struct learner *l)
{
        struct error err = { 0 };

        if (!l->f->commit[0])
                return false;
        if (index_put_commit(l->ix, l->repo, slice_str(l->f->commit), &l->commit, &err) < 0) {
                note_failure("commit", &err);
                return false;
        }
        return true;
}

/* Last of all: who sees the branch at its commit sees what else this answer taught. */
static void learn_branch(struct learner *l)
{
        if (l->hub.has_repo && l->repo && !l->hub.rev_is_commit && l->f->commit[0])
                learn_ref(l, l->hub.rev, slice_str(l->f->commit));
}

static bool put_rows(struct learner *l, const struct file_row *rows, size_t n,
                     enum completeness reached)
{
        struct error err = { 0 };

        if (index_put_files(l->ix, l->commit, rows, n, reached, &err) == 0)
                return true;
        note_failure("files", &err);
        return false;
}

static void learn_file(struct learner *l)
{
        const struct finding *f = l->f;
        scoped(free_ptr) char *path = slice_dup(l->hub.path);
        struct file_row row = { .type = FILE_REGULAR, .path = path, .size = f->size };

        if (!path || !learn_repo(l))
                return;
        if (principal_is_anonymous(&l->spec->who) && f->has_file &&
            !path_is_open_when_gated(l->hub.path))
                learn_visibility(l, VIS_PUBLIC, SLICE_NONE);
        if (!learn_commit(l))
                return;
        if (f->verdict == HUB_NO_ENTRY) {
                row.type = FILE_ABSENT;
        } else if (f->digest.algo == DIGEST_SHA256) {
                row.has_lfs = true;
                memcpy(row.lfs, f->digest.bytes, sizeof(row.lfs));
        } else {
                row.has_oid = true;
                memcpy(row.oid, f->digest.bytes, sizeof(row.oid));
        }
        if (f->xet_hash[0])
                row.has_xet = hex_decode(slice_str(f->xet_hash), row.xet, sizeof(row.xet));
        (void)put_rows(l, &row, 1, TREE_PARTIAL);
        learn_branch(l);
}

/* Upstream refused: nobody may be given a stale copy as public any more. */
static void learn_refusal(struct learner *l)
{
        struct finding *f = l->f;
        struct repo_row row;
        struct error err = { 0 };
        int64_t alias_at;

        if (!l->hub.has_repo ||
            index_find_repo(l->ix, (int)l->hub.kind, l->hub.repo, &row, &alias_at, &err) <= 0)
                return;
        l->repo = row.id;
        if (f->verdict == HUB_NO_REVISION) {
                if (index_drop_ref(l->ix, l->repo, l->hub.rev, &err) < 0)
                        note_failure("ref", &err);
                return;
        }
        learn_visibility(l, f->verdict == HUB_GATED ? VIS_GATED : VIS_PRIVATE, SLICE_NONE);
        hot_drop_repo(l->d->hot, l->hub.kind, slice_str(row.name));
}

static int keep_entry(void *arg, const struct tree_entry *e, struct error *err)
{
        struct learner *l = arg;
        struct file_row *row;

        if (l->n_rows % ROWS_PER_WRITE == 0) {
                struct file_row *grown =
                        realloc(l->rows, (l->n_rows + ROWS_PER_WRITE) * sizeof(*l->rows));

                if (!grown)
                        return error_set(err, ERR_NOMEM, "no memory for a listing");
                l->rows = grown;
        }
        row = &l->rows[l->n_rows];
        *row = (struct file_row){
                .type = e->type == ENTRY_DIRECTORY ? FILE_FOLDER : FILE_REGULAR,
                .path = slice_dup(e->path),
                .size = e->size,
                .pointer_size = e->pointer_size,
        };
        if (!row->path)
                return error_set(err, ERR_NOMEM, "no memory for a listing");
        row->has_lfs = e->has_lfs && hex_decode(slice_str(e->lfs_oid), row->lfs, sizeof(row->lfs));
        row->has_oid = hex_decode(slice_str(e->oid), row->oid, sizeof(row->oid));
        row->has_xet = hex_decode(slice_str(e->xet_hash), row->xet, sizeof(row->xet));
        l->n_rows++;
        return 0;
}

/* All of them, or false: then nothing may be concluded from what is missing. */
static bool put_kept_rows(struct learner *l)
{
        for (size_t at = 0; at < l->n_rows; at += ROWS_PER_WRITE)
                if (!put_rows(l, l->rows + at, MIN(l->n_rows - at, (size_t)ROWS_PER_WRITE),
                              TREE_PARTIAL))
                        return false;
        return true;
}

static void mark_complete(struct learner *l, enum completeness reached)
{
        (void)put_rows(l, NULL, 0, reached);
}

static bool learn_info(struct learner *l, struct error *err)
{
        struct finding *f = l->f;
        struct hub_info info;

        if (info_parse(slice_of(f->body, f->body_len), &info, keep_entry, l, err) < 0)
                return false;
        if (info.id[0])
                memcpy(f->repo, info.id, sizeof(f->repo));
        if (info.sha[0])
                memcpy(f->commit, info.sha, sizeof(f->commit));
        f->is_private = info.has_private && info.is_private;
        f->is_gated = info.has_gated && info.is_gated;
        f->is_public = info.has_private && !info.is_private && info.has_gated && !info.is_gated &&
                       !(info.has_disabled && info.is_disabled);
        if (!learn_repo(l))
                return true;
        if (f->is_public)
                learn_visibility(l, VIS_PUBLIC, slice_str(info.upstream_id));
        else if (f->is_private || f->is_gated)
                learn_visibility(l, f->is_private ? VIS_PRIVATE : VIS_GATED,
                                 slice_str(info.upstream_id));
        if (learn_commit(l) && info.siblings_have_blobs && put_kept_rows(l))
                mark_complete(l, TREE_FILES);
        return true;
}

struct tree_walk {
        int64_t commit;        /* its row: one of one repository */
        char next[CURSOR_MAX]; /* of the page that has to come next; "" for a free slot */
};

struct tree_walks {
        pthread_mutex_t lock;
        unsigned turn;
        struct tree_walk walks[WALKS_MAX];
};

int tree_walks_new(struct tree_walks **ret, struct error *err)
{
        struct tree_walks *w = calloc(1, sizeof(*w));

        if (!w)
                return error_set(err, ERR_NOMEM, "no memory for the walks of listings");
        pthread_mutex_init(&w->lock, NULL);
        *ret = w;
        return 0;
}

void tree_walks_free(struct tree_walks **ww)
{
        struct tree_walks *w = take(*ww);

        if (w)
                pthread_mutex_destroy(&w->lock);
        free(w);
}

/* The cursor in the link to the next page, "" if there is none or it is too long to remember. */
static void next_cursor(struct slice link, char *ret, size_t size)
{
        scoped(buf_done) struct buf cursor = BUF_INIT(CURSOR_MAX);
        struct slice url = link_next(link);
        struct error ignored;
        size_t at = slice_find(url, '?');

        ret[0] = '\0';
        if (at < url.len && query_find(slice_skip(url, at + 1), "cursor", &cursor, &ignored) > 0 &&
            cursor.len < size)
                memcpy(ret, cursor.ptr, cursor.len + 1);
}

/* Notes a page with this cursor ("" for the first) and the next one's; true if the page is the last
 * of a walk in which none was missed. */
static bool walk_on(struct tree_walks *w, int64_t commit, const char *cursor, const char *next)
{
        struct tree_walk *walk = NULL;
        bool whole;

        pthread_mutex_lock(&w->lock);
        for (size_t i = 0; i < WALKS_MAX; i++)
                if (w->walks[i].next[0] && w->walks[i].commit == commit &&
                    strcmp(w->walks[i].next, cursor) == 0)
                        walk = &w->walks[i];
        whole = (walk || !cursor[0]) && !next[0];
        if (!walk && !cursor[0] && next[0])
                walk = &w->walks[w->turn++ % WALKS_MAX];
        if (walk) {
                walk->commit = commit;
                snprintf(walk->next, sizeof(walk->next), "%s", next);
        }
        pthread_mutex_unlock(&w->lock);
        return whole;
}

/* A page of a listing.  When a recursive one of the root has come to its last page and none was
 * missed, the commit's tree is known completely. */
static bool learn_tree(struct learner *l, struct error *err)
{
        struct finding *f = l->f;
        char next[CURSOR_MAX];
        scoped(buf_done) struct buf cursor = BUF_INIT(CURSOR_MAX);
        bool walked;

        next_cursor(slice_str(f->link), next, sizeof(next));
        walked = query_find(l->hub.query, "cursor", &cursor, err) >= 0 && l->hub.path.len == 0 &&
                 query_flag(l->hub.query, "recursive") &&
                 (next[0] || !link_next(slice_str(f->link)).ptr);
        if (tree_parse(slice_of(f->body, f->body_len), keep_entry, l, err) < 0)
                return false;
        if (learn_repo(l) && learn_commit(l) && put_kept_rows(l) && walked &&
            walk_on(l->d->walks, l->commit, cursor.len ? cursor.ptr : "", next))
                mark_complete(l, TREE_FULL);
        return true;
}

static bool learn_paths(struct learner *l, struct error *err)
{
        if (tree_parse(slice_of(l->f->body, l->f->body_len), keep_entry, l, err) < 0)
                return false;
        if (learn_repo(l) && learn_commit(l))
                (void)put_kept_rows(l);
        return true;
}

static int keep_ref(void *arg, struct slice name, struct slice commit, struct error *err)
{
        struct learner *l = arg;

        (void)err;
        if (l->n_rows++ < REFS_LEARNT_MAX)
                learn_ref(l, name, commit);
        return 0;
}

static bool learn_refs(struct learner *l, struct error *err)
{
        if (!learn_repo(l))
                return true;
        if (refs_parse(slice_of(l->f->body, l->f->body_len), keep_ref, l, err) < 0)
                return false;
        l->n_rows = 0;
        return true;
}

static void keep_doc(struct learner *l)
{
        scoped(buf_done) struct buf key = BUF_INIT(DOC_KEY_MAX);
        struct finding *f = l->f;
        struct error err = { 0 };
        struct doc_row row = {
                .status = f->status,
                .fetched_at = l->now,
                .content_type = f->content_type,
                .link = f->link,
                .body = f->body,
                .body_len = f->body_len,
        };

        if (!l->spec->keep ||
            (l->hub.klass == CLASS_COMMIT_DOC && !f->commit[0] && !is_info(&l->hub)))
                return;
        doc_key(&l->hub, slice_str(f->commit), slice_str(l->spec->body_key), &key);
        if (buf_ok(&key) && index_put_doc(l->ix, buf_slice(&key), l->repo, &row, &err) < 0)
                note_failure("doc", &err);
}

static bool learn_by_op(struct learner *l, struct error *err)
{
        switch (l->hub.op) {
        case HUB_REPO_INFO:
        case HUB_REVISION_INFO:
                return learn_info(l, err);
        case HUB_TREE:
                return learn_tree(l, err);
        case HUB_PATHS_INFO:
                return learn_paths(l, err);
        case HUB_REFS:
                return learn_refs(l, err);
        default:
                if (l->hub.has_repo && learn_repo(l))
                        (void)learn_commit(l);
                return true;
        }
}

static void learn_document(struct learner *l)
{
        struct finding *f = l->f;
        struct error err = { 0 };

        if (l->hub.rev_is_commit)
                memcpy(f->commit, l->hub.rev.ptr, 40);
        /* A parameter that we do not know may have left out half of it. */
        if (!l->hub.query_known)
                return;
        if (!learn_by_op(l, &err)) {
                f->err = err;
                return;
        }
        keep_doc(l);
        learn_branch(l);
}

void knowledge_learn(struct daemon *d, const struct question_spec *spec, struct finding *f)
{
        struct learner l = {
                .d = d,
                .ix = store_index(d->store),
                .spec = spec,
                .f = f,
                .now = clock_wall_ms(),
        };
        struct error err = { 0 };

        if (hub_request_parse(spec->method, slice_str(spec->client_target), &l.hub, &err) < 0)
                return;
        switch (f->verdict) {
        case HUB_OK:
                if (f->has_file)
                        learn_file(&l);
                else if (spec->kind == ASK_DOCUMENT && f->status == 200)
                        learn_document(&l);
                break;
        case HUB_NO_ENTRY:
                if (spec->kind == ASK_FILE && f->commit[0])
                        learn_file(&l);
                break;
        case HUB_NO_REPO:
        case HUB_NO_REVISION:
        case HUB_GATED:
        case HUB_DISABLED:
        case HUB_FORBIDDEN:
                learn_refusal(&l);
                break;
        default:
                break;
        }
        for (size_t i = 0; i < l.n_rows && l.rows; i++)
                free(l.rows[i].path);
        free(l.rows);
        hub_request_done(&l.hub);
}

/* ---- answers out of the index ---- */

static void entry_of_row(const struct file_row *row, struct slice path, struct tree_entry *e)
{
        *e = (struct tree_entry){
                .type = row->type == FILE_FOLDER ? ENTRY_DIRECTORY : ENTRY_FILE,
                .path = path,
                .size = row->size,
                .has_lfs = row->has_lfs,
                .pointer_size = row->pointer_size,
        };
        if (row->has_oid)
                hex_encode(row->oid, sizeof(row->oid), e->oid);
        if (row->has_lfs)
                hex_encode(row->lfs, sizeof(row->lfs), e->lfs_oid);
        if (row->has_xet)
                hex_encode(row->xet, sizeof(row->xet), e->xet_hash);
}

static int list_page(struct index *ix, const struct commit_row *commit, struct slice folder,
                     bool recursive, struct slice after, size_t limit, bool hide_xet,
                     struct buf *body, struct buf *next, size_t *ret_n, struct error *err)
{
        struct file_row *rows;
        struct tree_entry e;
        size_t n;

        if (index_list_files(ix, commit->id, folder, recursive, after, limit + 1, &rows, &n, err) <
            0)
                return -1;
        buf_add_char(body, '[');
        for (size_t i = 0; i < MIN(n, limit); i++) {
                if (i)
                        buf_add_char(body, ',');
                entry_of_row(&rows[i], slice_str(rows[i].path), &e);
                tree_entry_write(&e, hide_xet, body);
        }
        buf_add_char(body, ']');
        if (n > limit)
                buf_add_str(next, rows[limit - 1].path);
        *ret_n = n;
        file_rows_free(rows, n);
        if (!buf_ok(body) || !buf_ok(next))
                return error_set(err, ERR_TOO_LARGE, "a listing is larger than its ceiling");
        return 0;
}

int knowledge_tree_page(struct daemon *d, const struct commit_row *commit, struct slice folder,
                        bool recursive, struct slice after, size_t limit, bool hide_xet,
                        struct buf *ret_body, struct buf *ret_next, bool *ret_no_folder,
                        struct error *err)
{
        struct index *ix = store_index(d->store);
        struct file_row row;
        size_t n;
        int found;

        *ret_no_folder = false;
        if (commit->completeness < TREE_FULL)
                return 0;
        if (folder.len) {
                found = index_find_file(ix, commit->id, folder, &row, err);
                if (found < 0)
                        return -1;
                if (!found || row.type != FILE_FOLDER) {
                        *ret_no_folder = true;
                        return 1;
                }
        }
        if (list_page(ix, commit, folder, recursive, after, limit, hide_xet, ret_body, ret_next, &n,
                      err) < 0)
                return -1;
        return 1;
}

int knowledge_paths(struct daemon *d, const struct commit_row *commit, char *const *paths, size_t n,
                    bool hide_xet, struct buf *body, struct error *err)
{
        struct index *ix = store_index(d->store);
        bool first = true;

        buf_add_char(body, '[');
        for (size_t i = 0; i < n; i++) {
                struct file_row row;
                struct tree_entry e;
                int found = index_find_file(ix, commit->id, slice_str(paths[i]), &row, err);

                if (found < 0)
                        return -1;
                /* Without the folders' rows, a path that is no file may still be a folder; and a
                 * row that a HEAD taught lacks what this answer needs. */
                if ((!found && commit->completeness < TREE_FULL) ||
                    (found && row.type != FILE_ABSENT && !row.has_oid))
                        return 0;
                if (!found || row.type == FILE_ABSENT)
                        continue;
                if (!first)
                        buf_add_char(body, ',');
                first = false;
                entry_of_row(&row, slice_str(paths[i]), &e);
                tree_entry_write(&e, hide_xet, body);
        }
        buf_add_char(body, ']');
        return buf_ok(body) ? 1
                            : error_set(err, ERR_TOO_LARGE, "an answer is larger than its ceiling");
}

/* Forms of an info document out of which others can be made, best first. */
static const struct {
        bool by_revision;
        const char *query;
} base_forms[] = {
        { true, "" },
        { false, "" },
        { true, "?blobs=true" },
        { false, "?blobs=true" },
        { true, "?securityStatus=true&blobs=true" },
        { false, "?securityStatus=true&blobs=true" },
        { true, "?securityStatus=true" },
        { false, "?securityStatus=true" },
};

/* 1 with an info document of the commit in whatever form, 0, -1. */
static int find_base(struct index *ix, const struct knowledge *k, enum repo_kind kind,
                     struct doc_row *ret, struct error *err)
{
        for (size_t i = 0; i < ARRAY_LEN(base_forms); i++) {
                scoped(buf_done) struct buf target = BUF_INIT(1024), key = BUF_INIT(DOC_KEY_MAX);
                struct hub_request at;
                struct error ignored = { 0 };
                int found = 0;

                hub_api_target(kind, slice_str(k->repo.name),
                               base_forms[i].by_revision ? "revision" : "",
                               base_forms[i].by_revision ? slice_str(k->commit) : SLICE(""),
                               SLICE(""), &target);
                buf_add_str(&target, base_forms[i].query);
                if (!buf_ok(&target) ||
                    hub_request_parse(HTTP_GET, buf_slice(&target), &at, &ignored) < 0)
                        continue;
                doc_key(&at, slice_str(k->commit), SLICE_NONE, &key);
                if (buf_ok(&key))
                        found = index_find_doc(ix, buf_slice(&key), ret, err);
                hub_request_done(&at);
                if (found != 0)
                        return found;
        }
        return 0;
}

/* All files of the commit as the model has them; both for the caller to free. */
static int all_files(struct index *ix, int64_t commit, struct file_row **ret_rows, size_t *ret_n,
                     struct tree_entry **ret, size_t *ret_files, struct error *err)
{
        struct tree_entry *v;
        size_t n = 0;

        if (index_list_files(ix, commit, SLICE(""), true, SLICE(""), SIZE_MAX - 1, ret_rows, ret_n,
                             err) < 0)
                return -1;
        v = calloc(*ret_n + 1, sizeof(*v));
        for (size_t i = 0; v && i < *ret_n; i++)
                if ((*ret_rows)[i].type == FILE_REGULAR)
                        entry_of_row(&(*ret_rows)[i], slice_str((*ret_rows)[i].path), &v[n++]);
        *ret = v;
        *ret_files = n;
        return v ? 0 : error_set(err, ERR_NOMEM, "no memory for a list of files");
}

int knowledge_info(struct daemon *d, const struct hub_request *hub, const struct knowledge *k,
                   struct buf *body, struct error *err)
{
        struct index *ix = store_index(d->store);
        struct info_facts facts = { .kind = hub->kind,
                                    .id = slice_str(k->repo.name),
                                    .sha = slice_str(k->commit),
                                    .is_public = k->repo.visibility == VIS_PUBLIC };
        struct doc_row base = { 0 };
        struct file_row *rows = NULL;
        struct tree_entry *files = NULL;
        struct info_form form;
        size_t n_rows = 0;
        int found, r = -1;

        if (!k->has_repo || !k->commit[0] || !info_form_parse(hub->query, &form))
                return 0;
        found = find_base(ix, k, hub->kind, &base, err);
        if (found < 0)
                return -1;
        if (k->commit_row.completeness < TREE_FILES ||
            all_files(ix, k->commit_row.id, &rows, &n_rows, &files, &facts.n_files, err) == 0) {
                facts.files = files;
                r = info_form_make(&form, found ? slice_of(base.body, base.body_len) : SLICE_NONE,
                                   &facts, body, err);
        }
        free(files);
        file_rows_free(rows, n_rows);
        if (found)
                doc_row_done(&base);
        return r;
}
