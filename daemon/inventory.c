#include "inventory.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "api.h"
#include "base/clock.h"
#include "daemon.h"
#include "hot.h"
#include "index_inventory.h"
#include "log.h"
#include "metrics.h"
#include "store.h"

enum {
        REPOS_PAGE = 100,
        PIECE_BYTES = 64 << 20, /* of a verification */
        PIECE_FILES = 256,      /* of what is dropped */
        BAD_LISTED_MAX = 100,
        REVISION_MAX = 200,
};

/* ---- names ---- */

/* "datasets/acme/corpus@v2" as the index has it. */
struct place {
        int kind;
        char name[200];
        char revision[REVISION_MAX + 1]; /* "" if not said */
        struct repo_row repo;
        struct commit_row commit;
        char sha[41];
};

static bool copy(char *to, size_t size, struct slice text)
{
        if (text.len >= size)
                return false;
        if (text.len)
                memcpy(to, text.ptr, text.len);
        to[text.len] = '\0';
        return true;
}

static bool place_parse(struct slice text, struct place *ret)
{
        struct slice id = text, revision = SLICE_NONE;
        size_t at = slice_find(text, '@');

        *ret = (struct place){ .kind = REPO_MODEL };
        if (at < text.len) {
                id = slice_cut(text, at);
                revision = slice_skip(text, at + 1);
                if (!revision.len)
                        return false;
        }
        for (int k = 0; k < REPO_KIND_MAX; k++) {
                struct slice prefix = slice_str(repo_kind_prefix((enum repo_kind)k));

                if (prefix.len && slice_starts(id, prefix)) {
                        ret->kind = k;
                        id = slice_skip(id, prefix.len);
                        break;
                }
        }
        return id.len && copy(ret->name, sizeof(ret->name), id) &&
               copy(ret->revision, sizeof(ret->revision), revision);
}

/* 1 if the index knows the repository, 0 if not, -1. */
static int place_find_repo(struct index *ix, struct place *p, struct error *err)
{
        int64_t ignored;

        return index_find_repo(ix, p->kind, slice_str(p->name), &p->repo, &ignored, err);
}

/* 1 if the index knows the commit that the revision names ("main" if none). */
static int place_find_commit(struct index *ix, struct place *p, struct error *err)
{
        struct slice revision = slice_str(p->revision[0] ? p->revision : "main");
        int64_t ignored;
        int r = index_find_ref(ix, p->repo.id, revision, p->sha, &ignored, err);

        if (r < 0)
                return -1;
        if (r == 0) {
                if (!commit_id_valid(revision))
                        return 0;
                copy(p->sha, sizeof(p->sha), revision);
        }
        return index_find_commit(ix, p->repo.id, slice_str(p->sha), &p->commit, err);
}

static json_t *full_name(int kind, const char *name)
{
        return json_sprintf("%s%s", repo_kind_prefix((enum repo_kind)kind), name);
}

static json_t *number(uint64_t n)
{
        return json_integer((json_int_t)MIN(n, (uint64_t)INT64_MAX));
}

/* ---- repositories ---- */

struct listing {
        int64_t after;
        struct repo_row rows[REPOS_PAGE];
        struct repo_usage usage[REPOS_PAGE];
        size_t n;
        int result;
        struct error err;
};

static const char *const visibilities[] = {
        [VIS_UNKNOWN] = "unknown", [VIS_PUBLIC] = "public", [VIS_GATED] = "gated",
        [VIS_PRIVATE] = "private", [VIS_GONE] = "gone",
};

static void list_run(void *arg)
{
        struct request *r = arg;
        struct listing *l = r->api;
        struct index *ix = store_index(r->d->store);

        l->result = index_list_repos(ix, l->after, l->rows, REPOS_PAGE, &l->n, &l->err);
        for (size_t i = 0; i < l->n && l->result >= 0; i++)
                l->result = index_repo_usage(ix, l->rows[i].id, &l->usage[i], &l->err);
}

