#include "server_impl.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "store.h"

enum { INLINE_BLOB_MAX = 32 << 10 }; /* read into memory: one sendmsg beats sendfile below this */

static _Atomic uint64_t headers_refused;

static struct response *response_wrap(int status, uint64_t size, size_t cost,
                                      struct MHD_Response *mhd)
{
        struct response *r;

        if (!mhd)
                return NULL;
        r = calloc(1, sizeof(*r));
        if (!r) {
                MHD_destroy_response(mhd);
                return NULL;
        }
        r->mhd = mhd;
        atomic_init(&r->refs, 1);
        r->status = status;
        r->size = size;
        r->cost = sizeof(*r) + 400 + cost; /* 400: about what microhttpd keeps itself */
        return r;
}

struct response *response_bytes(int status, char *bytes, size_t n)
{
        struct MHD_Response *mhd;
        struct response *r;

        if (n == 0) {
                free(bytes);
                mhd = MHD_create_response_from_buffer(0, (void *)"", MHD_RESPMEM_PERSISTENT);
                r = response_wrap(status, 0, 0, mhd);
                if (r)
                        r->bytes = "";
                return r;
        }
        mhd = MHD_create_response_from_buffer(n, bytes, MHD_RESPMEM_MUST_FREE);
        if (!mhd)
                free(bytes);
        r = response_wrap(status, n, n, mhd);
        if (r)
                r->bytes = bytes;
        return r;
}

static ssize_t read_never(void *arg unused_arg, uint64_t pos unused_arg, char *to unused_arg,
                          size_t max unused_arg)
{
        return MHD_CONTENT_READER_END_WITH_ERROR;
}

struct response *response_sized(int status, uint64_t size)
{
        struct MHD_Response *mhd =
                MHD_create_response_from_callback(size, 1, read_never, NULL, NULL);

        return response_wrap(status, size, 0, mhd);
}

static struct response *blob_in_memory(int status, struct blob *blob, uint64_t start, size_t n)
{
        char *bytes = malloc(n + 1);
        size_t have = 0;

        if (!bytes)
                return NULL;
        while (have < n) {
                ssize_t r = pread(blob_fd(blob), bytes + have, n - have, (off_t)(start + have));

                if (r < 0 && errno == EINTR)
                        continue;
                if (r <= 0) {
                        free(bytes);
                        return NULL;
                }
                have += (size_t)r;
        }
        return response_bytes(status, bytes, n);
}

struct response *response_blob(int status, struct blob *blob, uint64_t start, uint64_t end)
{
        struct MHD_Response *mhd;
        struct response *r;
        int fd;

        if (end - start <= INLINE_BLOB_MAX)
                return blob_in_memory(status, blob, start, (size_t)(end - start));
        /* microhttpd closes what it is given. */
        fd = fcntl(blob_fd(blob), F_DUPFD_CLOEXEC, 0);
        if (fd < 0)
                return NULL;
        mhd = MHD_create_response_from_fd_at_offset64(end - start, fd, start);
        if (!mhd)
                close(fd);
        r = response_wrap(status, end - start, 0, mhd);
        if (r) {
                r->blob = blob_ref(blob);
                r->blob_start = start;
        }
        return r;
}

static ssize_t reader_read(void *arg, uint64_t pos, char *to, size_t max)
{
        struct reader *rd = arg;
        int64_t n = rd->source.read(rd->arg, pos, to, max);

        if (n >= 0) {
                atomic_fetch_add_explicit(&rd->given, (uint64_t)n, memory_order_relaxed);
                return (ssize_t)n;
        }
        /* The end of a body whose size was announced is a cut: microhttpd never asks beyond it. */
        return n == -2 && !rd->sized ? MHD_CONTENT_READER_END_OF_STREAM
                                     : MHD_CONTENT_READER_END_WITH_ERROR;
}

static void reader_done(void *arg)
{
        struct reader *rd = arg;

        if (rd->source.done)
                rd->source.done(rd->arg);
        free(rd);
}

struct response *response_source(int status, int64_t size, size_t block,
                                 const struct body_source *source, void *arg)
{
        uint64_t n = size == BODY_UNKNOWN_SIZE ? MHD_SIZE_UNKNOWN : (uint64_t)size;
        struct reader *rd = calloc(1, sizeof(*rd));
        struct MHD_Response *mhd;
        struct response *r;

        if (!rd) {
                if (source->done)
                        source->done(arg);
                return NULL;
        }
        rd->source = *source;
        rd->arg = arg;
        rd->sized = size != BODY_UNKNOWN_SIZE;
        mhd = MHD_create_response_from_callback(n, block, reader_read, rd, reader_done);
        if (!mhd) {
                reader_done(rd);
                return NULL;
        }
        r = response_wrap(status, rd->sized ? n : 0, block, mhd);
        if (r)
                r->reader = rd;
        return r;
}

/* microhttpd refuses line ends, and nothing else that could forge framing (M10). */
static bool header_is_safe(const char *name, const char *value)
{
        struct slice n = slice_str(name);

        if (slice_ieq(n, SLICE("Transfer-Encoding")) || slice_ieq(n, SLICE("Content-Length")))
                return false;
        for (; *value; value++)
                if (((unsigned char)*value < 0x20 && *value != '\t') || *value == 0x7f)
                        return false;
        return true;
}

void response_header(struct response *r, const char *name, const char *value)
{
        if (!r)
                return;
        if (!header_is_safe(name, value) ||
            MHD_add_response_header(r->mhd, name, value) != MHD_YES) {
                atomic_fetch_add_explicit(&headers_refused, 1, memory_order_relaxed);
                return;
        }
        r->cost += strlen(name) + strlen(value) + 64;
}

uint64_t response_headers_refused(void)
{
        return atomic_load_explicit(&headers_refused, memory_order_relaxed);
}

struct response *response_ref(struct response *r)
{
        atomic_fetch_add_explicit(&r->refs, 1, memory_order_relaxed);
        return r;
}

void response_unref(struct response **r)
{
        struct response *gone = *r;

        *r = NULL;
        if (!gone || atomic_fetch_sub_explicit(&gone->refs, 1, memory_order_acq_rel) > 1)
                return;
        MHD_destroy_response(gone->mhd);
        if (gone->blob)
                blob_unref(&gone->blob);
        free(gone);
}

int response_status(const struct response *r)
{
        return r->status;
}

size_t response_cost(const struct response *r)
{
        return r->cost;
}
