#include "commits_impl.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "daemon.h"
#include "events.h"
#include "log.h"
#include "metrics.h"
#include "mode.h"
#include "upstream.h"

enum {
        TICK_MS = 500,
        FIRST_RETRY_MS = 5000,
        LAST_RETRY_MS = 10 * 60 * 1000,
        MEMBERS_MAX = 16,
        MEMBER_VALUES_MAX = 1000,
};

/* ---- definitions: a rule as JSON, in which form it is kept and compared ---- */

static json_t *list_of(const struct string_list *l)
{
        json_t *v = json_array();

        for (size_t i = 0; i < l->n; i++)
                json_array_append_new(v, json_string(l->v[i]));
        return v;
}

static void put_text(json_t *to, const char *key, const char *text)
{
        if (text[0])
                json_object_set_new(to, key, json_string(text));
}

static json_t *definition_of(const struct commit_rule *r)
{
        json_t *to = json_object();

        put_text(to, "folder", r->folder);
        put_text(to, "repository", r->repository);
        put_text(to, "revision", r->revision);
        put_text(to, "path_in_repo", r->path_in_repo);
        put_text(to, "schedule", r->schedule_text);
        put_text(to, "message", r->message);
        put_text(to, "pool", r->pool);
        if (r->is_private >= 0)
                json_object_set_new(to, "private", json_boolean(r->is_private));
        if (r->squash_history)
                json_object_set_new(to, "squash_history", json_true());
        if (r->allow.n)
                json_object_set_new(to, "allow", list_of(&r->allow));
        if (r->ignore.n)
                json_object_set_new(to, "ignore", list_of(&r->ignore));
        return to;
}

/* One member of a definition as commit_rule_make wants it; values are appended. */
static bool read_member(const char *key, json_t *value, struct slice *values, size_t *n,
                        struct rule_member *ret)
{
        *ret = (struct rule_member){ .key = slice_str(key), .values = values + *n };
        if (json_is_boolean(value)) {
                values[(*n)++] = json_is_true(value) ? SLICE("true") : SLICE("false");
        } else if (json_is_string(value)) {
                values[(*n)++] = slice_of(json_string_value(value), json_string_length(value));
        } else if (json_is_array(value)) {
                ret->is_list = true;
                for (size_t i = 0; i < json_array_size(value); i++) {
                        const json_t *one = json_array_get(value, i);

                        if (!json_is_string(one) || *n == MEMBER_VALUES_MAX)
                                return false;
                        values[(*n)++] = slice_of(json_string_value(one), json_string_length(one));
                }
        } else {
                return false;
        }
        ret->n = (size_t)(values + *n - ret->values);
        return *n < MEMBER_VALUES_MAX;
}

static int make_rule(const char *name, const json_t *definition, struct commit_rule *ret,
                     struct config_errors *errors)
{
        scoped(free_ptr) struct slice *values = calloc(MEMBER_VALUES_MAX + 1, sizeof(*values));
        struct rule_member members[MEMBERS_MAX];
        size_t n = 0, n_values = 0;
        const char *key;
        json_t *value;

        *ret = (struct commit_rule){ 0 };
        if (!values) {
                config_errors_add(errors, true, "no memory for a folder");
                return -1;
        }
        json_object_foreach((json_t *)definition, key, value)
        {
                if (strcmp(key, "name") == 0)
                        continue;
                if (n == MEMBERS_MAX || !read_member(key, value, values, &n_values, &members[n])) {
                        config_errors_add(errors, true, "%s: the value is of no use", key);
                        return -1;
                }
                n++;
        }
        return commit_rule_make(slice_str(name), members, n, ret, errors);
}

/* ---- folders ---- */

static bool in_use(const struct folder *f)
{
        return f->round || f->saves;
}

static void folder_free(struct folder *f)
{
        if (f->round)
                round_free(f->round);
        folder_watch(f, NULL, 0);
        list_remove(&f->node);
        folder_row_done(&f->row);
        commit_rule_done(&f->rule);
        json_decref(f->last);
        json_decref(f->pending);
        free(f);
}

struct folder *folder_find(struct commits *c, struct slice name)
{
        list_each (n, &c->folders) {
                struct folder *f = list_entry(n, struct folder, node);

                if (slice_is(name, f->row.name) && f->declared && !f->removed)
                        return f;
        }
        return NULL;
}

struct errand_account folder_account(const struct folder *f, enum config_verb verb)
{
        struct slice repo = slice_str(f->repo);
        size_t slash = slice_find(repo, '/');

