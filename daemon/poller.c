#include "poll_impl.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/hash.h"
#include "base/secret.h"
#include "daemon.h"
#include "index_events.h"
#include "log.h"
#include "metrics.h"
#include "store.h"
#include "upstream.h"

enum {
        SAVE_MS = 500,
        SAVE_AGAIN_MS = 60000,
        SAVE_MAX = 512,         /* rows of one transaction */
        SOON_MS = 200,          /* after a write, and for what has a new watcher */
        BACKOFF_MAX_MS = 30000, /* while upstream is away */
        NO_TOKEN_MS = 60000,    /* a token may be added meanwhile */
};

/* ---- the table ---- */

static struct list_node *bucket_of(struct poller *p, struct slice key)
{
        return &p->buckets[hash_bytes(key) % ARRAY_LEN(p->buckets)];
}

struct poll_resource *poll_find(struct poller *p, struct slice key)
{
        list_each (n, bucket_of(p, key)) {
                struct poll_resource *r = list_entry(n, struct poll_resource, bucket);

                if (slice_is(key, r->key))
                        return r;
        }
        return NULL;
}

static void subject_key(enum event_topic topic, struct slice subject, struct buf *out)
{
        buf_add_fmt(out, "%s " SLICE_FMT, event_topic_word(topic), SLICE_ARG(subject));
}

struct poll_resource *poll_find_subject(struct poller *p, enum event_topic topic,
                                        struct slice subject)
{
        scoped(buf_done) struct buf key = BUF_INIT(POLL_SUBJECT_MAX + 32);

        subject_key(topic, subject, &key);
        return buf_ok(&key) ? poll_find(p, buf_slice(&key)) : NULL;
}

static void drop_doc(struct poll_resource *r)
{
        if (r->doc)
                r->p->doc_bytes -= r->doc->len;
        poll_doc_unref(&r->doc);
}

static void asker_done(struct poll_asker *a)
{
        secret_free(&a->authorization);
}

static void resource_free(struct poll_resource *r)
{
        poll_asks_cancel(r);
        loop_timer_stop(&r->timer);
        list_remove(&r->bucket);
        list_remove(&r->age);
        drop_doc(r);
        for (size_t i = 0; i < r->n_askers; i++)
                asker_done(&r->askers[i]);
        r->p->n--;
        free(r->key);
        free(r->target);
        free(r->pool);
        free(r);
}

static bool is_wanted_at(const struct poll_resource *r, int64_t now)
{
        if (!list_empty(&r->watchers) || r->watched || r->by_rule || r->is_rule)
                return true;
        if (r->pool_until_ms > now)
                return true;
        for (size_t i = 0; i < r->n_askers; i++)
                if (r->askers[i].until_ms > now)
                        return true;
        return false;
}

bool poll_is_wanted(const struct poll_resource *r)
{
        return is_wanted_at(r, loop_now(r->p->d->loop));
}

static bool is_idle(const struct poll_resource *r)
{
        return list_empty(&r->asks) && !r->dirty && !r->n_requests && !poll_is_wanted(r);
}

/* Makes room among those that nobody wants any more. */
static bool make_room(struct poller *p)
{
        list_each_safe (n, &p->ages) {
                struct poll_resource *r = list_entry(n, struct poll_resource, age);

                if (p->n < POLL_RESOURCES_MAX)
                        break;
                if (is_idle(r))
                        resource_free(r);
        }
        return p->n < POLL_RESOURCES_MAX;
}

/* Takes over key and target. */
static struct poll_resource *resource_new(struct poller *p, char *key, char *target)
{
        struct poll_resource *r = key && target && make_room(p) ? calloc(1, sizeof(*r)) : NULL;

        if (!r) {
                free(key);
                free(target);
                return NULL;
        }
        r->p = p;
        r->key = key;
        r->target = target;
        list_init(&r->asks);
        list_init(&r->watchers);
        list_push_back(bucket_of(p, slice_str(key)), &r->bucket);
        list_push_back(&p->ages, &r->age);
        p->n++;
        return r;
}

struct poll_resource *poll_have_subject(struct poller *p, enum event_topic topic,
                                        struct slice subject)
{
        struct poll_resource *r = poll_find_subject(p, topic, subject);
        struct buf key = BUF_INIT(POLL_SUBJECT_MAX + 32), target = BUF_INIT(512);

