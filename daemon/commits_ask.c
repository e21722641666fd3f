/*
 * What a round asks before it uploads: where the branch is, how each file is to be uploaded and
 * what is at its path, and whether a card is valid.  The repository is made if there is none.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "commits_impl.h"
#include "daemon.h"
#include "hub_error.h"
#include "log.h"
#include "model.h"
#include "upstream.h"

/* ---- the repository ---- */

static void again_head(struct round *r)
{
        round_ask_head(r, r->with_head);
}

static void made_untrue(void *arg)
{
        struct round *r = arg;

        r->working = false;
        if (r->cancelled)
                round_finish(r);
        else
                again_head(r);
}

/* Nobody shall be told any more that there is none. */
static void forget_absence(struct round *r)
{
        r->outdate = (struct outdate){ .what = UNTRUE_GONE | UNTRUE_LISTS };
        outdate_add_repo(&r->outdate, r->f->kind, slice_str(r->f->repo));
        r->working = true;
        outdate_run(r->d, &r->outdate, made_untrue, r);
}

static void create(struct round *r);

static void on_created(void *arg, const struct errand_answer *a)
{
        struct round *r = arg;
        bool is_busy = a->status == 409 && a->body.len &&
                       memmem(a->body.ptr, a->body.len, "conflicting", 11);

        r->errand = NULL;
        round_audit(r, HUB_REPO_CREATE, a);
        if (is_busy && ++r->attempts < ATTEMPTS_MAX) {
                round_say_refused(r, a, "the repository cannot be made");
                round_wait(r, upstream_backoff_ms(r->attempts), create);
                return;
        }
        r->created = true;
        /* It exists: somebody was faster; or nobody knows. */
        if (answer_is_good(a) || a->status == 409 || a->err->kind == ERR_UNCERTAIN) {
                if (answer_is_good(a))
                        log_event(LOG_INFO, "commits.created", "folder=%s repository=%s%s",
                                  r->f->row.name, repo_kind_prefix(r->f->kind), r->f->repo);
                forget_absence(r);
                return;
        }
        round_refused(r, a, "the repository cannot be made");
}

static const char *round_type_word(enum repo_kind kind)
{
        return kind == REPO_DATASET ? "dataset" : kind == REPO_SPACE ? "space" : "model";
}

static void create(struct round *r)
{
        scoped(buf_done) struct buf body = BUF_INIT(4096);
        struct errand_spec spec = {
                .method = HTTP_POST,
                .target = SLICE("/api/repos/create"),
                .content_type = SLICE("application/json"),
                .account = folder_account(r->f, CONFIG_VERB_REPO),
        };

        r->step = "making the repository";
        create_write(round_type_word(r->f->kind), slice_str(r->f->repo), r->f->rule.is_private,
                     &body);
        spec.body = buf_slice(&body);
        round_errand(r, &spec, on_created);
}

static void on_head(void *arg, const struct errand_answer *a)
{
        struct round *r = arg;
        struct error err = { 0 };
        scoped(json_free) json_t *root = NULL;
        struct slice sha;
        enum hub_verdict verdict;

        r->errand = NULL;
        if (error_is_set(a->err)) {
                round_refused(r, a, "the branch cannot be asked for");
                return;
        }
        verdict = hub_verdict(a->status, errand_answer_header(a, "x-error-code"),
                              errand_answer_header(a, "x-error-message"));
        if (verdict == HUB_NO_REVISION) {
                round_fail(r, "the repository has no branch %s", r->f->rule.revision);
                return;
        }
        if (verdict == HUB_NO_REPO && !r->f->row.repo_known && !r->created) {
                create(r);
                return;
        }
        if (!answer_is_good(a)) {
                round_refused(r, a, "the repository cannot be read");
                return;
        }
        root = json_read(a->body, &err);
        sha = json_text_of(root, "sha");
        if (!commit_id_valid(sha)) {
                round_fail(r, "the Hub does not say where the branch is");
                return;
        }
        snprintf(r->head, sizeof(r->head), SLICE_FMT, SLICE_ARG(sha));
        r->f->row.repo_known = true;
        r->with_head(r);
}

/* Where the branch is, or was a moment ago; makes the repository if there is none. */
void round_ask_head(struct round *r, void (*with_head)(struct round *r))
{
        struct buf target = BUF_INIT(4096);

        r->step = "asking where the branch is";
        r->with_head = with_head;
        round_target(r, "revision", round_revision(r), &target);
        buf_add_str(&target, "?expand=sha");
        round_question(r, &target, NULL, NULL, on_head);
}

/* ---- what is there ---- */

