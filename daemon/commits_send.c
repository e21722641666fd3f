/*
 * A commit: journalled, sent, and found out about when nobody heard what became of it
 * (commits_round.c says why it happens exactly once).
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/hash.h"
#include "commits_impl.h"
#include "daemon.h"
#include "hub_header.h"
#include "log.h"
#include "metrics.h"
#include "model.h"
#include "redirect.h"
#include "stash.h"
#include "upstream.h"

enum {
        BODY_MAX = 32 << 20,
        OPERATIONS_MAX = 4 << 20,
        HISTORY_PAGES_MAX = 20,
        HISTORY_PAGE = 100,
        RACY_NS = 2000000000, /* a change so shortly before it was read may hide another one */
};

static const char mark_prefix[] = "Hubcached-Commit: ";

static void send_commit(struct round *r);

/* ---- what became of a commit ---- */

/* What the commit is to do, as an array; for json_decref. */
static json_t *operations_of(const struct round *r)
{
        struct error ignored = { 0 };

        return json_read(slice_str(r->commit.operations), &ignored);
}

static bool row_of_operation(const json_t *op, struct folder_file *ret)
{
        struct slice digest = json_text_of(op, "digest");

        *ret = (struct folder_file){
                .path = (char *)json_string_value(json_object_get(op, "path")),
                .size = (uint64_t)json_integer_value(json_object_get(op, "size")),
                .mtime_ns = json_integer_value(json_object_get(op, "mtime")),
                .ctime_ns = json_integer_value(json_object_get(op, "ctime")),
                .inode = (uint64_t)json_integer_value(json_object_get(op, "inode")),
        };
        return ret->path && digest_parse(digest, &ret->digest);
}

/* Its end, and what is in the repository from now on, in one transaction. */
static void record_run(struct round *r)
{
        scoped(json_free) json_t *ops = operations_of(r);
        size_t cap = json_array_size(ops) + r->n_rows, n = 0;
        scoped(free_ptr) struct folder_file *rows = calloc(cap ? cap : 1, sizeof(*rows));

        if (!rows) {
                error_set(&r->err, ERR_NOMEM, "no memory for a commit");
                return;
        }
        for (size_t i = 0; r->landed && i < json_array_size(ops); i++)
                n += row_of_operation(json_array_get(ops, i), &rows[n]);
        for (size_t i = 0; i < r->n_rows; i++)
                rows[n++] = r->rows[i];
        r->commit.state = r->landed ? FOLDER_COMMIT_DONE : FOLDER_COMMIT_FAILED;
        r->commit.ended_at = clock_wall_ms();
        crash_point("commit-before-record");
        if (index_end_folder_commit(store_index(r->d->store), &r->commit, rows, n, &r->err) == 0)
                crash_point("commit-after-record");
}

static void add_commit(struct round *r)
{
        scoped(buf_done) struct buf url = BUF_INIT(1024);
        json_t *one = json_object();

        origin_format(upstream_hub(r->d->upstream), &url);
        buf_add_fmt(&url, "/%s%s/commit/%s", repo_kind_prefix(r->f->kind), r->f->repo,
                    r->commit.sha);
        if (!r->commits)
                r->commits = json_array();
        json_object_set_new(one, "commit", json_string(r->commit.sha));
        if (buf_ok(&url) && r->commit.sha[0])
                json_object_set_new(one, "url", json_string(url.ptr));
        json_object_set_new(one, "files", json_integer((json_int_t)r->commit.files));
        json_object_set_new(one, "bytes", json_integer((json_int_t)r->commit.bytes));
        json_array_append_new(r->commits, one);
}

/* A commit of another round that is not there yet may still be on its way, until ours is there:
 * should it come first, what it brought is no stranger's. */
