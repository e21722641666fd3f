#include "whoami.h"

#include "commit_body.h"
#include "json_text.h"
#include "model.h"

enum { DEPTH_MAX = 16 };

static bool copy_member(struct slice json, const char *key, char *to, size_t size)
{
        scoped(buf_done) struct buf text = BUF_INIT(size - 1);

        to[0] = '\0';
        if (json_member_text(json, key, &text) <= 0)
                return false;
        memcpy(to, text.ptr ? text.ptr : "", text.len);
        to[text.len] = '\0';
        return true;
}

int whoami_read(struct slice json, struct whoami *ret, struct error *err)
{
        *ret = (struct whoami){ 0 };
        if (!copy_member(json, "name", ret->name, sizeof(ret->name)) || !ret->name[0])
                return error_set(err, ERR_UPSTREAM_BROKEN, "upstream names no account for a token");
        (void)copy_member(json, "fullname", ret->fullname, sizeof(ret->fullname));
        (void)copy_member(json, "id", ret->id, sizeof(ret->id));
        return 0;
}

/* The raw value of the root's "orgs". */
static struct slice orgs_of(struct slice json)
{
        struct json_text t = { slice_trim(json), DEPTH_MAX };
        struct slice key, value;
        bool first = true;

        if (!json_text_open(&t, '{'))
                return SLICE_NONE;
        while (json_text_next(&t, '}', &first, &key) > 0) {
                if (!json_text_value(&t, &value))
                        return SLICE_NONE;
                if (slice_is(key, "\"orgs\""))
                        return value;
        }
        return SLICE_NONE;
}

void whoami_each_org(struct slice json, void (*fn)(void *arg, struct slice name), void *arg)
{
        struct slice list = orgs_of(json), key, value;
        struct json_text t = { list, DEPTH_MAX };
        bool first = true;

        if (!list.ptr || !json_text_open(&t, '['))
                return;
        while (json_text_next(&t, ']', &first, &key) > 0 && json_text_value(&t, &value)) {
                scoped(buf_done) struct buf name = BUF_INIT(256);

                if (json_member_text(value, "name", &name) > 0)
                        fn(arg, buf_slice(&name));
        }
}

struct writing {
        const struct whoami_client *client;
        struct buf *out;
        bool any;
};

static void write_org(void *arg, struct slice name)
{
        struct writing *w = arg;

        if (!w->client->keeps(w->client->arg, name))
                return;
        buf_add_str(w->out,
                    w->any ? ",{\"type\":\"org\",\"name\":" : "{\"type\":\"org\",\"name\":");
        json_quote(name, w->out);
        buf_add_str(w->out, ",\"fullname\":");
        json_quote(name, w->out);
        buf_add_fmt(w->out, ",\"isEnterprise\":false,\"avatarUrl\":\"\",\"roleInOrg\":\"%s\"}",
                    w->client->may_write ? "write" : "read");
        w->any = true;
}

int whoami_write(struct slice upstream, const struct whoami_client *client, struct buf *out,
                 struct error *err)
{
        struct writing w = { .client = client, .out = out };
        struct whoami account;

        if (whoami_read(upstream, &account, err) < 0)
                return -1;
        buf_add_str(out, "{\"type\":\"user\",\"id\":");
        json_quote(slice_str(account.id), out);
        buf_add_str(out, ",\"name\":");
        json_quote(slice_str(account.name), out);
        buf_add_str(out, ",\"fullname\":");
        json_quote(slice_str(account.fullname[0] ? account.fullname : account.name), out);
        buf_add_str(out, ",\"isPro\":false,\"avatarUrl\":\"\",\"orgs\":[");
        whoami_each_org(upstream, write_org, &w);
        buf_add_str(out, "],\"auth\":{\"type\":\"access_token\",\"accessToken\":{\"displayName\":");
        json_quote(slice_str(client->name), out);
        buf_add_fmt(out, ",\"role\":\"%s\"}},\"hubcached\":{\"client\":",
                    client->may_write ? "write" : "read");
        json_quote(slice_str(client->name), out);
        buf_add_str(out, ",\"verbs\":");
        json_quote(slice_str(client->verbs), out);
        buf_add_str(out, "}}");
        return buf_ok(out) ? 0 : error_set(err, ERR_NOMEM, "no memory for a document");
}
