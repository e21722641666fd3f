#include "event_stream.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "api.h"
#include "base/clock.h"
#include "base/secret.h"
#include "daemon.h"
#include "events.h"
#include "index_events.h"
#include "metrics.h"
#include "poll_status.h"
#include "poller.h"
#include "pool.h"
#include "request.h"
#include "server.h"
#include "stream.h"
#include "uri.h"

enum {
        STREAMS_MAX = 1024,
        SUBJECTS_MAX = 64,
        SUBJECT_MAX = 512,
        EVENT_MAX = 32 << 10,
        KEEP_ALIVE_MS = 15000,
        PROVE_AGAIN_MS = 5000, /* after the Hub did not answer */
};

struct event_subject {
        enum event_topic topic;
        char *name;
        struct poll_watcher watcher;
        struct event_stream *stream;
};

struct event_stream {
        struct list_node node; /* in daemon.event_streams */
        struct daemon *d;
        struct stream *out;
        struct event_follower *follower;
        unsigned topics; /* bits */
        struct event_subject subjects[SUBJECTS_MAX];
        size_t n_subjects;
        int64_t sent_ms, since;

        /* of one that is not the operator's */
        bool limited;
        char *authorization; /* a secret; NULL: none */
        struct principal who;
        struct poll_proof proof;
        bool proving, held;
        int64_t prove_ms;
};

/* ---- what is asked for ---- */

static int add_subject(struct event_stream *s, struct slice text, struct error *err)
{
        struct event_subject *subject = &s->subjects[s->n_subjects];
        size_t colon = slice_find(text, ':');

        if (s->n_subjects == SUBJECTS_MAX)
                return error_set(err, ERR_BAD_REQUEST, "more than %d subjects", SUBJECTS_MAX);
        if (!event_topic_parse(slice_cut(text, colon), &subject->topic) || colon + 1 >= text.len ||
            text.len > SUBJECT_MAX)
                return error_set(err, ERR_BAD_REQUEST,
                                 "a subject is a topic and a name, such as job:acme/65f0");
        text = slice_skip(text, colon + 1);
        if (subject->topic <= TOPIC_SPACE && !poll_subject_ok(subject->topic, text))
                return error_set(err, ERR_BAD_REQUEST,
                                 "what is polled is named namespace/name, such as acme/65f0");
        subject->name = slice_dup(text);
        subject->stream = s;
        s->n_subjects += subject->name != NULL;
        return 0;
}

static int add_topic(struct event_stream *s, struct slice word, struct error *err)
{
        enum event_topic topic;

        if (!event_topic_parse(word, &topic))
                return error_set(err, ERR_BAD_REQUEST, "there is no such topic");
        s->topics |= 1u << topic;
        return 0;
}

static int parse_id(struct slice text, int64_t *ret, struct error *err)
{
        int64_t n = 0;

        for (size_t i = 0; i < text.len; i++) {
                if (text.ptr[i] < '0' || text.ptr[i] > '9' || i == 18)
                        return error_set(err, ERR_BAD_REQUEST, "an event's id is a number");
                n = n * 10 + (text.ptr[i] - '0');
        }
        *ret = text.len ? n : EVENTS_FROM_NOW;
        return 0;
}

static int add_param(struct event_stream *s, const struct query_param *p, struct error *err)
{
        scoped(buf_done) struct buf value = BUF_INIT(SUBJECT_MAX + 64);

        if (uri_decode_form(p->value, &value, err) < 0)
                return -1;
        if (!buf_ok(&value))
                return error_set(err, ERR_BAD_REQUEST, "a parameter is too long");
        if (slice_is(p->name, "topic"))
                return add_topic(s, buf_slice(&value), err);
        if (slice_is(p->name, "subject"))
                return add_subject(s, buf_slice(&value), err);
        if (slice_is(p->name, "since"))
                return parse_id(buf_slice(&value), &s->since, err);
        return error_set(err, ERR_BAD_REQUEST, "the parameters are topic, subject and since");
}