        return (struct errand_account){
                .pool = f->rule.pool,
                .name_space = slash < repo.len ? slice_cut(repo, slash) : SLICE(""),
                .verb = verb,
        };
}

static bool read_repository(struct folder *f, struct config_errors *errors)
{
        struct slice id, revision;
        const char *prefix;

        if (!workers_repository_parse(slice_str(f->rule.repository), &prefix, &id, &revision) ||
            id.len >= sizeof(f->repo)) {
                config_errors_add(errors, true, "repository: no name of a repository");
                return false;
        }
        snprintf(f->repo, sizeof(f->repo), SLICE_FMT, SLICE_ARG(id));
        for (int k = REPO_MODEL; k < REPO_KIND_MAX; k++)
                if (strcmp(repo_kind_prefix((enum repo_kind)k), prefix) == 0)
                        f->kind = (enum repo_kind)k;
        return true;
}

/* Where its files go: what is known of them is known of this place. */
static char *target_of(const struct folder *f)
{
        struct buf text = BUF_INIT(16384);

        buf_add_fmt(&text, "%s%s@%s:%s", repo_kind_prefix(f->kind), f->repo,
                    f->rule.revision[0] ? f->rule.revision : "main", f->rule.path_in_repo);
        return buf_take(&text, NULL);
}

static char *text_of(const json_t *value)
{
        struct buf text = BUF_INIT(1 << 20);

        json_write(value, &text);
        return buf_take(&text, NULL);
}

/* Takes a definition over: a new one, or a changed one. */
static bool define(struct folder *f, const json_t *definition, struct config_errors *errors)
{
        scoped(json_free) json_t *whole = NULL;
        struct commit_rule rule;
        char *target, *text;

        if (make_rule(f->row.name, definition, &rule, errors) < 0) {
                commit_rule_done(&rule);
                return false;
        }
        commit_rule_done(&f->rule);
        f->rule = rule;
        if (!read_repository(f, errors))
                return false;
        whole = definition_of(&f->rule);
        target = target_of(f);
        text = text_of(whole);
        if (!target || !text) {
                free(target);
                free(text);
                config_errors_add(errors, true, "no memory for a folder");
                return false;
        }
        if (f->row.target && strcmp(target, f->row.target) != 0)
                f->row.repo_known = f->row.squash_due = false;
        free(f->row.target);
        free(f->row.definition);
        f->row.target = target;
        f->row.definition = text;
        return true;
}

static struct folder *folder_new(struct commits *c, const char *name)
{
        struct folder *f = calloc(1, sizeof(*f));

        if (!f)
                return NULL;
        f->commits = c;
        f->row.name = slice_dup(slice_str(name));
        f->row.last = slice_dup(SLICE(""));
        list_push_back(&c->folders, &f->node);
        if (f->row.name && f->row.last)
                return f;
        folder_free(f);
        return NULL;
}

/* Also one that only rests: what is known of its files is of use when it comes back. */
static struct folder *find_any(const struct commits *c, const char *name)
{
        list_each (n, &c->folders) {
                struct folder *f = list_entry(n, struct folder, node);

                if (strcmp(f->row.name, name) == 0)
                        return f;
        }
        return NULL;
}

bool folder_is_taken(const struct commits *c, const char *name)
{
        const struct folder *f = find_any(c, name);

        return f && (f->declared || in_use(f));
}

static size_t count(const struct commits *c)
{
        size_t n = 0;

        list_each (node, &c->folders)
                n++;
        return n;
}

static struct folder *put_folder(struct commits *c, const char *name, enum folder_origin origin,
                                 const json_t *definition, struct config_errors *errors)
{
        struct folder *f = find_any(c, name);
        bool is_new = !f;

        if (is_new && count(c) >= WORKERS_RULES_MAX) {
                config_errors_add(errors, true,
                                  "there are %d folders, which is the most there can be",
                                  (int)WORKERS_RULES_MAX);
                return NULL;
        }
        if (f && f->round) {
                /* Its job may be looking at the rule. */
                json_decref(f->pending);
                f->pending = json_deep_copy(definition);
                f->row.origin = origin;
                return f;
        }
        if (!f)
                f = folder_new(c, name);
        if (!f) {
                config_errors_add(errors, true, "no memory for a folder");
                return NULL;
        }
        f->declared = define(f, definition, errors);
        if (!f->declared && is_new)
                folder_free(f);
        if (errors->fatal)
                return NULL;
        f->row.origin = origin;
        f->next_ms = 0;
        folder_save(f);
        return f;
}

struct folder *folder_add(struct commits *c, const char *name, const json_t *definition,
                          struct config_errors *errors)
{
        return put_folder(c, name, FOLDER_COMMAND, definition, errors);
}

