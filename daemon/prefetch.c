#include "prefetch.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "daemon.h"
#include "events.h"
#include "log.h"
#include "metrics.h"
#include "prefetch_impl.h"
#include "store.h"

enum {
        TICK_MS = 500,
        SAVE_MS = 5000, /* how often progress is written */
};

_Static_assert((int)METRIC_PREFETCH_MAX == (int)PREFETCH_STATE_MAX, "one label per state");

/* ---- the index ---- */

struct save {
        struct loop_job job;
        struct prefetch *p;
        struct prefetch_row row;
        bool drops;
        struct error err;
};

static void forget(struct prefetch *p);
static void start_save(struct prefetch *p);

static void save_run(void *arg)
{
        struct save *s = arg;
        struct index *ix = store_index(s->p->table->d->store);

        if (s->drops)
                (void)!index_drop_prefetch(ix, s->row.id, &s->err);
        else
                (void)!index_put_prefetch(ix, &s->row, &s->err);
}

static void tell_saved(struct prefetch *p, const struct error *err)
{
        struct list_node told, *n;

        list_init(&told);
        while ((n = list_pop_front(&p->saved)))
                list_push_back(&told, n);
        while ((n = list_pop_front(&told))) {
                struct prefetch_saved *s = list_entry(n, struct prefetch_saved, node);

                s->fn(s->arg, err);
        }
}

static void save_after(void *arg)
{
        struct save *s = arg;
        struct prefetch *p = s->p;

        p->saving = false;
        p->table->saves--;
        if (error_is_set(&s->err)) {
                metrics_add(M_INDEX_ERRORS, 1);
                log_event(LOG_WARN, "index.write_failed", "what=prefetch error=\"%s\"",
                          s->err.what);
        } else if (!s->drops) {
                p->id = s->row.id;
                prefetches_pump_soon(p->table);
        }
        if (s->drops) {
                forget(p);
        } else {
                if (!p->dirty)
                        tell_saved(p, &s->err);
                if (p->dirty || p->dropped)
                        start_save(p);
        }
        prefetch_row_done(&s->row);
        free(s);
}

static bool fill_row(const struct prefetch *p, struct prefetch_row *row)
{
        scoped(json_free) json_t *wants = prefetch_wants_write(&p->wants);
        struct buf text = BUF_INIT(4 << 20);

        if (wants)
                json_write(wants, &text);
        *row = (struct prefetch_row){
                .id = p->id,
                .identity = slice_dup(slice_str(p->identity)),
                .rule = slice_dup(slice_str(p->wants.rule.name)),
                .wants = buf_take(&text, NULL),
                .state = (int)p->state,
                .why = slice_dup(slice_str(p->why)),
                .files = p->done.files,
                .files_done = p->done.files_done,
                .bytes = p->done.bytes,
                .bytes_done = p->done.bytes_done,
                .created_at = p->created_at,
                .started_at = p->started_at,
                .finished_at = p->finished_at,
                .next_run_at = p->next_run_at,
        };
        memcpy(row->sha, p->sha, sizeof(row->sha));
        return row->identity && row->rule && row->wants && row->why;
}

static void start_save(struct prefetch *p)
{
        struct save *s = calloc(1, sizeof(*s));

        if (!s || !fill_row(p, &s->row)) {
                static const struct error none = { .kind = ERR_NOMEM, .what = "no memory" };

                if (s)
                        prefetch_row_done(&s->row);
                free(s);
                tell_saved(p, &none);
                return;
        }
        s->p = p;
        s->drops = p->dropped;
        p->dirty = false;
        p->saving = true;
        p->saved_ms = loop_now(p->table->d->loop);
        p->table->saves++;
        s->job.run = save_run;
        s->job.after = save_after;
        s->job.arg = s;
        loop_work(p->table->d->loop, &s->job);
}

void prefetch_save(struct prefetch *p, struct prefetch_saved *saved)
{
        p->dirty = true;
        if (saved) {
                list_init(&saved->node);
                list_push_back(&p->saved, &saved->node);
        }
        if (!p->saving)
                start_save(p);
}

/* ---- the list ---- */

static void prefetch_free(struct prefetch *p)
{
        if (p->run)
                run_end(&p->run);
        prefetch_wants_done(&p->wants);
        free(p->identity);
        free(p);
}

/* Its row is gone. */
static void forget(struct prefetch *p)
{
        static const struct error none;

        tell_saved(p, &none);
        prefetch_free(p);
}

