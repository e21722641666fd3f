#include "file_facts.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/buf.h"
#include "config.h"
#include "etag.h"
#include "hub_header.h"
#include "model.h"
#include "range.h"
#include "server.h"

static char *disposition_of(struct slice path)
{
        struct buf text = BUF_INIT(16384);

        content_disposition(path, false, &text);
        return buf_take(&text, NULL);
}

struct file_facts *file_facts_new(enum repo_kind kind, struct slice repo, struct slice commit,
                                  struct slice path, const struct digest *digest, uint64_t size,
                                  bool is_lfs)
{
        struct file_facts *f = calloc(1, sizeof(*f));

        if (!f)
                return NULL;
        f->refs = 1;
        f->kind = kind;
        f->digest = *digest;
        f->size = size;
        f->is_lfs = is_lfs;
        f->repo = slice_dup(repo);
        f->path = slice_dup(path);
        f->disposition = disposition_of(path);
        f->content_type = content_type_of(path, is_lfs);
        snprintf(f->commit, sizeof(f->commit), SLICE_FMT, SLICE_ARG(commit));
        snprintf(f->etag, sizeof(f->etag), "\"%s\"", DIGEST_STR(digest));
        if (!f->repo || !f->path || !f->disposition)
                file_facts_unref(&f);
        return f;
}

struct file_facts *file_facts_ref(struct file_facts *f)
{
        __atomic_fetch_add(&f->refs, 1, __ATOMIC_RELAXED);
        return f;
}

void file_facts_unref(struct file_facts **ff)
{
        struct file_facts *f = take(*ff);

        if (!f || __atomic_sub_fetch(&f->refs, 1, __ATOMIC_ACQ_REL) > 0)
                return;
        free(f->repo);
        free(f->path);
        free(f->disposition);
        free(f);
}

/* "bytes=N-" with nothing behind: what wget -c, curl -C and huggingface_hub send to go on. */
static bool end_is_open(struct slice range)
{
        struct slice value = slice_trim(range);

        return value.len && value.ptr[value.len - 1] == '-';
}

static struct slice bare_etag(const struct file_facts *f)
{
        return slice_of(f->etag + 1, strlen(f->etag) - 2);
}

struct file_plan file_plan(const struct file_facts *f, const struct file_question *q)
{
        struct file_plan whole = { .status = 200, .start = 0, .end = f->size, .completes = true };
        struct byte_range r;

        if (q->if_none_match.ptr && !(q->moving && q->method == HTTP_HEAD) &&
            etag_list_matches(q->if_none_match, bare_etag(f)))
                return (struct file_plan){ .status = 304 };
        if (q->method == HTTP_HEAD)
                return (struct file_plan){ .status = 200 };
        if (!q->range.ptr || q->tainted)
                return whole;
        if (q->if_range.ptr && !etag_if_range_matches(q->if_range, bare_etag(f)))
                return whole;
        switch (range_parse(q->range, f->size, &r)) {
        case RANGE_ONE:
                return (struct file_plan){
                        .status = 206,
                        .start = r.start,
                        .end = r.end,
                        .completes = r.end == f->size && (r.start == 0 || end_is_open(q->range)),
                };
        case RANGE_UNSATISFIABLE:
                return (struct file_plan){ .status = 416 };
        case RANGE_NONE:
                break;
        }
        return whole;
}

/* The token route is named on upstream's own URL: clients move it to their endpoint themselves
 * (huggingface_hub utils/_xet.py). */
static void xet_headers(struct response *r, const struct file_facts *f, const struct config *config)
{
        scoped(buf_done) struct buf link = BUF_INIT(4096);

        if (!f->xet_hash[0] || (config->cache_hide_xet && f->size <= HUB_MAX_HTTP_FILE))
                return;
        buf_add_fmt(&link, "<%s/api/%s/%s/xet-read-token/%s>; rel=\"xet-auth\"",
                    config->upstream_url, repo_kind_api(f->kind), f->repo, f->commit);
        if (!buf_ok(&link))
                return;
        response_header(r, "X-Xet-Hash", f->xet_hash);
        response_header(r, "Link", link.ptr);
}

void file_headers(struct response *r, const struct file_facts *f, const struct file_plan *plan,
                  const struct config *config)
{
        char text[80];

        response_header(r, "ETag", f->etag);
        if (f->commit[0])
                response_header(r, "X-Repo-Commit", f->commit);
        response_header(r, "Accept-Ranges", "bytes");
        if (plan->status == 304)
                return;
        if (plan->status == 416) {
                snprintf(text, sizeof(text), "bytes */%" PRIu64, f->size);
                response_header(r, "Content-Range", text);
                return;
        }
        xet_headers(r, f, config);
        if (f->is_lfs) {
                response_header(r, "X-Linked-Etag", f->etag);
                snprintf(text, sizeof(text), "%" PRIu64, f->size);
                response_header(r, "X-Linked-Size", text);
        }
        response_header(r, "Content-Type", f->content_type);
        response_header(r, "Content-Disposition", f->disposition);
        if (plan->status == 206) {
                snprintf(text, sizeof(text), "bytes %" PRIu64 "-%" PRIu64 "/%" PRIu64, plan->start,
                         plan->end - 1, f->size);
                response_header(r, "Content-Range", text);
        }
}