static json_t *repo_json(const struct repo_row *row, const struct repo_usage *u)
{
        return json_pack("{s:o, s:s, s:o, s:o, s:o, s:o, s:o, s:I}", "repository",
                         full_name(row->kind, row->name), "visibility",
                         visibilities[row->visibility], "commits", number(u->commits), "listed",
                         number(u->listed), "files", number(u->blobs), "bytes", number(u->bytes),
                         "pins", number(u->pins), "used_at", (json_int_t)u->used_at);
}

static void list_after(void *arg)
{
        struct request *r = arg;
        const struct listing *l = r->api;
        json_t *list, *doc;

        if (l->result < 0) {
                api_fail_with(r, &l->err);
                return;
        }
        list = json_array();
        for (size_t i = 0; i < l->n; i++)
                /* What is only a name is nothing that is here. */
                if (l->usage[i].commits || l->usage[i].blobs)
                        json_array_append_new(list, repo_json(&l->rows[i], &l->usage[i]));
        doc = json_pack("{s:o}", "repositories", list);
        if (l->n == REPOS_PAGE)
                json_object_set_new(doc, "next", json_integer(l->rows[l->n - 1].id));
        api_answer(r, 200, doc);
}

static void list_repos(const struct api_call *call)
{
        struct request *r = call->request;
        scoped(buf_done) struct buf after = BUF_INIT(32);
        struct error ignored = { 0 };
        struct listing *l = calloc(1, sizeof(*l));

        r->api = l;
        if (!l) {
                api_fail(r, 503, "no memory");
                return;
        }
        if (query_find(call->query, "after", &after, &ignored) > 0)
                l->after = strtoll(after.ptr, NULL, 10);
        request_work(r, list_run, list_after);
}

/* ---- pins ---- */

struct pinning {
        struct place place;
        uint64_t files;
        int result;
        struct error err;
        bool no_repo, no_commit, no_list;
};

/* The place that a body names, in r->api; NULL, and answered, if it names none. */
static struct pinning *pinning_of(const struct api_call *call)
{
        struct request *r = call->request;
        struct pinning *p;

        if (!call->body || !json_is_string(json_object_get(call->body, "repository"))) {
                api_fail(r, 400, "the body must say which \"repository\"");
                return NULL;
        }
        if (!api_knows(call, "repository"))
                return NULL;
        p = r->api = calloc(1, sizeof(*p));
        if (!p) {
                api_fail(r, 503, "no memory");
                return NULL;
        }
        if (place_parse(json_text_of(call->body, "repository"), &p->place))
                return p;
        api_fail(r, 400, "a repository is named like acme/bert, datasets/acme/corpus@v2");
        return NULL;
}

static void pin_run(void *arg)
{
        struct request *r = arg;
        struct pinning *p = r->api;
        struct index *ix = store_index(r->d->store);

        p->result = place_find_repo(ix, &p->place, &p->err);
        p->no_repo = p->result == 0;
        if (p->result <= 0)
                return;
        p->result = place_find_commit(ix, &p->place, &p->err);
        p->no_commit = p->result == 0;
        if (p->result <= 0)
                return;
        p->no_list = p->place.commit.completeness < TREE_FILES;
        if (!p->no_list)
                p->result = index_pin(ix, p->place.repo.id, p->place.commit.id, clock_wall_ms(),
                                      &p->files, &p->err);
}

/* True if it was answered. */
static bool pin_failed(struct request *r, const struct pinning *p)
{
        if (p->result < 0)
                api_fail_with(r, &p->err);
        else if (p->no_repo)
                api_fail(r, 404, "no repository of that name is known here");
        else if (p->no_commit)
                api_fail(r, 404, "no commit of that revision is known here");
        else if (p->no_list)
                api_fail(r, 409, "the files of that commit are not all known: prefetch it first");
        else
                return false;
        return true;
}

static void pin_after(void *arg)
{
        struct request *r = arg;
        const struct pinning *p = r->api;

        if (!pin_failed(r, p))
                api_answer(r, 200,
                           json_pack("{s:o, s:s, s:o}", "repository",
                                     full_name(p->place.repo.kind, p->place.repo.name), "commit",
                                     p->place.sha, "files", number(p->files)));
}

