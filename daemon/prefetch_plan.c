#include "prefetch_plan.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/pattern.h"

enum {
        SMALL_BYTES = 8 << 20,
        BACKOFF_FIRST_MS = 2000,
        BACKOFF_MAX_MS = 300000,
        MEMBERS_MAX = 32,
        TEXT_MAX = 1 << 20,
        LISTED_MAX = 1000, /* of one member */
};

static const char *const state_words[] = {
#define X(id, word) [PREFETCH_##id] = word,
        PREFETCH_STATES(X)
#undef X
};

const char *prefetch_state_word(enum prefetch_state state)
{
        return state_words[state];
}

bool prefetch_is_over(enum prefetch_state state)
{
        return state == PREFETCH_DONE || state == PREFETCH_FAILED || state == PREFETCH_CANCELLED;
}

/* ---- kinds ---- */

static const unsigned types[REPO_KIND_MAX] = {
        [REPO_MODEL] = WORKERS_MODEL,
        [REPO_DATASET] = WORKERS_DATASET,
        [REPO_SPACE] = WORKERS_SPACE,
};
static const char *const type_words[REPO_KIND_MAX] = {
        [REPO_MODEL] = "model",
        [REPO_DATASET] = "dataset",
        [REPO_SPACE] = "space",
        [REPO_KERNEL] = "kernel",
};

unsigned prefetch_type_of_kind(enum repo_kind kind)
{
        return types[kind];
}

enum repo_kind prefetch_kind_of_prefix(const char *prefix)
{
        for (int k = 0; k < REPO_KIND_MAX; k++)
                if (strcmp(prefix, repo_kind_prefix((enum repo_kind)k)) == 0)
                        return (enum repo_kind)k;
        return REPO_MODEL;
}

static bool kind_of_type(struct slice word, enum repo_kind *ret)
{
        for (int k = 0; k < REPO_KIND_MAX; k++)
                if (slice_is(word, type_words[k])) {
                        *ret = (enum repo_kind)k;
                        return true;
                }
        return false;
}

/* ---- reading what is wanted ---- */

/* The members of a rule out of an object; what they point at lives as long as this. */
struct members {
        struct rule_member v[MEMBERS_MAX];
        size_t n;
        struct slice texts[MEMBERS_MAX]; /* of members with one value */
        struct slice *lists[MEMBERS_MAX];
        char numbers[MEMBERS_MAX][24];
        char *repository;
};

static void members_done(struct members *m)
{
        for (size_t i = 0; i < m->n; i++)
                free(m->lists[i]);
        free(m->repository);
}

static int take_list(struct members *m, const json_t *value, struct error *err)
{
        struct rule_member *to = &m->v[m->n];
        size_t n = json_array_size(value);
        struct slice *list = calloc(n + 1, sizeof(*list));

        if (!list || n > LISTED_MAX) {
                free(list);
                return error_set(err, ERR_BAD_REQUEST, SLICE_FMT " has too many values",
                                 SLICE_ARG(to->key));
        }
        m->lists[m->n] = list;
        for (size_t i = 0; i < n; i++) {
                const json_t *one = json_array_get(value, i);

                if (!json_is_string(one))
                        return error_set(err, ERR_BAD_REQUEST, SLICE_FMT " is a list of texts",
                                         SLICE_ARG(to->key));
                list[i] = slice_of(json_string_value(one), json_string_length(one));
        }
        to->values = list;
        to->n = n;
        to->is_list = true;
        return 0;
}

/* A member as the configuration file would hold it: a text, a number as text, or a list. */
static int take_member(struct members *m, const char *key, const json_t *value, struct error *err)
{
        struct rule_member *to = &m->v[m->n];
        int r = 0;

        if (m->n == MEMBERS_MAX - 1)
                return error_set(err, ERR_BAD_REQUEST, "too many members");
        *to = (struct rule_member){ .key = slice_str(key), .values = &m->texts[m->n], .n = 1 };
        m->lists[m->n] = NULL;
        if (json_is_string(value)) {
                m->texts[m->n] = slice_of(json_string_value(value), json_string_length(value));
        } else if (json_is_integer(value) && json_integer_value(value) >= 0) {
                snprintf(m->numbers[m->n], sizeof(m->numbers[0]), "%lld",
                         (long long)json_integer_value(value));
                m->texts[m->n] = slice_str(m->numbers[m->n]);
        } else if (json_is_array(value)) {
                r = take_list(m, value, err);
        } else {
                r = error_set(err, ERR_BAD_REQUEST, "%s is a text, a number or a list of texts",
                              key);
        }
        m->n++;
        return r;
}

