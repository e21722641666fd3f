/*
 * One large file on its way to the Hub's storage: as the batch said, in one piece or in parts, then
 * the end of the parts, then the question whether it arrived.
 *
 * The loop sends what a worker has read.  Whatever is read is hashed; the last piece is held back
 * until the digest is the one that was promised, so that a file that changed meanwhile never
 * arrives whole.  What is read again, because a transfer broke, is compared with checksums of what
 * was read first.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "commits_impl.h"
#include "daemon.h"
#include "log.h"
#include "redirect.h"
#include "stash.h"
#include "upstream.h"

enum { PIECE = 1 << 20, TRIES_MAX = 5, PUT_PATIENCE_MS = 5 * 60 * 1000 };

static const char lfs_json[] = "application/vnd.git-lfs+json";

struct put {
        struct round *r; /* NULL: cancelled, and only its job keeps it */
        struct item *item;
        put_fn done;
        struct daemon *d;
        struct loop_job job;
        struct loop_timer timer;
        struct errand *errand;
        int fd;
        uint64_t size;
        struct digest want;
        struct hasher *hasher;
        uint64_t hashed;

        uint64_t start, end; /* of the part that is sent */
        uint64_t pos;        /* where the next piece is read */
        uint64_t *sums;      /* of the part's pieces */
        size_t n_sums, cap_sums, at_sum;
        char *piece; /* PIECE bytes */
        size_t n_piece, taken;
        bool reading, spoiled;
        struct stash_writer *stash; /* a copy for the cache; NULL: none is kept */
        struct error err;           /* of reading */

        size_t part;
        char **etags;
        unsigned tries;
};

static void put_free(struct put *p)
{
        stash_end(&p->stash);
        errand_cancel(&p->errand);
        loop_timer_stop(&p->timer);
        hasher_free(&p->hasher);
        close_fd(&p->fd);
        for (size_t i = 0; p->etags && i < p->part; i++)
                free(p->etags[i]);
        free(p->etags);
        free(p->sums);
        free(p->piece);
        free(p);
}

void put_cancel(struct put **pp)
{
        struct put *p = take(*pp);

        if (!p)
                return;
        p->r = NULL;
        errand_cancel(&p->errand);
        loop_timer_stop(&p->timer);
        stash_end(&p->stash);
        if (!p->reading)
                put_free(p);
}

static void over(struct put *p, enum put_end end, const struct error *err)
{
        struct round *r = p->r;
        struct item *item = p->item;
        put_fn done = p->done;

        errand_cancel(&p->errand);
        for (size_t i = 0; i < PUTS_AT_ONCE; i++)
                if (r->puts[i] == p)
                        put_cancel(&r->puts[i]);
        done(r, item, end, err);
}

static void failed(struct put *p, enum error_kind kind, const char *what, int status)
{
        struct error err = { 0 };

        if (status)
                error_set(&err, kind, "%s: status %d", what, status);
        else
                error_set(&err, kind, "%s", what);
        over(p, PUT_FAILED, &err);
}

/* ---- reading, on a worker ---- */

/* New bytes are hashed; known ones must be what they were. */
static bool check_piece(struct put *p)
{
        uint64_t sum = disk_sum(p->piece, p->n_piece);
        struct digest d;

        if (p->at_sum < p->n_sums)
                return p->sums[p->at_sum++] == sum;
        p->sums[p->n_sums++] = sum;
        p->at_sum++;
        hasher_update(p->hasher, p->piece, p->n_piece);
        p->hashed += p->n_piece;
        if (p->hashed < p->size)
                return true;
        hasher_final(p->hasher, &d);
        return digest_eq(&d, &p->want);
}

static void read_run(void *arg)
{
        struct put *p = arg;
        size_t want = (size_t)MIN((uint64_t)PIECE, p->end - p->pos);
        ssize_t n;

        p->n_piece = p->taken = 0;
        while (p->n_piece < want) {
                n = pread(p->fd, p->piece + p->n_piece, want - p->n_piece,
                          (off_t)(p->pos + p->n_piece));
                if (n < 0 && errno == EINTR)
                        continue;
                if (n <= 0)
                        break;
                p->n_piece += (size_t)n;
        }
        if (p->n_piece < want || !check_piece(p))
                p->spoiled = true;
        p->pos += p->n_piece;
}

static void read_after(void *arg)
{
        struct put *p = arg;

        p->reading = false;
        if (!p->r)
                put_free(p);
        else if (p->errand)
                errand_upload_more(p->errand);
}

