#include "partial_log.h"

#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { NOTE = 3 * sizeof(uint64_t), NOTES_READ = 2048 };

static const char ending[] = ".log";

const char *log_name(const struct digest *d, char *ret_text)
{
        char *dot = strrchr(staging_name(d, ret_text), '.');

        memcpy(dot, ending, sizeof(ending));
        return ret_text;
}

bool log_parse(const char *name, struct digest *ret)
{
        char text[STAGING_NAME_MAX];
        size_t n = strlen(name), tail = sizeof(ending) - 1;

        if (n <= tail || n - tail + sizeof(".part") > sizeof(text) ||
            strcmp(name + n - tail, ending) != 0)
                return false;
        snprintf(text, sizeof(text), "%.*s.part", (int)(n - tail), name);
        return staging_parse(text, ret);
}

int log_open(struct store *store, const struct digest *d)
{
        char name[STAGING_NAME_MAX];

        return openat(store->staging_fd, log_name(d, name),
                      O_WRONLY | O_CREAT | O_APPEND | O_NOFOLLOW | O_CLOEXEC, 0600);
}

/* One write per note: appended whole, also by several threads. */
void log_add(int fd, uint64_t start, const void *bytes, size_t n)
{
        const char *at = bytes;

        while (n > 0) {
                size_t piece = MIN(n, (size_t)SUM_CHUNK);
                uint64_t note[3] = { htole64(start), htole64(start + piece),
                                     htole64(disk_sum(at, piece)) };

                if (write(fd, note, sizeof(note)) != (ssize_t)sizeof(note))
                        return; /* then it is not noted, and comes again after a kill */
                at += piece;
                start += piece;
                n -= piece;
        }
}

void log_delete(struct store *store, const struct digest *d)
{
        char name[STAGING_NAME_MAX];

        (void)unlinkat(store->staging_fd, log_name(d, name), 0);
}

/* A note may be of bytes that never reached the disk, or be no note at all. */
static int replay_one(const uint64_t note[3], int fd, uint64_t size, void *bytes,
                      struct spans *have, struct error *err)
{
        uint64_t start = le64toh(note[0]), end = le64toh(note[1]);

        if (start >= end || end > size || end - start > SUM_CHUNK ||
            spans_contain(have, start, end))
                return 0;
        if (read_all(fd, bytes, (size_t)(end - start), start, NULL) < 0 ||
            disk_sum(bytes, (size_t)(end - start)) != le64toh(note[2]))
                return 0;
        if (spans_add(have, start, end) < 0)
                return error_set(err, ERR_NOMEM, "no memory for spans");
        return 0;
}

static ssize_t read_some(int fd, void *to, size_t n)
{
        ssize_t got;

        do
                got = read(fd, to, n);
        while (got < 0 && errno == EINTR);
        return got;
}

int log_replay(struct store *store, const struct digest *d, int fd, uint64_t size,
               struct spans *have, struct error *err)
{
        char name[STAGING_NAME_MAX];
        scoped(close_fd) int log = openat(store->staging_fd, log_name(d, name),
                                          O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
        scoped(free_ptr) uint64_t *notes = NULL;
        scoped(free_ptr) void *bytes = NULL;
        ssize_t got;

        if (log < 0)
                return 0;
        notes = malloc(NOTES_READ * NOTE);
        bytes = malloc(SUM_CHUNK);
        if (!notes || !bytes)
                return error_set(err, ERR_NOMEM, "no memory to read notes");
        while ((got = read_some(log, notes, NOTES_READ * NOTE)) >= NOTE)
                for (ssize_t i = 0; i < got / NOTE; i++)
                        if (replay_one(notes + 3 * i, fd, size, bytes, have, err) < 0)
                                return -1;
        return 0;
}