static void remember(struct round *r)
{
        scoped(json_free) json_t *ops = operations_of(r);

        json_decref(r->earlier);
        r->earlier = json_object();
        for (size_t i = 0; i < json_array_size(ops); i++) {
                const json_t *op = json_array_get(ops, i);
                const char *target = json_string_value(json_object_get(op, "target"));

                if (target)
                        json_object_set(r->earlier, target, json_object_get(op, "digest"));
        }
}

static void recorded(struct round *r)
{
        bool is_first = r->scan.fd < 0; /* it is from an earlier round, which did not hear of it */
        bool landed = r->landed;

        r->is_open = false;
        r->n_rows = 0;
        if (landed) {
                add_commit(r);
                r->files += r->commit.files;
                r->bytes += r->commit.bytes;
                r->f->row.squash_due = r->f->rule.squash_history;
                metrics_add(M_FOLDER_COMMITS, 1);
                metrics_add(M_FOLDER_FILES, (int64_t)r->commit.files);
                log_event(LOG_INFO, "commits.committed",
                          "folder=%s repository=%s%s commit=%s files=%" PRIu64 " bytes=%" PRIu64,
                          r->f->row.name, repo_kind_prefix(r->f->kind), r->f->repo, r->commit.sha,
                          r->commit.files, r->commit.bytes);
        }
        if (is_first && !landed)
                remember(r);
        folder_commit_done(&r->commit);
        buf_done(&r->body);
        if (is_first || landed) {
                r->attempts = 0;
                r->most = MIN(r->most * 2, (size_t)UPLOAD_BATCH_MAX);
                if (is_first)
                        round_scan(r);
                else
                        round_next(r);
                return;
        }
        if (r->failed) {
                round_finish(r);
                return;
        }
        if (r->is_refused) {
                r->is_refused = false;
                round_take_apart(r);
                return;
        }
        if (++r->attempts >= ATTEMPTS_MAX) {
                round_fail(r, "others change the branch all the time; last: %s", r->error);
                return;
        }
        round_ask(r);
}

static void record(struct round *r)
{
        r->step = "writing down";
        round_work(r, record_run, recorded);
}

static void on_outdated(void *arg)
{
        struct round *r = arg;

        r->working = false;
        round_forget_large(r);
        if (r->cancelled)
                round_finish(r);
        else
                record(r);
}

void round_forget_large(struct round *r)
{
        for (size_t i = 0; i < r->n_large; i++)
                free(r->large[i].path);
        free(r->large);
        r->large = NULL;
        r->n_large = 0;
}

/* Without memory for them, they are only not known. */
static void list_large(struct round *r)
{
        scoped(json_free) json_t *ops = operations_of(r);

        r->large = calloc(json_array_size(ops) + 1, sizeof(*r->large));
        for (size_t i = 0; r->large && i < json_array_size(ops); i++) {
                const json_t *op = json_array_get(ops, i);
                struct slice digest = json_text_of(op, "digest");
                struct commit_file *file = &r->large[r->n_large];

                if (!hex_is_lower(digest, 64))
                        continue;
                file->path = slice_dup(json_text_of(op, "target"));
                file->size = (uint64_t)json_integer_value(json_object_get(op, "size"));
                snprintf(file->oid, sizeof(file->oid), SLICE_FMT, SLICE_ARG(digest));
                r->n_large += file->path != NULL;
        }
}

/* The large files that went up are in the cache now. */
static void on_stashed(void *arg)
{
        struct round *r = arg;

        outdate_run(r->d, &r->outdate, on_outdated, r);
}

/* Nobody shall be served what was true before it. */
static void landed(struct round *r)
{
        r->landed = true;
        r->outdate = (struct outdate){ .what = UNTRUE_REFS | UNTRUE_DOCS };
        outdate_add_repo(&r->outdate, r->f->kind, slice_str(r->f->repo));
        if (r->commit.sha[0] && strcmp(r->commit.sha, r->head) == 0) {
                memcpy(r->outdate.commit, r->commit.sha, sizeof(r->outdate.commit));
                snprintf(r->outdate.ref, sizeof(r->outdate.ref), SLICE_FMT,
                         SLICE_ARG(round_revision(r)));
                list_large(r);
                r->outdate.files = r->large;
                r->outdate.n_files = r->n_large;
        }
        r->working = true;
        stashes_accept(r->d->stashes,
                       &(struct stash_acceptance){
                               .kind = r->f->kind,
                               .repo = slice_str(r->f->repo),
                               .files = r->large,
                               .n_files = r->n_large,
                       },
                       on_stashed, r);
}