static int64_t upload_read(void *arg, char *to, size_t max)
{
        struct put *p = arg;
        size_t n = MIN(max, p->n_piece - p->taken);

        if (p->reading || (p->stash && !stash_has_room(p->stash)))
                return TRANSFER_NOT_YET;
        if (p->spoiled)
                return TRANSFER_GIVE_UP;
        if (n > 0) {
                memcpy(to, p->piece + p->taken, n);
                p->taken += n;
                if (p->stash)
                        stash_write(p->stash, slice_of(to, n));
                if (p->pos == p->end && p->taken == p->n_piece)
                        stash_end(&p->stash);
                crash_point("commit-mid-upload");
                return (int64_t)n;
        }
        if (p->pos == p->end)
                return 0;
        p->reading = true;
        p->job = (struct loop_job){ .run = read_run, .after = read_after, .arg = p };
        loop_work(p->d->loop, &p->job);
        return TRANSFER_NOT_YET;
}

/* ---- addresses ---- */

struct address {
        struct uri uri; /* of another host */
        bool on_hub;
        struct buf target;
};

/* Where an action leads: the hub, or a host that the configuration allows. */
static int find_address(struct put *p, const char *href, struct address *a, struct error *err)
{
        enum redirect_kind kind;

        a->target = (struct buf)BUF_INIT(LOCATION_MAX);
        if (redirect_decide(&p->d->uploads, SLICE("/"), slice_str(href), &kind, &a->target, err) <
            0)
                return error_wrap(err, "an address to upload to (option upstream.upload_hosts)");
        a->on_hub = kind == REDIRECT_HUB;
        return a->on_hub ? 0 : uri_parse(buf_slice(&a->target), &a->uri, err);
}

/* Starts an errand to it; `with_token` only on the hub. */
static void send_to(struct put *p, const char *href, struct errand_spec *spec, bool with_token,
                    errand_fn fn)
{
        struct address a;
        struct error err = { 0 };

        if (find_address(p, href, &a, &err) < 0) {
                buf_done(&a.target);
                over(p, PUT_FAILED, &err);
                return;
        }
        spec->origin = a.on_hub ? NULL : &a.uri.origin;
        spec->target = a.on_hub ? buf_slice(&a.target) : a.uri.path_query;
        spec->bare = !with_token || !a.on_hub;
        spec->account = folder_account(p->r->f, CONFIG_VERB_COMMIT);
        spec->patience_ms = PUT_PATIENCE_MS;
        p->errand = errand_start(p->d, spec, fn, p);
        if (a.target.ptr)
                explicit_bzero(a.target.ptr, a.target.len);
        buf_done(&a.target);
        if (!p->errand)
                failed(p, ERR_NOMEM, "no memory for an upload", 0);
}

/* ---- the end ---- */

static bool is_good(int status)
{
        return status >= 200 && status < 300;
}

static void on_verified(void *arg, const struct errand_answer *a)
{
        struct put *p = arg;

        p->errand = NULL;
        if (error_is_set(a->err))
                over(p, PUT_FAILED, a->err);
        else if (!is_good(a->status))
                failed(p, ERR_UPSTREAM_STATUS, "the Hub does not find what was uploaded",
                       a->status);
        else
                over(p, PUT_DONE, NULL);
}

static void verify(struct put *p)
{
        scoped(buf_done) struct buf body = BUF_INIT(1024);
        struct errand_spec spec = { .method = HTTP_POST,
                                    .reads = true,
                                    .content_type = slice_str(lfs_json),
                                    .accept = slice_str(lfs_json) };

        if (!p->item->actions.verify) {
                over(p, PUT_DONE, NULL);
                return;
        }
        lfs_verification_write(DIGEST_STR(&p->want), p->size, &body);
        spec.body = buf_slice(&body);
        send_to(p, p->item->actions.verify, &spec, true, on_verified);
}

static void on_completed(void *arg, const struct errand_answer *a)
{
        struct put *p = arg;

        p->errand = NULL;
        if (error_is_set(a->err))
                over(p, PUT_FAILED, a->err);
        else if (!is_good(a->status))
                failed(p, ERR_UPSTREAM_STATUS, "the Hub does not put the parts together",
                       a->status);
        else
                verify(p);
}

/* Doing it twice is doing it once: the object is named by its digest. */
static void complete(struct put *p)
{
        scoped(buf_done) struct buf body = BUF_INIT(4 << 20);
        struct errand_spec spec = { .method = HTTP_POST,
                                    .reads = true,
                                    .content_type = slice_str(lfs_json),
                                    .accept = slice_str(lfs_json) };

        lfs_completion_write(DIGEST_STR(&p->want), p->etags, p->item->actions.n_parts, &body);
        spec.body = buf_slice(&body);
        send_to(p, p->item->actions.href, &spec, false, on_completed);
}