static int parse(struct event_stream *s, const struct api_call *call, struct error *err)
{
        struct slice rest = call->query;
        struct slice last = exchange_header(call->request->x, "Last-Event-ID");
        struct query_param p;

        s->since = EVENTS_FROM_NOW;
        while (query_next(&rest, &p))
                if (add_param(s, &p, err) < 0)
                        return -1;
        if (last.ptr && parse_id(slice_trim(last), &s->since, err) < 0)
                return -1;
        s->limited = !call->admin;
        if (s->limited && (s->n_subjects != 1 || s->topics || s->subjects[0].topic > TOPIC_SPACE))
                return error_set(err, ERR_FORBIDDEN,
                                 "name one subject, a job, scheduled-job, endpoint or space: what "
                                 "else happens is for the admin socket");
        return 0;
}

/* ---- life ---- */

static void event_stream_free(struct event_stream *s)
{
        list_remove(&s->node);
        events_unfollow(&s->follower);
        poll_prove_leave(&s->proof);
        for (size_t i = 0; i < s->n_subjects; i++) {
                poll_unwatch(&s->subjects[i].watcher);
                free(s->subjects[i].name);
        }
        stream_end(&s->out, true);
        secret_free(&s->authorization);
        free(s);
}

static void on_gone(void *arg)
{
        struct event_stream *s = arg;

        metrics_add(M_EVENT_STREAMS, -1);
        event_stream_free(s);
}

/* ---- what is sent ---- */

/* False: there is no memory, and the stream is over. */
static bool send_event(struct event_stream *s, const char *name, int64_t id, struct slice data)
{
        scoped(buf_done) struct buf text = BUF_INIT(EVENT_MAX);

        if (id)
                buf_add_fmt(&text, "id: %" PRId64 "\n", id);
        buf_add_fmt(&text, "event: %s\ndata: " SLICE_FMT "\n\n", name, SLICE_ARG(data));
        if (!buf_ok(&text) || !stream_push(s->out, buf_slice(&text)))
                return false;
        s->sent_ms = loop_now(s->d->loop);
        return true;
}

static bool send_json(struct event_stream *s, const char *name, json_t *doc)
{
        scoped(buf_done) struct buf text = BUF_INIT(EVENT_MAX);

        json_write(doc, &text);
        json_decref(doc);
        return buf_ok(&text) && send_event(s, name, 0, buf_slice(&text));
}

static bool wants(const struct event_stream *s, const struct event_row *row)
{
        enum event_topic topic;

        if (!s->topics && !s->n_subjects)
                return true;
        if (!event_topic_parse(slice_str(row->topic), &topic))
                return false;
        if (s->topics & (1u << topic))
                return true;
        for (size_t i = 0; i < s->n_subjects; i++)
                if (s->subjects[i].topic == topic && strcmp(s->subjects[i].name, row->subject) == 0)
                        return true;
        return false;
}

/* ---- rights of those who are not operators ---- */

static enum config_verb verb_of(enum event_topic topic)
{
        return topic == TOPIC_ENDPOINT ? CONFIG_VERB_ENDPOINT
               : topic == TOPIC_SPACE  ? CONFIG_VERB_READ
                                       : CONFIG_VERB_JOB;
}

/* 1: a local client that may, 0: a local client that may not, or nobody; -1: the Hub decides. */
static int local_may(struct daemon *d, struct slice authorization,
                     const struct event_subject *subject)
{
        struct slice name = slice_str(subject->name);
        bool space = subject->topic == TOPIC_SPACE;
        struct pool_client *client = NULL;
        int may = -1;

        switch (pool_identify(d->pool, authorization, &client)) {
        case CALLER_ANONYMOUS:
        case CALLER_OWN:
                break;
        case CALLER_UNKNOWN:
                may = 0;
                break;
        case CALLER_CLIENT:
                may = pool_client_may(client, verb_of(subject->topic), space ? "spaces/" : NULL,
                                      space ? name : poll_namespace(name));
                break;
        }
        pool_client_unref(&client);
        return may;
}