static void never_landed(struct round *r)
{
        r->landed = false;
        free(r->commit.error);
        r->commit.error = slice_dup(slice_str(r->error));
        record(r);
}

/* ---- what became of it, by the contents ---- */

struct comparison {
        json_t *ops;
        size_t n; /* of them are there */
};

static int compare_entry(void *arg, const struct tree_entry *entry, struct error *err)
{
        struct comparison *c = arg;
        const char *there = entry->has_lfs ? entry->lfs_oid : entry->oid;

        (void)err;
        for (size_t i = 0; i < json_array_size(c->ops); i++) {
                const json_t *op = json_array_get(c->ops, i);

                c->n += slice_eq(json_text_of(op, "target"), entry->path) &&
                        slice_is(json_text_of(op, "digest"), there);
        }
        return 0;
}

static void on_compared(void *arg, const struct errand_answer *a)
{
        struct round *r = arg;
        scoped(json_free) json_t *ops = operations_of(r);
        struct comparison c = { .ops = ops };
        struct error err = { 0 };

        r->errand = NULL;
        if (!answer_is_good(a)) {
                round_refused(r, a, "what became of the last commit cannot be asked for");
                return;
        }
        if (tree_parse(a->body, compare_entry, &c, &err) < 0) {
                round_fail(r, "%s", err.what);
                return;
        }
        r->commit.sha[0] = '\0';
        if (c.n == r->commit.files)
                landed(r);
        else
                never_landed(r);
}

static void compare_contents(struct round *r)
{
        scoped(json_free) json_t *ops = operations_of(r);
        json_t *paths = json_array();

        for (size_t i = 0; i < json_array_size(ops); i++)
                json_array_append(paths, json_object_get(json_array_get(ops, i), "target"));
        round_ask_paths(r, paths, on_compared);
}

/* ---- what became of it, by the history ---- */

static void search_history(struct round *r);

static void on_history(void *arg, const struct errand_answer *a)
{
        struct round *r = arg;
        scoped(buf_done) struct buf mark = BUF_INIT(256);
        enum history_verdict verdict;
        struct error err = { 0 };
        struct slice next;
        struct uri uri;

        r->errand = NULL;
        if (!answer_is_good(a)) {
                round_refused(r, a, "what became of the last commit cannot be asked for");
                return;
        }
        buf_add_fmt(&mark, "%s%s", mark_prefix, r->commit.mark);
        if (history_search(a->body, mark.ptr, r->commit.parent, &verdict, r->commit.sha, &err) <
            0) {
                round_fail(r, "%s", err.what);
                return;
        }
        if (verdict == HISTORY_HAS) {
                landed(r);
                return;
        }
        if (verdict == HISTORY_LACKS) {
                never_landed(r);
                return;
        }
        next = link_next(errand_answer_header(a, "link"));
        free(take(r->cursor));
        if (next.ptr && ++r->pages < HISTORY_PAGES_MAX && uri_parse(next, &uri, &err) == 0 &&
            origin_eq(&uri.origin, upstream_hub(r->d->upstream)))
                r->cursor = slice_dup(uri.path_query);
        if (r->cursor)
                search_history(r);
        else
                compare_contents(r);
}

static void search_history(struct round *r)
{
        struct buf target = BUF_INIT(LOCATION_MAX);

        if (r->cursor) {
                buf_add_str(&target, r->cursor);
        } else {
                round_target(r, "commits", slice_str(r->head), &target);
                buf_add_fmt(&target, "?limit=%d", (int)HISTORY_PAGE);
        }
        round_question(r, &target, NULL, NULL, on_history);
}