/* ---- the parts ---- */

static void send_part(void *arg);

static bool is_passing(const struct errand_answer *a)
{
        if (error_is_set(a->err))
                return a->err->kind != ERR_SHUTDOWN && a->err->kind != ERR_REDIRECT;
        return a->status >= 500 || a->status == 429 || a->status == 408;
}

static void on_sent(void *arg, const struct errand_answer *a)
{
        struct put *p = arg;
        const struct lfs_actions *actions = &p->item->actions;
        struct slice etag = errand_answer_header(a, "etag");

        p->errand = NULL;
        if (!p->reading && p->spoiled) {
                over(p, PUT_CHANGED, NULL);
        } else if (!error_is_set(a->err) && is_good(a->status)) {
                p->tries = 0;
                if (!actions->n_parts) {
                        verify(p);
                        return;
                }
                p->etags[p->part] = slice_dup(etag);
                if (!p->etags[p->part]) {
                        failed(p, ERR_UPSTREAM_BROKEN, "the storage gave a part no ETag", 0);
                        return;
                }
                if (++p->part == actions->n_parts) {
                        complete(p);
                        return;
                }
                p->n_sums = 0;
                send_part(p);
        } else if (is_passing(a) && ++p->tries < TRIES_MAX) {
                loop_timer_start(p->d->loop, &p->timer, upstream_backoff_ms(p->tries), 0, send_part,
                                 p);
        } else if (error_is_set(a->err)) {
                over(p, PUT_FAILED, a->err);
        } else {
                failed(p, ERR_UPSTREAM_STATUS, "the storage refuses a file", a->status);
        }
}

static bool room_for_sums(struct put *p)
{
        size_t n = (size_t)((p->end - p->start) / PIECE + 1);
        uint64_t *grown = p->sums;

        if (n > p->cap_sums) {
                grown = realloc(p->sums, n * sizeof(*grown));
                if (grown) {
                        p->sums = grown;
                        p->cap_sums = n;
                }
        }
        return grown != NULL;
}

static void on_stash_room(void *arg)
{
        struct put *p = arg;

        if (p->errand && !p->reading)
                errand_upload_more(p->errand);
}

static void begin_stash(struct put *p)
{
        stash_end(&p->stash);
        p->stash = stash_begin(p->d->stashes, p->r->f->kind, slice_str(p->r->f->repo),
                               DIGEST_STR(&p->want), p->size, p->start);
        if (p->stash)
                stash_watch(p->stash, on_stash_room, p);
}

/* Sends the part, or the whole file; again from its beginning if need be. */
static void send_part(void *arg)
{
        struct put *p = arg;
        const struct lfs_actions *actions = &p->item->actions;
        struct transfer_upload upload = { .read = upload_read };
        struct errand_spec spec = { .method = HTTP_PUT, .upload = &upload, .upload_arg = p };

        /* A job of the try before still fills the piece. */
        if (p->reading) {
                loop_timer_start(p->d->loop, &p->timer, 1, 0, send_part, p);
                return;
        }
        p->start = actions->n_parts ? p->part * actions->part_size : 0;
        p->end = actions->n_parts ? MIN(p->start + actions->part_size, p->size) : p->size;
        p->pos = p->start;
        p->at_sum = p->n_piece = p->taken = 0;
        if (!room_for_sums(p)) {
                failed(p, ERR_NOMEM, "no memory for an upload", 0);
                return;
        }
        begin_stash(p);
        upload.size = (int64_t)(p->end - p->start);
        send_to(p, actions->n_parts ? actions->parts[p->part] : actions->href, &spec, false,
                on_sent);
}

struct put *put_start(struct round *r, struct item *i, int fd, put_fn done)
{
        struct put *p = calloc(1, sizeof(*p));
        struct error err = { 0 };

        if (!p) {
                close_fd(&fd);
                return NULL;
        }
        p->r = r;
        p->d = r->d;
        p->item = i;
        p->done = done;
        p->fd = fd;
        p->size = i->change->file.size;
        p->want = i->sha256;
        p->piece = malloc(PIECE);
        p->etags = calloc(i->actions.n_parts + 1, sizeof(*p->etags));
        if (!p->piece || !p->etags || hasher_new(DIGEST_SHA256, p->size, &p->hasher, &err) < 0) {
                put_free(p);
                return NULL;
        }
        loop_timer_start(p->d->loop, &p->timer, 0, 0, send_part, p);
        return p;
}