/* ---- their rows ---- */

struct save {
        struct loop_job job;
        struct folder *f;
        struct folder_row row;
        bool drop, failed;
        struct error err;
};

static bool copy_row(struct folder_row *to, const struct folder_row *from)
{
        *to = *from;
        to->name = slice_dup(slice_str(from->name));
        to->definition = slice_dup(slice_str(from->definition));
        to->target = slice_dup(slice_str(from->target));
        to->last = slice_dup(slice_str(from->last ? from->last : ""));
        return to->name && to->definition && to->target && to->last;
}

static void save_run(void *arg)
{
        struct save *s = arg;
        struct index *ix = store_index(s->f->commits->d->store);

        if (!s->drop)
                s->failed = index_put_folder(ix, &s->row, &s->err) < 0;
        else if (s->row.id)
                s->failed = index_drop_folder(ix, s->row.id, &s->err) < 0;
}

static void release(struct folder *f);

static void save_after(void *arg)
{
        struct save *s = arg;
        struct folder *f = s->f;
        struct commits *c = f->commits;

        f->saves--;
        if (s->failed)
                log_event(LOG_WARN, "index.write_failed", "what=folder error=\"%s\"", s->err.what);
        else
                f->row.id = s->drop ? 0 : s->row.id;
        if (s->drop && f->removed)
                folder_free(f);
        else if (s->drop)
                folder_save(f); /* it came back meanwhile */
        else
                release(f);
        folder_row_done(&s->row);
        free(s);
        commits_pump(c);
}

static void start_save(struct folder *f, bool drop)
{
        struct save *s = calloc(1, sizeof(*s));

        if (!s || !copy_row(&s->row, &f->row)) {
                if (s)
                        folder_row_done(&s->row);
                free(s);
                return;
        }
        s->f = f;
        s->drop = drop;
        s->job = (struct loop_job){ .run = save_run, .after = save_after, .arg = s };
        f->saves++;
        loop_work(f->commits->d->loop, &s->job);
}

void folder_save(struct folder *f)
{
        start_save(f, false);
}

/* Nothing uses it any more: if it was removed, it goes. */
static void release(struct folder *f)
{
        if (f->removed && !in_use(f))
                start_save(f, true);
}

void folder_remove(struct folder *f)
{
        f->removed = true;
        f->queued = false;
        folder_watch(f, NULL, 0);
        if (f->round)
                round_cancel(f->round);
        else
                release(f);
}

/* ---- watching ---- */

static void on_change(void *arg)
{
        struct folder *f = arg;

        if (!f->changed_ms)
                f->changed_ms = clock_wall_ms();
}

void folder_watch(struct folder *f, char *const *directories, size_t n)
{
        struct loop_watch **fresh = n ? calloc(n, sizeof(struct loop_watch *)) : NULL;
        bool all = fresh != NULL;

        for (size_t i = 0; fresh && i < n; i++) {
                scoped(buf_done) struct buf path = BUF_INIT(16384);

                buf_add_fmt(&path, "%s%s%s", f->rule.folder, directories[i][0] ? "/" : "",
                            directories[i]);
                if (buf_ok(&path))
                        fresh[i] = loop_watch_start(f->commits->d->loop, path.ptr, on_change, f);
                all = all && fresh[i];
        }
        for (size_t i = 0; i < f->n_watches; i++)
                loop_watch_stop(&f->watches[i]);
        free(f->watches);
        f->watches = fresh;
        f->n_watches = fresh ? n : 0;
        f->watched = all;
}

/* ---- when ---- */

static bool is_same_repo(const struct folder *a, const struct folder *b)
{
        return a->kind == b->kind && strcmp(a->repo, b->repo) == 0;
}

/* Two folders of one repository take turns, so that neither moves the branch under the other. */
static bool may_begin(const struct commits *c, const struct folder *f)
{
        if (!f->queued || f->round || f->removed || !f->declared || !f->row.id || f->saves)
                return false;
        list_each (n, &c->folders) {
                const struct folder *other = list_entry(n, struct folder, node);

                if (other->round && is_same_repo(f, other))
                        return false;
        }
        return true;
}

void commits_pump(struct commits *c)
{
        list_each_safe (n, &c->folders) {
                struct folder *f = list_entry(n, struct folder, node);

                if (c->running == ROUNDS_AT_ONCE || !c->started)
                        return;
                if (!may_begin(c, f))
                        continue;
                round_begin(f);
                if (!f->round)
                        return;
                c->running++;
                /* Whoever waits the longest is next. */
                list_remove(&f->node);
                list_push_back(&c->folders, &f->node);
        }
}