        if (r || !poll_subject_ok(topic, subject))
                return r;
        subject_key(topic, subject, &key);
        poll_target(topic, subject, &target);
        r = resource_new(p, buf_take(&key, NULL), buf_take(&target, NULL));
        if (!r)
                return NULL;
        r->topic = topic;
        r->host = poll_host_of(topic);
        snprintf(r->subject, sizeof(r->subject), SLICE_FMT, SLICE_ARG(subject));
        return r;
}

struct poll_resource *poll_have_list(struct poller *p, const struct poll_place *place,
                                     struct slice target, const struct principal *who)
{
        struct buf key = BUF_INIT(4096);
        struct poll_resource *r;

        buf_add(&key, target);
        buf_add_char(&key, ' ');
        for (size_t i = 0; i < sizeof(who->id); i++)
                buf_add_fmt(&key, "%02x", who->id[i]);
        r = buf_ok(&key) ? poll_find(p, buf_slice(&key)) : NULL;
        if (r) {
                buf_done(&key);
                return r;
        }
        r = resource_new(p, buf_take(&key, NULL), slice_dup(target));
        if (!r)
                return NULL;
        r->topic = place->topic;
        r->host = poll_host_of(place->topic);
        r->is_list = true;
        snprintf(r->subject, sizeof(r->subject), "%s", place->subject);
        return r;
}

/* ---- documents ---- */

/* The documents that were asked about longest ago give way. */
static void trim_docs(struct poller *p, const struct poll_resource *keep)
{
        list_each (n, &p->ages) {
                struct poll_resource *r = list_entry(n, struct poll_resource, age);

                if (p->doc_bytes <= POLL_DOCS_MAX)
                        return;
                if (r != keep)
                        drop_doc(r);
        }
}

void poll_keep_doc(struct poll_resource *r, struct poll_doc *doc)
{
        drop_doc(r);
        r->outdated = false;
        r->seen_ms = doc->at_ms;
        if (!doc->whole || r->is_rule)
                return;
        r->doc = poll_doc_ref(doc);
        r->p->doc_bytes += doc->len;
        list_remove(&r->age);
        list_push_back(&r->p->ages, &r->age);
        trim_docs(r->p, r);
}

/* ---- who asks ---- */

void poll_drop_asker(struct poll_resource *r, const struct principal *who)
{
        for (size_t i = 0; i < r->n_askers; i++)
                if (principal_eq(&r->askers[i].who, who)) {
                        asker_done(&r->askers[i]);
                        r->askers[i] = r->askers[--r->n_askers];
                        return;
                }
}

void poll_note_asker(struct poll_resource *r, const struct principal *who,
                     const char *authorization, int64_t until_ms)
{
        size_t oldest = 0;

        for (size_t i = 0; i < r->n_askers; i++) {
                if (principal_eq(&r->askers[i].who, who)) {
                        r->askers[i].until_ms = until_ms;
                        return;
                }
                if (r->askers[i].until_ms < r->askers[oldest].until_ms)
                        oldest = i;
        }
        if (r->n_askers < POLL_ASKERS_MAX)
                oldest = r->n_askers++;
        else
                asker_done(&r->askers[oldest]);
        r->askers[oldest] = (struct poll_asker){
                .who = *who,
                .authorization = secret_dup(authorization),
                .until_ms = until_ms,
        };
}

void poll_keep_asker(struct poller *p, enum event_topic topic, struct slice subject,
                     const char *authorization)
{
        struct poll_resource *r = poll_find_subject(p, topic, subject);
        struct principal who = permits_principal(p->d->permits, slice_str(authorization));

        if (r)
                poll_note_asker(r, &who, authorization,
                                loop_now(p->d->loop) +
                                        daemon_config(p->d)->workers_poll_interest_ms);
}

static struct poll_asker *live_asker(struct poll_resource *r, int64_t now)
{
        for (size_t i = r->n_askers; i-- > 0;)
                if (r->askers[i].until_ms <= now) {
                        asker_done(&r->askers[i]);
                        r->askers[i] = r->askers[--r->n_askers];
                }
        return r->n_askers ? &r->askers[0] : NULL;
}