/* The head was asked for: what became of the commit that is open? */
void round_resolve(struct round *r)
{
        r->step = "finding out what became of a commit";
        r->pages = 0;
        free(take(r->cursor));
        if (strcmp(r->head, r->commit.parent) == 0)
                never_landed(r);
        else
                search_history(r);
}

static void resolve_soon(struct round *r)
{
        round_ask_head(r, round_resolve);
}

/* ---- sending ---- */

static int64_t body_read(void *arg, char *to, size_t max)
{
        struct round *r = arg;
        size_t n = MIN(max, r->body.len - r->body_sent);

        memcpy(to, r->body.ptr + r->body_sent, n);
        r->body_sent += n;
        if (r->body_sent == r->body.len)
                crash_point("mid-folder-commit");
        return (int64_t)n;
}

static bool says_later(const struct errand_answer *a)
{
        return !error_is_set(a->err) &&
               (a->status == 429 ||
                (a->status == 503 && errand_answer_header(a, "retry-after").ptr));
}

static void on_committed(void *arg, const struct errand_answer *a)
{
        struct round *r = arg;
        struct commit_answer told = { 0 };

        r->errand = NULL;
        crash_point("commit-after-answer");
        round_audit(r, HUB_COMMIT, a);
        if (answer_is_good(a))
                commit_answer_read(a->body, &told);
        if (told.commit[0]) {
                memcpy(r->commit.sha, told.commit, sizeof(r->commit.sha));
                memcpy(r->head, told.commit, sizeof(r->head));
                landed(r);
                return;
        }
        round_say_refused(r, a, "the commit");
        if (says_later(a)) {
                int s = retry_after_seconds(errand_answer_header(a, "retry-after"), 10);

                round_wait(r, (int64_t)s * 1000, send_commit);
                return;
        }
        /* The Hub said no, and it is not because of another commit. */
        if (!error_is_set(a->err) && a->status >= 400 && a->status < 500 && a->status != 408 &&
            a->status != 409 && a->status != 412) {
                r->is_refused = a->status == 400 || a->status == 413 || a->status == 422;
                r->failed = !r->is_refused;
                never_landed(r);
                return;
        }
        /* The branch moved, or nobody knows: it is asked, after a moment. */
        log_event(LOG_WARN, "commits.unclear", "folder=%s status=%d error=\"%s\"", r->f->row.name,
                  a->status, error_is_set(a->err) ? a->err->what : "");
        round_wait(r, upstream_backoff_ms(r->attempts + 1), resolve_soon);
}

static void send_commit(struct round *r)
{
        struct buf target = BUF_INIT(4096);
        const struct transfer_upload upload = { .size = (int64_t)r->body.len, .read = body_read };
        struct errand_spec spec = {
                .method = HTTP_POST,
                .content_type = SLICE("application/x-ndjson"),
                .upload = &upload,
                .upload_arg = r,
                .account = folder_account(r->f, CONFIG_VERB_COMMIT),
        };

        r->step = "committing";
        r->body_sent = 0;
        round_target(r, "commit", round_revision(r), &target);
        spec.target = buf_slice(&target);
        crash_point("commit-before-send");
        round_errand(r, &spec, on_committed);
        buf_done(&target);
}

/* ---- journal ---- */

const struct digest *item_digest(const struct item *i)
{
        return i->verdict.is_lfs ? &i->sha256 : &i->git;
}

int64_t item_stamp(const struct round *r, const struct folder_file *f)
{
        return f->mtime_ns > r->begun_ms * 1000000 - RACY_NS ? 0 : f->mtime_ns;
}