void round_ask_paths(struct round *r, json_t *paths, errand_fn fn)
{
        struct buf target = BUF_INIT(4096), body = BUF_INIT(4 << 20);
        scoped(json_free) json_t *root = json_object();

        json_object_set_new(root, "paths", paths);
        json_object_set_new(root, "expand", json_false());
        json_write(root, &body);
        round_target(r, "paths-info", slice_str(r->head), &target);
        round_question(r, &target, &body, "application/json", fn);
}

void round_add_row(struct round *r, const struct item *i)
{
        struct folder_file *row = &r->rows[r->n_rows++];

        *row = i->change->file;
        row->mtime_ns = item_stamp(r, row);
        row->digest = item_digest(i)->algo ? *item_digest(i) : i->sha256;
}

static void forget_later(struct round *r, size_t from)
{
        r->next -= r->n_items - from;
        for (size_t i = from; i < r->n_items; i++) {
                free(r->items[i].target);
                free(r->items[i].text);
                r->items[i] = (struct item){ 0 };
        }
        r->n_items = from;
}

/* As many as fit into one commit; the rest is for the next one. */
static void cut_portion(struct round *r)
{
        uint64_t bytes = 0;

        for (size_t i = 0; i < r->n_items; i++) {
                if (r->items[i].out || r->items[i].verdict.is_lfs ||
                    r->items[i].change->file.size > INLINE_FILE_MAX ||
                    item_matches(&r->items[i], r->items[i].verdict.oid))
                        continue;
                bytes += r->items[i].change->file.size;
                if (bytes > INLINE_COMMIT_MAX) {
                        forget_later(r, i);
                        return;
                }
        }
}

static void settle(struct round *r)
{
        size_t n = 0;

        for (size_t i = 0; i < r->n_items; i++) {
                struct item *one = &r->items[i];

                if (one->out || !one->contested)
                        continue;
                if (!one->is_continued) {
                        folder_note(&r->notes, NOTE_CONFLICT, slice_str(one->change->file.path),
                                    "somebody else changed it in the repository: give one of both "
                                    "another name, or delete the one there");
                        one->out = true;
                }
        }
        for (size_t i = 0; i < r->n_items; i++)
                n += !r->items[i].out;
        if (n)
                round_batch(r);
        else
                round_pass_on(r);
}

static void prefixes_read(struct round *r)
{
        if (r->reading.more) {
                round_work(r, round_read, prefixes_read);
                return;
        }
        reading_done(&r->reading);
        settle(r);
}

static int note_size(void *arg, const struct tree_entry *entry, struct error *err)
{
        struct round *r = arg;

        (void)err;
        for (size_t i = 0; i < r->n_items; i++)
                if (r->items[i].contested && slice_is(entry->path, r->items[i].target) &&
                    entry->type == ENTRY_FILE && entry->size != UINT64_MAX)
                        r->items[i].remote_size = entry->size;
        return 0;
}

static void on_sizes(void *arg, const struct errand_answer *a)
{
        struct round *r = arg;
        struct error err = { 0 };

        r->errand = NULL;
        if (!answer_is_good(a)) {
                round_refused(r, a, "what is in the repository cannot be asked for");
                return;
        }
        if (tree_parse(a->body, note_size, r, &err) < 0) {
                round_fail(r, "%s", err.what);
                return;
        }
        r->reading = (struct reading){ .fd = -1, .prefixes = true };
        round_work(r, round_read, prefixes_read);
}

/* Is what stands there the beginning of what we have?  Then it goes on, as with a log that another
 * program has committed so far. */
static void ask_sizes(struct round *r)
{
        json_t *paths = json_array();

        r->step = "comparing with the repository";
        for (size_t i = 0; i < r->n_items; i++)
                if (!r->items[i].out && r->items[i].contested)
                        json_array_append_new(paths, json_string(r->items[i].target));
        if (json_array_size(paths)) {
                round_ask_paths(r, paths, on_sizes);
                return;
        }
        json_decref(paths);
        settle(r);
}

static bool is_ours(const struct round *r, const struct item *i)
{
        struct slice there = slice_str(i->verdict.oid);

        if (i->change->committed.algo && slice_is(there, DIGEST_STR(&i->change->committed)))
                return true;
        return slice_eq(json_text_of(r->earlier, i->target), there);
}