static void pin(const struct api_call *call)
{
        if (pinning_of(call))
                request_work(call->request, pin_run, pin_after);
}

static void unpin_run(void *arg)
{
        struct request *r = arg;
        struct pinning *p = r->api;
        struct index *ix = store_index(r->d->store);

        p->result = place_find_repo(ix, &p->place, &p->err);
        p->no_repo = p->result == 0;
        if (p->result <= 0)
                return;
        if (p->place.revision[0]) {
                p->result = place_find_commit(ix, &p->place, &p->err);
                p->no_commit = p->result == 0;
                if (p->result <= 0)
                        return;
        }
        p->result = index_unpin(ix, p->place.repo.id, p->place.commit.id, &p->err);
}

static void unpin_after(void *arg)
{
        struct request *r = arg;
        const struct pinning *p = r->api;

        if (pin_failed(r, p))
                return;
        if (p->result)
                api_answer(r, 200, json_pack("{s:b}", "unpinned", 1));
        else
                api_fail(r, 404, "it was not pinned");
}

static void unpin(const struct api_call *call)
{
        if (pinning_of(call))
                request_work(call->request, unpin_run, unpin_after);
}

static void pins_run(void *arg)
{
        struct request *r = arg;
        struct pin_row *rows = NULL;
        size_t n = 0;

        /* The request frees them, whether or not it is still waiting. */
        r->made_result = index_list_pins(store_index(r->d->store), &rows, &n, &r->err);
        if (r->made_result == 0)
                r->made_result = (int)n;
        r->api = rows;
}

static void pins_after(void *arg)
{
        struct request *r = arg;
        const struct pin_row *rows = r->api;
        json_t *list;

        if (r->made_result < 0) {
                api_fail_with(r, &r->err);
                return;
        }
        list = json_array();
        for (int i = 0; i < r->made_result; i++)
                json_array_append_new(
                        list, json_pack("{s:o, s:s, s:o, s:o, s:I}", "repository",
                                        full_name(rows[i].kind, rows[i].name), "commit",
                                        rows[i].commit, "files", number(rows[i].files), "here",
                                        number(rows[i].here), "at", (json_int_t)rows[i].at));
        api_answer(r, 200, json_pack("{s:o}", "pins", list));
}

static void list_pins(const struct api_call *call)
{
        request_work(call->request, pins_run, pins_after);
}

/* ---- tasks ---- */

enum task_kind { TASK_NONE, TASK_GC, TASK_PURGE, TASK_VERIFY };
static const char *const task_words[] = { "", "gc", "purge", "verify" };

enum task_state { TASK_RUNNING, TASK_DONE, TASK_FAILED, TASK_CANCELLED };
static const char *const task_states[] = { "running", "done", "failed", "cancelled" };

struct inventory {
        struct daemon *d;
        bool stopping, busy, cancelled;
        struct loop_job job;

        /* Of the worker while it is busy. */
        enum task_kind kind;
        struct place place;
        bool found;
        struct scrub *scrub;
        struct digest *list; /* to be dropped */
        size_t n_list, at;
        bool listed;
        int result; /* 1: there is more */
        struct error err;

        /* Of the loop. */
        enum task_state state;
        int64_t begun_ms, ended_ms; /* wall clock */
        uint64_t files, bytes, total_files, total_bytes, n_bad;
        char bad[BAD_LISTED_MAX][DIGEST_TEXT_MAX];
        struct digest last_bad;
        uint64_t seen_files, seen_bytes; /* by the worker */
        uint64_t all_files, all_bytes;
};

static void verify_piece(struct inventory *i)
{
        struct store_usage usage;

        if (!i->scrub) {
                store_usage(i->d->store, &usage);
                i->all_files = usage.blobs;
                i->all_bytes = usage.blob_bytes;
                i->result = scrub_new(i->d->store, NULL, &i->scrub, &i->err);
                if (i->result < 0)
                        return;
        }
        i->result = scrub_step(i->scrub, PIECE_BYTES, &i->last_bad, &i->err);
        /* A file that cannot be read now is not known to be damaged: on with the next one. */
        if (i->result < 0 && i->err.kind == ERR_IO)
                i->result = 1;
        scrub_counts(i->scrub, &i->seen_files, &i->seen_bytes);
}

