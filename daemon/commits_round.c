/*
 * A round of a folder.
 *
 *      look --open commit--> head -> resolve -> record -.
 *        `-----------------------------------------------`-> scan
 *      scan --nothing new--> end                               (or squash, or make the repository)
 *      portion -> read -> card -> head -> ask -> prefixes -> batch -> put ... -> journal -> send
 *        ^           (the repository is made here)            ^                              |
 *        |                                                    |                              |
 *        +--------------------- record <--landed--- resolve <-+--refused, or nobody knows----+
 *        |                         `---------------------------^ (again, on the new head)
 *        `--all portions--> squash -> end
 *
 * Exactly once (I-24).  The journal's row is on disk before the commit is sent, names the head that
 * it is made on, and carries a mark that stands in the commit's message.  The Hub refuses a commit
 * whose parent is no longer the head, so of two that were sent with one parent at most one can
 * land; and none can land later once another commit is on that parent.  So after anything but a
 * clear answer the branch is asked where it is: still at the parent, and what is sent next has that
 * parent too; or further, and then ours is among the commits since, or never will be.  Where the
 * history was squashed meanwhile, the contents of the files decide.
 *
 * What others changed.  The answer to "ask" says what is at each path of the parent, or of a later
 * head, on which the commit would be refused.  A path that holds neither what we committed last,
 * nor what we are about to commit, nor a beginning of it, is another's work: it is reported and
 * left alone.
 */
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/clock.h"
#include "commits_impl.h"
#include "daemon.h"
#include "hub_header.h"
#include "log.h"
#include "upstream.h"

enum {
        PATIENCE_MS = 5 * 60 * 1000,
        LAST_PATIENCE_MS = 5000, /* while the process stops */
        WAITS_MAX = 20,
};

static void squash(struct round *r);

/* ---- life ---- */

static void drop_items(struct round *r)
{
        for (size_t i = 0; i < r->n_items; i++) {
                free(r->items[i].target);
                free(r->items[i].text);
                lfs_actions_done(&r->items[i].actions);
        }
        memset(r->items, 0, sizeof(r->items[0]) * r->n_items);
        r->n_items = 0;
        reading_done(&r->reading);
}

void round_free(struct round *r)
{
        errand_cancel(&r->errand);
        loop_timer_stop(&r->timer);
        for (size_t i = 0; i < PUTS_AT_ONCE; i++)
                put_cancel(&r->puts[i]);
        drop_items(r);
        folder_scan_done(&r->scan);
        folder_notes_done(&r->notes);
        folder_commit_done(&r->commit);
        buf_done(&r->body);
        free(r->cursor);
        round_forget_large(r);
        json_decref(r->commits);
        json_decref(r->earlier);
        free(r);
}

void round_cancel(struct round *r)
{
        r->cancelled = true;
        errand_cancel(&r->errand);
        loop_timer_stop(&r->timer);
        for (size_t i = 0; i < PUTS_AT_ONCE; i++)
                put_cancel(&r->puts[i]);
        if (!r->working)
                round_finish(r);
}

void round_fail(struct round *r, const char *fmt, ...)
{
        char text[sizeof(r->error)]; /* r->error may be among the arguments */
        va_list ap;

        va_start(ap, fmt);
        vsnprintf(text, sizeof(text), fmt, ap);
        va_end(ap);
        memcpy(r->error, text, sizeof(r->error));
        r->failed = true;
        round_finish(r);
}

static void run_job(void *arg)
{
        struct round *r = arg;

        error_clear(&r->err);
        r->run(r);
}

static void after_job(void *arg)
{
        struct round *r = arg;

        r->working = false;
        if (r->cancelled)
                round_finish(r);
        else if (error_is_set(&r->err))
                round_fail(r, "%s", r->err.what);
        else
                r->after(r);
}

void round_work(struct round *r, void (*run)(struct round *r), void (*after)(struct round *r))
{
        r->run = run;
        r->after = after;
        r->working = true;
        r->job = (struct loop_job){ .run = run_job, .after = after_job, .arg = r };
        loop_work(r->d->loop, &r->job);
}

static void on_waited(void *arg)
{
        struct round *r = arg;

        r->then(r);
}

