#include "links.h"

#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "daemon.h"
#include "log.h"
#include "redirect.h"
#include "upstream.h"

enum {
        RELAY_LIFE_S = 24 * 3600, /* the signature inside ends earlier; a retried upload may not */
};

static enum capability_use use_of(enum lfs_link_use use)
{
        switch (use) {
        case LFS_LINK_DOWNLOAD:
                return CAP_DOWNLOAD;
        case LFS_LINK_UPLOAD:
        case LFS_LINK_PART:
                return CAP_UPLOAD;
        case LFS_LINK_CAS:
                return CAP_CAS;
        case LFS_LINK_COMPLETE:
        case LFS_LINK_VERIFY:
        case LFS_LINK_PAGE:
        case LFS_LINK_AUTHORIZATION:
                break;
        }
        return CAP_POST;
}

/* Downloads and chunks come from where the hub redirects to, uploads go elsewhere. */
static const struct redirect_policy *policy_of(const struct daemon *d, enum lfs_link_use use)
{
        return use == LFS_LINK_DOWNLOAD || use == LFS_LINK_CAS ? &d->redirects : &d->uploads;
}

static void seal(const struct links *l, const struct lfs_link *link, const char *url,
                 struct buf *out)
{
        struct capability cap = {
                .use = use_of(link->use),
                .until = clock_wall_ms() / 1000 + RELAY_LIFE_S,
                .kind = link->use == LFS_LINK_CAS ? REPO_MODEL : l->kind,
                .size = link->size,
                .offset = link->offset,
                .length = link->length,
                .url = (char *)url,
        };

        if (l->repo.len >= sizeof(cap.repo))
                return;
        /* Chunk storage has tokens of its own, and clients remember what it holds by its address:
         * the address is always the same. */
        if (link->use == LFS_LINK_CAS)
                cap.until = 0;
        else if (l->repo.len)
                memcpy(cap.repo, l->repo.ptr, l->repo.len);
        memcpy(cap.oid, link->oid, sizeof(cap.oid));
        capability_seal(l->d->capabilities, &cap, l->origin, out);
}

int links_replace(void *arg, const struct lfs_link *link, struct buf *out, struct error *err)
{
        const struct links *l = arg;
        scoped(buf_done) struct buf target = BUF_INIT(LOCATION_MAX);
        enum redirect_kind kind;
        struct error why = { 0 };

        (void)err;
        if (link->use == LFS_LINK_AUTHORIZATION) {
                buf_add(out, l->authorization);
                return 0;
        }
        if (redirect_decide(policy_of(l->d, link->use), SLICE("/"), link->url, &kind, &target,
                            &why) < 0) {
                if (link->use != LFS_LINK_PAGE)
                        log_event(LOG_WARN, "link.left", "use=%d why=\"%s\"", (int)link->use,
                                  why.what);
                return 0;
        }
        if (link->use == LFS_LINK_PAGE && kind != REDIRECT_HUB)
                return 0;
        if (kind == REDIRECT_CDN || link->use == LFS_LINK_CAS) {
                char *url = slice_dup(kind == REDIRECT_CDN ? buf_slice(&target) : link->url);

                if (url)
                        seal(l, link, url, out);
                free(url);
                return 0;
        }
        buf_add(out, l->origin);
        buf_add(out, buf_slice(&target));
        return 0;
}