static void judge(struct round *r, struct item *i)
{
        struct slice path = slice_str(i->change->file.path);
        const char *there = i->verdict.oid;

        i->contested = i->is_continued = false;
        i->remote_size = 0;
        if (i->verdict.is_ignored) {
                folder_note(&r->notes, NOTE_SKIPPED, path, "the repository's .gitignore names it");
                i->out = true;
        } else if (there[0] && item_matches(i, there)) {
                round_add_row(r, i);
                r->same++;
                i->out = true;
        } else if (!i->verdict.is_lfs && i->change->file.size > INLINE_FILE_MAX) {
                folder_note(&r->notes, NOTE_SKIPPED, path,
                            "the Hub wants it in git, where files have at most 10 MiB");
                i->out = true;
        } else {
                i->contested = there[0] && !is_ours(r, i);
        }
}

static void on_asked(void *arg, const struct errand_answer *a)
{
        struct round *r = arg;
        scoped(free_ptr) struct preupload_file *files = calloc(UPLOAD_BATCH_MAX, sizeof(*files));
        scoped(free_ptr) struct preupload_verdict *verdicts =
                calloc(UPLOAD_BATCH_MAX, sizeof(*verdicts));
        struct error err = { 0 };
        size_t n = 0;

        r->errand = NULL;
        if (!answer_is_good(a)) {
                round_refused(r, a, "the Hub was asked how the files are to be uploaded");
                return;
        }
        for (size_t i = 0; i < r->n_items && files && verdicts; i++)
                if (!r->items[i].out)
                        files[n++] = (struct preupload_file){
                                .path = slice_str(r->items[i].target),
                                .size = r->items[i].change->file.size,
                        };
        if (!files || !verdicts || preupload_read(a->body, files, n, verdicts, &err) < 0) {
                round_fail(r, "%s", files && verdicts ? err.what : "no memory for a commit");
                return;
        }
        n = 0;
        for (size_t i = 0; i < r->n_items; i++)
                if (!r->items[i].out)
                        r->items[i].verdict = verdicts[n++];
        cut_portion(r);
        for (size_t i = 0; i < r->n_items; i++)
                if (!r->items[i].out)
                        judge(r, &r->items[i]);
        ask_sizes(r);
}

/* How each file is to be uploaded, and what is there now; the head was asked for before. */
void round_ask(struct round *r)
{
        scoped(free_ptr) struct preupload_file *files = calloc(UPLOAD_BATCH_MAX, sizeof(*files));
        struct buf target = BUF_INIT(4096), body = BUF_INIT(8 << 20);
        struct slice git_ignore = SLICE_NONE;
        size_t n = 0;

        if (!files) {
                round_fail(r, "no memory for a commit");
                return;
        }
        r->step = "asking how files are uploaded";
        for (size_t i = 0; i < r->n_items; i++) {
                const struct item *one = &r->items[i];

                if (one->out)
                        continue;
                files[n++] = (struct preupload_file){
                        .path = slice_str(one->target),
                        .sample = slice_of(one->sample, one->n_sample),
                        .size = one->change->file.size,
                };
                if (one->text && strcmp(one->target, ".gitignore") == 0)
                        git_ignore = slice_str(one->text);
        }
        if (!n) {
                round_pass_on(r);
                return;
        }
        preupload_write(files, n, git_ignore, &body);
        round_target(r, "preupload", round_revision(r), &target);
        round_question(r, &target, &body, "application/json", on_asked);
}

/* ---- the card ---- */

static struct item *card_of(struct round *r)
{
        for (size_t i = 0; i < r->n_items; i++)
                if (!r->items[i].out && r->items[i].text &&
                    strcmp(r->items[i].target, "README.md") == 0)
                        return &r->items[i];
        return NULL;
}

static void on_card(void *arg, const struct errand_answer *a)
{
        struct round *r = arg;
        struct item *card = card_of(r);

        r->errand = NULL;
        if (card && !error_is_set(a->err) && a->status == 400) {
                scoped(buf_done) struct buf words = BUF_INIT(4096);

                answer_complaint(a->body, &words);
                folder_note(&r->notes, NOTE_SKIPPED, slice_str(card->change->file.path),
                            "its metadata is not valid: " SLICE_FMT, SLICE_ARG(buf_slice(&words)));
                card->out = true;
        }
        round_ask_head(r, round_ask);
}

void round_check_card(struct round *r)
{
        struct item *card = card_of(r);
        struct buf target = BUF_INIT(64), body = BUF_INIT(8 << 20);

        if (!card) {
                round_ask_head(r, round_ask);
                return;
        }
        buf_add_str(&target, "/api/validate-yaml");
        buf_add_str(&body, "{\"repoType\":");
        json_quote(slice_str(round_type_word(r->f->kind)), &body);
        buf_add_str(&body, ",\"content\":");
        json_quote(slice_str(card->text), &body);
        buf_add_char(&body, '}');
        round_question(r, &target, &body, "application/json", on_card);
}
