#include "lfs.h"

#include <stdlib.h>
#include <string.h>

#include "json_text.h"
#include "model.h"

enum { DEPTH_MAX = 16, EDITS_MAX = 100000, PARTS_MAX = 10000 };

static int malformed(struct error *err)
{
        return error_set(err, ERR_UPSTREAM_BROKEN, "upstream's JSON is malformed or too deep");
}

/* ---- looking into objects ---- */

/* The raw value of a member, SLICE_NONE if there is none or the object is malformed. */
static struct slice member(struct slice object, const char *quoted_key)
{
        struct json_text t = { object, DEPTH_MAX };
        struct slice key, value;
        bool first = true;

        if (!json_text_open(&t, '{'))
                return SLICE_NONE;
        while (json_text_next(&t, '}', &first, &key) > 0) {
                if (!json_text_value(&t, &value))
                        return SLICE_NONE;
                if (slice_is(key, quoted_key))
                        return value;
        }
        return SLICE_NONE;
}

static bool is_whole_value(struct slice json, struct slice *ret)
{
        struct json_text t = { json, DEPTH_MAX };

        if (json.len > LFS_DOCUMENT_MAX || !json_text_value(&t, ret))
                return false;
        json_text_space(&t);
        return t.rest.len == 0;
}

/* ---- requests ---- */

int lfs_request_read(struct slice json, enum lfs_operation *ret, struct error *err)
{
        static const char *const keys[] = { "operation" };
        struct slice root, operation;

        if (!is_whole_value(json, &root) || root.ptr[0] != '{')
                return error_set(err, ERR_BAD_REQUEST, "the batch request is not a JSON object");
        /* An ambiguous one is neither, and so needs the right to write. */
        if (!json_text_members(root, keys, &operation, 1))
                operation = SLICE_NONE;
        *ret = slice_is(operation, "\"download\"") ? LFS_DOWNLOAD
               : slice_is(operation, "\"upload\"") ? LFS_UPLOAD
                                                   : LFS_OTHER;
        return 0;
}

int lfs_request_hide_xet(struct slice json, struct buf *out, struct error *err)
{
        struct slice root, list, key, value;
        struct json_text t;
        bool first = true, has_xet = false;
        size_t kept = 0;

        if (!is_whole_value(json, &root))
                return error_set(err, ERR_BAD_REQUEST, "the batch request is not JSON");
        list = member(root, "\"transfers\"");
        t = (struct json_text){ list, DEPTH_MAX };
        if (!list.ptr || !json_text_open(&t, '['))
                return 0;
        buf_add(out, slice_of(json.ptr, (size_t)(list.ptr - json.ptr)));
        buf_add_char(out, '[');
        while (json_text_next(&t, ']', &first, &key) > 0 && json_text_value(&t, &value)) {
                if (slice_is(value, "\"xet\"")) {
                        has_xet = true;
                        continue;
                }
                if (kept++)
                        buf_add_char(out, ',');
                buf_add(out, value);
        }
        buf_add_char(out, ']');
        buf_add(out,
                slice_of(list.ptr + list.len, (size_t)(json.ptr + json.len - list.ptr - list.len)));
        if (!buf_ok(out))
                return error_set(err, ERR_NOMEM, "no memory for a batch request");
        return has_xet && kept;
}

/* ---- answers ---- */

struct edit {
        const char *start, *end;
        char *text; /* with quotes */
};

struct rewrite {
        lfs_link_fn fn;
        void *arg;
        struct edit *v;
        size_t n, cap;
};

static void rewrite_done(struct rewrite *w)
{
        for (size_t i = 0; i < w->n; i++)
                free(w->v[i].text);
        free(w->v);
}

static int add_edit(struct rewrite *w, struct slice at, struct slice url, struct error *err)
{
        struct buf text = BUF_INIT(2 * LFS_URL_MAX);
        struct edit *grown;
        char *quoted;

        if (w->n == w->cap) {
                w->cap = w->cap ? w->cap * 2 : 64;
                grown = reallocarray(w->v, w->cap, sizeof(*grown));
                if (!grown)
                        return error_set(err, ERR_NOMEM, "no memory to rewrite a document");
                w->v = grown;
        }
        json_quote(url, &text);
        quoted = buf_take(&text, NULL);
        if (!quoted)
                return error_set(err, ERR_NOMEM, "no memory to rewrite a document");
        w->v[w->n++] = (struct edit){ at.ptr, at.ptr + at.len, quoted };
        return 0;
}