static void on_tick(void *arg)
{
        struct commits *c = arg;
        bool is_offline = daemon_mode(c->d) == CONFIG_OFFLINE;
        int64_t now = clock_wall_ms(), n_folders = 0;

        if (c->stopping)
                return;
        list_each (n, &c->folders) {
                struct folder *f = list_entry(n, struct folder, node);

                n_folders += f->declared && !f->removed;
                if (f->declared && !f->row.paused && !f->round && !is_offline && now >= f->next_ms)
                        f->queued = true;
        }
        metrics_set(M_FOLDERS, n_folders);
        commits_pump(c);
}

static int64_t retry_ms(unsigned failures)
{
        int64_t ms = FIRST_RETRY_MS;

        while (--failures > 0 && ms < LAST_RETRY_MS)
                ms *= 2;
        return MIN(ms, (int64_t)LAST_RETRY_MS);
}

static const char *state_of(const json_t *result)
{
        const char *state = json_string_value(json_object_get(result, "state"));

        return state ? state : "";
}

/* Whoever follows events hears of rounds that committed something or ended in another way than the
 * one before. */
static void publish(const struct folder *f, const json_t *result, bool changed)
{
        static const char *const told[] = { "round", "files",    "bytes",  "commits",
                                            "error", "conflict", "skipped" };
        json_t *data;

        if (!changed && strcmp(state_of(f->last), state_of(result)) == 0)
                return;
        data = json_object();
        json_object_set_new(data, "repository", json_string(f->rule.repository));
        for (size_t i = 0; i < ARRAY_LEN(told); i++)
                json_object_set(data, told[i], json_object_get(result, told[i]));
        events_publish(f->commits->d->events, TOPIC_COMMIT, f->row.name, state_of(f->last),
                       state_of(result), data);
}

static void note_result(struct folder *f, json_t *result, bool failed, bool changed)
{
        const char *error = json_string_value(json_object_get(result, "error"));
        char text[300];

        if (failed)
                log_event(LOG_WARN, "commits.failed", "folder=%s error=%s", f->row.name,
                          log_escape(slice_str(error), text, sizeof(text)));
        metrics_add_by(M_FOLDER_ROUNDS,
                       failed                                      ? METRIC_ROUND_FAILED
                       : strcmp(state_of(result), "conflict") == 0 ? METRIC_ROUND_CONFLICT
                                                                   : METRIC_ROUND_DONE,
                       1);
        publish(f, result, changed);
        json_decref(f->last);
        f->last = result;
        free(f->row.last);
        f->row.last = text_of(result);
}

static void refused(const struct folder *f, const struct config_errors *errors)
{
        log_event(LOG_ERROR, "commits.refused", "folder=%s error=\"%s\"", f->row.name,
                  errors->n ? errors->lines[0] : "");
}

/* What it was told to be while its round went on. */
static void redefine(struct folder *f)
{
        struct config_errors errors = CONFIG_ERRORS_INIT;
        scoped(json_free) json_t *definition = take(f->pending);

        f->declared = define(f, definition, &errors);
        f->next_ms = 0;
        if (!f->declared)
                refused(f, &errors);
        config_errors_done(&errors);
}

void folder_round_over(struct folder *f, json_t *result, bool failed, bool changed)
{
        struct commits *c = f->commits;
        int64_t now = clock_wall_ms(), next = schedule_next(&f->rule.schedule, now);

        c->running--;
        f->ran = true;
        f->failures = failed ? f->failures + 1 : 0;
        f->next_ms = failed ? MIN(next, now + retry_ms(f->failures)) : next;
        if (result)
                note_result(f, result, failed, changed);
        if (f->pending)
                redefine(f);
        if (f->removed)
                release(f);
        else
                folder_save(f);
        commits_pump(c);
}

/* ---- rules ---- */

static void declare(struct commits *c, const struct commit_rule *rule)
{
        struct config_errors errors = CONFIG_ERRORS_INIT;
        scoped(json_free) json_t *definition = definition_of(rule);
        scoped(free_ptr) char *text = text_of(definition);
        struct folder *f = find_any(c, rule->name);

        if (f && f->declared && f->row.origin == FOLDER_CONFIG && !f->pending && text &&
            strcmp(f->row.definition, text) == 0)
                return;
        if (f) {
                f->removed = false;
                folder_watch(f, NULL, 0);
                if (f->round)
                        round_cancel(f->round);
        }
        put_folder(c, rule->name, FOLDER_CONFIG, definition, &errors);
        if (errors.fatal)
                log_event(LOG_ERROR, "commits.refused", "folder=%s error=\"%s\"", rule->name,
                          errors.n ? errors.lines[0] : "");
        config_errors_done(&errors);
}

