#include "model.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/hex.h"
#include "json.h"
#include "json_text.h"
#include "route.h"
#include "uri.h"
#include "utf8.h"

static int broken(struct error *err, const char *what)
{
        return error_set(err, ERR_UPSTREAM_BROKEN, "upstream's JSON: %s", what);
}

/* Copies a digest of `digits` digits, lower-cased; "" if there is none.  False if it is bad. */
static bool copy_hex(const json_t *object, const char *key, size_t digits, char *ret)
{
        struct slice text = json_text_of(object, key);
        uint8_t bytes[32];

        ret[0] = '\0';
        if (!text.ptr)
                return true;
        if (!hex_decode(text, bytes, digits / 2))
                return false;
        hex_encode(bytes, digits / 2, ret);
        return true;
}

/* The member `lfs` of a file, where the content's digest is `oid_key`. */
static bool read_lfs(const json_t *object, const char *oid_key, struct tree_entry *entry)
{
        const json_t *lfs = json_object_get(object, "lfs");

        if (!json_is_object(lfs))
                return true;
        entry->has_lfs = true;
        json_number_of(lfs, "size", &entry->size);
        json_number_of(lfs, "pointerSize", &entry->pointer_size);
        return copy_hex(lfs, oid_key, 64, entry->lfs_oid);
}

/* ---- trees ---- */

static enum entry_type type_of(const json_t *object)
{
        struct slice type = json_text_of(object, "type");

        if (slice_is(type, "file"))
                return ENTRY_FILE;
        return slice_is(type, "directory") ? ENTRY_DIRECTORY : ENTRY_ABSENT;
}

/* 1 with an entry, 0 if it is to be left out, -1 if it is broken. */
static int read_tree_entry(const json_t *object, struct tree_entry *ret, struct error *err)
{
        *ret = (struct tree_entry){ .type = type_of(object),
                                    .path = json_text_of(object, "path"),
                                    .size = UINT64_MAX };
        if (ret->type == ENTRY_ABSENT || !hub_path_valid(ret->path))
                return 0;
        json_number_of(object, "size", &ret->size);
        if (!copy_hex(object, "oid", 40, ret->oid) || !read_lfs(object, "oid", ret) ||
            !copy_hex(object, "xetHash", 64, ret->xet_hash))
                return broken(err, "a tree entry with a bad digest");
        return 1;
}

static int parse_tree_element(struct slice text, tree_entry_fn fn, void *arg, struct error *err)
{
        struct tree_entry entry;
        scoped(json_free) json_t *object = json_read(text, err);
        int r;

        if (!object)
                return -1;
        if (!json_is_object(object))
                return broken(err, "a tree entry that is no object");
        r = read_tree_entry(object, &entry, err);
        return r > 0 ? fn(arg, &entry, err) : r;
}

int tree_parse(struct slice json, tree_entry_fn fn, void *arg, struct error *err)
{
        struct json_text t = { json, MODEL_DEPTH_MAX };
        struct slice element, key;
        bool first = true;
        int r, res;

        json_text_space(&t);
        if (json.len > MODEL_JSON_MAX || !json_text_open(&t, '['))
                return broken(err, "a tree that is no array");
        while ((r = json_text_next(&t, ']', &first, &key)) > 0) {
                if (!json_text_value(&t, &element))
                        return broken(err, "a malformed tree");
                res = parse_tree_element(element, fn, arg, err);
                if (res)
                        return res;
        }
        json_text_space(&t);
        return r < 0 || t.rest.len ? broken(err, "a malformed tree") : 0;
}

/* The length of git-lfs's pointer, whose text only the size varies (git-lfs docs/spec.md). */
uint64_t lfs_pointer_size(uint64_t size)
{
        static const char fixed[] =
                "version https://git-lfs.github.com/spec/v1\noid sha256:\nsize \n";
        uint64_t digits = 1;

        while (size >= 10) {
                size /= 10;
                digits++;
        }
        return sizeof(fixed) - 1 + 64 + digits;
}

void tree_entry_write(const struct tree_entry *entry, bool hide_xet, struct buf *out)
{
        bool show_xet =
                entry->xet_hash[0] &&
                (!hide_xet || (entry->size != UINT64_MAX && entry->size > HUB_MAX_HTTP_FILE));

        buf_add_fmt(out, "{\"type\":\"%s\",\"oid\":\"%s\"",
                    entry->type == ENTRY_DIRECTORY ? "directory" : "file", entry->oid);
        if (entry->type == ENTRY_DIRECTORY || entry->size != UINT64_MAX)
                buf_add_fmt(out, ",\"size\":%" PRIu64,
                            entry->type == ENTRY_DIRECTORY ? 0 : entry->size);
        if (entry->has_lfs) {
                buf_add_fmt(out, ",\"lfs\":{\"oid\":\"%s\"", entry->lfs_oid);
                if (entry->size != UINT64_MAX)
                        buf_add_fmt(out, ",\"size\":%" PRIu64, entry->size);
                buf_add_fmt(out, ",\"pointerSize\":%" PRIu64 "}",
                            entry->pointer_size ? entry->pointer_size
                                                : lfs_pointer_size(entry->size));
        }
        if (show_xet)
                buf_add_fmt(out, ",\"xetHash\":\"%s\"", entry->xet_hash);
        buf_add_str(out, ",\"path\":");
        json_quote(entry->path, out);
        buf_add_char(out, '}');
}