/* `repository`, `type` and `revision` as one name: "datasets/acme/corpus@v2". */
static int take_repository(struct members *m, const json_t *object, struct error *err)
{
        struct slice id = json_text_of(object, "repository");
        struct slice type = json_text_of(object, "type");
        struct slice revision = json_text_of(object, "revision");
        struct buf text = BUF_INIT(4096);
        enum repo_kind kind = REPO_MODEL;

        if (!id.ptr)
                return type.ptr || revision.ptr
                               ? error_set(err, ERR_BAD_REQUEST, "of which repository?")
                               : 0;
        if (type.ptr && !kind_of_type(type, &kind))
                return error_set(err, ERR_BAD_REQUEST, "type is model, dataset or space");
        buf_add_str(&text, repo_kind_prefix(kind));
        buf_add(&text, id);
        if (revision.len) {
                buf_add_char(&text, '@');
                buf_add(&text, revision);
        }
        m->repository = buf_take(&text, NULL);
        if (!m->repository)
                return error_set(err, ERR_BAD_REQUEST, "the repository's name is too long");
        m->texts[m->n] = slice_str(m->repository);
        m->v[m->n] = (struct rule_member){
                .key = SLICE("repositories"), .values = &m->texts[m->n], .n = 1, .is_list = true
        };
        m->lists[m->n++] = NULL;
        return 0;
}

static bool is_own_member(const char *key)
{
        return strcmp(key, "repository") == 0 || strcmp(key, "type") == 0 ||
               strcmp(key, "revision") == 0 || strcmp(key, "follow") == 0;
}

static int read_members(struct members *m, const json_t *object, struct prefetch_wants *ret,
                        struct error *err)
{
        const char *key;
        json_t *value;

        json_object_foreach((json_t *)object, key, value)
        {
                if (strcmp(key, "follow") == 0 && !json_is_boolean(value))
                        return error_set(err, ERR_BAD_REQUEST, "follow is true or false");
                if (!is_own_member(key) && !json_is_null(value) &&
                    take_member(m, key, value, err) < 0)
                        return -1;
        }
        ret->follow = json_is_true(json_object_get(object, "follow"));
        return take_repository(m, object, err);
}

/* All that is wrong, as one sentence. */
static void join_errors(const struct config_errors *errors, struct error *err)
{
        struct buf text = BUF_INIT(sizeof(err->what));

        for (size_t i = 0; i < errors->n; i++) {
                buf_add_str(&text, i ? "; " : "");
                buf_add_str(&text, errors->lines[i]);
        }
        error_set(err, ERR_BAD_REQUEST, "%s", text.len ? text.ptr : "not what a prefetch can be");
        buf_done(&text);
}

int prefetch_wants_read(const char *name, const json_t *object, struct prefetch_wants *ret,
                        struct error *err)
{
        struct config_errors errors = CONFIG_ERRORS_INIT;
        struct members *m = calloc(1, sizeof(*m));
        int r;

        *ret = (struct prefetch_wants){ 0 };
        if (!m)
                return error_set(err, ERR_NOMEM, "no memory for a prefetch");
        r = read_members(m, object, ret, err);
        if (r == 0) {
                r = prefetch_rule_make(slice_str(*name ? name : "on-demand"), m->v, m->n,
                                       &ret->rule, &errors);
                if (r < 0)
                        join_errors(&errors, err);
        }
        members_done(m);
        free(m);
        config_errors_done(&errors);
        if (r == 0 && !*name) {
                free(ret->rule.name);
                ret->rule.name = slice_dup(SLICE(""));
                if (!ret->rule.name)
                        r = error_set(err, ERR_NOMEM, "no memory for a prefetch");
        }
        if (r < 0)
                prefetch_wants_done(ret);
        return r;
}

