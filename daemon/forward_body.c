/*
 * What a request carries upstream.  Some of it is read on the way: which large files a commit
 * names, which repository a write is about, the bytes of an upload; all of it in bounded memory.
 */
#include <string.h>

#include "daemon.h"
#include "forward_impl.h"
#include "intake.h"
#include "json_text.h"
#include "lfs.h"
#include "request.h"
#include "server.h"
#include "stash.h"
#include "upstream.h"

enum { BODY_DEPTH_MAX = 16 };

/* ---- which repositories a write is about ---- */

static bool kind_of_type(struct slice type, enum repo_kind *ret)
{
        static const struct {
                const char *name;
                enum repo_kind kind;
        } types[] = {
                { "model", REPO_MODEL },
                { "dataset", REPO_DATASET },
                { "space", REPO_SPACE },
                { "kernel", REPO_KERNEL },
        };

        for (size_t i = 0; i < ARRAY_LEN(types); i++)
                if (slice_is(type, types[i].name)) {
                        *ret = types[i].kind;
                        return true;
                }
        return false;
}

static int unclear(struct error *err, const char *key)
{
        return error_set(err, ERR_BAD_REQUEST, "\"%s\" is not to be read in the body", key);
}

static int kind_in(struct slice json, enum repo_kind *ret, struct error *err)
{
        scoped(buf_done) struct buf type = BUF_INIT(32);
        int r = json_member_text(json, "type", &type);

        *ret = REPO_MODEL;
        if (r < 0)
                return unclear(err, "type");
        if (r > 0)
                (void)kind_of_type(buf_slice(&type), ret);
        return 0;
}

static int add_named(struct forward *f, struct slice json, enum repo_kind kind, const char *key,
                     struct error *err)
{
        scoped(buf_done) struct buf name = BUF_INIT(512);
        int r = json_member_text(json, key, &name);

        if (r < 0)
                return unclear(err, key);
        if (r > 0)
                outdate_add_repo(&f->outdate, kind, buf_slice(&name));
        return 0;
}

/* {"name", "organization", "type"} of create and delete.  Without an organization the owner is the
 * token's, whom only the answer names. */
static int add_created(struct forward *f, struct slice json, enum repo_kind kind, struct error *err)
{
        scoped(buf_done) struct buf id = BUF_INIT(512), name = BUF_INIT(256);
        int named = json_member_text(json, "name", &name);
        int owned = json_member_text(json, "organization", &id);

        if (named < 0 || owned < 0)
                return unclear(err, named < 0 ? "name" : "organization");
        if (owned)
                buf_add_char(&id, '/');
        buf_add(&id, buf_slice(&name));
        if (named && buf_ok(&id))
                outdate_add_repo(&f->outdate, kind, buf_slice(&id));
        return 0;
}

static bool is_json(struct slice body)
{
        struct json_text t = { body, BODY_DEPTH_MAX };
        struct slice value;

        if (!json_text_value(&t, &value))
                return false;
        json_text_space(&t);
        return t.rest.len == 0;
}

/* A write whose names we cannot read would leave untrue answers behind: it is refused.  What is no
 * JSON upstream refuses in its own words. */
static int read_names(struct forward *f, struct slice json, struct error *err)
{
        struct request *r = f->r;
        enum repo_kind kind;

        if (!is_json(json))
                return 0;
        if (r->hub.op == HUB_DUPLICATE)
                return add_named(f, json, r->hub.kind, "repository", err);
        if (kind_in(json, &kind, err) < 0)
                return -1;
        if (r->hub.op != HUB_REPO_MOVE)
                return add_created(f, json, kind, err);
        return add_named(f, json, kind, "fromRepo", err) < 0
                       ? -1
                       : add_named(f, json, kind, "toRepo", err);
}

/* ---- the body as a whole ---- */

static int begin_batch(struct forward *f, struct error *err)
{
        struct slice body = exchange_body(f->r->x);
        int r;

        if (!daemon_config(f->d)->cache_hide_xet)
                return 0;
        f->sent = (struct buf)BUF_INIT(LFS_DOCUMENT_MAX);
        r = lfs_request_hide_xet(body, &f->sent, err);
        if (r == 0)
                buf_reset(&f->sent);
        return r < 0 ? -1 : 0;
}

static int read_commit(struct forward *f, struct slice bytes, bool whole, struct error *err)
{
        if (commit_body_add(&f->commit, bytes, err) < 0)
                return -1;
        return whole ? commit_body_end(&f->commit, err) : 0;
}

int forward_body_begin(struct forward *f, struct error *err)
{
        struct request *r = f->r;

        f->intake = take(r->intake);
        f->body_size = r->body_size;
        f->body_over = f->intake == NULL;
        if (f->has_cap && f->cap.use == CAP_UPLOAD && f->cap.oid[0] && f->intake)
                f->stash = stash_begin(f->d->stashes, f->cap.kind, slice_str(f->cap.repo),
                                       f->cap.oid, f->cap.size, f->cap.offset);
        if (r->hub.op == HUB_COMMIT) {
                commit_body_init(&f->commit);
                f->is_commit = true;
                if (!f->intake && read_commit(f, exchange_body(r->x), true, err) < 0)
                        return -1;
        }
        if (r->hub.op == HUB_LFS_BATCH)
                return begin_batch(f, err);
        return f->outdate.what & UNTRUE_NAMED ? read_names(f, exchange_body(r->x), err) : 0;
}

int64_t forward_body_read(void *arg, char *to, size_t max)
{
        struct forward *f = arg;
        int64_t n;

        if (!f->intake)
                return f->body_over ? 0 : TRANSFER_GIVE_UP;
        if (f->stash && !stash_has_room(f->stash))
                return TRANSFER_NOT_YET;
        n = intake_read(f->intake, to, max);
        if (n > 0) {
                f->passed += n;
                if (f->stash)
                        stash_write(f->stash, slice_of(to, (size_t)n));
        }
        /* Curl does not ask again for the end of a body whose size it knows. */
        if (n < 0 || (n > 0 && f->passed != f->body_size)) {
                if (n > 0 && f->is_commit &&
                    read_commit(f, slice_of(to, (size_t)n), false, &f->refused) < 0)
                        return TRANSFER_GIVE_UP;
                return n;
        }
        f->body_over = true;
        stash_end(&f->stash);
        if (f->is_commit && read_commit(f, slice_of(to, (size_t)n), true, &f->refused) < 0)
                return TRANSFER_GIVE_UP;
        return n;
}

void forward_body_end(struct forward *f)
{
        intake_close(&f->intake);
        stash_end(&f->stash);
}
