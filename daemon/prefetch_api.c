/*
 * Prefetches in the daemon's own API (api.h):
 *
 *   GET    prefetches               {"prefetches": [...]}, all that are known
 *   POST   prefetches               the members of a rule (config/workers.h) under their names, or
 *                                   `repository`, `type` and `revision`; and `follow`.  201, or 200
 *                                   if the same was there: it is asked for again
 *   GET    prefetches/{id}
 *   POST   prefetches/{id}/pause    409 if it is over
 *   POST   prefetches/{id}/resume   of one that rests; one that is over runs again; else 409
 *   DELETE prefetches/{id}          cancels it; one that is over is forgotten
 *
 * A rule that is cancelled and still in the configuration begins again with the next reload; one
 * that is paused does not.
 *
 * What is shown of one:
 *
 *   id state why title rule           `rule` is "" on demand
 *   wants                             what was asked for, as POST takes it
 *   files files_done bytes bytes_done of the run that is under way or was the last; what was here
 *                                     before counts as done
 *   rate eta                          bytes per second, seconds; null where they say nothing
 *   commit                            that was last finished, of a single repository
 *   created_at started_at finished_at next_run_at     milliseconds since 1970, or null
 */
#include <stdlib.h>

#include "api.h"
#include "daemon.h"
#include "prefetch_impl.h"

static void put_moment(json_t *to, const char *key, int64_t at)
{
        json_object_set_new(to, key, at ? json_integer(at) : json_null());
}

static void put_count(json_t *to, const char *key, uint64_t n)
{
        json_object_set_new(to, key, json_integer((json_int_t)n));
}

static json_t *show(struct prefetch *p)
{
        scoped(buf_done) struct buf title = BUF_INIT(65536);
        uint64_t rate;
        struct progress done = prefetch_progress(p, &rate);
        json_t *to = json_object();

        if (!to)
                return NULL;
        prefetch_title(&p->wants, &title);
        put_count(to, "id", (uint64_t)p->id);
        json_object_set_new(to, "state", json_string(prefetch_state_word(p->state)));
        json_object_set_new(to, "why", json_string(p->why));
        json_object_set_new(to, "title", json_stringn(title.ptr ? title.ptr : "", title.len));
        json_object_set_new(to, "rule", json_string(p->wants.rule.name));
        json_object_set_new(to, "wants", prefetch_wants_write(&p->wants));
        put_count(to, "files", done.files);
        put_count(to, "files_done", done.files_done);
        put_count(to, "bytes", done.bytes);
        put_count(to, "bytes_done", done.bytes_done);
        json_object_set_new(to, "rate",
                            p->state == PREFETCH_RUNNING ? json_integer((json_int_t)rate)
                                                         : json_null());
        json_object_set_new(
                to, "eta",
                rate ? json_integer((json_int_t)((done.bytes - done.bytes_done + rate - 1) / rate))
                     : json_null());
        json_object_set_new(to, "commit", json_string(p->sha));
        put_moment(to, "created_at", p->created_at);
        put_moment(to, "started_at", p->started_at);
        put_moment(to, "finished_at", p->finished_at);
        put_moment(to, "next_run_at", p->next_run_at);
        return to;
}

static struct prefetch *named(const struct api_call *call)
{
        struct slice text = call->params[0];
        struct prefetch *p = NULL;
        int64_t id = 0;

        for (size_t i = 0; i < text.len && i < 18; i++) {
                if (text.ptr[i] < '0' || text.ptr[i] > '9') {
                        id = 0;
                        break;
                }
                id = id * 10 + (text.ptr[i] - '0');
        }
        if (id)
                p = prefetch_find(call->request->d->prefetches, id);
        if (!p)
                api_fail(call->request, 404, "there is no prefetch of this number");
        return p;
}

static void run_list(const struct api_call *call)
{
        json_t *document = json_object(), *list = json_array();

        list_each (n, &call->request->d->prefetches->all) {
                struct prefetch *p = list_entry(n, struct prefetch, node);

                if (p->id)
                        json_array_append_new(list, show(p));
        }
        json_object_set_new(document, "prefetches", list);
        api_answer(call->request, 200, document);
}

static void run_show(const struct api_call *call)
{
        struct prefetch *p = named(call);

        if (p)
                api_answer(call->request, 200, show(p));
}

/* The answer waits until it is true: what was asked for survives whatever happens next. */
struct adding {
        struct prefetch_saved saved;
        struct request *request;
        struct prefetch *p;
        bool is_new;
};

static void on_saved(void *arg, const struct error *err)
{
        struct adding *a = arg;

        if (a->request) {
                a->request->left = NULL;
                if (error_is_set(err))
                        api_fail_with(a->request, err);
                else
                        api_answer(a->request, a->is_new ? 201 : 200, show(a->p));
        }
        free(a);
}

static void asker_left(void *arg)
{
        struct adding *a = arg;

        a->request = NULL;
}

static void run_add(const struct api_call *call)
{
        struct prefetches *t = call->request->d->prefetches;
        struct adding *a = calloc(1, sizeof(*a));
        struct prefetch_wants wants;
        struct error err = { 0 };

        if (!a || !call->body) {
                free(a);
                api_fail(call->request, 400, "which repository?");
                return;
        }
        if (prefetch_wants_read("", call->body, &wants, &err) < 0) {
                free(a);
                api_fail_with(call->request, &err);
                return;
        }
        a->p = prefetch_add(t, &wants, &a->is_new);
        if (!a->p) {
                free(a);
                api_fail(call->request, 429, "there are %d prefetches already", PREFETCHES_MAX);
                return;
        }
        a->request = call->request;
        a->request->left = asker_left;
        a->request->left_arg = a;
        a->saved.fn = on_saved;
        a->saved.arg = a;
        prefetch_save(a->p, &a->saved);
}

static void run_pause(const struct api_call *call)
{
        struct prefetch *p = named(call);

        if (!p)
                return;
        if (prefetch_is_over(p->state)) {
                api_fail(call->request, 409, "it is %s", prefetch_state_word(p->state));
                return;
        }
        if (p->state != PREFETCH_PAUSED)
                prefetch_pause(p);
        api_answer(call->request, 200, show(p));
}

static void run_resume(const struct api_call *call)
{
        struct prefetch *p = named(call);

        if (!p)
                return;
        if (p->state == PREFETCH_RUNNING || p->state == PREFETCH_QUEUED) {
                api_fail(call->request, 409, "it is %s", prefetch_state_word(p->state));
                return;
        }
        prefetch_resume(p);
        api_answer(call->request, 200, show(p));
}

static void run_cancel(const struct api_call *call)
{
        struct prefetch *p = named(call);

        if (!p)
                return;
        if (prefetch_is_over(p->state) && !p->next_run_at) {
                prefetch_cancel(p, "");
                api_answer(call->request, 200, json_object());
                return;
        }
        prefetch_cancel(p, "by an operator");
        api_answer(call->request, 200, show(p));
}

static const struct api_row rows[] = {
        { HTTP_GET, "prefetches", API_ADMIN, run_list },
        { HTTP_POST, "prefetches", API_ADMIN, run_add },
        { HTTP_GET, "prefetches/{id}", API_ADMIN, run_show },
        { HTTP_POST, "prefetches/{id}/pause", API_ADMIN, run_pause },
        { HTTP_POST, "prefetches/{id}/resume", API_ADMIN, run_resume },
        { HTTP_DELETE, "prefetches/{id}", API_ADMIN, run_cancel },
};

const struct api_table prefetch_api = { rows, ARRAY_LEN(rows) };
