#include "bundle.h"

#include <stdlib.h>
#include <string.h>

#include "api.h"
#include "base/clock.h"
#include "base/hex.h"
#include "bundle_rows.h"
#include "daemon.h"
#include "hot.h"
#include "intake.h"
#include "store.h"
#include "upstream.h"
#include "uri.h"

enum {
        PAGE_ROWS = 1000,
        CURSOR_BYTES =
                2000, /* a page does not end at a longer name: it would not fit in a target */
        CHECK_FIRST = 1 << 20,
};

static void answer_made(struct request *r)
{
        size_t n = 0;
        char *bytes = buf_take(&r->made, &n);
        struct response *response = bytes ? response_bytes(200, bytes, n) : NULL;

        if (response) {
                response_header(response, "Content-Type", "application/json; charset=utf-8");
                response_header(response, "Cache-Control", "no-store");
        }
        request_answer(r, response, METRIC_RESULT_HIT);
}

/* ---- pages of rows ---- */

struct page {
        struct bundle_repo repo;
        char commit[41];
        size_t part, after_len;
        char after[CURSOR_BYTES + 1];
        /* of the worker */
        struct index *ix;
        struct repo_row row;
        json_t *doc, *list;
        size_t bytes, left_out;
        bool has_more;
        char next[2 * CURSOR_BYTES + 1];
};

/* Takes the row; false if the page is full, and then it is not in it. */
static bool page_add(struct page *p, json_t *row, struct slice cursor, size_t bytes)
{
        if ((json_array_size(p->list) >= PAGE_ROWS || p->bytes >= BUNDLE_PAGE_BYTES) &&
            p->next[0]) {
                json_decref(row);
                p->has_more = true;
                return false;
        }
        if (row)
                json_array_append_new(p->list, row);
        else
                p->left_out++;
        p->bytes += bytes + cursor.len;
        if (cursor.len <= CURSOR_BYTES)
                hex_encode((const uint8_t *)cursor.ptr, cursor.len, p->next);
        else
                p->next[0] = '\0';
        return true;
}

static bool add_ref(void *arg, const struct bundle_name *row)
{
        return page_add(arg, bundle_name_json(row, true), row->name, 100);
}

static bool add_alias(void *arg, const struct bundle_name *row)
{
        return page_add(arg, bundle_name_json(row, false), row->name, 50);
}

static bool add_commit(void *arg, const struct bundle_commit *row)
{
        return page_add(
                arg,
                json_pack("{s:s, s:i}", "commit", row->sha, "completeness", (int)row->completeness),
                slice_str(row->sha), 80);
}

static bool add_doc(void *arg, const struct bundle_doc *row)
{
        return page_add(arg, bundle_doc_json(row), row->key, row->body.len);
}

static int page_repository(struct page *p, struct error *err)
{
        (void)err;
        json_object_set_new(p->doc, "upstream_id", json_string(p->row.upstream_id));
        json_object_set_new(p->doc, "visibility",
                            json_string(bundle_visibility_word(p->row.visibility)));
        json_object_set_new(p->doc, "at", json_integer((json_int_t)p->row.visibility_at));
        return 0;
}

static struct slice page_after(const struct page *p)
{
        return slice_of(p->after, p->after_len);
}

static int page_refs(struct page *p, struct error *err)
{
        return index_each_ref(p->ix, p->row.id, page_after(p), add_ref, p, err);
}

static int page_aliases(struct page *p, struct error *err)
{
        return index_each_alias(p->ix, p->row.kind, p->row.id, page_after(p), add_alias, p, err);
}

static int page_commits(struct page *p, struct error *err)
{
        return index_each_commit(p->ix, p->row.id, page_after(p), add_commit, p, err);
}

static int page_documents(struct page *p, struct error *err)
{
        return index_each_doc(p->ix, p->row.id, page_after(p), add_doc, p, err);
}