/* What is to go; for a purge its rows go first, so that nobody is led to what is being dropped. */
static int find_list(struct inventory *i)
{
        struct index *ix = store_index(i->d->store);
        int64_t repo = 0;

        if (i->kind == TASK_PURGE) {
                int r = place_find_repo(ix, &i->place, &i->err);

                if (r <= 0)
                        return r < 0 ? -1 : 0;
                i->found = true;
                repo = i->place.repo.id;
        }
        if (index_own_blobs(ix, repo, &i->list, &i->n_list, &i->err) < 0 ||
            (repo && index_purge_repo(ix, repo, &i->err) < 0))
                return -1;
        i->all_files = i->n_list;
        return 1;
}

static void drop_piece(struct inventory *i)
{
        if (!i->listed) {
                i->listed = true;
                i->result = find_list(i);
                return;
        }
        for (size_t n = 0; n < PIECE_FILES && i->at < i->n_list; n++) {
                if (store_drop_blob(i->d->store, &i->list[i->at++], &i->err) < 0) {
                        i->result = -1;
                        return;
                }
                i->seen_files++;
        }
        i->result = i->at < i->n_list;
}

static void piece_run(void *arg)
{
        struct inventory *i = arg;

        i->last_bad.algo = DIGEST_NONE;
        if (i->kind == TASK_VERIFY)
                verify_piece(i);
        else
                drop_piece(i);
}

static void end_task(struct inventory *i, enum task_state state)
{
        i->state = state;
        i->ended_ms = clock_wall_ms();
        scrub_free(&i->scrub);
        free(take(i->list));
        log_event(state == TASK_FAILED ? LOG_WARN : LOG_INFO, "task.ended",
                  "task=%s state=%s files=%llu bytes=%llu bad=%llu", task_words[i->kind],
                  task_states[state], (unsigned long long)i->files, (unsigned long long)i->bytes,
                  (unsigned long long)i->n_bad);
}

static void next_piece(struct inventory *i);

static void piece_after(void *arg)
{
        struct inventory *i = arg;

        i->busy = false;
        i->files = i->seen_files;
        i->bytes = i->seen_bytes;
        i->total_files = i->all_files;
        i->total_bytes = i->all_bytes;
        if (i->last_bad.algo != DIGEST_NONE) {
                metrics_add(M_CORRUPT_BLOBS, 1);
                log_event(LOG_WARN, "blob.corrupt", "digest=%s by=verify",
                          DIGEST_STR(&i->last_bad));
                if (i->n_bad < BAD_LISTED_MAX)
                        digest_format(&i->last_bad, i->bad[i->n_bad]);
                i->n_bad++;
        }
        /* Answers in memory were made of rows that have gone. */
        if (i->kind == TASK_PURGE && i->found && i->at == 0)
                hot_drop_all(i->d->hot);
        if (i->result < 0)
                end_task(i, TASK_FAILED);
        else if (i->result == 0)
                end_task(i, TASK_DONE);
        else if (i->cancelled || i->stopping)
                end_task(i, TASK_CANCELLED);
        else
                next_piece(i);
}

static void next_piece(struct inventory *i)
{
        i->busy = true;
        i->job.run = piece_run;
        i->job.after = piece_after;
        i->job.arg = i;
        loop_work(i->d->loop, &i->job);
}

static void begin_task(struct inventory *i, enum task_kind kind, const struct place *place)
{
        i->kind = kind;
        i->place = *place;
        i->found = i->listed = i->cancelled = false;
        i->at = i->n_list = 0;
        i->files = i->bytes = i->total_files = i->total_bytes = i->n_bad = 0;
        i->seen_files = i->seen_bytes = i->all_files = i->all_bytes = 0;
        error_clear(&i->err);
        i->state = TASK_RUNNING;
        i->begun_ms = clock_wall_ms();
        i->ended_ms = 0;
        next_piece(i);
}