void prefetch_wants_done(struct prefetch_wants *w)
{
        prefetch_rule_done(&w->rule);
        *w = (struct prefetch_wants){ 0 };
}

int prefetch_wants_copy(const struct prefetch_wants *w, struct prefetch_wants *ret,
                        struct error *err)
{
        scoped(json_free) json_t *copy = prefetch_wants_write(w);

        *ret = (struct prefetch_wants){ 0 };
        if (!copy)
                return error_set(err, ERR_NOMEM, "no memory for a prefetch");
        return prefetch_wants_read(w->rule.name, copy, ret, err);
}

int prefetch_wants_of_rule(const struct prefetch_rule *rule, struct prefetch_wants *ret,
                           struct error *err)
{
        return prefetch_wants_copy(&(struct prefetch_wants){ .rule = *rule }, ret, err);
}

/* ---- writing ---- */

static json_t *list_json(const struct string_list *list)
{
        json_t *out = json_array();

        for (size_t i = 0; out && i < list->n; i++)
                json_array_append_new(out, json_string(list->v[i]));
        return out;
}

static json_t *types_json(unsigned wanted)
{
        json_t *out = json_array();

        for (int k = 0; out && k < REPO_KIND_MAX; k++)
                if (types[k] & wanted)
                        json_array_append_new(out, json_string(type_words[k]));
        return out;
}

static void put_list(json_t *to, const char *key, const struct string_list *list)
{
        if (list->n)
                json_object_set_new(to, key, list_json(list));
}

static void put_text(json_t *to, const char *key, const char *text)
{
        if (text && *text)
                json_object_set_new(to, key, json_string(text));
}

static void put_number(json_t *to, const char *key, uint64_t n)
{
        if (n)
                json_object_set_new(to, key, json_integer((json_int_t)n));
}

json_t *prefetch_wants_write(const struct prefetch_wants *w)
{
        const struct prefetch_rule *r = &w->rule;
        json_t *to = json_object();

        if (!to)
                return NULL;
        put_list(to, "repositories", &r->repositories);
        put_list(to, "organizations", &r->organizations);
        put_list(to, "collections", &r->collections);
        put_list(to, "searches", &r->searches);
        if (r->organizations.n || r->collections.n)
                json_object_set_new(to, "types", types_json(r->types));
        put_list(to, "include", &r->include);
        put_list(to, "exclude", &r->exclude);
        put_text(to, "schedule", r->schedule_text);
        put_text(to, "window", r->window_text);
        put_number(to, "bandwidth", r->bandwidth);
        json_object_set_new(to, "priority", json_integer(r->priority));
        put_number(to, "max_size", r->max_size);
        put_text(to, "pool", r->pool);
        if (w->follow)
                json_object_set_new(to, "follow", json_true());
        return to;
}

static int compare_texts(const void *a, const void *b)
{
        return strcmp(*(char *const *)a, *(char *const *)b);
}

static void add_sorted(struct buf *out, const char *name, const struct string_list *list)
{
        char **v = calloc(list->n + 1, sizeof(*v));

        if (!v) {
                buf_add_str(out, "?");
                return;
        }
        for (size_t i = 0; i < list->n; i++)
                v[i] = list->v[i];
        qsort(v, list->n, sizeof(*v), compare_texts);
        buf_add_str(out, name);
        for (size_t i = 0; i < list->n; i++) {
                buf_add_char(out, '\n');
                buf_add_str(out, v[i]);
        }
        buf_add_char(out, '\n');
        free(v);
}

void prefetch_identity(const struct prefetch_wants *w, struct buf *out)
{
        const struct prefetch_rule *r = &w->rule;

        if (*r->name) {
                buf_add_fmt(out, "rule %s", r->name);
                return;
        }
        add_sorted(out, "repositories", &r->repositories);
        add_sorted(out, "organizations", &r->organizations);
        add_sorted(out, "collections", &r->collections);
        add_sorted(out, "searches", &r->searches);
        add_sorted(out, "include", &r->include);
        add_sorted(out, "exclude", &r->exclude);
}

static void add_names(struct buf *out, const char *before, const struct string_list *list)
{
        for (size_t i = 0; i < list->n && i < 3; i++)
                buf_add_fmt(out, "%s%s%s", out->len ? ", " : "", before, list->v[i]);
        if (list->n > 3)
                buf_add_fmt(out, " and %zu more", list->n - 3);
}

