/*
 * Reading what is to be committed.  A file counts as long as it was when the round began; what is
 * appended meanwhile is for the next one.  It is read twice: here, for its digests, and while it is
 * sent, when the same digest must come out again.  Between both it may grow and nothing else.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "commits_impl.h"

static void close_reading(struct reading *g)
{
        hasher_free(&g->sha256);
        hasher_free(&g->git);
        close_fd(&g->fd);
        g->fd = -1;
}

void reading_done(struct reading *g)
{
        close_reading(g);
        *g = (struct reading){ .fd = -1 };
}

static void leave_out(struct round *r, struct item *i, enum note_kind kind, const char *why)
{
        folder_note(&r->notes, kind, slice_str(i->change->file.path), "%s", why);
        i->out = true;
}

/* How much of it is wanted. */
static uint64_t wanted_size(const struct reading *g, const struct item *i)
{
        return g->prefixes ? i->remote_size : i->change->file.size;
}

/* A file that cannot be opened: gone, another one, or not for us. */
static void refused(struct round *r, struct item *i, int sys)
{
        char why[128];

        if (sys == EAGAIN || sys == ENOENT || sys == ELOOP || sys == ENOTDIR) {
                leave_out(r, i, NOTE_WAITING, "it was replaced while the round began");
                return;
        }
        snprintf(why, sizeof(why), "it cannot be read: %s", strerrordesc_np(sys));
        leave_out(r, i, NOTE_SKIPPED, why);
}

/* 1 opened, 0 left out, -1. */
static int open_item(struct round *r, struct item *i, struct error *err)
{
        struct reading *g = &r->reading;
        uint64_t size = wanted_size(g, i);
        bool is_small = size <= INLINE_FILE_MAX;

        g->pos = 0;
        g->fd = folder_open(r->scan.fd, i->change);
        if (g->fd < 0) {
                refused(r, i, errno);
                return 0;
        }
        if (hasher_new(DIGEST_SHA256, size, &g->sha256, err) < 0 ||
            (is_small && hasher_new(DIGEST_GIT_SHA1, size, &g->git, err) < 0))
                return -1;
        return 1;
}

static void keep_beginning(struct item *i, const char *bytes, size_t n)
{
        bool is_shown = strcmp(i->target, "README.md") == 0 || strcmp(i->target, ".gitignore") == 0;

        i->n_sample = MIN(n, sizeof(i->sample));
        memcpy(i->sample, bytes, i->n_sample);
        /* The whole of it fits into the first piece. */
        if (is_shown && i->change->file.size <= TEXT_MAX && n == i->change->file.size)
                i->text = slice_dup(slice_of(bytes, n));
}

static void finish_item(struct round *r, struct item *i)
{
        struct reading *g = &r->reading;
        struct digest sha256, git = { .algo = DIGEST_NONE };

        hasher_final(g->sha256, &sha256);
        if (g->git)
                hasher_final(g->git, &git);
        if (!g->prefixes) {
                i->sha256 = sha256;
                i->git = git;
        } else {
                struct digest there;

                i->is_continued = digest_parse(slice_str(i->verdict.oid), &there) &&
                                  (digest_eq(&there, &sha256) || digest_eq(&there, &git));
        }
        close_reading(g);
        g->at++;
}

/* Whether the item is to be read at all in this pass. */
static bool is_read(const struct reading *g, const struct item *i)
{
        return !i->out && (!g->prefixes || (i->contested && i->remote_size > 0 &&
                                            i->remote_size < i->change->file.size));
}

static bool read_some(struct round *r, struct item *i, char *bytes, uint64_t *budget)
{
        struct reading *g = &r->reading;
        uint64_t left = wanted_size(g, i) - g->pos;
        ssize_t n = 0;

        if (left > 0) {
                do
                        n = pread(g->fd, bytes, MIN(left, (uint64_t)TEXT_MAX), (off_t)g->pos);
                while (n < 0 && errno == EINTR);
        }
        if (left > 0 && n <= 0) {
                if (n < 0)
                        refused(r, i, errno);
                else
                        leave_out(r, i, NOTE_WAITING, "it became shorter while it was read");
                close_reading(g);
                g->at++;
                return false;
        }
        if (g->pos == 0 && !g->prefixes)
                keep_beginning(i, bytes, (size_t)n);
        hasher_update(g->sha256, bytes, (size_t)n);
        if (g->git)
                hasher_update(g->git, bytes, (size_t)n);
        g->pos += (uint64_t)n;
        *budget -= MIN(*budget, (uint64_t)n + 4096);
        return true;
}

void round_read(struct round *r)
{
        struct reading *g = &r->reading;
        scoped(free_ptr) char *bytes = malloc(TEXT_MAX);
        uint64_t budget = READ_SLICE;

        if (!bytes) {
                error_set(&r->err, ERR_NOMEM, "no memory for reading");
                return;
        }
        while (g->at < r->n_items && budget > 0) {
                struct item *i = &r->items[g->at];
                int opened = 1;

                if (!is_read(g, i)) {
                        g->at++;
                        continue;
                }
                if (g->fd < 0 && (opened = open_item(r, i, &r->err)) < 0)
                        return;
                if (opened == 0)
                        g->at++;
                else if (read_some(r, i, bytes, &budget) && g->pos == wanted_size(g, i))
                        finish_item(r, i);
        }
        g->more = g->at < r->n_items;
}

bool item_matches(const struct item *i, const char *oid)
{
        struct digest d;

        return digest_parse(slice_str(oid), &d) &&
               (digest_eq(&d, &i->sha256) || digest_eq(&d, &i->git));
}

static int read_whole(int fd, char *to, size_t size)
{
        size_t at = 0;

        while (at < size) {
                ssize_t n = pread(fd, to + at, size - at, (off_t)at);

                if (n < 0 && errno == EINTR)
                        continue;
                if (n <= 0)
                        return 0;
                at += (size_t)n;
        }
        return 1;
}

int round_contents(struct round *r, const struct item *i, struct buf *out, struct error *err)
{
        size_t size = (size_t)i->change->file.size;
        scoped(close_fd) int fd = folder_open(r->scan.fd, i->change);
        scoped(free_ptr) char *bytes = malloc(size + 1);
        struct digest d;

        if (!bytes)
                return error_set(err, ERR_NOMEM, "no memory for a file");
        if (fd < 0 || !read_whole(fd, bytes, size))
                return 0;
        if (digest_of(DIGEST_GIT_SHA1, slice_of(bytes, size), &d, err) < 0)
                return -1;
        if (!digest_eq(&d, &i->git))
                return 0;
        base64_write(slice_of(bytes, size), out);
        return 1;
}
