/*
 * What a start repairs.  Little, because the order of every procedure leaves only harmless things
 * behind (README.md): staging is swept against its rows here, while rows and files of blobs are
 * compared when somebody looks one up, so that a start does not read 100,000 names.
 */
#include "impl.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "partial_log.h"

/* ---- the index ---- */

/* The WAL goes too: SQLite would replay it into the new file. */
static int set_index_aside(struct store *store, struct error *err)
{
        char aside[64];

        snprintf(aside, sizeof(aside), "index.db.corrupt-%lld", (long long)clock_wall_ms());
        if (renameat(store->dir_fd, "index.db", store->dir_fd, aside) < 0 && errno != ENOENT)
                return error_errno(err, error_kind_of_errno(errno), errno, "rename index.db");
        /* SQLite drops a WAL that it finds beside an empty database, should we die here. */
        unlinkat(store->dir_fd, "index.db-wal", 0);
        unlinkat(store->dir_fd, "index.db-shm", 0);
        unlinkat(store->dir_fd, "index.db.suspect", 0);
        if (fsync(store->dir_fd) < 0)
                return error_errno(err, ERR_IO, errno, "sync %s", store->path);
        return 0;
}

int recover_index(struct store *store, struct error *err)
{
        struct error why = { .kind = ERR_NONE };
        struct buf path = BUF_INIT(8192);
        int r;

        buf_add_fmt(&path, "%s/index.db", store->path);
        if (!buf_ok(&path))
                return error_set(err, ERR_NOMEM, "no memory for a path");
        r = index_open(path.ptr, &store->index, &why);
        if (r < 0 && why.kind == ERR_CORRUPT && set_index_aside(store, &why) == 0)
                r = index_open(path.ptr, &store->index, &why);
        buf_done(&path);
        if (r < 0 && err)
                *err = why;
        return r;
}

/* ---- staging ---- */

/* Deletes a staging file that no row speaks of: nothing says what in it is right. */
static int sweep_name(struct store *store, const char *name, struct error *err)
{
        struct partial_row row = { .durable = SPANS_INIT };
        struct digest d;
        int r = 0;

        if (staging_parse(name, &d) || log_parse(name, &d))
                r = index_find_partial(store->index, &d, &row, err);
        spans_done(&row.durable);
        free(row.sums);
        if (r != 0)
                return r < 0 ? -1 : 0;
        /* What cannot be deleted (a read-only disk, a full directory) is in nobody's way. */
        if (unlinkat(store->staging_fd, name, 0) < 0)
                (void)unlinkat(store->staging_fd, name, AT_REMOVEDIR);
        return 0;
}

static int sweep_files(struct store *store, struct error *err)
{
        int fd = openat(store->staging_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        DIR *dir = fd < 0 ? NULL : fdopendir(fd);
        struct dirent *entry;
        int r = 0;

        if (!dir) {
                close_fd(&fd);
                return error_errno(err, error_kind_of_errno(errno), errno, "read staging");
        }
        while (r == 0 && (entry = readdir(dir)))
                if (!slice_is(slice_str(entry->d_name), ".") &&
                    !slice_is(slice_str(entry->d_name), ".."))
                        r = sweep_name(store, entry->d_name, err);
        closedir(dir);
        return r;
}

static bool has_staging_file(struct store *store, const struct digest *d)
{
        char name[STAGING_NAME_MAX];
        struct stat st;

        return fstatat(store->staging_fd, staging_name(d, name), &st, AT_SYMLINK_NOFOLLOW) == 0;
}

/* What is staged counts against the limit of the store's size. */
static void count_staged(struct store *store, const struct digest *d)
{
        struct partial_row row = { .durable = SPANS_INIT };

        if (index_find_partial(store->index, d, &row, NULL) > 0)
                atomic_fetch_add(&store->staged, spans_total(&row.durable));
        spans_done(&row.durable);
        free(row.sums);
}

static int sweep_rows(struct store *store, struct error *err)
{
        enum { BATCH = 256 };
        struct digest found[BATCH], gone[BATCH], last;
        const struct digest *after = NULL;
        size_t n, n_gone;

        do {
                if (index_list_partials(store->index, after, found, BATCH, &n, err) < 0)
                        return -1;
                n_gone = 0;
                for (size_t i = 0; i < n; i++) {
                        if (has_staging_file(store, &found[i]))
                                count_staged(store, &found[i]);
                        else
                                gone[n_gone++] = found[i];
                }
                if (n > 0) {
                        last = found[n - 1];
                        after = &last;
                }
                /* A row that cannot be dropped is dropped when its partial is opened. */
                if (n_gone > 0)
                        (void)!index_drop_partials(store->index, gone, n_gone, NULL);
        } while (n == BATCH);
        return 0;
}

int recover_staging(struct store *store, struct error *err)
{
        if (sweep_files(store, err) < 0)
                return -1;
        return sweep_rows(store, err);
}