static int is_here(struct index *ix, const struct file_row *row, struct error *err)
{
        struct digest digest;
        uint64_t size;
        int r;

        if (!file_row_digest(row, &digest) || row->size == UINT64_MAX)
                return 0;
        r = index_find_blob_size(ix, &digest, &size, err);
        return r > 0 ? size == row->size : r;
}

static int page_files(struct page *p, struct error *err)
{
        struct commit_row commit;
        struct file_row *rows = NULL;
        size_t n = 0;
        int r = index_find_commit(p->ix, p->row.id, slice_str(p->commit), &commit, err);

        if (r <= 0)
                return r < 0 ? -1 : error_set(err, ERR_BAD_REQUEST, "no such commit is known here");
        /* One more than fits, to see whether there is more. */
        if (index_list_files(p->ix, commit.id, SLICE(""), true, page_after(p), PAGE_ROWS + 1, &rows,
                             &n, err) < 0)
                return -1;
        for (size_t i = 0; i < n && r >= 0; i++) {
                r = is_here(p->ix, &rows[i], err);
                if (r < 0 ||
                    !page_add(p, bundle_file_json(&rows[i], r > 0), slice_str(rows[i].path), 200))
                        break;
        }
        file_rows_free(rows, n);
        if (n > PAGE_ROWS && !p->has_more)
                return error_set(err, ERR_TOO_LARGE, "the names of the files are too long");
        return r < 0 ? -1 : 0;
}

static const struct {
        const char *name;
        int (*fill)(struct page *p, struct error *err);
} parts[] = {
        { "repository", page_repository }, { "refs", page_refs },   { "aliases", page_aliases },
        { "commits", page_commits },       { "files", page_files }, { "documents", page_documents },
};

static void page_run(void *arg)
{
        struct request *r = arg;
        struct page *p = r->api;
        int64_t ignored;

        p->ix = store_index(r->d->store);
        r->made_result = index_find_repo(p->ix, p->repo.kind, slice_str(p->repo.name), &p->row,
                                         &ignored, &r->err);
        if (r->made_result <= 0)
                return;
        p->doc = json_object();
        p->list = json_array();
        if (parts[p->part].fill != page_repository)
                json_object_set(p->doc, parts[p->part].name, p->list);
        json_object_set_new(
                p->doc, "repository",
                json_sprintf("%s%s", repo_kind_prefix((enum repo_kind)p->row.kind), p->row.name));
        if (parts[p->part].fill(p, &r->err) < 0)
                r->made_result = -1;
        if (p->left_out)
                json_object_set_new(p->doc, "left_out", json_integer((json_int_t)p->left_out));
        if (p->has_more)
                json_object_set_new(p->doc, "next", json_string(p->next));
        json_write(p->doc, &r->made);
        json_decref(take(p->list));
        json_decref(take(p->doc));
}

/* True if it was answered. */
static bool failed(struct request *r)
{
        if (r->made_result < 0)
                api_fail_with(r, &r->err);
        else if (r->made_result == 0)
                api_fail(r, 404, "no repository of that name is known here");
        else
                return false;
        return true;
}

static void page_after_job(void *arg)
{
        struct request *r = arg;

        if (!failed(r))
                answer_made(r);
}

static bool find_part(struct slice name, size_t *ret)
{
        for (*ret = 0; *ret < ARRAY_LEN(parts); (*ret)++)
                if (slice_is(name, parts[*ret].name))
                        return true;
        return false;
}

static bool page_read(const struct api_call *call, struct page *p)
{
        scoped(buf_done) struct buf repo = BUF_INIT(256), part = BUF_INIT(32),
                                    commit = BUF_INIT(64);
        scoped(buf_done) struct buf after = BUF_INIT(2 * CURSOR_BYTES);
        struct error ignored = { 0 };
        int has_commit = query_find(call->query, "commit", &commit, &ignored);

        if (query_find(call->query, "repository", &repo, &ignored) <= 0 ||
            query_find(call->query, "part", &part, &ignored) <= 0 || has_commit < 0 ||
            query_find(call->query, "after", &after, &ignored) < 0 || !buf_ok(&after) ||
            !bundle_repo_parse(buf_slice(&repo), &p->repo) ||
            !find_part(buf_slice(&part), &p->part) || after.len % 2)
                return false;
        p->after_len = after.len / 2;
        if (after.len && !hex_decode(buf_slice(&after), (uint8_t *)p->after, p->after_len))
                return false;
        if (!has_commit)
                return parts[p->part].fill != page_files;
        if (!commit_id_valid(buf_slice(&commit)))
                return false;
        memcpy(p->commit, commit.ptr, 40);
        return true;
}

