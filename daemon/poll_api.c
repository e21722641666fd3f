/*
 * GET    /-/api/v1/watched                      what is polled, and what is known of it
 * POST   /-/api/v1/watched                      {"subject": "job:acme/65f0", "pool": "research"}:
 *                                               poll it until told otherwise, also after a restart
 * DELETE /-/api/v1/watched/{topic}/{subject...} no more
 */
#include <stdlib.h>
#include <string.h>

#include "api.h"
#include "base/clock.h"
#include "daemon.h"
#include "poll_impl.h"
#include "request.h"
#include "uri.h"

static const char *const speed_words[] = {
        [POLL_MOVING] = "moving",
        [POLL_RESTING] = "resting",
        [POLL_NEVER] = "over",
};

static const char *why(const struct poll_resource *r)
{
        if (r->watched)
                return "operator";
        if (r->is_rule || r->by_rule || r->listed_at_ms)
                return "configuration";
        if (!list_empty(&r->watchers))
                return "stream";
        return poll_is_wanted(r) ? "client" : "nobody";
}

static int64_t age_s(const struct poll_resource *r)
{
        return r->at_wall_ms ? MAX((clock_wall_ms() - r->at_wall_ms) / 1000, (int64_t)0) : -1;
}

static json_t *describe(const struct poll_resource *r)
{
        int watchers = 0;

        list_each (n, &r->watchers)
                watchers++;
        return json_pack("{s:s, s:s, s:s, s:s, s:I, s:s, s:b, s:s, s:s, s:i}", "topic",
                         event_topic_word(r->topic), "subject", r->subject, "state",
                         r->status.state, "message", r->status.message, "age_seconds",
                         (json_int_t)age_s(r), "speed",
                         speed_words[poll_speed(r->topic, r->status.state)], "polled",
                         r->timer.loop || !list_empty(&r->asks), "why", why(r), "trouble",
                         r->trouble, "watchers", watchers);
}

static bool subject_of(struct slice topic_word, struct slice subject, enum event_topic *ret)
{
        return event_topic_parse(topic_word, ret) && poll_subject_ok(*ret, subject);
}

static void list_watched(const struct api_call *call)
{
        struct poller *p = call->request->d->poller;
        json_t *list = json_array();

        list_each (n, &p->ages) {
                struct poll_resource *r = list_entry(n, struct poll_resource, age);

                if (!r->is_list)
                        json_array_append_new(list, describe(r));
        }
        api_answer(call->request, 200, json_pack("{s:o}", "watched", list));
}

static void bad_subject(const struct api_call *call)
{
        api_fail(call->request, 400,
                 "a subject is job:, scheduled-job:, endpoint: or space: and namespace/name");
}

static void add_watched(const struct api_call *call)
{
        struct slice text = json_text_of(call->body, "subject");
        struct slice pool = json_text_of(call->body, "pool"), name;
        struct poll_resource *r;
        enum event_topic topic;

        if (!api_knows(call, "subject pool"))
                return;
        name = slice_skip(text, slice_find(text, ':') + 1);
        if (!text.ptr || !subject_of(slice_cut(text, slice_find(text, ':')), name, &topic)) {
                bad_subject(call);
                return;
        }
        r = poll_have_subject(call->request->d->poller, topic, name);
        if (!r) {
                api_fail(call->request, 503, "too much is polled already");
                return;
        }
        r->watched = true;
        free(r->pool);
        r->pool = pool.len ? slice_dup(pool) : NULL;
        r->skip = 0;
        poll_dirty(r);
        poll_schedule(r);
        api_answer(call->request, 200, describe(r));
}

static void drop_watched(const struct api_call *call)
{
        struct poll_resource *r = NULL;
        enum event_topic topic;

        if (subject_of(call->params[0], call->params[1], &topic))
                r = poll_find_subject(call->request->d->poller, topic, call->params[1]);
        if (!r || !r->watched) {
                api_fail(call->request, 404, "that is not watched");
                return;
        }
        r->watched = false;
        poll_dirty(r);
        poll_schedule(r);
        api_answer(call->request, 200, describe(r));
}

static const struct api_row rows[] = {
        { HTTP_GET, "watched", API_ADMIN, list_watched },
        { HTTP_POST, "watched", API_ADMIN, add_watched },
        { HTTP_DELETE, "watched/{topic}/{subject...}", API_ADMIN, drop_watched },
};
const struct api_table poll_api = { rows, ARRAY_LEN(rows) };