/* ---- when ---- */

static enum poll_speed speed_of(const struct poll_resource *r)
{
        if (r->is_list)
                return r->listed_moving ? POLL_MOVING : POLL_RESTING;
        return poll_speed(r->topic, r->status.state);
}

int64_t poll_interval(const struct poll_resource *r)
{
        const struct config *c = daemon_config(r->p->d);

        return speed_of(r) == POLL_MOVING ? c->workers_poll_moving_ms : c->workers_poll_resting_ms;
}

bool poll_is_fresh(const struct poll_resource *r)
{
        int64_t max =
                r->is_list ? daemon_config(r->p->d)->workers_poll_moving_ms : poll_interval(r);

        return r->seen_ms && !r->outdated && loop_now(r->p->d->loop) - r->seen_ms < max;
}

static void on_due(void *arg);

void poll_schedule_in(struct poll_resource *r, int64_t ms)
{
        if (r->p->stopping)
                return;
        loop_timer_start(r->p->d->loop, &r->timer, MAX(ms, (int64_t)1), 0, on_due, r);
}

/* Some of them a tenth earlier, some a tenth later. */
static int64_t jittered(int64_t ms)
{
        uint32_t spread = (uint32_t)MIN(ms / 5, (int64_t)INT32_MAX);

        return ms - spread / 2 + (spread ? arc4random_uniform(spread) : 0);
}

static void drop_askers(struct poll_resource *r)
{
        while (r->n_askers)
                asker_done(&r->askers[--r->n_askers]);
}

void poll_schedule(struct poll_resource *r)
{
        int64_t now = loop_now(r->p->d->loop), due;

        if (!poll_is_wanted(r) || (!r->is_list && speed_of(r) == POLL_NEVER && !r->outdated)) {
                /* Nobody's token is needed any more. */
                drop_askers(r);
                loop_timer_stop(&r->timer);
                return;
        }
        due = r->seen_ms && !r->outdated ? r->seen_ms + jittered(poll_interval(r)) : now + SOON_MS;
        poll_schedule_in(r, due - now);
}

void poll_failed(struct poll_resource *r, const char *trouble, int64_t wait_ms)
{
        int64_t back = poll_interval(r) << MIN(r->failures, 6u);

        if (r->failures++ == 0 && poll_is_wanted(r))
                log_event(LOG_WARN, "poll.failed", "topic=%s subject=%s error=\"%s\"",
                          event_topic_word(r->topic), r->subject, trouble);
        snprintf(r->trouble, sizeof(r->trouble), "%s", trouble);
        poll_tell_watchers(r);
        if (!poll_is_wanted(r))
                return;
        back = MIN(back, MAX((int64_t)BACKOFF_MAX_MS, poll_interval(r)));
        poll_schedule_in(r, jittered(MAX(back, wait_ms)));
}

/* ---- polling ---- */

bool poll_pool_may_ask(const struct poll_resource *r)
{
        if (r->watched || r->by_rule || r->is_rule || r->pool_until_ms > loop_now(r->p->d->loop))
                return true;
        list_each (n, &r->watchers)
                if (!list_entry(n, struct poll_watcher, node)->own_token)
                        return true;
        return false;
}

/* 1: done, 0: no token of the pool is for this, -1: it has to wait or failed, and is scheduled. */
static int ask_with_pool(struct poll_resource *r)
{
        struct daemon *d = r->p->d;
        struct slice subject = slice_str(r->subject);
        struct errand_account account = {
                .pool = r->pool,
                .name_space = r->is_list ? subject : poll_namespace(subject),
                .verb = CONFIG_VERB_READ,
                .skip = r->skip,
        };
        struct errand_token token;
        int wait_s = errand_token_pick(d, &account, slice_str(r->target), false, &token);
        struct poll_account as = { .from_pool = true };
        struct error err = { 0 };
        int result = 1;

        if (wait_s) {
                poll_failed(r, "the Hub's rate limit for the pool's token is used up",
                            (int64_t)wait_s * 1000);
                return -1;
        }
        if (!token.authorization) {
                r->skip = 0;
                return 0;
        }
        as.who = permits_principal(d->permits, slice_str(token.authorization));
        as.authorization = token.authorization;
        as.use = token.use;
        if (poll_ask(r, &as, NULL, &err) < 0) {
                poll_failed(r, err.what, 0);
                result = -1;
        }
        errand_token_done(&token);
        return result;
}