/* What the handler keeps until the answer; NULL, and answered, without memory. */
static void *keep(struct request *r, size_t size)
{
        r->api = calloc(1, size);
        if (!r->api)
                api_fail(r, 503, "no memory");
        return r->api;
}

static void get_rows(const struct api_call *call)
{
        struct request *r = call->request;
        struct page *p = keep(r, sizeof(*p));

        if (!p)
                return;
        if (page_read(call, p))
                request_work(r, page_run, page_after_job);
        else
                api_fail(r, 400, "the query must say repository, part, and perhaps commit, after");
}

/* ---- what is missing ---- */

struct missing {
        json_t *asked, *doc; /* of the worker */
        struct bundle_repo repo;
        bool commits;
};

/* 1 if the worker found it, 0 if not, -1. */
static int look_for(struct request *r, const struct missing *m, int64_t repo, struct slice name)
{
        struct index *ix = store_index(r->d->store);
        struct commit_row commit;
        struct digest digest;
        uint64_t size;

        if (m->commits)
                return repo ? index_find_commit(ix, repo, name, &commit, &r->err) : 0;
        if (!bundle_digest_parse(name, &digest))
                return error_set(&r->err, ERR_BAD_REQUEST, "a file is named sha256:HEX or git:HEX");
        return index_find_blob_size(ix, &digest, &size, &r->err);
}

static void add_room(struct request *r, json_t *doc)
{
        struct store_usage usage = { 0 };

        store_usage(r->d->store, &usage);
        json_object_set_new(doc, "max_bytes", json_integer((json_int_t)usage.max_bytes));
        json_object_set_new(doc, "blob_bytes", json_integer((json_int_t)usage.blob_bytes));
        json_object_set_new(doc, "free_bytes",
                            json_integer((json_int_t)store_free_bytes(r->d->store)));
}

static void missing_run(void *arg)
{
        struct request *r = arg;
        struct missing *m = r->api;
        json_t *doc = json_object(), *list = json_array(), *name;
        struct repo_row row = { .id = 0 };
        int64_t ignored;
        size_t i;
        int found = 1;

        if (m->commits)
                found = index_find_repo(store_index(r->d->store), (int)m->repo.kind,
                                        slice_str(m->repo.name), &row, &ignored, &r->err);
        json_array_foreach(m->asked, i, name)
        {
                if (found < 0)
                        break;
                found = look_for(r, m, row.id,
                                 slice_of(json_string_value(name), json_string_length(name)));
                if (found == 0)
                        json_array_append(list, name);
        }
        json_decref(take(m->asked));
        json_object_set_new(doc, "missing", list);
        add_room(r, doc);
        json_write(doc, &r->made);
        json_decref(doc);
        r->made_result = found < 0 ? -1 : 1;
}

static void post_missing(const struct api_call *call)
{
        struct request *r = call->request;
        struct missing *m = keep(r, sizeof(*m));
        json_t *commits = json_object_get(call->body, "commits");
        json_t *asked = commits ? commits : json_object_get(call->body, "blobs");

        if (!m || !api_knows(call, commits ? "repository commits" : "blobs"))
                return;
        m->commits = commits != NULL;
        if (!json_is_array(asked) || json_array_size(asked) > BUNDLE_ASKED_MAX ||
            (commits && !bundle_repo_parse(json_text_of(call->body, "repository"), &m->repo))) {
                api_fail(r, 400, "the body must list blobs, or a repository and its commits");
                return;
        }
        m->asked = json_incref(asked);
        request_work(r, missing_run, page_after_job);
}