/* Offers one address for replacement. */
static int offer(struct rewrite *w, struct lfs_link *link, struct slice quoted, struct error *err)
{
        scoped(buf_done) struct buf url = BUF_INIT(LFS_URL_MAX), out = BUF_INIT(2 * LFS_URL_MAX);

        if (w->n >= EDITS_MAX || !json_text_unquote(quoted, &url))
                return malformed(err);
        link->url = buf_slice(&url);
        if (w->fn(w->arg, link, &out, err) < 0)
                return -1;
        if (!buf_ok(&out))
                return error_set(err, ERR_TOO_LARGE, "an address is too long to be rewritten");
        return out.len ? add_edit(w, quoted, buf_slice(&out), err) : 0;
}

/* "00001" -> 1; 0 if the key is not a number. */
static uint64_t part_number(struct slice quoted_key)
{
        struct slice digits = slice_cut(slice_skip(quoted_key, 1), quoted_key.len - 2);
        uint64_t n;

        return quoted_key.len > 2 && json_text_u64(digits, &n) && n <= PARTS_MAX ? n : 0;
}

/* The parts of a multipart upload stand beside its headers, under their numbers. */
static int rewrite_header(struct rewrite *w, struct lfs_link link, struct slice header,
                          uint64_t chunk, struct error *err)
{
        struct json_text t = { header, DEPTH_MAX };
        struct slice key, value;
        bool first = true;
        int r;

        if (!json_text_open(&t, '{'))
                return 0;
        while ((r = json_text_next(&t, '}', &first, &key)) > 0) {
                uint64_t n = part_number(key);

                if (!json_text_value(&t, &value))
                        return malformed(err);
                if (slice_is(key, "\"Authorization\"")) {
                        link.use = LFS_LINK_AUTHORIZATION;
                } else if (slice_is(key, "\"X-Xet-Cas-Url\"")) {
                        link.use = LFS_LINK_CAS;
                        link.offset = link.length = 0;
                } else if (n && chunk && (n - 1) * chunk < link.size) {
                        link.use = LFS_LINK_PART;
                        link.offset = (n - 1) * chunk;
                        link.length = MIN(chunk, link.size - link.offset);
                } else {
                        continue;
                }
                if (offer(w, &link, value, err) < 0)
                        return -1;
        }
        return r < 0 ? malformed(err) : 0;
}

/* The size of a part, as a string or a number; 0 if the upload is not multipart. */
static uint64_t chunk_size(struct slice header)
{
        struct slice value = header.ptr ? member(header, "\"chunk_size\"") : SLICE_NONE;
        uint64_t n = 0;

        if (value.len > 2 && value.ptr[0] == '"')
                value = slice_cut(slice_skip(value, 1), value.len - 2);
        return value.ptr && json_text_u64(value, &n) && n < (uint64_t)1 << 50 ? n : 0;
}

static int rewrite_action(struct rewrite *w, const struct lfs_link *object, const char *name,
                          struct slice action, struct error *err)
{
        struct slice href = member(action, "\"href\""), header = member(action, "\"header\"");
        struct lfs_link link = *object;
        uint64_t chunk = chunk_size(header);

        if (strcmp(name, "\"download\"") == 0)
                link.use = LFS_LINK_DOWNLOAD;
        else if (strcmp(name, "\"verify\"") == 0)
                link.use = LFS_LINK_VERIFY;
        else
                link.use = chunk ? LFS_LINK_COMPLETE : LFS_LINK_UPLOAD;
        if (link.use == LFS_LINK_UPLOAD)
                link.length = link.size;
        if (href.ptr && offer(w, &link, href, err) < 0)
                return -1;
        return header.ptr ? rewrite_header(w, *object, header, chunk, err) : 0;
}