void prefetch_title(const struct prefetch_wants *w, struct buf *out)
{
        add_names(out, "", &w->rule.repositories);
        add_names(out, "all of ", &w->rule.organizations);
        add_names(out, "collection ", &w->rule.collections);
        add_names(out, "search ", &w->rule.searches);
}

/* ---- deciding ---- */

bool prefetch_wants_path(const struct prefetch_wants *w, const char *path)
{
        const struct prefetch_rule *r = &w->rule;

        return patterns_allow(r->include.v, r->include.n, r->exclude.v, r->exclude.n, path);
}

enum prefetch_pass prefetch_pass_of(uint64_t size)
{
        return size <= SMALL_BYTES ? PASS_SMALL : PASS_LARGE;
}

int64_t prefetch_backoff_ms(unsigned n)
{
        int64_t ms = BACKOFF_FIRST_MS;

        for (unsigned i = 1; i < n && ms < BACKOFF_MAX_MS; i++)
                ms *= 2;
        return MIN(ms, (int64_t)BACKOFF_MAX_MS);
}

int64_t prefetch_next_run(const struct prefetch_wants *w, int64_t now_ms, int64_t follow_ms)
{
        if (w->rule.schedule.kind != SCHEDULE_NEVER) {
                int64_t next = schedule_next(&w->rule.schedule, now_ms);

                return next == INT64_MAX ? 0 : next;
        }
        return w->follow ? now_ms + follow_ms : 0;
}

/* ---- listings ---- */

int prefetch_read_listing(struct slice json, enum repo_kind kind, prefetch_repo_fn fn, void *arg,
                          struct error *err)
{
        scoped(json_free) json_t *list = json_read(json, err);

        if (!list)
                return -1;
        if (!json_is_array(list))
                return error_set(err, ERR_UPSTREAM_BROKEN, "upstream's listing is no list");
        for (size_t i = 0; i < json_array_size(list); i++) {
                struct slice id = json_text_of(json_array_get(list, i), "id");

                if (id.len && repo_id_valid(id) && fn(arg, kind, id) < 0)
                        return error_set(err, ERR_TOO_LARGE, "too many repositories");
        }
        return 0;
}

int prefetch_read_collection(struct slice json, unsigned wanted, prefetch_repo_fn fn, void *arg,
                             struct error *err)
{
        scoped(json_free) json_t *document = json_read(json, err);
        const json_t *items;

        if (!document)
                return -1;
        items = json_object_get(document, "items");
        if (!json_is_array(items))
                return error_set(err, ERR_UPSTREAM_BROKEN, "upstream's collection has no items");
        for (size_t i = 0; i < json_array_size(items); i++) {
                const json_t *item = json_array_get(items, i);
                struct slice id = json_text_of(item, "id");
                enum repo_kind kind;

                /* Papers and the like are items too. */
                if (!kind_of_type(json_text_of(item, "type"), &kind) || !(types[kind] & wanted) ||
                    !repo_id_valid(id))
                        continue;
                if (fn(arg, kind, id) < 0)
                        return error_set(err, ERR_TOO_LARGE, "too many repositories");
        }
        return 0;
}

bool prefetch_search_kind(struct slice search, enum repo_kind *ret_kind, uint64_t *ret_limit)
{
        size_t at = slice_find(search, '?');
        struct slice word = slice_cut(search, at), rest = slice_skip(search, at + 1), pair;

        *ret_limit = 0;
        while (rest.len && slice_split(&rest, '&', &pair)) {
                if (!slice_starts(pair, SLICE("limit=")))
                        continue;
                pair = slice_skip(pair, 6);
                for (size_t i = 0; i < pair.len && i < 9; i++)
                        if (pair.ptr[i] >= '0' && pair.ptr[i] <= '9')
                                *ret_limit = *ret_limit * 10 + (uint64_t)(pair.ptr[i] - '0');
        }
        for (int k = 0; k < REPO_KIND_MAX; k++)
                if (slice_is(word, repo_kind_api((enum repo_kind)k))) {
                        *ret_kind = (enum repo_kind)k;
                        return true;
                }
        return false;
}