/* While the process stops nothing is waited for. */
void round_wait(struct round *r, int64_t ms, void (*then)(struct round *r))
{
        if (r->f->commits->stopping || ++r->waits > WAITS_MAX) {
                round_fail(r, "%s", r->error[0] ? r->error : "the Hub is busy");
                return;
        }
        r->then = then;
        loop_timer_start(r->d->loop, &r->timer, ms, 0, on_waited, r);
}

/* ---- asking the Hub ---- */

void round_errand(struct round *r, struct errand_spec *spec, errand_fn fn)
{
        spec->patience_ms =
                r->f->commits->stopping ? (int64_t)LAST_PATIENCE_MS : (int64_t)PATIENCE_MS;
        r->errand = errand_start(r->d, spec, fn, r);
        if (!r->errand)
                round_fail(r, "no memory for a request");
}

void round_target(const struct round *r, const char *verb, struct slice rev, struct buf *out)
{
        hub_api_target(r->f->kind, slice_str(r->f->repo), verb, rev, SLICE(""), out);
}

struct slice round_revision(const struct round *r)
{
        return slice_str(r->f->rule.revision[0] ? r->f->rule.revision : "main");
}

/* A question that is a GET, or with a body a POST. */
void round_question(struct round *r, struct buf *target, struct buf *body, const char *type,
                    errand_fn fn)
{
        struct errand_spec spec = {
                .method = body ? HTTP_POST : HTTP_GET,
                .target = buf_slice(target),
                .reads = true,
                .account = folder_account(r->f, CONFIG_VERB_COMMIT),
        };

        if (body) {
                spec.body = buf_slice(body);
                spec.content_type = slice_str(type);
                spec.accept = spec.content_type;
        }
        if (buf_ok(target) && (!body || buf_ok(body)))
                round_errand(r, &spec, fn);
        else
                round_fail(r, "a request is too large");
        buf_done(target);
        if (body)
                buf_done(body);
}

bool answer_is_good(const struct errand_answer *a)
{
        return !error_is_set(a->err) && a->status >= 200 && a->status < 300;
}

void round_audit(const struct round *r, enum hub_op op, const struct errand_answer *a)
{
        log_event(LOG_INFO, "audit.write", "folder=%s op=%s target=%s%s token=%s status=%d",
                  r->f->row.name, hub_op_name(op), repo_kind_prefix(r->f->kind), r->f->repo,
                  a->token_label, a->status);
}

/* "what: the Hub's own words" */
void round_say_refused(struct round *r, const struct errand_answer *a, const char *what)
{
        scoped(buf_done) struct buf words = BUF_INIT(4096);
        char text[200];

        if (error_is_set(a->err)) {
                snprintf(r->error, sizeof(r->error), "%s: %s", what, a->err->what);
                return;
        }
        answer_complaint(a->body, &words);
        snprintf(r->error, sizeof(r->error), "%s: status %d%s%s", what, a->status,
                 words.len ? ", " : "",
                 words.len ? log_escape(buf_slice(&words), text, sizeof(text)) : "");
}

void round_refused(struct round *r, const struct errand_answer *a, const char *what)
{
        round_say_refused(r, a, what);
        r->failed = true;
        round_finish(r);
}

/* ---- portions ---- */

/* Touched, and as it was committed. */
static bool is_as_committed(const struct item *i)
{
        return i->change->committed.algo && (digest_eq(&i->change->committed, &i->sha256) ||
                                             digest_eq(&i->change->committed, &i->git));
}

static void was_read(struct round *r)
{
        size_t n = 0;

        if (r->reading.more) {
                round_work(r, round_read, was_read);
                return;
        }
        reading_done(&r->reading);
        for (size_t i = 0; i < r->n_items; i++) {
                struct item *one = &r->items[i];

                if (one->out)
                        continue;
                if (is_as_committed(one)) {
                        round_add_row(r, one);
                        r->rows[r->n_rows - 1].digest = one->change->committed;
                        r->same++;
                        one->out = true;
                }
                n += !one->out;
        }
        if (n)
                round_check_card(r);
        else
                round_pass_on(r);
}