static json_t *task_json(const struct inventory *i)
{
        json_t *doc, *bad = json_array();

        for (size_t n = 0; n < MIN(i->n_bad, (uint64_t)BAD_LISTED_MAX); n++)
                json_array_append_new(bad, json_string(i->bad[n]));
        doc = json_pack("{s:s, s:s, s:o, s:o, s:o, s:o, s:o, s:o, s:I, s:I}", "task",
                        task_words[i->kind], "state", task_states[i->state], "files",
                        number(i->files), "bytes", number(i->bytes), "total_files",
                        number(i->total_files), "total_bytes", number(i->total_bytes), "damaged",
                        number(i->n_bad), "damaged_files", bad, "begun_at", (json_int_t)i->begun_ms,
                        "ended_at", (json_int_t)i->ended_ms);
        if (i->kind == TASK_PURGE) {
                json_object_set_new(doc, "repository", full_name(i->place.kind, i->place.name));
                json_object_set_new(doc, "found", json_boolean(i->found));
        }
        if (i->state == TASK_FAILED)
                json_object_set_new(doc, "error", json_string(i->err.what));
        return doc;
}

static void show_task(const struct api_call *call)
{
        const struct inventory *i = call->request->d->inventory;

        if (i->kind == TASK_NONE)
                api_fail(call->request, 404, "no task was begun since the start");
        else
                api_answer(call->request, 200, task_json(i));
}

static enum task_kind kind_named(struct slice word)
{
        for (size_t k = TASK_GC; k < ARRAY_LEN(task_words); k++)
                if (slice_is(word, task_words[k]))
                        return (enum task_kind)k;
        return TASK_NONE;
}

static void start_task(const struct api_call *call)
{
        struct request *r = call->request;
        struct inventory *i = r->d->inventory;
        enum task_kind kind = call->body ? kind_named(json_text_of(call->body, "task")) : TASK_NONE;
        struct place place = { 0 };

        if (kind == TASK_NONE) {
                api_fail(r, 400, "the body must say which \"task\": gc, purge, verify");
                return;
        }
        if (!api_knows(call, kind == TASK_PURGE ? "task repository" : "task"))
                return;
        if (kind == TASK_PURGE &&
            (!place_parse(json_text_of(call->body, "repository"), &place) || place.revision[0])) {
                api_fail(r, 400, "the body must name a whole \"repository\"");
                return;
        }
        if (i->busy || i->stopping) {
                api_fail(r, 409, "the task %s is running", task_words[i->kind]);
                return;
        }
        begin_task(i, kind, &place);
        api_answer(r, 202, task_json(i));
}

static void cancel_task(const struct api_call *call)
{
        struct inventory *i = call->request->d->inventory;

        if (!i->busy) {
                api_fail(call->request, 404, "no task is running");
                return;
        }
        i->cancelled = true;
        api_answer(call->request, 202, task_json(i));
}

int inventory_new(struct daemon *d, struct inventory **ret, struct error *err)
{
        struct inventory *i = calloc(1, sizeof(*i));

        if (!i)
                return error_set(err, ERR_NOMEM, "no memory for an inventory");
        i->d = d;
        *ret = i;
        return 0;
}

void inventory_free(struct inventory **ii)
{
        struct inventory *i = take(*ii);

        if (!i)
                return;
        scrub_free(&i->scrub);
        free(i->list);
        free(i);
}

bool inventory_stop(struct inventory *i)
{
        i->stopping = true;
        return !i->busy;
}

static const struct api_row rows[] = {
        { HTTP_GET, "repos", API_ADMIN, list_repos },
        { HTTP_GET, "pins", API_ADMIN, list_pins },
        { HTTP_POST, "pins", API_ADMIN, pin },
        { HTTP_DELETE, "pins", API_ADMIN, unpin },
        { HTTP_GET, "tasks", API_ADMIN, show_task },
        { HTTP_POST, "tasks", API_ADMIN, start_task },
        { HTTP_DELETE, "tasks", API_ADMIN, cancel_task },
};

const struct api_table inventory_api = { rows, ARRAY_LEN(rows) };