/* ---- files, out ---- */

static void blob_run(void *arg)
{
        struct request *r = arg;
        struct digest *digest = r->api;
        struct blob *blob = NULL;

        r->made_result = store_find_blob(r->d->store, digest, &blob, &r->err);
        if (r->made_result > 0 &&
            blob_check(blob, 0, MIN(blob_size(blob), (uint64_t)CHECK_FIRST), &r->err) < 0) {
                request_note_rot(blob, &r->err);
                blob_unref(&blob);
                r->made_result = -1;
        }
        r->blob = blob;
}

static void blob_after(void *arg)
{
        struct request *r = arg;
        struct response *response;

        if (r->made_result < 0) {
                api_fail_with(r, &r->err);
                return;
        }
        if (!r->blob) {
                api_fail(r, 404, "this file is not here");
                return;
        }
        response = request_blob_response(200, r->blob, 0, blob_size(r->blob));
        if (response)
                response_header(response, "Content-Type", "application/octet-stream");
        request_answer(r, response, METRIC_RESULT_HIT);
}

static void get_blob(const struct api_call *call)
{
        struct request *r = call->request;
        struct digest *digest = keep(r, sizeof(*digest));

        if (!digest)
                return;
        if (bundle_digest_parse(call->params[0], digest))
                request_work(r, blob_run, blob_after);
        else
                api_fail(r, 400, "a file is named sha256:HEX or git:HEX");
}

/* ---- files, in ---- */

/*
 *      OPEN (worker) --here--> answered
 *        `--> bytes come: WRITE (worker), again and again --all--> COMMIT (worker) --> answered
 *
 * The client left, or the time is over: what came is discarded.
 */
enum { PUT_PIECE = 1 << 20 };

struct bundle_put {
        struct daemon *d;
        struct request *r; /* NULL: nobody waits for the result */
        struct intake *in;
        struct loop_job job;
        bool busy;
        struct digest want;
        uint64_t size, at;
        size_t n; /* bytes in piece */
        char *piece;
        /* of the worker */
        struct partial *partial;
        bool here, stored;
        struct error err;
};

static void put_job(struct bundle_put *p, loop_fn run, loop_fn after)
{
        p->busy = true;
        p->job.run = run;
        p->job.after = after;
        p->job.arg = p;
        /* However long a disk takes: it is not the client who dawdles. */
        if (p->r)
                p->r->deadline_ms = INT64_MAX;
        loop_work(p->d->loop, &p->job);
}

static void put_free(void *arg)
{
        struct bundle_put *p = arg;

        p->d->bundle_puts--;
        free(p->piece);
        free(p);
}

static void discard_run(void *arg)
{
        struct bundle_put *p = arg;

        partial_discard(&p->partial);
}

static void put_end(struct bundle_put *p)
{
        intake_close(&p->in);
        if (p->r)
                p->r->left = NULL;
        p->r = NULL;
        if (p->partial)
                put_job(p, discard_run, put_free);
        else
                put_free(p);
}

static void put_answer(struct bundle_put *p)
{
        struct request *r = p->r;
        struct error err = p->err;
        bool stored = p->stored;

        put_end(p);
        if (!r)
                return;
        if (err.kind == ERR_CORRUPT)
                api_fail(r, 422, "these bytes are not what their digest says");
        else if (error_is_set(&err))
                api_fail_with(r, &err);
        else
                api_answer(r, 200, json_pack("{s:b}", "stored", stored));
}

static void commit_run(void *arg)
{
        struct bundle_put *p = arg;
        struct blob *blob = NULL;
        bool verified = false;

        p->stored = partial_commit(p->partial, &blob, &verified, &p->err) == 0;
        blob_unref(&blob);
        partial_close(&p->partial);
}

static void put_done(void *arg)
{
        struct bundle_put *p = arg;

        p->busy = false;
        put_answer(p);
}

static void put_go_on(struct bundle_put *p);