static void count_states(struct prefetches *t)
{
        int64_t n[PREFETCH_STATE_MAX] = { 0 };

        list_each (node, &t->all)
                n[list_entry(node, struct prefetch, node)->state]++;
        for (int i = 0; i < PREFETCH_STATE_MAX; i++)
                metrics_set_by(M_PREFETCHES, i, n[i]);
}

/* By priority, then by age. */
static void enlist(struct prefetches *t, struct prefetch *p)
{
        struct list_node *before = &t->all;

        list_each (n, &t->all) {
                struct prefetch *other = list_entry(n, struct prefetch, node);

                if (other->wants.rule.priority < p->wants.rule.priority) {
                        before = n;
                        break;
                }
        }
        list_push_back(before, &p->node);
}

static bool is_on_demand(const struct prefetch *p)
{
        return !*p->wants.rule.name;
}

static void delist(struct prefetch *p)
{
        list_remove(&p->node);
        p->table->n--;
        if (is_on_demand(p))
                p->table->n_on_demand--;
}

static struct prefetch *prefetch_new(struct prefetches *t, struct prefetch_wants *wants,
                                     char *identity)
{
        struct prefetch *p = calloc(1, sizeof(*p));

        if (!p) {
                free(identity);
                prefetch_wants_done(wants);
                return NULL;
        }
        list_init(&p->node);
        list_init(&p->saved);
        p->table = t;
        p->wants = *wants;
        *wants = (struct prefetch_wants){ 0 };
        p->identity = identity;
        p->told = PREFETCH_STATE_MAX;
        t->n++;
        if (is_on_demand(p))
                t->n_on_demand++;
        enlist(t, p);
        return p;
}

static struct prefetch *find_identity(struct prefetches *t, const char *identity)
{
        list_each (n, &t->all) {
                struct prefetch *p = list_entry(n, struct prefetch, node);

                if (strcmp(p->identity, identity) == 0)
                        return p;
        }
        return NULL;
}

struct prefetch *prefetch_find(struct prefetches *t, int64_t id)
{
        list_each (n, &t->all) {
                struct prefetch *p = list_entry(n, struct prefetch, node);

                if (p->id == id)
                        return p;
        }
        return NULL;
}

/* ---- states ---- */

static const enum log_level state_levels[PREFETCH_STATE_MAX] = {
        [PREFETCH_QUEUED] = LOG_INFO,    [PREFETCH_RUNNING] = LOG_INFO,
        [PREFETCH_WAITING] = LOG_WARN,   [PREFETCH_PAUSED] = LOG_INFO,
        [PREFETCH_DONE] = LOG_INFO,      [PREFETCH_FAILED] = LOG_WARN,
        [PREFETCH_CANCELLED] = LOG_INFO,
};

static void log_state(const struct prefetch *p)
{
        scoped(buf_done) struct buf title = BUF_INIT(4096);
        char what[200], why[WHY_MAX + 64];

        prefetch_title(&p->wants, &title);
        log_event(state_levels[p->state], "prefetch.state",
                  "id=%lld state=%s what=%s files=%llu bytes=%llu why=%s", (long long)p->id,
                  prefetch_state_word(p->state), log_escape(buf_slice(&title), what, sizeof(what)),
                  (unsigned long long)p->done.files_done, (unsigned long long)p->done.bytes_done,
                  log_escape(slice_str(p->why), why, sizeof(why)));
}

/* Where it has come to is news; that it looked again and found what it knew is none. */
static bool is_news(const struct prefetch *p)
{
        switch (p->state) {
        case PREFETCH_DONE:
                return p->told != PREFETCH_DONE || p->brought || strcmp(p->told_sha, p->sha) != 0;
        case PREFETCH_FAILED:
        case PREFETCH_WAITING:
                return p->told != p->state;
        case PREFETCH_PAUSED:
        case PREFETCH_CANCELLED:
                return true;
        default:
                return false;
        }
}