static bool names(const struct workers_config *config, const char *name)
{
        for (size_t i = 0; config && i < config->n_commits; i++)
                if (strcmp(config->commits[i].name, name) == 0)
                        return true;
        return false;
}

void commits_set_rules(struct commits *c, const struct workers_config *config)
{
        /* What the configuration no longer names rests; its row stays, should it come back. */
        list_each (n, &c->folders) {
                struct folder *f = list_entry(n, struct folder, node);

                if (f->row.origin != FOLDER_CONFIG || !f->declared || names(config, f->row.name))
                        continue;
                f->declared = f->queued = false;
                json_decref(take(f->pending));
                folder_watch(f, NULL, 0);
                if (f->round)
                        round_cancel(f->round);
        }
        for (size_t i = 0; config && i < config->n_commits; i++)
                declare(c, &config->commits[i]);
}

/* ---- life ---- */

/* A row as a folder; by command it is in force, of the configuration only once that names it. */
static int load(struct commits *c, struct folder_row *row)
{
        struct folder *f = folder_new(c, row->name);
        struct config_errors errors = CONFIG_ERRORS_INIT;
        struct error ignored = { 0 };
        scoped(json_free) json_t *definition = json_read(slice_str(row->definition), &ignored);

        if (!f) {
                folder_row_done(row);
                return -1;
        }
        folder_row_done(&f->row);
        f->row = *row;
        f->last = f->row.last[0] ? json_read(slice_str(f->row.last), &ignored) : NULL;
        f->declared =
                definition && define(f, definition, &errors) && f->row.origin == FOLDER_COMMAND;
        if (!f->rule.name && f->row.origin == FOLDER_COMMAND)
                log_event(LOG_ERROR, "commits.refused", "folder=%s error=\"%s\"", f->row.name,
                          errors.n ? errors.lines[0] : "");
        config_errors_done(&errors);
        return 0;
}

int commits_new(struct daemon *d, struct commits **ret, struct error *err)
{
        struct commits *c = calloc(1, sizeof(*c));
        struct folder_row row;
        int64_t after = 0;
        int r;

        if (!c)
                return error_set(err, ERR_NOMEM, "no memory for folders");
        c->d = d;
        list_init(&c->folders);
        while ((r = index_next_folder(store_index(d->store), after, &row, err)) > 0) {
                after = row.id;
                if (load(c, &row) < 0)
                        r = error_set(err, ERR_NOMEM, "no memory for a folder");
                if (r < 0)
                        break;
        }
        *ret = c;
        if (r < 0)
                commits_free(ret);
        return r;
}

void commits_free(struct commits **cp)
{
        struct commits *c = take(*cp);

        if (!c)
                return;
        while (!list_empty(&c->folders))
                folder_free(list_entry(c->folders.next, struct folder, node));
        loop_timer_stop(&c->tick);
        free(c);
}

void commits_start(struct commits *c)
{
        c->started = true;
        loop_timer_start(c->d->loop, &c->tick, 0, TICK_MS, on_tick, c);
}

/* Whether a last round is worth it: something changed, or nobody would have heard of it. */
static bool has_news(const struct folder *f)
{
        return f->declared && !f->removed && !f->row.paused &&
               (!f->watched || f->changed_ms ||
                json_integer_value(json_object_get(f->last, "waiting")));
}

void commits_last_rounds(struct commits *c)
{
        bool is_away = daemon_mode(c->d) == CONFIG_OFFLINE || upstream_is_down(c->d->upstream);

        c->stopping = true;
        list_each (n, &c->folders) {
                struct folder *f = list_entry(n, struct folder, node);

                f->queued = has_news(f) && !is_away;
        }
        commits_pump(c);
}

/* A round that waits for the Hub to be back, or to have room, is not waited for. */
static bool rests(const struct round *r)
{
        return r->timer.loop || (r->errand && errand_waits(r->errand)[0]);
}

bool commits_idle(const struct commits *c)
{
        list_each (n, &c->folders) {
                const struct folder *f = list_entry(n, struct folder, node);

                if (f->saves || (f->round && !rests(f->round)) || (f->queued && f->declared))
                        return false;
        }
        return true;
}

void commits_stop(struct commits *c)
{
        c->stopping = true;
        list_each_safe (n, &c->folders) {
                struct folder *f = list_entry(n, struct folder, node);

                f->queued = false;
                folder_watch(f, NULL, 0);
                if (f->round && !f->round->cancelled)
                        round_cancel(f->round);
        }
}