/* ---- info ---- */

/* Copies a short text of an info document; false if it is not one. */
static bool copy_text(const json_t *root, const char *key, char *ret, size_t size)
{
        struct slice text = json_text_of(root, key);

        ret[0] = '\0';
        if (!text.ptr)
                return true;
        if (text.len >= size)
                return false;
        for (size_t i = 0; i < text.len; i++)
                if ((unsigned char)text.ptr[i] <= ' ' || text.ptr[i] == 0x7f)
                        return false;
        memcpy(ret, text.ptr, text.len);
        ret[text.len] = '\0';
        return true;
}

static void read_flag(const json_t *root, const char *key, bool *ret_has, bool *ret_on)
{
        const json_t *value = json_object_get(root, key);

        *ret_has = json_is_boolean(value) || json_is_string(value);
        /* `gated` is false or says how: "auto", "manual". */
        *ret_on = json_is_true(value) || json_is_string(value);
}

static int read_sibling(const json_t *object, struct tree_entry *ret, struct error *err)
{
        *ret = (struct tree_entry){ .type = ENTRY_FILE,
                                    .path = json_text_of(object, "rfilename"),
                                    .size = UINT64_MAX };
        json_number_of(object, "size", &ret->size);
        if (!copy_hex(object, "blobId", 40, ret->oid) || !read_lfs(object, "sha256", ret) ||
            !copy_hex(object, "xetHash", 64, ret->xet_hash))
                return broken(err, "a sibling with a bad digest");
        return 0;
}

static int read_siblings(const json_t *siblings, struct hub_info *ret, tree_entry_fn fn, void *arg,
                         struct error *err)
{
        struct tree_entry entry;
        const json_t *object;
        size_t i;
        int r;

        ret->has_siblings = true;
        ret->siblings_have_blobs = true;
        ret->n_siblings = json_array_size(siblings);
        json_array_foreach((json_t *)siblings, i, object)
        {
                if (read_sibling(object, &entry, err) < 0)
                        return -1;
                if (entry.size == UINT64_MAX || !entry.oid[0])
                        ret->siblings_have_blobs = false;
                r = fn && hub_path_valid(entry.path) ? fn(arg, &entry, err) : 0;
                if (r)
                        return r;
        }
        return 0;
}

int info_parse(struct slice json, struct hub_info *ret, tree_entry_fn fn, void *arg,
               struct error *err)
{
        scoped(json_free) json_t *root = json_read(json, err);
        const json_t *siblings;

        *ret = (struct hub_info){ 0 };
        if (!root)
                return -1;
        if (!json_is_object(root) || !copy_text(root, "id", ret->id, sizeof(ret->id)) ||
            !copy_text(root, "_id", ret->upstream_id, sizeof(ret->upstream_id)) ||
            !copy_hex(root, "sha", 40, ret->sha))
                return broken(err, "not an info document");
        read_flag(root, "private", &ret->has_private, &ret->is_private);
        read_flag(root, "gated", &ret->has_gated, &ret->is_gated);
        read_flag(root, "disabled", &ret->has_disabled, &ret->is_disabled);
        siblings = json_object_get(root, "siblings");
        return json_is_array(siblings) ? read_siblings(siblings, ret, fn, arg, err) : 0;
}

/* ---- refs ---- */

/* Branches and tags are asked for by name, the others by their full ref. */
static const struct {
        const char *list, *name;
} ref_lists[] = {
        { "branches", "name" },
        { "tags", "name" },
        { "converts", "ref" },
        { "pullRequests", "ref" },
};

static int read_refs(const json_t *list, const char *name_key, ref_fn fn, void *arg,
                     struct error *err)
{
        const json_t *object;
        size_t i;
        int r;

        json_array_foreach((json_t *)list, i, object)
        {
                struct slice name = json_text_of(object, name_key);
                struct slice commit = json_text_of(object, "targetCommit");

                if (!hub_path_valid(name) || !commit_id_valid(commit))
                        continue;
                r = fn(arg, name, commit, err);
                if (r)
                        return r;
        }
        return 0;
}

