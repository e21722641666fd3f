/* Watched folders in the daemon's own API (commits.h). */
#include <stdlib.h>
#include <string.h>

#include "api.h"
#include "commits_impl.h"
#include "daemon.h"

enum { HISTORY_SHOWN = 20 };

static struct commits *commits_of(const struct api_call *call)
{
        return call->request->d->commits;
}

/* ---- what is shown of one ---- */

static const char *state_of(const struct folder *f)
{
        if (f->round)
                return "running";
        if (f->queued)
                return "queued";
        return f->row.paused ? "paused" : "waiting";
}

static void put_moment(json_t *to, const char *key, int64_t at)
{
        json_object_set_new(to, key, at > 0 && at < INT64_MAX ? json_integer(at) : json_null());
}

static json_t *show(const struct folder *f)
{
        struct error ignored = { 0 };
        json_t *to = json_object(), *definition = json_read(slice_str(f->row.definition), &ignored);

        json_object_set_new(to, "name", json_string(f->row.name));
        json_object_set_new(to, "origin",
                            json_string(f->row.origin == FOLDER_CONFIG ? "config" : "command"));
        json_object_set_new(to, "state", json_string(state_of(f)));
        json_object_set_new(to, "step", json_string(f->round ? f->round->step : ""));
        json_object_set_new(
                to, "waits",
                json_string(f->round && f->round->errand ? errand_waits(f->round->errand) : ""));
        if (definition)
                json_object_set_new(to, "wants", definition);
        put_moment(to, "next_round_at", f->row.paused ? 0 : f->next_ms);
        put_moment(to, "changed_at", f->changed_ms);
        json_object_set_new(to, "watched", json_boolean(f->watched));
        json_object_set_new(to, "rounds", json_integer(f->row.rounds));
        return to;
}

/* Of the last round, without its notes. */
static json_t *summary(const struct folder *f)
{
        json_t *last = f->last ? json_deep_copy(f->last) : json_null();

        json_object_del(last, "notes");
        return last;
}

/* ---- rows ---- */

static void run_list(const struct api_call *call)
{
        json_t *root = json_object(), *all = json_array();

        list_each (n, &commits_of(call)->folders) {
                const struct folder *f = list_entry(n, struct folder, node);
                json_t *one;

                if (!f->declared || f->removed)
                        continue;
                one = show(f);
                json_object_set_new(one, "last", summary(f));
                json_array_append_new(all, one);
        }
        json_object_set_new(root, "folders", all);
        api_answer(call->request, 200, root);
}

/* The folder that the path names, or NULL when it was answered. */
static struct folder *wanted(const struct api_call *call)
{
        struct folder *f = folder_find(commits_of(call), call->params[0]);

        if (!f)
                api_fail(call->request, 404, "there is no folder \"%.*s\"",
                         (int)MIN(call->params[0].len, (size_t)64), call->params[0].ptr);
        return f;
}

/* What a job does for a call, kept with its request. */
struct deed {
        struct folder_row row;
        struct folder_commit history[HISTORY_SHOWN];
        size_t n_history;
        json_t *shown;
        int status;
        bool failed;
        struct error err;
};

static void deed_free(void *arg)
{
        struct deed *d = arg;

        folder_row_done(&d->row);
        for (size_t i = 0; i < d->n_history; i++)
                folder_commit_done(&d->history[i]);
        json_decref(d->shown);
        free(d);
}

static struct deed *deed_new(struct request *r)
{
        struct deed *d = calloc(1, sizeof(*d));

        if (!d) {
                api_fail(r, 503, "no memory for an answer");
                return NULL;
        }
        r->api = d;
        r->api_free = deed_free;
        return d;
}

static json_t *history_of(const struct deed *d)
{
        static const char *const words[] = { "open", "done", "failed" };
        json_t *all = json_array();

        for (size_t i = 0; i < d->n_history; i++) {
                const struct folder_commit *c = &d->history[i];
                json_t *one = json_object();

                json_object_set_new(one, "round", json_integer(c->round));
                json_object_set_new(one, "state", json_string(words[c->state]));
                json_object_set_new(one, "commit", json_string(c->sha));
                json_object_set_new(one, "began_at", json_integer(c->begun_at));
                put_moment(one, "ended_at", c->ended_at);
                json_object_set_new(one, "files", json_integer((json_int_t)c->files));
                json_object_set_new(one, "bytes", json_integer((json_int_t)c->bytes));
                json_object_set_new(one, "error", json_string(c->error));
                json_array_append_new(all, one);
        }
        return all;
}

static void history_run(void *arg)
{
        struct request *r = arg;
        struct deed *d = r->api;

        d->failed = index_list_folder_commits(store_index(r->d->store), d->row.id, d->history,
                                              HISTORY_SHOWN, &d->n_history, &d->err) < 0;
}

static void history_after(void *arg)
{
        struct request *r = arg;
        struct deed *d = r->api;

        if (d->failed) {
                api_fail_with(r, &d->err);
                return;
        }
        json_object_set_new(d->shown, "history", history_of(d));
        api_answer(r, 200, take(d->shown));
}