static bool ask_with_client(struct poll_resource *r, int64_t now)
{
        struct poll_asker *a = live_asker(r, now);
        struct poll_account as = { 0 };
        struct error err = { 0 };

        if (a) {
                as.who = a->who;
                as.authorization = a->authorization;
        } else if (r->topic != TOPIC_SPACE) {
                return false;
        }
        if (poll_ask(r, &as, NULL, &err) < 0)
                poll_failed(r, err.what, 0);
        return true;
}

static void on_due(void *arg)
{
        struct poll_resource *r = arg;
        int64_t now = loop_now(r->p->d->loop);

        /* Whoever asks now is the poll. */
        if (!list_empty(&r->asks))
                return;
        if (!poll_is_wanted(r)) {
                poll_schedule(r);
                return;
        }
        if (poll_pool_may_ask(r) && ask_with_pool(r) != 0)
                return;
        if (ask_with_client(r, now))
                return;
        poll_failed(r, "no token of the pool is for this namespace", NO_TOKEN_MS);
}

/* ---- what a poll changes ---- */

static json_t *event_data(const struct poll_status *now)
{
        json_t *data = json_object();

        if (now->message[0])
                json_object_set_new(data, "message", json_string(now->message));
        if (now->url[0])
                json_object_set_new(data, "url", json_string(now->url));
        if (now->mark[0])
                json_object_set_new(data, "mark", json_string(now->mark));
        return data;
}

void poll_take_status(struct poll_resource *r, const struct poll_status *now, int64_t at_ms,
                      int64_t wall_ms, bool quiet)
{
        struct poll_status before = r->status;
        bool changed = poll_status_changed(&before, now);
        const struct event_status status = { .message = now->message, .mark = now->mark };

        if (at_ms < r->status_ms)
                return;
        r->status = *now;
        r->status_ms = at_ms;
        r->at_wall_ms = wall_ms;
        r->failures = 0;
        r->trouble[0] = '\0';
        if (changed && !quiet)
                events_publish_status(r->p->d->events, r->topic, r->subject, before.state,
                                      now->state, &status, event_data(now));
        /* Its age must not look much greater after a restart than it was. */
        if (changed || wall_ms - r->saved_wall_ms > SAVE_AGAIN_MS)
                poll_dirty(r);
        poll_tell_watchers(r);
}

/* ---- watchers ---- */

enum { SAID_NOTHING, SAID_STALE, SAID_FRESH };

static void tell_watcher(struct poll_resource *r, struct poll_watcher *w)
{
        bool fresh = !r->trouble[0] && (r->seen_ms || speed_of(r) == POLL_NEVER);
        struct poll_view view = {
                .topic = r->topic,
                .subject = r->subject,
                .state = r->status.state,
                .message = r->status.message,
                .at = r->at_wall_ms,
                .stale = !fresh,
                .trouble = r->trouble,
        };
        int said = fresh ? SAID_FRESH : SAID_STALE;

        if (w->said == said || (!fresh && !r->trouble[0]))
                return;
        w->said = said;
        w->view(w->arg, &view);
}

void poll_tell_watchers(struct poll_resource *r)
{
        list_each_safe (n, &r->watchers)
                tell_watcher(r, list_entry(n, struct poll_watcher, node));
}

/* Its first view comes from the timer, also if nothing has to be asked. */
static void on_first_view(void *arg)
{
        struct poll_resource *r = arg;

        if (poll_is_fresh(r) || (r->status.state[0] && speed_of(r) == POLL_NEVER && !r->outdated)) {
                poll_tell_watchers(r);
                poll_schedule(r);
        } else {
                on_due(r);
        }
}

bool poll_watch(struct poller *p, enum event_topic topic, struct slice subject,
                struct poll_watcher *w)
{
        struct poll_resource *r = p->stopping ? NULL : poll_have_subject(p, topic, subject);