static bool take_change(struct round *r, struct folder_change *c)
{
        struct item *i = &r->items[r->n_items];
        struct slice folder = slice_str(r->f->rule.path_in_repo);
        struct buf target = BUF_INIT(8192);
        const char *refused_for;

        while (folder.len && folder.ptr[0] == '/')
                folder = slice_skip(folder, 1);
        while (folder.len && folder.ptr[folder.len - 1] == '/')
                folder.len--;
        if (folder.len) {
                buf_add(&target, folder);
                buf_add_char(&target, '/');
        }
        buf_add_str(&target, c->file.path);
        *i = (struct item){ .change = c, .target = buf_take(&target, NULL) };
        if (!i->target)
                return false;
        r->n_items++;
        refused_for = folder_refuses_name(slice_str(i->target));
        if (refused_for) {
                folder_note(&r->notes, NOTE_SKIPPED, slice_str(c->file.path), "%s", refused_for);
                i->out = true;
        }
        return true;
}

/*
 * A commit may be refused for the sake of one file: a folder of that name is there, a rule of the
 * organization.  Halves of it find that file, which is left out; the others are committed.
 */
void round_take_apart(struct round *r)
{
        struct item *last = NULL;
        size_t n = 0;

        for (size_t i = 0; i < r->n_items; i++) {
                struct item *one = &r->items[i];

                one->change->is_settled = one->out;
                if (!one->out && ++n)
                        last = one;
        }
        if (!last || (n == 1 && ++r->refusals > REFUSALS_MAX)) {
                round_fail(r, "%s", r->error);
                return;
        }
        if (n == 1) {
                folder_note(&r->notes, NOTE_SKIPPED, slice_str(last->change->file.path), "%s",
                            r->error);
                last->change->is_settled = true;
        } else {
                r->most = (n + 1) / 2;
        }
        r->next = (size_t)(r->items[0].change - r->scan.changes);
        round_next(r);
}

void round_next(struct round *r)
{
        drop_items(r);
        r->n_rows = 0;
        r->attempts = 0;
        r->waits = 0;
        if (r->next == r->scan.n) {
                squash(r);
                return;
        }
        while (r->n_items < r->most && r->next < r->scan.n) {
                if (r->scan.changes[r->next].is_settled)
                        r->next++;
                else if (!take_change(r, &r->scan.changes[r->next++])) {
                        round_fail(r, "no memory for a commit");
                        return;
                }
        }
        r->step = "reading";
        r->reading = (struct reading){ .fd = -1 };
        round_work(r, round_read, was_read);
}

/* ---- the beginning ---- */

static void scan_run(struct round *r)
{
        struct index *ix = store_index(r->d->store);
        struct folder_file *known = NULL;
        struct stat own;
        size_t n = 0;

        if (index_list_folder_files(ix, r->f->row.id, FOLDER_KNOWN_MAX, &known, &n, &r->err) < 0)
                return;
        r->scan = (struct folder_scan){
                .folder = r->f->rule.folder,
                .allow = &r->f->rule.allow,
                .ignore = &r->f->rule.ignore,
                .known = known,
                .n_known = n,
                .fd = -1,
                .notes = &r->notes,
        };
        if (stat(daemon_config(r->d)->data_dir, &own) == 0) {
                r->scan.own_device = own.st_dev;
                r->scan.own_inode = own.st_ino;
        }
        if (folder_scan_run(&r->scan, &r->err) < 0)
                r->scan.watchable = false;
        folder_files_free(known, n);
        r->scan.known = NULL;
}

static void scanned(struct round *r)
{
        if (r->scan.watchable)
                folder_watch(r->f, r->scan.directories, r->scan.n_directories);
        else
                folder_watch(r->f, NULL, 0);
        if (!r->scan.n && !r->f->row.repo_known)
                round_ask_head(r, round_next);
        else
                round_next(r);
}

void round_scan(struct round *r)
{
        r->step = "looking through the folder";
        r->f->changed_ms = 0;
        r->begun_ms = clock_wall_ms();
        round_work(r, scan_run, scanned);
}

static void looked(struct round *r)
{
        if (r->is_open)
                round_ask_head(r, round_resolve);
        else
                round_scan(r);
}

static void look_run(struct round *r)
{
        r->is_open = index_open_folder_commit(store_index(r->d->store), r->f->row.id, &r->commit,
                                              &r->err) > 0;
}

