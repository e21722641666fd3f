/* The large files of a portion: where they go, and two of them at a time on their way. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "commits_impl.h"
#include "daemon.h"

/* ---- large files ---- */

static void put_more(struct round *r);

static void on_put(struct round *r, struct item *i, enum put_end end, const struct error *err)
{
        if (end == PUT_CHANGED) {
                folder_note(&r->notes, NOTE_WAITING, slice_str(i->change->file.path),
                            "it changed while it was uploaded");
                i->out = true;
        } else if (end == PUT_FAILED) {
                r->put_err = *err;
        }
        put_more(r);
}

static bool any_puts(const struct round *r)
{
        for (size_t i = 0; i < PUTS_AT_ONCE; i++)
                if (r->puts[i])
                        return true;
        return false;
}

static void put_item(struct round *r, struct item *i, struct put **to)
{
        int fd = folder_open(r->scan.fd, i->change);

        if (fd < 0) {
                folder_note(&r->notes, NOTE_WAITING, slice_str(i->change->file.path),
                            "it was replaced while the round went on");
                i->out = true;
                return;
        }
        *to = put_start(r, i, fd, on_put);
        if (!*to)
                error_set(&r->put_err, ERR_NOMEM, "no memory for an upload");
}

/* Two contents that are the same are uploaded once; if that fails, neither is there. */
static void follow_twins(struct round *r)
{
        for (size_t i = 0; i < r->n_items; i++)
                for (size_t k = 0; k < r->n_items; k++)
                        if (r->items[k].out && r->items[k].uploads && !r->items[i].out &&
                            r->items[i].verdict.is_lfs &&
                            digest_eq(&r->items[i].sha256, &r->items[k].sha256)) {
                                folder_note(&r->notes, NOTE_WAITING,
                                            slice_str(r->items[i].change->file.path),
                                            "the file with the same contents changed");
                                r->items[i].out = true;
                        }
}

static void put_more(struct round *r)
{
        for (size_t s = 0; s < PUTS_AT_ONCE && !error_is_set(&r->put_err); s++)
                while (!r->puts[s] && r->next_put < r->n_items && !error_is_set(&r->put_err)) {
                        struct item *i = &r->items[r->next_put++];

                        if (!i->out && i->uploads)
                                put_item(r, i, &r->puts[s]);
                }
        if (error_is_set(&r->put_err)) {
                for (size_t s = 0; s < PUTS_AT_ONCE; s++)
                        put_cancel(&r->puts[s]);
                round_fail(r, "a large file was not uploaded: %s", r->put_err.what);
                return;
        }
        if (any_puts(r))
                return;
        follow_twins(r);
        round_journal(r);
}

/* The first item with these contents. */
static struct item *first_with(struct round *r, const struct digest *sha256)
{
        for (size_t i = 0; i < r->n_items; i++)
                if (!r->items[i].out && r->items[i].verdict.is_lfs &&
                    digest_eq(&r->items[i].sha256, sha256))
                        return &r->items[i];
        return NULL;
}

static size_t large_objects(struct round *r, struct lfs_object *objects, struct item **items)
{
        size_t n = 0;

        for (size_t i = 0; i < r->n_items; i++) {
                struct item *one = &r->items[i];

                one->uploads = false;
                if (one->out || !one->verdict.is_lfs || first_with(r, &one->sha256) != one)
                        continue;
                snprintf(objects[n].oid, sizeof(objects[n].oid), "%s", DIGEST_STR(&one->sha256));
                objects[n].size = one->change->file.size;
                items[n++] = one;
        }
        return n;
}

/* Whatever has contents that the Hub does not take stays here. */
static void refuse_contents(struct round *r, const struct digest *sha256, const char *why)
{
        for (size_t i = 0; i < r->n_items; i++)
                if (!r->items[i].out && digest_eq(&r->items[i].sha256, sha256)) {
                        folder_note(&r->notes, NOTE_SKIPPED,
                                    slice_str(r->items[i].change->file.path),
                                    "the Hub refuses it: %s", why);
                        r->items[i].out = true;
                }
}

static void on_batch(void *arg, const struct errand_answer *a)
{
        struct round *r = arg;
        scoped(free_ptr) struct lfs_object *objects = calloc(UPLOAD_BATCH_MAX, sizeof(*objects));
        scoped(free_ptr) struct lfs_actions *actions = calloc(UPLOAD_BATCH_MAX, sizeof(*actions));
        struct item *items[UPLOAD_BATCH_MAX];
        struct error err = { 0 };
        size_t n = 0;

        r->errand = NULL;
        if (!answer_is_good(a)) {
                round_refused(r, a, "large files");
                return;
        }
        if (!objects || !actions) {
                round_fail(r, "no memory for large files");
                return;
        }
        n = large_objects(r, objects, items);
        if (lfs_batch_read(a->body, objects, n, actions, &err) < 0) {
                for (size_t i = 0; i < n; i++)
                        lfs_actions_done(&actions[i]);
                round_fail(r, "%s", err.what);
                return;
        }
        for (size_t i = 0; i < n; i++) {
                struct digest sha256 = items[i]->sha256;

                items[i]->actions = actions[i];
                items[i]->uploads = actions[i].needed;
                if (actions[i].error[0])
                        refuse_contents(r, &sha256, actions[i].error);
        }
        r->step = "uploading large files";
        r->next_put = 0;
        error_clear(&r->put_err);
        put_more(r);
}

void round_batch(struct round *r)
{
        scoped(free_ptr) struct lfs_object *objects = calloc(UPLOAD_BATCH_MAX, sizeof(*objects));
        struct buf target = BUF_INIT(4096), body = BUF_INIT(1 << 20);
        struct item *items[UPLOAD_BATCH_MAX];
        size_t n = objects ? large_objects(r, objects, items) : 0;

        if (!objects) {
                round_fail(r, "no memory for large files");
                return;
        }
        if (!n) {
                round_journal(r);
                return;
        }
        r->step = "asking where large files go";
        lfs_batch_write(objects, n, round_revision(r), &body);
        buf_add_fmt(&target, "/%s%s.git/info/lfs/objects/batch", repo_kind_prefix(r->f->kind),
                    r->f->repo);
        round_question(r, &target, &body, "application/vnd.git-lfs+json", on_batch);
}