        list_init(&w->node);
        w->resource = r;
        w->said = SAID_NOTHING;
        if (!r)
                return false;
        list_push_back(&r->watchers, &w->node);
        metrics_add(M_WATCHERS, 1);
        loop_timer_start(p->d->loop, &r->timer, 1, 0, on_first_view, r);
        return true;
}

void poll_unwatch(struct poll_watcher *w)
{
        if (!w->resource)
                return;
        list_remove(&w->node);
        poll_schedule(w->resource);
        w->resource = NULL;
        metrics_add(M_WATCHERS, -1);
}

/* ---- rights ---- */

bool poll_may_see(struct poller *p, const struct principal *sent, enum event_topic topic,
                  struct slice subject)
{
        scoped(buf_done) struct buf key = BUF_INIT(POLL_SUBJECT_MAX + 32);
        struct permit permit;

        subject_key(topic, subject, &key);
        return buf_ok(&key) && permits_check(p->d->permits, sent, POLL_PERMIT_KIND, buf_slice(&key),
                                             SCOPE_BYTES, &permit) > 0;
}

/* ---- writes ---- */

static void outdate(struct poll_resource *r)
{
        r->generation++;
        r->outdated = true;
        if (poll_is_wanted(r))
                poll_schedule_in(r, SOON_MS);
}

/* Lists of the namespace say it too. */
static void outdate_lists(struct poller *p, enum event_topic topic, struct slice name_space)
{
        list_each (n, &p->ages) {
                struct poll_resource *r = list_entry(n, struct poll_resource, age);

                if (r->is_list && r->topic == topic && slice_is(name_space, r->subject))
                        outdate(r);
        }
}

void poll_wrote(struct poller *p, bool endpoints, struct slice path)
{
        struct poll_resource *r;
        struct poll_place place;

        path = slice_cut(path, slice_find(path, '?'));
        if (!p || !poll_place_of(endpoints ? POLL_ENDPOINTS : POLL_HUB, path, &place))
                return;
        r = place.is_list ? NULL : poll_find_subject(p, place.topic, slice_str(place.subject));
        if (r)
                outdate(r);
        outdate_lists(p, place.topic, poll_namespace(slice_str(place.subject)));
        /* A scheduled job that is run makes a job. */
        if (place.topic == TOPIC_SCHEDULED_JOB)
                outdate_lists(p, TOPIC_JOB, poll_namespace(slice_str(place.subject)));
}

void poll_wrote_space(struct poller *p, struct slice repo, bool rights)
{
        scoped(buf_done) struct buf key = BUF_INIT(POLL_SUBJECT_MAX + 32);
        struct poll_resource *r = p ? poll_find_subject(p, TOPIC_SPACE, repo) : NULL;

        if (r)
                outdate(r);
        if (!p)
                return;
        subject_key(TOPIC_SPACE, repo, &key);
        if (rights && buf_ok(&key))
                permits_forget_repo(p->d->permits, POLL_PERMIT_KIND, buf_slice(&key));
        outdate_lists(p, TOPIC_SPACE, poll_namespace(repo));
}

/* ---- the index ---- */

static void save_run(void *arg)
{
        struct poller *p = arg;

        error_clear(&p->err);
        (void)!index_put_statuses(store_index(p->d->store), p->rows, p->n_rows, p->oldest_at,
                                  &p->err);
}

static void save_later(struct poller *p);

static void save_after(void *arg)
{
        struct poller *p = arg;

        p->writing = false;
        status_rows_free(p->rows, p->n_rows);
        p->rows = NULL;
        p->n_rows = 0;
        if (error_is_set(&p->err)) {
                metrics_add(M_INDEX_ERRORS, 1);
                log_event(LOG_WARN, "index.write_failed", "what=statuses error=\"%s\"",
                          p->err.what);
        }
        list_each (n, &p->ages)
                if (list_entry(n, struct poll_resource, age)->dirty)
                        save_later(p);
}

static void status_row(const struct poll_resource *r, struct status_row *ret)
{
        *ret = (struct status_row){
                .topic = slice_dup(slice_str(event_topic_word(r->topic))),
                .subject = slice_dup(slice_str(r->subject)),
                .state = slice_dup(slice_str(r->status.state)),
                .message = slice_dup(slice_str(r->status.message)),
                .mark = slice_dup(slice_str(r->status.mark)),
                .pool = slice_dup(slice_str(r->pool ? r->pool : "")),
                .at = r->at_wall_ms,
                .watched = r->watched,
        };
}

