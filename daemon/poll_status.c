#include "poll_status.h"

#include <stdio.h>
#include <string.h>

#include "model.h"
#include "route.h"
#include "uri.h"

/* ---- names and addresses ---- */

static const struct {
        enum poll_host host;
        const char *prefix, *suffix;
} addresses[TOPIC_MAX] = {
        [TOPIC_JOB] = { POLL_HUB, "/api/jobs/", "" },
        [TOPIC_SCHEDULED_JOB] = { POLL_HUB, "/api/scheduled-jobs/", "" },
        [TOPIC_ENDPOINT] = { POLL_ENDPOINTS, "/v2/endpoint/", "" },
        [TOPIC_SPACE] = { POLL_HUB, "/api/spaces/", "/runtime" },
};

/* One segment of a subject, decoded. */
static bool segment_ok(struct slice s)
{
        if (!s.len || s.ptr[0] == '.')
                return false;
        for (size_t i = 0; i < s.len; i++) {
                char c = s.ptr[i];

                if (!((c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
                      c == '-' || c == '_' || c == '.'))
                        return false;
        }
        return true;
}

bool poll_subject_ok(enum event_topic topic, struct slice subject)
{
        struct slice name_space;

        return (unsigned)topic < TOPIC_MAX && addresses[topic].prefix &&
               subject.len <= POLL_SUBJECT_MAX && slice_split(&subject, '/', &name_space) &&
               segment_ok(name_space) && segment_ok(subject);
}

enum poll_host poll_host_of(enum event_topic topic)
{
        return addresses[topic].host;
}

struct slice poll_namespace(struct slice subject)
{
        return slice_cut(subject, slice_find(subject, '/'));
}

void poll_target(enum event_topic topic, struct slice subject, struct buf *out)
{
        buf_add_str(out, addresses[topic].prefix);
        buf_add(out, subject);
        buf_add_str(out, addresses[topic].suffix);
}

void poll_list_target(enum event_topic topic, struct slice name_space, struct buf *out)
{
        if (topic == TOPIC_SPACE)
                buf_add_fmt(out, "/api/spaces?author=" SLICE_FMT "&limit=100",
                            SLICE_ARG(name_space));
        else
                buf_add_fmt(out, "%s" SLICE_FMT, addresses[topic].prefix, SLICE_ARG(name_space));
}

static bool place_in(enum event_topic topic, struct slice path, struct poll_place *ret)
{
        struct slice name_space, name;

        if (!addresses[topic].prefix || !slice_starts(path, slice_str(addresses[topic].prefix)))
                return false;
        path = slice_skip(path, strlen(addresses[topic].prefix));
        if (!slice_split(&path, '/', &name_space) || !segment_ok(name_space))
                return false;
        *ret = (struct poll_place){ .topic = topic, .rest = SLICE("") };
        if (!path.ptr || !path.len) {
                /* "/api/jobs/hardware" is about none. */
                if (topic == TOPIC_SPACE || slice_is(name_space, "hardware"))
                        return false;
                ret->is_list = true;
                snprintf(ret->subject, sizeof(ret->subject), SLICE_FMT, SLICE_ARG(name_space));
                return name_space.len <= POLL_SUBJECT_MAX;
        }
        if (!slice_split(&path, '/', &name) || !segment_ok(name) ||
            name_space.len + name.len + 1 > POLL_SUBJECT_MAX)
                return false;
        snprintf(ret->subject, sizeof(ret->subject), SLICE_FMT "/" SLICE_FMT, SLICE_ARG(name_space),
                 SLICE_ARG(name));
        if (path.ptr)
                ret->rest = path;
        return true;
}

bool poll_place_of(enum poll_host host, struct slice path, struct poll_place *ret)
{
        for (int t = 0; t < TOPIC_MAX; t++)
                if (addresses[t].host == host && place_in((enum event_topic)t, path, ret))
                        return true;
        return false;
}

/* ---- states ---- */

/* huggingface_hub _jobs_api.py JobStage, _space_api.py SpaceStage and INTERMEDIATE_SPACE_STAGES,
 * _inference_endpoints.py InferenceEndpointStatus; "UPDATING" is what 0.x still asks for. */
static const struct {
        enum event_topic topic;
        const char *state;
        enum poll_speed speed;
} speeds[] = {
        { TOPIC_JOB, "SCHEDULING", POLL_MOVING },
        { TOPIC_JOB, "RUNNING", POLL_MOVING },
        { TOPIC_JOB, "UPDATING", POLL_MOVING },
        { TOPIC_JOB, "COMPLETED", POLL_NEVER },
        { TOPIC_JOB, "CANCELED", POLL_NEVER },
        { TOPIC_JOB, "ERROR", POLL_NEVER },
        { TOPIC_JOB, "DELETED", POLL_NEVER },
        { TOPIC_SCHEDULED_JOB, "SCHEDULED", POLL_RESTING },
        { TOPIC_SCHEDULED_JOB, "SUSPENDED", POLL_RESTING },
        { TOPIC_ENDPOINT, "pending", POLL_MOVING },
        { TOPIC_ENDPOINT, "initializing", POLL_MOVING },
        { TOPIC_ENDPOINT, "updating", POLL_MOVING },
        { TOPIC_ENDPOINT, "updateFailed", POLL_RESTING },
        { TOPIC_ENDPOINT, "running", POLL_RESTING },
        { TOPIC_ENDPOINT, "paused", POLL_RESTING },
        { TOPIC_ENDPOINT, "failed", POLL_RESTING },
        { TOPIC_ENDPOINT, "scaledToZero", POLL_RESTING },
        { TOPIC_SPACE, "NO_APP_FILE", POLL_RESTING },
        { TOPIC_SPACE, "CONFIG_ERROR", POLL_RESTING },
        { TOPIC_SPACE, "BUILDING", POLL_MOVING },
        { TOPIC_SPACE, "BUILD_ERROR", POLL_RESTING },
        { TOPIC_SPACE, "RUNNING", POLL_RESTING },
        { TOPIC_SPACE, "RUNNING_BUILDING", POLL_MOVING },
        { TOPIC_SPACE, "RUNTIME_ERROR", POLL_RESTING },
        { TOPIC_SPACE, "DELETING", POLL_MOVING },
        { TOPIC_SPACE, "STOPPED", POLL_RESTING },
        { TOPIC_SPACE, "SLEEPING", POLL_RESTING },
        { TOPIC_SPACE, "PAUSED", POLL_RESTING },
        { TOPIC_SPACE, "APP_STARTING", POLL_MOVING },
        { TOPIC_SPACE, "RUNNING_APP_STARTING", POLL_MOVING },
};

enum poll_speed poll_speed(enum event_topic topic, const char *state)
{
        if (strcmp(state, POLL_STATE_GONE) == 0)
                return POLL_NEVER;
        for (size_t i = 0; i < ARRAY_LEN(speeds); i++)
                if (speeds[i].topic == topic && strcmp(speeds[i].state, state) == 0)
                        return speeds[i].speed;
        return POLL_MOVING;
}

bool poll_state_ends(enum event_topic topic, const char *state)
{
        static const struct {
                enum event_topic topic;
                const char *state;
        } failed[] = {
                { TOPIC_ENDPOINT, "failed" },    { TOPIC_ENDPOINT, "updateFailed" },
                { TOPIC_SPACE, "NO_APP_FILE" },  { TOPIC_SPACE, "CONFIG_ERROR" },
                { TOPIC_SPACE, "BUILD_ERROR" },  { TOPIC_SPACE, "RUNTIME_ERROR" },
                { TOPIC_PREFETCH, "done" },      { TOPIC_PREFETCH, "failed" },
                { TOPIC_PREFETCH, "cancelled" }, { TOPIC_COMMIT, "conflict" },
                { TOPIC_COMMIT, "failed" },
        };

        if (poll_speed(topic, state) == POLL_NEVER)
                return true;
        for (size_t i = 0; i < ARRAY_LEN(failed); i++)
                if (failed[i].topic == topic && strcmp(failed[i].state, state) == 0)
                        return true;
        return false;
}

/* ---- documents ---- */

/* Texts are cut where a character begins, or what is written of them would be no UTF-8. */
static void copy_text(const json_t *object, const char *key, char *to, size_t size)
{
        struct slice s = json_text_of(object, key);
        size_t n = MIN(s.len, size - 1);

        while (n < s.len && n > 0 && ((unsigned char)s.ptr[n] & 0xc0) == 0x80)
                n--;
        if (n)
                memcpy(to, s.ptr, n);
        to[n] = '\0';
        for (size_t i = 0; i < n; i++)
                if ((unsigned char)to[i] < ' ' || to[i] == 0x7f)
                        to[i] = ' ';
}

static void read_job(const json_t *doc, struct poll_status *ret)
{
        const json_t *status = json_object_get(doc, "status");

        copy_text(status, "stage", ret->state, sizeof(ret->state));
        copy_text(status, "message", ret->message, sizeof(ret->message));
}

static void read_scheduled(const json_t *doc, struct poll_status *ret)
{
        const json_t *suspend = json_object_get(doc, "suspend");
        const json_t *last = json_object_get(json_object_get(doc, "status"), "lastJob");

        if (json_is_boolean(suspend))
                snprintf(ret->state, sizeof(ret->state), "%s",
                         json_is_true(suspend) ? "SUSPENDED" : "SCHEDULED");
        copy_text(last, "id", ret->mark, sizeof(ret->mark));
        if (ret->mark[0])
                snprintf(ret->message, sizeof(ret->message), "last job %s", ret->mark);
}

static void read_endpoint(const json_t *doc, struct poll_status *ret)
{
        const json_t *status = json_object_get(doc, "status");

        copy_text(status, "state", ret->state, sizeof(ret->state));
        copy_text(status, "message", ret->message, sizeof(ret->message));
        copy_text(status, "url", ret->url, sizeof(ret->url));
}

static void read_space(const json_t *doc, struct poll_status *ret)
{
        copy_text(doc, "stage", ret->state, sizeof(ret->state));
        copy_text(doc, "errorMessage", ret->message, sizeof(ret->message));
        copy_text(json_object_get(doc, "hardware"), "current", ret->mark, sizeof(ret->mark));
}

int poll_status_of(enum event_topic topic, const json_t *doc, struct poll_status *ret,
                   struct error *err)
{
        static void (*const readers[TOPIC_MAX])(const json_t *, struct poll_status *) = {
                [TOPIC_JOB] = read_job,
                [TOPIC_SCHEDULED_JOB] = read_scheduled,
                [TOPIC_ENDPOINT] = read_endpoint,
                [TOPIC_SPACE] = read_space,
        };

        *ret = (struct poll_status){ 0 };
        readers[topic](doc, ret);
        return ret->state[0] ? 0
                             : error_set(err, ERR_UPSTREAM_BROKEN,
                                         "a document of the Hub does not say the state");
}

int poll_status_read(enum event_topic topic, struct slice document, struct poll_status *ret,
                     struct error *err)
{
        scoped(json_free) json_t *doc = json_read(document, err);

        return doc ? poll_status_of(topic, doc, ret, err) : -1;
}

/* ---- lists ---- */

/* "acme/65f0": jobs name themselves by id, endpoints by name, Spaces by their whole id. */
static void subject_in(enum event_topic topic, struct slice name_space, const json_t *item,
                       struct buf *out)
{
        if (topic != TOPIC_SPACE)
                buf_add_fmt(out, SLICE_FMT "/", SLICE_ARG(name_space));
        buf_add(out, json_text_of(item, topic == TOPIC_ENDPOINT ? "name" : "id"));
}

int poll_list_read(enum event_topic topic, struct slice name_space, struct slice document,
                   poll_listed_fn fn, void *arg, struct error *err)
{
        scoped(json_free) json_t *doc = json_read(document, err);
        const json_t *list = json_is_object(doc) ? json_object_get(doc, "items") : doc, *item;
        struct poll_status status;
        struct error ignored;
        size_t i;
        int n = 0;

        if (!doc)
                return -1;
        if (!json_is_array(list))
                return error_set(err, ERR_UPSTREAM_BROKEN, "the Hub's list is none");
        json_array_foreach(list, i, item)
        {
                scoped(buf_done) struct buf subject = BUF_INIT(POLL_SUBJECT_MAX);

                subject_in(topic, name_space, item, &subject);
                status = (struct poll_status){ 0 };
                if (!buf_ok(&subject) || !poll_subject_ok(topic, buf_slice(&subject)) ||
                    (topic != TOPIC_SPACE && poll_status_of(topic, item, &status, &ignored) < 0))
                        continue;
                n++;
                if (!fn(arg, subject.ptr, &status))
                        break;
        }
        return n;
}

bool poll_status_changed(const struct poll_status *before, const struct poll_status *now)
{
        return strcmp(before->state, now->state) != 0 || strcmp(before->mark, now->mark) != 0;
}