static void write_run(void *arg)
{
        struct bundle_put *p = arg;

        if (partial_write(p->partial, p->at, p->piece, p->n, &p->err) < 0)
                return;
        partial_hash(p->partial, p->at, p->piece, p->n);
        partial_push(p->partial, p->at, p->n);
}

static void put_after(void *arg)
{
        struct bundle_put *p = arg;

        p->busy = false;
        p->at += p->n;
        p->n = 0;
        if (p->r)
                p->r->deadline_ms = loop_now(p->d->loop) + ANSWER_DEADLINE_MS;
        if (!p->r || p->here || error_is_set(&p->err))
                put_answer(p);
        else
                put_go_on(p);
}

static void put_go_on(struct bundle_put *p)
{
        int64_t n = 1;

        while (p->n < PUT_PIECE && p->at + p->n < p->size && n > 0) {
                n = intake_read(p->in, p->piece + p->n, PUT_PIECE - p->n);
                if (n > 0)
                        p->n += (size_t)n;
        }
        if (n == TRANSFER_GIVE_UP || n == 0) {
                error_set(&p->err, ERR_CANCELLED, "the client left");
                put_answer(p);
        } else if (p->n) {
                put_job(p, write_run, put_after);
        } else if (p->at == p->size) {
                put_job(p, commit_run, put_done);
        }
}

static void put_more(void *arg)
{
        struct bundle_put *p = arg;

        if (!p->busy)
                put_go_on(p);
}

static void open_run(void *arg)
{
        struct bundle_put *p = arg;
        struct blob *blob = NULL;
        int found = store_find_blob(p->d->store, &p->want, &blob, &p->err);

        blob_unref(&blob);
        p->here = found > 0;
        if (found != 0)
                return;
        if (partial_open(p->d->store, &p->want, p->size, &p->partial, &p->err) == 0)
                partial_set_unread(p->partial);
}

/* The request is answered by somebody else. */
static void put_leave(void *arg)
{
        struct bundle_put *p = arg;

        p->r = NULL;
        if (!p->busy)
                put_end(p);
}

bool bundle_idle(const struct daemon *d)
{
        return d->bundle_puts == 0;
}

static void put_begin(struct request *r, const struct digest *want)
{
        struct bundle_put *p = calloc(1, sizeof(*p));

        if (p)
                p->piece = malloc(PUT_PIECE);
        if (!p || !p->piece) {
                free(p);
                api_fail(r, 503, "no memory");
                return;
        }
        p->d = r->d;
        p->r = r;
        p->in = take(r->intake);
        p->want = *want;
        p->size = (uint64_t)r->body_size;
        r->left = put_leave;
        r->left_arg = p;
        r->d->bundle_puts++;
        if (p->in)
                intake_watch(p->in, put_more, p);
        put_job(p, open_run, put_after);
}

static void put_blob(const struct api_call *call)
{
        struct request *r = call->request;
        struct digest want;

        if (!bundle_digest_parse(call->params[0], &want))
                api_fail(r, 400, "a file is named sha256:HEX or git:HEX");
        else if (r->body_size < 0 || (r->body_size > 0 && !r->intake))
                api_fail(r, 400, "the size of the file must be said");
        else if (r->d->bundle_puts >= BUNDLE_PUTS_MAX)
                api_fail(r, 503, "too many files come in at once");
        else
                put_begin(r, &want);
}

/* ---- repositories, in ---- */

struct arrival {
        struct bundle_repo repo;
        json_t *body; /* of the worker: its rows */
        bool ends, is_signed;
        enum visibility visibility;
        int64_t at;
        char upstream_id[64];
        bool conflict;
        char why[160];
};

static void refuse(struct arrival *a, const char *why)
{
        a->conflict = true;
        snprintf(a->why, sizeof(a->why), "%s", why);
}