static void on_save(void *arg)
{
        struct poller *p = arg;

        if (p->writing)
                return;
        p->rows = calloc(SAVE_MAX, sizeof(*p->rows));
        if (!p->rows)
                return;
        list_each (n, &p->ages) {
                struct poll_resource *r = list_entry(n, struct poll_resource, age);

                if (!r->dirty || p->n_rows == SAVE_MAX)
                        continue;
                r->dirty = false;
                r->saved_wall_ms = r->at_wall_ms;
                status_row(r, &p->rows[p->n_rows++]);
        }
        p->writing = true;
        p->oldest_at = clock_wall_ms() - daemon_config(p->d)->workers_event_history_ms;
        p->job.run = save_run;
        p->job.after = save_after;
        p->job.arg = p;
        loop_work(p->d->loop, &p->job);
}

static void save_later(struct poller *p)
{
        if (!p->writing && !p->save.loop && !p->stopping)
                loop_timer_start(p->d->loop, &p->save, SAVE_MS, 0, on_save, p);
}

void poll_dirty(struct poll_resource *r)
{
        if (r->is_list)
                return;
        r->dirty = true;
        save_later(r->p);
}

/* What was known when the last process ended; what operators watch goes on being watched. */
static void load_one(struct poller *p, const struct status_row *row)
{
        struct poll_resource *r;
        enum event_topic topic;

        if (!event_topic_parse(slice_str(row->topic), &topic))
                return;
        r = poll_have_subject(p, topic, slice_str(row->subject));
        if (!r)
                return;
        snprintf(r->status.state, sizeof(r->status.state), "%s", row->state);
        snprintf(r->status.message, sizeof(r->status.message), "%s", row->message);
        snprintf(r->status.mark, sizeof(r->status.mark), "%s", row->mark);
        r->at_wall_ms = r->saved_wall_ms = row->at;
        r->watched = row->watched;
        r->pool = row->pool[0] ? slice_dup(slice_str(row->pool)) : NULL;
}

static int load(struct poller *p, struct error *err)
{
        struct status_row *rows = NULL;
        int64_t after = 0;
        size_t n;

        do {
                if (index_list_statuses(store_index(p->d->store), after, SAVE_MAX, &rows, &n, err) <
                    0)
                        return -1;
                for (size_t i = 0; i < n; i++)
                        load_one(p, &rows[i]);
                after = n ? rows[n - 1].id : after;
                status_rows_free(rows, n);
        } while (n == SAVE_MAX);
        return 0;
}

/* ---- life ---- */

int poll_new(struct daemon *d, struct poller **ret, struct error *err)
{
        struct poller *p = calloc(1, sizeof(*p));

        if (!p)
                return error_set(err, ERR_NOMEM, "no memory for the poller");
        p->d = d;
        for (size_t i = 0; i < ARRAY_LEN(p->buckets); i++)
                list_init(&p->buckets[i]);
        list_init(&p->ages);
        if (load(p, err) < 0) {
                poll_free(&p);
                return -1;
        }
        *ret = p;
        return 0;
}

void poll_reload(struct poller *p)
{
        poll_rules_reload(p);
        list_each (n, &p->ages) {
                struct poll_resource *r = list_entry(n, struct poll_resource, age);

                r->skip = 0;
                poll_schedule(r);
        }
}

void poll_stop(struct poller *p)
{
        if (!p || p->stopping)
                return;
        p->stopping = true;
        list_each (n, &p->ages) {
                struct poll_resource *r = list_entry(n, struct poll_resource, age);

                loop_timer_stop(&r->timer);
                poll_asks_cancel(r);
        }
        if (p->save.loop) {
                loop_timer_stop(&p->save);
                on_save(p);
        }
}

void poll_free(struct poller **pp)
{
        struct poller *p = take(*pp);

        if (!p)
                return;
        loop_timer_stop(&p->save);
        list_each_safe (n, &p->ages)
                resource_free(list_entry(n, struct poll_resource, age));
        status_rows_free(p->rows, p->n_rows);
        free(p);
}