static void add_operation(struct round *r, json_t *ops, const struct item *i)
{
        const struct folder_file *f = &i->change->file;
        json_t *op = json_object();

        json_object_set_new(op, "path", json_string(f->path));
        json_object_set_new(op, "target", json_string(i->target));
        json_object_set_new(op, "size", json_integer((json_int_t)f->size));
        json_object_set_new(op, "mtime", json_integer(item_stamp(r, f)));
        json_object_set_new(op, "ctime", json_integer(f->ctime_ns));
        json_object_set_new(op, "inode", json_integer((json_int_t)f->inode));
        json_object_set_new(op, "digest", json_string(DIGEST_STR(item_digest(i))));
        json_array_append_new(ops, op);
        r->commit.files++;
        r->commit.bytes += f->size;
}

/* The line of one file; it is left out if it is no longer what was hashed. */
static void add_line(struct round *r, struct item *i, json_t *ops)
{
        struct slice path = slice_str(i->target);
        size_t before = r->body.len;
        int got;

        if (i->verdict.is_lfs) {
                commit_lfs_write(path, DIGEST_STR(&i->sha256), i->change->file.size, &r->body);
        } else {
                commit_file_open(path, &r->body);
                got = round_contents(r, i, &r->body, &r->err);
                if (got <= 0) {
                        buf_truncate(&r->body, before);
                        folder_note(&r->notes, NOTE_WAITING, slice_str(i->change->file.path),
                                    "it changed while it was read");
                        i->out = true;
                        return;
                }
                commit_file_close(&r->body);
        }
        add_operation(r, ops, i);
}

static void write_header(struct round *r)
{
        scoped(buf_done) struct buf description = BUF_INIT(256);
        const char *message = r->f->rule.message;
        uint8_t random[16];

        random_bytes(random, sizeof(random));
        hex_encode(random, sizeof(random), r->commit.mark);
        memcpy(r->commit.parent, r->head, sizeof(r->commit.parent));
        buf_add_fmt(&description, "%s%s", mark_prefix, r->commit.mark);
        commit_header_write(slice_str(message[0] ? message : "Scheduled Commit"),
                            buf_slice(&description), slice_str(r->head), &r->body);
}

/* The body of the commit is made, and what it is to do is on disk, before anything is sent. */
static void journal_run(struct round *r)
{
        scoped(json_free) json_t *ops = json_array();
        struct buf text = BUF_INIT(OPERATIONS_MAX);

        r->commit = (struct folder_commit){ .folder = r->f->row.id, .round = r->number };
        r->body = (struct buf)BUF_INIT(BODY_MAX);
        write_header(r);
        for (size_t i = 0; i < r->n_items && !error_is_set(&r->err); i++)
                if (!r->items[i].out)
                        add_line(r, &r->items[i], ops);
        json_write(ops, &text);
        r->commit.operations = buf_take(&text, NULL);
        r->commit.begun_at = clock_wall_ms();
        if (error_is_set(&r->err))
                return;
        if (!r->commit.operations || !buf_ok(&r->body))
                error_set(&r->err, ERR_TOO_LARGE, "a commit is too large");
        else if (r->commit.files &&
                 index_begin_folder_commit(store_index(r->d->store), &r->commit, &r->err) == 0)
                crash_point("commit-after-intent");
}

static void put_rows_run(struct round *r)
{
        if (index_put_folder_files(store_index(r->d->store), r->f->row.id, r->rows, r->n_rows,
                                   &r->err) == 0)
                r->n_rows = 0;
}

/* There is nothing to commit of this portion. */
void round_pass_on(struct round *r)
{
        if (r->n_rows)
                round_work(r, put_rows_run, round_next);
        else
                round_next(r);
}

static void journalled(struct round *r)
{
        if (!r->commit.files) {
                folder_commit_done(&r->commit);
                buf_done(&r->body);
                round_pass_on(r);
                return;
        }
        r->is_open = true;
        send_commit(r);
}

void round_journal(struct round *r)
{
        r->step = "preparing a commit";
        for (size_t i = 0; i < r->n_items; i++)
                lfs_actions_done(&r->items[i].actions);
        round_work(r, journal_run, journalled);
}