/* Nothing of it is seen by anybody before its end. */
static int begin_repository(struct arrival *a, struct index *ix, struct error *err)
{
        struct repo_row row;
        int64_t alias_at = 0, id;
        int found = index_find_repo(ix, (int)a->repo.kind, slice_str(a->repo.name), &row, &alias_at,
                                    err);

        if (found < 0)
                return -1;
        if (!found || strcmp(row.name, a->repo.name) != 0)
                return index_put_repo(ix, (int)a->repo.kind, slice_str(a->repo.name), &id, err);
        if (!row.upstream_id[0] || !a->upstream_id[0] ||
            strcmp(row.upstream_id, a->upstream_id) == 0)
                return 0;
        if (!a->is_signed || a->at <= row.visibility_at) {
                refuse(a, "another repository of that name is here, and it is newer than the "
                          "bundle, or the bundle is not signed");
                return 0;
        }
        return index_set_visibility(ix, row.id, VIS_UNKNOWN, 0, slice_str(a->upstream_id), err);
}

static int end_repository(struct arrival *a, struct index *ix, struct error *err)
{
        struct repo_row row;
        int64_t ignored;
        int found = index_find_repo(ix, (int)a->repo.kind, slice_str(a->repo.name), &row, &ignored,
                                    err);

        if (found < 0)
                return -1;
        if (!found) {
                refuse(a, "this repository was not begun");
                return 0;
        }
        return index_adopt_visibility(ix, row.id, a->visibility, a->at, slice_str(a->upstream_id),
                                      a->is_signed, err);
}

static void repository_run(void *arg)
{
        struct request *r = arg;
        struct arrival *a = r->api;
        struct index *ix = store_index(r->d->store);

        r->made_result =
                a->ends ? end_repository(a, ix, &r->err) : begin_repository(a, ix, &r->err);
}

static void arrival_after(void *arg)
{
        struct request *r = arg;
        const struct arrival *a = r->api;

        /* Answers in memory were made of what was known before. */
        hot_drop_repo(r->d->hot, a->repo.kind, slice_str(a->repo.name));
        if (r->made_result < 0)
                api_fail_with(r, &r->err);
        else if (a->conflict)
                api_fail(r, 409, "%s", a->why);
        else
                api_answer(r, 200, json_pack("{s:b}", "done", 1));
}

static bool arrival_read(const json_t *body, struct arrival *a)
{
        struct slice step = json_text_of(body, "step"), id = json_text_of(body, "upstream_id");
        int visibility = bundle_visibility_named(json_text_of(body, "visibility"));
        uint64_t at = 0;

        a->ends = slice_is(step, "end");
        if ((!a->ends && !slice_is(step, "begin")) || visibility < 0 ||
            id.len >= sizeof(a->upstream_id) || !json_number_of(body, "at", &at) ||
            !bundle_repo_parse(json_text_of(body, "repository"), &a->repo))
                return false;
        if (id.len)
                memcpy(a->upstream_id, id.ptr, id.len);
        a->visibility = (enum visibility)visibility;
        a->at = (int64_t)MIN(at, (uint64_t)clock_wall_ms());
        a->is_signed = json_is_true(json_object_get(body, "signed"));
        return true;
}

static void post_repository(const struct api_call *call)
{
        struct request *r = call->request;
        struct arrival *a = keep(r, sizeof(*a));

        if (!a || !api_knows(call, "repository step upstream_id visibility at signed"))
                return;
        if (arrival_read(call->body, a))
                request_work(r, repository_run, arrival_after);
        else
                api_fail(r, 400, "the body must say repository, step, upstream_id, visibility, at");
}

/* ---- rows, in ---- */

static int adopt_files(struct arrival *a, const struct bundle_rows *rows, int64_t repo,
                       struct index *ix, struct error *err)
{
        int64_t commit = 0;

        for (size_t i = 0; i < rows->n; i++) {
                int here = rows->here[i] ? is_here(ix, &rows->files[i], err) : 1;

                if (here < 0)
                        return -1;
                if (here)
                        continue;
                refuse(a, "a file's bytes are not here: they come before its row");
                return 0;
        }
        if (index_put_commit(ix, repo, slice_str(rows->commit), &commit, err) < 0)
                return -1;
        return index_put_files(ix, commit, rows->files, rows->n, rows->completeness, err);
}