/* By the name of its rule, or by its number. */
static void publish(struct prefetch *p)
{
        scoped(buf_done) struct buf title = BUF_INIT(4096);
        char number[32];
        json_t *data;

        if (!is_news(p) || p->table->stopped)
                return;
        snprintf(number, sizeof(number), "%lld", (long long)p->id);
        prefetch_title(&p->wants, &title);
        data = json_object();
        json_object_set_new(data, "id", json_integer(p->id));
        json_object_set_new(data, "title", json_stringn(title.ptr ? title.ptr : "", title.len));
        json_object_set_new(data, "message", json_string(p->why));
        json_object_set_new(data, "files", json_integer((json_int_t)p->done.files_done));
        json_object_set_new(data, "bytes", json_integer((json_int_t)p->done.bytes_done));
        json_object_set_new(data, "commit", json_string(p->sha));
        events_publish(p->table->d->events, TOPIC_PREFETCH,
                       *p->wants.rule.name ? p->wants.rule.name : number,
                       p->told < PREFETCH_STATE_MAX ? prefetch_state_word(p->told) : "",
                       prefetch_state_word(p->state), data);
        p->told = p->state;
        memcpy(p->told_sha, p->sha, sizeof(p->told_sha));
        p->brought = false;
}

void prefetch_set_state(struct prefetch *p, enum prefetch_state state, const char *fmt, ...)
{
        enum prefetch_state before = p->state;
        va_list args;

        va_start(args, fmt);
        vsnprintf(p->why, sizeof(p->why), fmt, args);
        va_end(args);
        p->state = state;
        if (state != before)
                log_state(p);
        publish(p);
        count_states(p->table);
        prefetch_save(p, NULL);
        prefetches_pump_soon(p->table);
}

static void queue(struct prefetch *p)
{
        int64_t now = clock_wall_ms();

        if (p->run)
                run_end(&p->run);
        p->started_at = now;
        p->next_run_at = 0;
        p->done = (struct progress){ 0 };
        prefetch_set_state(p, PREFETCH_QUEUED, "%s", "");
}

/* Keeps what is over from growing without end. */
static void prune(struct prefetches *t)
{
        size_t over = 0;
        struct prefetch *oldest = NULL;

        list_each (n, &t->all) {
                struct prefetch *p = list_entry(n, struct prefetch, node);

                if (!is_on_demand(p) || !prefetch_is_over(p->state) || p->next_run_at)
                        continue;
                over++;
                if (!oldest || p->finished_at < oldest->finished_at)
                        oldest = p;
        }
        if (over > PREFETCHES_KEPT)
                prefetch_cancel(oldest, "");
}

struct prefetch *prefetch_add(struct prefetches *t, struct prefetch_wants *wants, bool *ret_new)
{
        struct buf text = BUF_INIT(4 << 20);
        struct prefetch *p;
        char *identity;

        prefetch_identity(wants, &text);
        identity = buf_take(&text, NULL);
        p = identity ? find_identity(t, identity) : NULL;
        *ret_new = !p;
        if (p) {
                free(identity);
                prefetch_wants_done(&p->wants);
                p->wants = *wants;
                *wants = (struct prefetch_wants){ 0 };
                list_remove(&p->node);
                enlist(t, p);
                if (p->run)
                        p->run->pace.rate = p->wants.rule.bandwidth;
                if (prefetch_is_over(p->state) || p->state == PREFETCH_PAUSED)
                        queue(p);
                else
                        prefetch_save(p, NULL);
                return p;
        }
        if (!identity || (!*wants->rule.name && t->n_on_demand >= PREFETCHES_MAX)) {
                free(identity);
                prefetch_wants_done(wants);
                return NULL;
        }
        p = prefetch_new(t, wants, identity);
        if (!p)
                return NULL;
        p->created_at = clock_wall_ms();
        queue(p);
        prune(t);
        return p;
}

void prefetch_pause(struct prefetch *p)
{
        if (p->run)
                run_stop(p->run);
        prefetch_set_state(p, PREFETCH_PAUSED, "%s", "");
}

void prefetch_resume(struct prefetch *p)
{
        if (p->state == PREFETCH_PAUSED || p->state == PREFETCH_WAITING)
                prefetch_set_state(p, PREFETCH_QUEUED, "%s", "");
        else if (prefetch_is_over(p->state))
                queue(p);
}

void prefetch_cancel(struct prefetch *p, const char *why)
{
        if (p->run)
                run_end(&p->run);
        if (!prefetch_is_over(p->state) || p->next_run_at) {
                p->finished_at = clock_wall_ms();
                p->next_run_at = 0;
                prefetch_set_state(p, PREFETCH_CANCELLED, "%s", why);
                return;
        }
        p->dropped = true;
        delist(p);
        count_states(p->table);
        if (!p->saving)
                start_save(p);
}

/* ---- who is next ---- */

/* Outside of its window nothing of it moves. */
static bool is_shut(struct prefetch *p)
{
        int64_t now = clock_wall_ms();

        return !day_window_contains(&p->wants.rule.window, now);
}