static bool may_see(const struct event_stream *s)
{
        const struct event_subject *subject = &s->subjects[0];
        int local;

        if (!s->limited)
                return true;
        local = local_may(s->d, slice_str(s->authorization), subject);
        return local >= 0 ? local
                          : poll_may_see(s->d->poller, &s->who, subject->topic,
                                         slice_str(subject->name));
}

static bool is_local(const struct event_stream *s)
{
        return local_may(s->d, slice_str(s->authorization), &s->subjects[0]) >= 0;
}

static void deny(struct event_stream *s)
{
        (void)send_event(s, "denied", 0, SLICE("{}"));
        on_gone(s);
}

static void prove(struct event_stream *s);

static void on_proved(void *arg, int status)
{
        struct event_stream *s = arg;

        s->proving = false;
        if (status == 401 || status == 403 || status == 404) {
                deny(s);
                return;
        }
        /* May see is asked again by whoever has an event to give. */
        s->prove_ms = loop_now(s->d->loop) + PROVE_AGAIN_MS;
        if (status == 200) {
                s->held = false;
                events_more(s->follower);
        }
}

static void prove(struct event_stream *s)
{
        const struct event_subject *subject = &s->subjects[0];

        if (s->proving || loop_now(s->d->loop) < s->prove_ms)
                return;
        s->proof.told = on_proved;
        s->proof.arg = s;
        s->proving = poll_prove(s->d->poller, subject->topic, slice_str(subject->name),
                                s->authorization, NULL, &s->proof);
}

/* ---- callbacks ---- */

static bool on_event(void *arg, const struct event_row *row)
{
        scoped(buf_done) struct buf text = BUF_INIT(EVENT_MAX);
        struct event_stream *s = arg;

        if (!wants(s, row))
                return true;
        if (stream_held(s->out) >= STREAM_MAX)
                return false;
        /* The tick proves it, or ends the stream. */
        if (!may_see(s)) {
                s->held = true;
                return false;
        }
        event_write(row, &text);
        return !buf_ok(&text) || send_event(s, "transition", row->id, buf_slice(&text));
}

static void on_gap(void *arg, int64_t after)
{
        (void)send_json(arg, "gap", json_pack("{s:I}", "since", (json_int_t)after));
}

static void on_room(void *arg)
{
        struct event_stream *s = arg;

        if (!s->held)
                events_more(s->follower);
}

/* Age and trouble are for people; a program looks at "stale". */
static void on_view(void *arg, const struct poll_view *v)
{
        struct event_subject *subject = arg;
        struct event_stream *s = subject->stream;
        int64_t age_s = v->at ? (clock_wall_ms() - v->at) / 1000 : -1;

        if (may_see(s))
                (void)send_json(s, "state",
                                json_pack("{s:s, s:s, s:s, s:s, s:b, s:s, s:I}", "topic",
                                          event_topic_word(v->topic), "subject", v->subject,
                                          "state", v->state, "message", v->message, "stale",
                                          v->stale, "trouble", v->trouble, "age_seconds",
                                          (json_int_t)MAX(age_s, (int64_t)-1)));
}

static const char comment[] = ": keep-alive\n\n";

static void tick(struct event_stream *s, int64_t now)
{
        if (stream_peer_gone(s->out)) {
                on_gone(s);
                return;
        }
        if (s->limited && is_local(s) && !may_see(s)) {
                deny(s);
                return;
        }
        if (s->held && may_see(s)) {
                s->held = false;
                events_more(s->follower);
        } else if (s->held) {
                prove(s);
        }
        if (now - s->sent_ms < KEEP_ALIVE_MS || stream_held(s->out))
                return;
        s->sent_ms = now;
        (void)!stream_push(s->out, slice_of(comment, sizeof(comment) - 1));
        if (s->limited && !is_local(s))
                poll_keep_asker(s->d->poller, s->subjects[0].topic, slice_str(s->subjects[0].name),
                                s->authorization);
}

void event_streams_tick(struct daemon *d)
{
        list_each_safe (n, &d->event_streams)
                tick(list_entry(n, struct event_stream, node), loop_now(d->loop));
}

void event_streams_stop(struct daemon *d)
{
        list_each_safe (n, &d->event_streams)
                on_gone(list_entry(n, struct event_stream, node));
}

