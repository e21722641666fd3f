#include "reply.h"

#include <stdio.h>

#include "base/buf.h"
#include "hub_error.h"
#include "hub_header.h"
#include "model.h"
#include "question.h"
#include "server.h"

static struct response *json_reply(int status, struct slice text)
{
        struct buf body = BUF_INIT(4096);
        struct response *r;
        size_t n = 0;
        char *bytes;

        json_error_body(text, &body);
        bytes = buf_take(&body, &n);
        r = response_bytes(status, bytes, bytes ? n : 0);
        if (r)
                response_header(r, "Content-Type", "application/json; charset=utf-8");
        return r;
}

struct response *reply_status(int status, const char *why)
{
        return json_reply(status, slice_str(why));
}

struct response *reply_error(enum error_kind kind, const char *why)
{
        struct response *r = json_reply(hub_error_status(kind), slice_str(why));
        char seconds[16];

        if (!r)
                return NULL;
        response_header(r, "X-Hubcached-Error", error_slug(kind));
        if (header_value_ok(slice_str(why), 256))
                response_header(r, "X-Error-Message", why);
        if (hub_error_retry_after(kind)) {
                snprintf(seconds, sizeof(seconds), "%d", hub_error_retry_after(kind));
                response_header(r, "Retry-After", seconds);
        }
        return r;
}

static void add(struct response *r, const char *name, const char *value)
{
        if (value && value[0])
                response_header(r, name, value);
}

struct response *reply_finding(const struct finding *f)
{
        struct response *r;
        char seconds[16];

        if (f->body_len)
                r = response_bytes(f->status, slice_dup(slice_of(f->body, f->body_len)),
                                   f->body_len);
        else
                r = json_reply(f->status, slice_str(f->error_message[0] ? f->error_message
                                                                        : http_reason(f->status)));
        if (!r)
                return NULL;
        if (f->body_len)
                add(r, "Content-Type", f->content_type);
        if (f->error_code[0])
                response_header(r, "X-Error-Code", f->error_code);
        else if (f->status == 401 && f->verdict == HUB_NO_REPO)
                response_header(r, "X-Error-Code", "RepoNotFound");
        add(r, "X-Error-Message", f->error_message);
        add(r, "X-Repo-Commit", f->commit);
        add(r, "RateLimit", f->rate_limit);
        add(r, "RateLimit-Policy", f->rate_limit_policy);
        if (f->retry_after[0]) {
                snprintf(seconds, sizeof(seconds), "%d",
                         retry_after_seconds(slice_str(f->retry_after), 5));
                response_header(r, "Retry-After", seconds);
        }
        return r;
}

struct response *reply_no_entry(const char *commit)
{
        struct response *r = json_reply(404, SLICE("Entry not found"));

        if (!r)
                return NULL;
        response_header(r, "X-Error-Code", "EntryNotFound");
        response_header(r, "X-Error-Message", "Entry not found");
        add(r, "X-Repo-Commit", commit);
        return r;
}