static int adopt_refs(struct arrival *a, const struct bundle_rows *rows, int64_t repo,
                      struct index *ix, struct error *err)
{
        struct commit_row ignored;

        for (size_t i = 0; i < rows->n; i++) {
                int found = index_find_commit(ix, repo, slice_str(rows->names[i].commit), &ignored,
                                              err);

                if (found < 0)
                        return -1;
                if (found)
                        continue;
                refuse(a, "a branch's commit is not known: it comes before the branch");
                return 0;
        }
        return index_adopt_refs(ix, repo, rows->names, rows->n, err);
}

/* By this repository's name, or by an old one that leads here. */
static int adopt_docs(struct arrival *a, const struct bundle_rows *rows, int64_t repo,
                      struct index *ix, struct error *err)
{
        for (size_t i = 0; i < rows->n; i++) {
                struct bundle_repo owner;
                struct repo_row row = { .id = 0 };
                int64_t ignored;

                if (!bundle_doc_owner(rows->docs[i].key, &owner) ||
                    index_find_repo(ix, (int)owner.kind, slice_str(owner.name), &row, &ignored,
                                    err) < 0)
                        return -1;
                if (row.id == repo)
                        continue;
                refuse(a, "a document is another repository's");
                return 0;
        }
        return index_adopt_docs(ix, repo, rows->docs, rows->n, err);
}

static int adopt(struct arrival *a, const struct bundle_rows *rows, struct index *ix,
                 struct error *err)
{
        struct repo_row row;
        int64_t ignored;
        int found = index_find_repo(ix, (int)a->repo.kind, slice_str(a->repo.name), &row, &ignored,
                                    err);

        if (found < 0)
                return -1;
        if (!found || strcmp(row.name, a->repo.name) != 0) {
                refuse(a, "this repository was not begun");
                return 0;
        }
        switch (rows->kind) {
        case BUNDLE_FILES:
                return adopt_files(a, rows, row.id, ix, err);
        case BUNDLE_DOCUMENTS:
                return adopt_docs(a, rows, row.id, ix, err);
        case BUNDLE_ALIASES:
                return index_adopt_aliases(ix, row.kind, row.id, rows->names, rows->n, err);
        case BUNDLE_REFS:
                return adopt_refs(a, rows, row.id, ix, err);
        }
        return 0;
}

static void rows_run(void *arg)
{
        struct request *r = arg;
        struct arrival *a = r->api;
        struct bundle_rows rows;

        r->made_result = bundle_rows_read(a->body, clock_wall_ms(), &rows, &r->err);
        if (r->made_result == 0)
                r->made_result = adopt(a, &rows, store_index(r->d->store), &r->err);
        bundle_rows_done(&rows);
        json_decref(take(a->body));
}

static void post_rows(const struct api_call *call)
{
        struct request *r = call->request;
        struct arrival *a = keep(r, sizeof(*a));
        json_t *rows = json_object_get(call->body, "rows");

        if (!a || !api_knows(call, "repository rows"))
                return;
        if (!json_is_object(rows) ||
            !bundle_repo_parse(json_text_of(call->body, "repository"), &a->repo)) {
                api_fail(r, 400, "the body must say a repository and rows");
                return;
        }
        a->body = json_incref(rows);
        request_work(r, rows_run, arrival_after);
}

static const struct api_row rows[] = {
        { HTTP_GET, "bundle/rows", API_ADMIN, get_rows },
        { HTTP_POST, "bundle/rows", API_ADMIN, post_rows },
        { HTTP_POST, "bundle/repositories", API_ADMIN, post_repository },
        { HTTP_POST, "bundle/missing", API_ADMIN, post_missing },
        { HTTP_GET, "bundle/blobs/{digest}", API_ADMIN, get_blob },
        { HTTP_PUT, "bundle/blobs/{digest}", API_ADMIN, put_blob },
};

const struct api_table bundle_api = { rows, ARRAY_LEN(rows) };