/* ---- the call ---- */

static void watch_all(struct event_stream *s)
{
        for (size_t i = 0; i < s->n_subjects; i++) {
                struct event_subject *subject = &s->subjects[i];

                subject->watcher.view = on_view;
                subject->watcher.arg = subject;
                subject->watcher.own_token = s->limited && !is_local(s);
                if (subject->topic <= TOPIC_SPACE)
                        (void)!poll_watch(s->d->poller, subject->topic, slice_str(subject->name),
                                          &subject->watcher);
        }
        if (s->limited && !is_local(s))
                poll_keep_asker(s->d->poller, s->subjects[0].topic, slice_str(s->subjects[0].name),
                                s->authorization);
}

/* Who asked may see it.  The stream is in r->api until now, so that it goes if the request does. */
static void begin(struct request *r, struct event_stream *s)
{
        struct daemon *d = r->d;
        const struct stream_owner owner = { .room = on_room, .gone = on_gone, .arg = s };
        const struct event_follower_ops ops = { .deliver = on_event, .gap = on_gap, .arg = s };
        struct response *response = NULL;

        s->out = stream_new(d->loop, r->x, &owner);
        s->follower = s->out ? events_follow(d->events, s->since, &ops) : NULL;
        if (s->follower)
                response = stream_response(s->out, 200, "text/event-stream; charset=utf-8");
        if (!response || !stream_push(s->out, SLICE("retry: 2000\n\n")) ||
            !send_event(s, "begin", events_position(s->follower), SLICE("{}"))) {
                response_unref(&response);
                event_stream_free(s);
                api_fail(r, 503, "there is no room for another stream of events");
                return;
        }
        s->sent_ms = loop_now(d->loop);
        list_push_back(&d->event_streams, &s->node);
        metrics_add(M_EVENT_STREAMS, 1);
        watch_all(s);
        request_answer(r, response, METRIC_RESULT_HIT);
}

static struct event_stream *stream_of(const struct api_call *call, struct error *err)
{
        struct request *r = call->request;
        struct event_stream *s = calloc(1, sizeof(*s));

        if (!s) {
                error_set(err, ERR_NOMEM, "no memory for a stream of events");
                return NULL;
        }
        s->d = r->d;
        list_init(&s->node);
        if (parse(s, call, err) < 0) {
                event_stream_free(s);
                return NULL;
        }
        if (s->limited) {
                struct slice authorization = exchange_header(r->x, "Authorization");

                s->who = permits_principal(r->d->permits, authorization);
                s->authorization = authorization.ptr ? slice_dup(authorization) : NULL;
        }
        return s;
}

/* The Hub has said that it may; the call is read again, because what waits may be gone any time. */
static void proven(struct request *r)
{
        const struct api_call call = { .request = r, .query = r->hub.query };
        struct error err = { 0 };
        struct event_stream *s = stream_of(&call, &err);

        if (s)
                begin(r, s);
        else
                api_fail_with(r, &err);
}

static bool is_full(const struct daemon *d)
{
        unsigned n = 0;

        list_each (node, &d->event_streams)
                n++;
        return n >= STREAMS_MAX;
}

static void get_events(const struct api_call *call)
{
        struct request *r = call->request;
        struct error err = { 0 };
        struct event_stream *s;
        int local;

        if (is_full(r->d)) {
                api_fail(r, 503, "there are too many streams of events");
                return;
        }
        s = stream_of(call, &err);
        if (!s) {
                api_fail_with(r, &err);
                return;
        }
        local = s->limited ? local_may(r->d, slice_str(s->authorization), &s->subjects[0]) : 1;
        if (local > 0) {
                begin(r, s);
        } else if (local == 0) {
                event_stream_free(s);
                api_fail(r, 403, "this client may not see that");
        } else {
                poll_prove_for(r, s->subjects[0].topic, slice_str(s->subjects[0].name), proven);
                event_stream_free(s);
        }
}

static const struct api_row rows[] = {
        { HTTP_GET, "events", API_CLIENTS, get_events },
};
const struct api_table events_api = { rows, ARRAY_LEN(rows) };