static int rewrite_object(struct rewrite *w, struct slice object, struct error *err)
{
        static const char *const names[] = { "\"download\"", "\"upload\"", "\"verify\"" };
        struct slice actions = member(object, "\"actions\"");
        struct lfs_link link = { 0 };

        if (!actions.ptr || actions.ptr[0] != '{')
                return 0;
        if (!json_text_copy(member(object, "\"oid\""), link.oid, sizeof(link.oid)))
                link.oid[0] = '\0';
        if (!json_text_u64(member(object, "\"size\""), &link.size))
                link.size = 0;
        for (size_t i = 0; i < ARRAY_LEN(names); i++) {
                struct slice action = member(actions, names[i]);

                if (action.ptr && action.ptr[0] == '{' &&
                    rewrite_action(w, &link, names[i], action, err) < 0)
                        return -1;
        }
        return 0;
}

static int compare_edits(const void *a, const void *b)
{
        const struct edit *x = a, *y = b;

        return (x->start > y->start) - (x->start < y->start);
}

static int write_edits(struct rewrite *w, struct slice json, struct buf *out, struct error *err)
{
        const char *at = json.ptr;

        if (w->n == 0)
                return 0;
        qsort(w->v, w->n, sizeof(w->v[0]), compare_edits);
        for (size_t i = 0; i < w->n; i++) {
                buf_add(out, slice_of(at, (size_t)(w->v[i].start - at)));
                buf_add_str(out, w->v[i].text);
                at = w->v[i].end;
        }
        buf_add(out, slice_of(at, (size_t)(json.ptr + json.len - at)));
        return buf_ok(out) ? 1 : error_set(err, ERR_NOMEM, "no room to rewrite a document");
}

static int rewrite_objects(struct rewrite *w, struct slice list, struct error *err)
{
        struct json_text t = { list, DEPTH_MAX };
        struct slice key, value;
        bool first = true;
        int r;

        if (!json_text_open(&t, '['))
                return malformed(err);
        while ((r = json_text_next(&t, ']', &first, &key)) > 0)
                if (!json_text_value(&t, &value) || rewrite_object(w, value, err) < 0)
                        return error_is_set(err) ? -1 : malformed(err);
        return r < 0 ? malformed(err) : 0;
}

int lfs_answer_rewrite(struct slice json, lfs_link_fn fn, void *arg, struct buf *out,
                       struct error *err)
{
        struct rewrite w = { .fn = fn, .arg = arg };
        struct slice root, list;
        int r;

        error_clear(err);
        if (!is_whole_value(json, &root))
                return malformed(err);
        list = member(root, "\"objects\"");
        r = list.ptr ? rewrite_objects(&w, list, err) : 0;
        if (r == 0)
                r = write_edits(&w, json, out, err);
        rewrite_done(&w);
        return r;
}

/* Members of the root. */
static int rewrite_members(struct slice json, const char *const *keys, size_t n,
                           enum lfs_link_use use, lfs_link_fn fn, void *arg, struct buf *out,
                           struct error *err)
{
        struct rewrite w = { .fn = fn, .arg = arg };
        struct slice root;
        int r = 0;

        error_clear(err);
        if (!is_whole_value(json, &root))
                return malformed(err);
        for (size_t i = 0; i < n && r == 0; i++) {
                struct slice url = member(root, keys[i]);
                struct lfs_link link = { .use = use };

                if (url.ptr && url.ptr[0] == '"')
                        r = offer(&w, &link, url, err);
        }
        if (r == 0)
                r = write_edits(&w, json, out, err);
        rewrite_done(&w);
        return r;
}

int xet_token_rewrite(struct slice json, lfs_link_fn fn, void *arg, struct buf *out,
                      struct error *err)
{
        static const char *const keys[] = { "\"casUrl\"" };

        return rewrite_members(json, keys, ARRAY_LEN(keys), LFS_LINK_CAS, fn, arg, out, err);
}

int hub_pages_rewrite(struct slice json, lfs_link_fn fn, void *arg, struct buf *out,
                      struct error *err)
{
        static const char *const keys[] = { "\"url\"", "\"commitUrl\"", "\"pullRequestUrl\"" };

        return rewrite_members(json, keys, ARRAY_LEN(keys), LFS_LINK_PAGE, fn, arg, out, err);
}