static unsigned active_above(const struct prefetches *t, unsigned priority)
{
        unsigned n = 0;

        list_each (node, &t->all) {
                const struct prefetch *p = list_entry(node, struct prefetch, node);

                n += p->state == PREFETCH_RUNNING && p->wants.rule.priority >= priority;
        }
        return n;
}

static void shut(struct prefetch *p)
{
        if (p->run)
                run_stop(p->run);
        if (p->state != PREFETCH_WAITING)
                prefetch_set_state(p, PREFETCH_WAITING, "outside its window, %s",
                                   p->wants.rule.window_text);
}

static void begin(struct prefetch *p)
{
        if (is_shut(p)) {
                shut(p);
                return;
        }
        if (!p->run)
                p->run = run_new(p);
        if (!p->run) {
                prefetch_set_state(p, PREFETCH_FAILED, "no memory for a prefetch");
                return;
        }
        prefetch_set_state(p, PREFETCH_RUNNING, "%s", "");
        run_go(p->run);
}

static void pump(void *arg)
{
        struct prefetches *t = arg;

        if (!t->started || t->stopped)
                return;
        list_each_safe (n, &t->all) {
                struct prefetch *p = list_entry(n, struct prefetch, node);

                /* Without a number it is not on disk yet, and nobody could name it. */
                if (p->state == PREFETCH_QUEUED && p->id &&
                    active_above(t, p->wants.rule.priority) < ACTIVE_MAX)
                        begin(p);
        }
        fetch_pump(t);
}

void prefetches_pump_soon(struct prefetches *t)
{
        t->pump_call.fn = pump;
        t->pump_call.arg = t;
        loop_at_end(t->d->loop, &t->pump_call);
}

/* ---- time ---- */

static void look_at_clock(struct prefetch *p, int64_t now)
{
        bool due = prefetch_is_over(p->state) && p->next_run_at && p->next_run_at <= now;

        if (due)
                queue(p);
        else if (p->state == PREFETCH_RUNNING && is_shut(p))
                shut(p);
        else if (p->state == PREFETCH_WAITING && p->run && p->run->stopped && !p->run->timer.loop &&
                 !is_shut(p))
                prefetch_set_state(p, PREFETCH_QUEUED, "%s", "");
        else if (p->state == PREFETCH_WAITING && !p->run && !is_shut(p))
                prefetch_set_state(p, PREFETCH_QUEUED, "%s", "");
}

static void on_tick(void *arg)
{
        struct prefetches *t = arg;
        int64_t now = clock_wall_ms(), mono = loop_now(t->d->loop);

        shards_tick(t);

        list_each_safe (n, &t->all) {
                struct prefetch *p = list_entry(n, struct prefetch, node);

                if (p->run) {
                        fetch_count(p->run);
                        run_look_at_hold(p->run);
                }
                look_at_clock(p, now);
                if (p->state == PREFETCH_RUNNING && !p->saving && mono - p->saved_ms >= SAVE_MS)
                        prefetch_save(p, NULL);
        }
}

struct progress prefetch_progress(struct prefetch *p, uint64_t *ret_rate)
{
        struct progress done = p->done;

        *ret_rate = 0;
        if (!p->run || p->state != PREFETCH_RUNNING)
                return done;
        *ret_rate = (uint64_t)p->run->rate;
        list_each (n, &p->run->fills) {
                const struct fill *f = list_entry(n, struct fill, node);

                if (f->reader)
                        done.bytes_done += flight_reader_have(f->reader);
        }
        return done;
}

/* ---- life ---- */

static int load_one(void *arg, struct prefetch_row *row, struct error *err)
{
        struct prefetches *t = arg;
        scoped(json_free) json_t *object = json_read(slice_str(row->wants), err);
        struct prefetch_wants wants;
        struct prefetch *p;

        /* A row that this version cannot read is not touched; it says nothing to us. */
        if (!object || prefetch_wants_read(row->rule, object, &wants, err) < 0 || row->state < 0 ||
            row->state >= PREFETCH_STATE_MAX) {
                log_event(LOG_WARN, "prefetch.unreadable", "id=%lld", (long long)row->id);
                error_clear(err);
                return 0;
        }
        p = prefetch_new(t, &wants, take(row->identity));
        if (!p)
                return error_set(err, ERR_NOMEM, "no memory for a prefetch");
        p->id = row->id;
        p->state = (enum prefetch_state)row->state;
        if (p->state == PREFETCH_RUNNING || p->state == PREFETCH_WAITING)
                p->state = PREFETCH_QUEUED;
        snprintf(p->why, sizeof(p->why), "%s", row->why ? row->why : "");
        memcpy(p->sha, row->sha, sizeof(p->sha));
        p->done = (struct progress){ row->files, row->files_done, row->bytes, row->bytes_done };
        p->created_at = row->created_at;
        p->started_at = row->started_at;
        p->finished_at = row->finished_at;
        p->next_run_at = row->next_run_at;
        if (prefetch_is_over(p->state)) {
                p->told = p->state;
                memcpy(p->told_sha, p->sha, sizeof(p->told_sha));
        }
        return 0;
}