static void run_show(const struct api_call *call)
{
        struct folder *f = wanted(call);
        struct deed *d = f ? deed_new(call->request) : NULL;

        if (!d)
                return;
        d->row.id = f->row.id;
        d->shown = show(f);
        json_object_set_new(d->shown, "running", f->round ? round_show(f->round) : json_null());
        json_object_set_new(d->shown, "last", f->last ? json_deep_copy(f->last) : json_null());
        request_work(call->request, history_run, history_after);
}

/* Its row is on disk before the answer. */
static void put_run(void *arg)
{
        struct request *r = arg;
        struct deed *d = r->api;

        d->failed = index_put_folder(store_index(r->d->store), &d->row, &d->err) < 0;
}

static void put_after(void *arg)
{
        struct request *r = arg;
        struct deed *d = r->api;

        if (d->failed)
                api_fail_with(r, &d->err);
        else
                api_answer(r, d->status, take(d->shown));
}

/* Answers with what is shown of it, when it is on disk. */
static void answer_saved(struct request *r, const struct folder *f, int status)
{
        struct deed *d = deed_new(r);

        if (!d)
                return;
        d->status = status;
        d->shown = show(f);
        d->row = f->row;
        d->row.name = slice_dup(slice_str(f->row.name));
        d->row.definition = slice_dup(slice_str(f->row.definition));
        d->row.target = slice_dup(slice_str(f->row.target));
        d->row.last = slice_dup(slice_str(f->row.last));
        if (!d->row.name || !d->row.definition || !d->row.target)
                api_fail(r, 503, "no memory for an answer");
        else
                request_work(r, put_run, put_after);
}

static void fail_with_lines(struct request *r, const struct config_errors *errors)
{
        scoped(buf_done) struct buf text = BUF_INIT(4096);

        for (size_t i = 0; i < errors->n; i++)
                buf_add_fmt(&text, "%s%s", i ? "; " : "", errors->lines[i]);
        api_fail(r, 400, "%s", text.len ? text.ptr : "the folder is not described rightly");
}

static void run_add(const struct api_call *call)
{
        struct commits *c = commits_of(call);
        struct slice name = json_text_of(call->body, "name");
        struct config_errors errors = CONFIG_ERRORS_INIT;
        scoped(free_ptr) char *text = slice_dup(name);
        struct folder *f;

        if (!name.len || !text) {
                api_fail(call->request, 400, "the body must say the folder's name");
                return;
        }
        if (folder_is_taken(c, text)) {
                api_fail(call->request, 409, "there is a folder of that name");
                return;
        }
        f = folder_add(c, text, call->body, &errors);
        if (f)
                answer_saved(call->request, f, 201);
        else
                fail_with_lines(call->request, &errors);
        config_errors_done(&errors);
}

static void drop_run(void *arg)
{
        struct request *r = arg;
        struct deed *d = r->api;

        d->failed = index_drop_folder(store_index(r->d->store), d->row.id, &d->err) < 0;
}

static void run_remove(const struct api_call *call)
{
        struct folder *f = wanted(call);
        struct deed *d;

        if (!f)
                return;
        if (f->row.origin == FOLDER_CONFIG) {
                api_fail(call->request, 409,
                         "this folder stands in the configuration file: take it out there");
                return;
        }
        d = deed_new(call->request);
        if (!d)
                return;
        d->status = 200;
        d->shown = json_object();
        d->row.id = f->row.id;
        folder_remove(f);
        request_work(call->request, drop_run, put_after);
}

static void run_run(const struct api_call *call)
{
        struct folder *f = wanted(call);
        json_t *root;

        if (!f)
                return;
        if (call->request->d->stopping) {
                api_fail(call->request, 503, "the daemon is stopping");
                return;
        }
        f->queued = true;
        root = json_object();
        json_object_set_new(root, "round", json_integer(f->row.rounds + 1));
        commits_pump(commits_of(call));
        api_answer(call->request, 202, root);
}

static void set_paused(const struct api_call *call, bool paused)
{
        struct folder *f = wanted(call);

        if (!f)
                return;
        f->row.paused = paused;
        f->queued = f->queued && !paused;
        answer_saved(call->request, f, 200);
}

static void run_pause(const struct api_call *call)
{
        set_paused(call, true);
}

static void run_resume(const struct api_call *call)
{
        set_paused(call, false);
}

static const struct api_row rows[] = {
        { HTTP_GET, "commits", API_ADMIN, run_list },
        { HTTP_POST, "commits", API_ADMIN, run_add },
        { HTTP_GET, "commits/{name}", API_ADMIN, run_show },
        { HTTP_DELETE, "commits/{name}", API_ADMIN, run_remove },
        { HTTP_POST, "commits/{name}/run", API_ADMIN, run_run },
        { HTTP_POST, "commits/{name}/pause", API_ADMIN, run_pause },
        { HTTP_POST, "commits/{name}/resume", API_ADMIN, run_resume },
};

const struct api_table commits_api = { rows, ARRAY_LEN(rows) };