void round_begin(struct folder *f)
{
        struct round *r = calloc(1, sizeof(*r));

        if (!r)
                return;
        r->f = f;
        r->d = f->commits->d;
        r->scan.fd = -1;
        r->reading.fd = -1;
        r->number = ++f->row.rounds;
        r->most = UPLOAD_BATCH_MAX;
        r->begun_ms = clock_wall_ms();
        r->step = "beginning";
        f->round = r;
        f->queued = false;
        log_event(LOG_DEBUG, "commits.round", "folder=%s round=%" PRId64, f->row.name, r->number);
        round_work(r, look_run, looked);
}

/* ---- the end ---- */

static void on_squash_outdated(void *arg)
{
        struct round *r = arg;

        r->working = false;
        round_finish(r);
}

static void on_squashed(void *arg, const struct errand_answer *a)
{
        struct round *r = arg;

        r->errand = NULL;
        round_audit(r, HUB_WRITE, a);
        if (!answer_is_good(a)) {
                round_refused(r, a, "the history was not squashed");
                return;
        }
        r->f->row.squash_due = false;
        r->outdate = (struct outdate){ .what = UNTRUE_REFS | UNTRUE_DOCS };
        outdate_add_repo(&r->outdate, r->f->kind, slice_str(r->f->repo));
        r->working = true;
        outdate_run(r->d, &r->outdate, on_squash_outdated, r);
}

/* Doing it twice is doing it once. */
static void squash(struct round *r)
{
        scoped(buf_done) struct buf target = BUF_INIT(4096), body = BUF_INIT(4096);
        struct errand_spec spec = {
                .method = HTTP_POST,
                .content_type = SLICE("application/json"),
                .account = folder_account(r->f, CONFIG_VERB_REFS),
        };

        if (!r->f->rule.squash_history || !r->f->row.squash_due) {
                round_finish(r);
                return;
        }
        r->step = "squashing the history";
        round_target(r, "super-squash", round_revision(r), &target);
        buf_add_str(&body, "{\"message\":");
        buf_add_str(&body, "\"Super-squash branch by hubcached\"}");
        spec.target = buf_slice(&target);
        spec.body = buf_slice(&body);
        round_errand(r, &spec, on_squashed);
}

static const char *const note_words[] = { "skipped", "waiting", "conflict" };

static void put_number(json_t *to, const char *key, uint64_t n)
{
        json_object_set_new(to, key, json_integer((json_int_t)n));
}

static const char *state_of(const struct round *r)
{
        if (r->failed)
                return "failed";
        return r->notes.count[NOTE_CONFLICT] ? "conflict" : "done";
}

json_t *round_show(const struct round *r)
{
        json_t *to = json_object(), *notes = json_array();

        put_number(to, "round", (uint64_t)r->number);
        json_object_set_new(to, "began_at", json_integer(r->begun_ms));
        put_number(to, "files", r->files);
        put_number(to, "bytes", r->bytes);
        json_object_set_new(to, "commits", r->commits ? json_deep_copy(r->commits) : json_array());
        /* A job may be writing it now. */
        for (size_t i = 0; !r->working && i < r->notes.n; i++) {
                json_t *one = json_object();

                json_object_set_new(one, "kind", json_string(note_words[r->notes.v[i].kind]));
                json_object_set_new(one, "path", json_string(r->notes.v[i].path));
                json_object_set_new(one, "reason", json_string(r->notes.v[i].reason));
                json_array_append_new(notes, one);
        }
        json_object_set_new(to, "notes", notes);
        for (size_t i = 0; !r->working && i < ARRAY_LEN(note_words); i++)
                put_number(to, note_words[i], r->notes.count[i]);
        if (!r->working)
                put_number(to, "unchanged", r->scan.unchanged + r->same);
        return to;
}

void round_finish(struct round *r)
{
        struct folder *f = r->f;
        json_t *result = NULL;
        bool changed = r->files > 0, bad = r->failed;

        /* What was cancelled says nothing: the next round does all of it. */
        if (!r->cancelled) {
                result = round_show(r);
                json_object_set_new(result, "state", json_string(state_of(r)));
                json_object_set_new(result, "ended_at", json_integer(clock_wall_ms()));
                json_object_set_new(result, "error", json_string(bad ? r->error : ""));
        }
        f->round = NULL;
        round_free(r);
        folder_round_over(f, result, bad, changed);
}