int prefetches_new(struct daemon *d, struct prefetches **ret, struct error *err)
{
        struct prefetches *t = calloc(1, sizeof(*t));

        if (!t)
                return error_set(err, ERR_NOMEM, "no memory for prefetches");
        t->d = d;
        list_init(&t->all);
        list_init(&t->aheads);
        *ret = t;
        return index_each_prefetch(store_index(d->store), load_one, t, err);
}

void prefetches_free(struct prefetches **tt)
{
        struct prefetches *t = take(*tt);

        if (!t)
                return;
        loop_timer_stop(&t->tick);
        loop_at_end_cancel(&t->pump_call);
        t->stopped = true;
        shards_stop(t);
        list_each_safe (n, &t->all)
                prefetch_free(list_entry(n, struct prefetch, node));
        free(t);
}

void prefetches_start(struct prefetches *t)
{
        t->started = true;
        prefetches_reload(t);
        count_states(t);
        loop_timer_start(t->d->loop, &t->tick, TICK_MS, TICK_MS, on_tick, t);
        prefetches_pump_soon(t);
}

void prefetches_stop(struct prefetches *t)
{
        t->stopped = true;
        shards_stop(t);
        loop_timer_stop(&t->tick);
        list_each (n, &t->all) {
                struct prefetch *p = list_entry(n, struct prefetch, node);

                if (p->run)
                        run_stop(p->run);
        }
}

/* ---- the configuration ---- */

static const struct workers_config *configured(const struct daemon *d)
{
        return daemon_config(d)->workers;
}

static bool same_wants(const struct prefetch_wants *a, const struct prefetch_wants *b)
{
        scoped(json_free) json_t *x = prefetch_wants_write(a);
        scoped(json_free) json_t *y = prefetch_wants_write(b);

        return x && y && json_equal(x, y);
}

/* A rule that is as it was goes on or rests; a new or a changed one begins. */
static void take_rule(struct prefetches *t, const struct prefetch_rule *rule)
{
        struct prefetch_wants wants;
        struct error err = { 0 };
        struct prefetch *p;
        bool is_new;

        if (prefetch_wants_of_rule(rule, &wants, &err) < 0) {
                log_event(LOG_WARN, "prefetch.rule_refused", "rule=%s error=\"%s\"", rule->name,
                          err.what);
                return;
        }
        list_each (n, &t->all) {
                p = list_entry(n, struct prefetch, node);
                if (strcmp(p->wants.rule.name, rule->name) != 0)
                        continue;
                if (p->state != PREFETCH_CANCELLED && same_wants(&p->wants, &wants)) {
                        prefetch_wants_done(&wants);
                        return;
                }
                /* What it did under the old rule is over. */
                if (p->run)
                        run_end(&p->run);
                p->state = PREFETCH_DONE;
                break;
        }
        (void)prefetch_add(t, &wants, &is_new);
}

static const struct prefetch_rule *find_rule(const struct workers_config *c, const char *name)
{
        for (size_t i = 0; c && i < c->n_prefetch; i++)
                if (strcmp(c->prefetch[i].name, name) == 0)
                        return &c->prefetch[i];
        return NULL;
}

void prefetches_reload(struct prefetches *t)
{
        const struct workers_config *c = configured(t->d);

        for (size_t i = 0; c && i < c->n_prefetch; i++)
                take_rule(t, &c->prefetch[i]);
        list_each_safe (n, &t->all) {
                struct prefetch *p = list_entry(n, struct prefetch, node);

                if (!is_on_demand(p) && p->state != PREFETCH_CANCELLED &&
                    !find_rule(c, p->wants.rule.name))
                        prefetch_cancel(p, "its rule is not in the configuration any more");
        }
}