int refs_parse(struct slice json, ref_fn fn, void *arg, struct error *err)
{
        scoped(json_free) json_t *root = json_read(json, err);
        int r = 0;

        if (!root)
                return -1;
        if (!json_is_object(root))
                return broken(err, "refs that are no object");
        for (size_t i = 0; i < ARRAY_LEN(ref_lists) && r == 0; i++)
                r = read_refs(json_object_get(root, ref_lists[i].list), ref_lists[i].name, fn, arg,
                              err);
        return r;
}

/* ---- paths-info requests ---- */

void paths_query_done(struct paths_query *q)
{
        for (size_t i = 0; i < q->n; i++)
                free(q->paths[i]);
        free(q->paths);
        *q = (struct paths_query){ 0 };
}

static int query_add(struct paths_query *q, struct slice path, struct error *err)
{
        if (!hub_path_valid(path))
                return error_set(err, ERR_BAD_REQUEST, "not a path of a repository");
        if (q->n == PATHS_QUERY_MAX)
                return error_set(err, ERR_TOO_LARGE, "over %d paths", PATHS_QUERY_MAX);
        if (!q->paths)
                q->paths = calloc(PATHS_QUERY_MAX, sizeof(q->paths[0]));
        if (!q->paths || !(q->paths[q->n] = slice_dup(path)))
                return error_set(err, ERR_NOMEM, "no memory for a request");
        q->n++;
        return 0;
}

static int parse_form(struct slice body, struct paths_query *q, struct error *err)
{
        struct query_param param;
        struct buf value = BUF_INIT(PATHS_BODY_MAX);
        struct slice rest = body;
        int r = 0;

        while (r == 0 && query_next(&rest, &param)) {
                /* "[]" is how some clients mark a list (hub-protocol 3.3). */
                if (!slice_is(param.name, "paths") && !slice_is(param.name, "paths[]") &&
                    !slice_is(param.name, "paths%5B%5D"))
                        continue;
                buf_reset(&value);
                r = uri_decode_form(param.value, &value, err);
                if (r == 0)
                        r = query_add(q, buf_slice(&value), err);
        }
        buf_done(&value);
        q->expand = query_flag(body, "expand");
        return r;
}

static int parse_json(struct slice body, struct paths_query *q, struct error *err)
{
        scoped(json_free) json_t *root = json_read(body, NULL);
        const json_t *paths = json_object_get(root, "paths"), *path;
        size_t i;

        if (!root || (paths && !json_is_array(paths)))
                return error_set(err, ERR_BAD_REQUEST, "the body is not a list of paths in JSON");
        q->expand = json_is_true(json_object_get(root, "expand")) ||
                    slice_ieq(json_text_of(root, "expand"), SLICE("true"));
        json_array_foreach((json_t *)paths, i, path)
        {
                if (!json_is_string(path))
                        return error_set(err, ERR_BAD_REQUEST, "a path that is no text");
                if (query_add(q, slice_of(json_string_value(path), json_string_length(path)), err) <
                    0)
                        return -1;
        }
        return 0;
}

int paths_query_parse(struct slice content_type, struct slice body, struct paths_query *ret,
                      struct error *err)
{
        struct slice type = slice_trim(slice_cut(content_type, slice_find(content_type, ';')));
        bool json = slice_ieq(type, SLICE("application/json"));
        int r;

        *ret = (struct paths_query){ 0 };
        if (body.len > PATHS_BODY_MAX)
                return error_set(err, ERR_TOO_LARGE, "the body is over %d bytes", PATHS_BODY_MAX);
        if (type.len == 0)
                json = body.len && body.ptr[0] == '{';
        else if (!json && !slice_ieq(type, SLICE("application/x-www-form-urlencoded")))
                return error_set(err, ERR_BAD_REQUEST, "the body is neither a form nor JSON");
        r = json ? parse_json(body, ret, err) : parse_form(body, ret, err);
        if (r < 0)
                paths_query_done(ret);
        return r;
}

/* ---- writing ---- */

void json_quote(struct slice text, struct buf *out)
{
        buf_add_char(out, '"');
        while (text.len) {
                size_t n = utf8_step(text);
                char c = text.ptr[0];

                if (n == 0)
                        buf_add_str(out, "\xef\xbf\xbd");
                else if (c == '"' || c == '\\')
                        buf_add_fmt(out, "\\%c", c);
                else if (n == 1 && ((unsigned char)c < ' ' || c == 0x7f))
                        buf_add_fmt(out, "\\u%04x", (unsigned)c);
                else
                        buf_add(out, slice_cut(text, n));
                text = slice_skip(text, n ? n : 1);
        }
        buf_add_char(out, '"');
}

void json_error_body(struct slice text, struct buf *out)
{
        buf_add_str(out, "{\"error\":");
        json_quote(text, out);
        buf_add_char(out, '}');
}
