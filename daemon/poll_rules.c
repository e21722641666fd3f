/*
 * Namespaces that the configuration wants watched.
 *
 * One list each is polled for jobs, scheduled jobs and endpoints, and says the state of all on it;
 * a job that moves and is no longer on the first page is asked about by itself.  The list of a
 * namespace's Spaces says only which there are: each is asked about by itself.
 *
 * What is on the first list was there before we looked, and is no event.
 */
#include <stdlib.h>
#include <string.h>

#include "daemon.h"
#include "log.h"
#include "poll_impl.h"
#include "workers.h"

enum { LISTED_MAX = 500 };

static const struct {
        enum workers_kind kind;
        enum event_topic topic;
} kinds[] = {
        { WORKERS_JOBS, TOPIC_JOB },
        { WORKERS_SCHEDULED_JOBS, TOPIC_SCHEDULED_JOB },
        { WORKERS_ENDPOINTS, TOPIC_ENDPOINT },
        { WORKERS_SPACES, TOPIC_SPACE },
};

/* No client's list has this principal: those begin with what a token's HMAC is. */
static struct poll_resource *rule_list(struct poller *p, enum event_topic topic, const char *name)
{
        static const struct principal nobody = { .id = "rule" };
        scoped(buf_done) struct buf target = BUF_INIT(512);
        struct poll_place place = { .topic = topic, .is_list = true };

        if (strlen(name) > POLL_SUBJECT_MAX)
                return NULL;
        memcpy(place.subject, name, strlen(name) + 1);
        poll_list_target(topic, slice_str(name), &target);
        return poll_have_list(p, &place, buf_slice(&target), &nobody);
}

static void set_pool(struct poll_resource *r, const char *pool)
{
        free(r->pool);
        r->pool = pool && pool[0] ? slice_dup(slice_str(pool)) : NULL;
}

static void add_rule(struct poller *p, const struct watch_rule *rule)
{
        for (size_t i = 0; i < ARRAY_LEN(kinds); i++) {
                struct poll_resource *r = rule->kinds & kinds[i].kind
                                                  ? rule_list(p, kinds[i].topic, rule->name)
                                                  : NULL;

                if (!r)
                        continue;
                r->is_rule = true;
                r->rule_round = p->rule_round;
                set_pool(r, rule->pool);
        }
}

void poll_rules_reload(struct poller *p)
{
        const struct workers_config *c = daemon_config(p->d)->workers;

        p->rule_round++;
        for (size_t i = 0; c && i < c->n_watch; i++)
                add_rule(p, &c->watch[i]);
        /* What is no longer named: its list is not polled, and what was on it neither. */
        list_each (n, &p->ages) {
                struct poll_resource *r = list_entry(n, struct poll_resource, age);

                if (r->is_rule && r->rule_round != p->rule_round)
                        r->is_rule = false;
                r->by_rule = false;
        }
}

struct listing {
        struct poll_resource *list;
        int64_t at_ms, at_wall_ms;
        bool first;
        unsigned n, moving;
};

static bool on_listed(void *arg, const char *subject, const struct poll_status *status)
{
        struct listing *l = arg;
        struct poll_resource *list = l->list;
        struct poll_resource *r = poll_have_subject(list->p, list->topic, slice_str(subject));

        if (!r)
                return false;
        r->listed_at_ms = l->at_ms;
        if (list->topic == TOPIC_SPACE) {
                r->by_rule = true;
                if (list->pool && !r->pool)
                        set_pool(r, list->pool);
                if (!r->timer.loop && list_empty(&r->asks))
                        poll_schedule(r);
                return ++l->n < LISTED_MAX;
        }
        /* What was asked for after this list left knows better. */
        if (r->seen_ms < l->at_ms) {
                /* The document that is kept does not say so. */
                r->outdated |= r->doc && poll_status_changed(&r->status, status);
                poll_take_status(r, status, l->at_ms, l->at_wall_ms,
                                 l->first && !r->status.state[0]);
        }
        l->moving += poll_speed(r->topic, r->status.state) == POLL_MOVING;
        return ++l->n < LISTED_MAX;
}

/* Those that were on a list before, moved, and are on none now. */
static void find_lost(const struct listing *l)
{
        struct slice name = slice_str(l->list->subject);

        list_each (n, &l->list->p->ages) {
                struct poll_resource *r = list_entry(n, struct poll_resource, age);

                if (r->is_list || r->topic != l->list->topic || !r->listed_at_ms ||
                    !slice_eq(poll_namespace(slice_str(r->subject)), name))
                        continue;
                r->by_rule = r->listed_at_ms != l->at_ms &&
                             poll_speed(r->topic, r->status.state) != POLL_NEVER;
                if (r->by_rule && !r->timer.loop && list_empty(&r->asks))
                        poll_schedule(r);
        }
}

void poll_rules_listed(struct poll_resource *list, const struct poll_doc *doc)
{
        struct listing l = {
                .list = list,
                .at_ms = doc->at_ms,
                .at_wall_ms = doc->at_wall_ms,
                .first = !list->listed_at_ms,
        };
        struct error err = { 0 };

        if (poll_list_read(list->topic, slice_str(list->subject), slice_of(doc->body, doc->len),
                           on_listed, &l, &err) < 0) {
                log_event(LOG_WARN, "poll.unreadable", "topic=%s error=\"%s\"",
                          event_topic_word(list->topic), err.what);
                return;
        }
        list->listed_at_ms = doc->at_ms;
        list->listed_moving = l.moving;
        if (list->topic != TOPIC_SPACE)
                find_lost(&l);
}
