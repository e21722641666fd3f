#include "upload.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/hex.h"
#include "json.h"
#include "model.h"

void base64_write(struct slice bytes, struct buf *out)
{
        static const char digits[] =
                "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
        const unsigned char *p = (const unsigned char *)bytes.ptr;
        char *to = buf_room(out, (bytes.len + 2) / 3 * 4);
        size_t n = 0;

        if (!to)
                return;
        for (size_t left = bytes.len; left > 0; left -= MIN(left, (size_t)3)) {
                unsigned v = (unsigned)p[0] << 16 | (left > 1 ? (unsigned)p[1] << 8 : 0) |
                             (left > 2 ? (unsigned)p[2] : 0);

                to[n++] = digits[v >> 18];
                to[n++] = digits[v >> 12 & 63];
                to[n++] = left > 1 ? digits[v >> 6 & 63] : '=';
                to[n++] = left > 2 ? digits[v & 63] : '=';
                p += MIN(left, (size_t)3);
        }
        buf_grew(out, n);
}

/* ,"key":"text" or without the comma at the beginning of an object */
static void add_text(struct buf *out, const char *key, struct slice text)
{
        if (out->len && out->ptr[out->len - 1] != '{')
                buf_add_char(out, ',');
        buf_add_fmt(out, "\"%s\":", key);
        json_quote(text, out);
}

/* ---- create ---- */

void create_write(const char *type, struct slice repo, int is_private, struct buf *out)
{
        size_t slash = slice_find(repo, '/');

        buf_add_char(out, '{');
        add_text(out, "type", slice_str(type));
        add_text(out, "name", slash < repo.len ? slice_skip(repo, slash + 1) : repo);
        if (slash < repo.len)
                add_text(out, "organization", slice_cut(repo, slash));
        if (is_private >= 0)
                buf_add_fmt(out, ",\"private\":%s", is_private ? "true" : "false");
        buf_add_char(out, '}');
}

/* ---- preupload ---- */

void preupload_write(const struct preupload_file *files, size_t n, struct slice git_ignore,
                     struct buf *out)
{
        buf_add_str(out, "{\"files\":[");
        for (size_t i = 0; i < n; i++) {
                buf_add_str(out, i ? ",{" : "{");
                add_text(out, "path", files[i].path);
                buf_add_str(out, ",\"sample\":\"");
                base64_write(slice_cut(files[i].sample, UPLOAD_SAMPLE_MAX), out);
                buf_add_fmt(out, "\",\"size\":%" PRIu64 "}", files[i].size);
        }
        buf_add_char(out, ']');
        if (git_ignore.ptr)
                add_text(out, "gitIgnore", git_ignore);
        buf_add_char(out, '}');
}

/* The answer's row about a path: most likely the i-th. */
static const json_t *row_of(const json_t *rows, size_t i, struct slice path)
{
        const json_t *row = json_array_get(rows, i);

        if (row && slice_eq(json_text_of(row, "path"), path))
                return row;
        for (i = 0; i < json_array_size(rows); i++)
                if (slice_eq(json_text_of(json_array_get(rows, i), "path"), path))
                        return json_array_get(rows, i);
        return NULL;
}

static bool read_verdict(const json_t *row, uint64_t size, struct preupload_verdict *ret)
{
        struct slice mode = json_text_of(row, "uploadMode"), oid = json_text_of(row, "oid");

        *ret = (struct preupload_verdict){
                /* The object storage refuses empty objects. */
                .is_lfs = slice_is(mode, "lfs") && size > 0,
                .is_ignored = json_is_true(json_object_get(row, "shouldIgnore")),
        };
        if (hex_is_lower(oid, 40) || hex_is_lower(oid, 64))
                snprintf(ret->oid, sizeof(ret->oid), SLICE_FMT, SLICE_ARG(oid));
        return slice_is(mode, "lfs") || slice_is(mode, "regular");
}

int preupload_read(struct slice json, const struct preupload_file *files, size_t n,
                   struct preupload_verdict *ret, struct error *err)
{
        scoped(json_free) json_t *root = json_read(json, err);
        const json_t *rows = json_object_get(root, "files");

        if (!root)
                return -1;
        for (size_t i = 0; i < n; i++) {
                const json_t *row = row_of(rows, i, files[i].path);

                if (!row || !read_verdict(row, files[i].size, &ret[i]))
                        return error_set(err, ERR_UPSTREAM_BROKEN,
                                         "the Hub's answer does not say how a file is uploaded");
        }
        return 0;
}

/* ---- LFS ---- */

void lfs_batch_write(const struct lfs_object *objects, size_t n, struct slice ref, struct buf *out)
{
        buf_add_str(out, "{\"operation\":\"upload\",\"transfers\":[\"basic\",\"multipart\"],"
                         "\"objects\":[");
        for (size_t i = 0; i < n; i++)
                buf_add_fmt(out, "%s{\"oid\":\"%s\",\"size\":%" PRIu64 "}", i ? "," : "",
                            objects[i].oid, objects[i].size);
        buf_add_str(out, "],\"hash_algo\":\"sha256\",\"ref\":{");
        add_text(out, "name", ref);
        buf_add_str(out, "}}");
}

void lfs_actions_done(struct lfs_actions *a)
{
        /* Signed addresses are as good as a right. */
        for (size_t i = 0; i < a->n_parts; i++) {
                if (a->parts[i])
                        explicit_bzero(a->parts[i], strlen(a->parts[i]));
                free(a->parts[i]);
        }
        if (a->href)
                explicit_bzero(a->href, strlen(a->href));
        free(a->parts);
        free(a->href);
        free(a->verify);
        *a = (struct lfs_actions){ 0 };
}

static bool read_decimal(struct slice text, uint64_t *ret)
{
        *ret = 0;
        for (size_t i = 0; i < text.len; i++) {
                if (text.ptr[i] < '0' || text.ptr[i] > '9' || *ret > UINT64_MAX / 16)
                        return false;
                *ret = *ret * 10 + (uint64_t)(text.ptr[i] - '0');
        }
        return text.len > 0;
}

static char *address_of(const json_t *object, const char *key)
{
        struct slice text = json_text_of(object, key);

        return text.len ? slice_dup(text) : NULL;
}

/* The addresses of parts stand under "00001", "00002", ... beside chunk_size. */
static int read_parts(const json_t *header, uint64_t size, struct lfs_actions *ret,
                      struct error *err)
{
        const json_t *chunk = json_object_get(header, "chunk_size");
        const char *key;
        json_t *value;
        size_t found = 0;
        uint64_t n;

        if (!chunk)
                return 0;
        if (json_is_integer(chunk) && json_integer_value(chunk) > 0)
                ret->part_size = (uint64_t)json_integer_value(chunk);
        else if (!read_decimal(json_text_of(header, "chunk_size"), &ret->part_size))
                ret->part_size = 0;
        n = ret->part_size ? (size + ret->part_size - 1) / ret->part_size : 0;
        if (n == 0 || n > UPLOAD_PARTS_MAX)
                return error_set(err, ERR_UPSTREAM_BROKEN, "the Hub's parts of a file are odd");
        ret->parts = calloc(n, sizeof(*ret->parts));
        if (!ret->parts)
                return error_set(err, ERR_NOMEM, "no memory for the parts of a file");
        ret->n_parts = n;
        json_object_foreach((json_t *)header, key, value)
        {
                uint64_t number;

                if (!read_decimal(slice_str(key), &number) || number == 0 || number > n ||
                    ret->parts[number - 1])
                        continue;
                ret->parts[number - 1] = address_of(header, key);
                found += ret->parts[number - 1] != NULL;
        }
        return found == n ? 0
                          : error_set(err, ERR_UPSTREAM_BROKEN, "the Hub left out parts of a file");
}

static int read_actions(const json_t *row, uint64_t size, struct lfs_actions *ret,
                        struct error *err)
{
        const json_t *upload = json_object_get(json_object_get(row, "actions"), "upload");
        const json_t *verify = json_object_get(json_object_get(row, "actions"), "verify");
        const json_t *trouble = json_object_get(row, "error");

        if (trouble) {
                snprintf(ret->error, sizeof(ret->error), SLICE_FMT,
                         SLICE_ARG(json_text_of(trouble, "message")));
                if (!ret->error[0])
                        snprintf(ret->error, sizeof(ret->error), "the Hub does not take it");
                return 0;
        }
        if (!upload)
                return 0;
        ret->needed = true;
        ret->href = address_of(upload, "href");
        ret->verify = address_of(verify, "href");
        if (!ret->href)
                return error_set(err, ERR_UPSTREAM_BROKEN, "the Hub names no address to upload to");
        return read_parts(json_object_get(upload, "header"), size, ret, err);
}

int lfs_batch_read(struct slice json, const struct lfs_object *objects, size_t n,
                   struct lfs_actions *ret, struct error *err)
{
        scoped(json_free) json_t *root = json_read(json, err);
        const json_t *rows = json_object_get(root, "objects");

        memset(ret, 0, n * sizeof(*ret));
        if (!root)
                return -1;
        if (slice_is(json_text_of(root, "transfer"), "xet"))
                return error_set(err, ERR_UPSTREAM_BROKEN,
                                 "the Hub wants a way of uploading that was not offered");
        for (size_t i = 0; i < n; i++) {
                const json_t *row = NULL;

                for (size_t k = 0; k < json_array_size(rows) && !row; k++) {
                        const json_t *one = json_array_get(rows, (i + k) % json_array_size(rows));

                        if (slice_is(json_text_of(one, "oid"), objects[i].oid))
                                row = one;
                }
                if (!row)
                        return error_set(err, ERR_UPSTREAM_BROKEN,
                                         "the Hub's answer does not say where a file goes");
                if (read_actions(row, objects[i].size, &ret[i], err) < 0)
                        return -1;
        }
        return 0;
}

void lfs_completion_write(const char *oid, char *const *etags, size_t n, struct buf *out)
{
        buf_add_fmt(out, "{\"oid\":\"%s\",\"parts\":[", oid);
        for (size_t i = 0; i < n; i++) {
                buf_add_fmt(out, "%s{\"partNumber\":%zu", i ? "," : "", i + 1);
                add_text(out, "etag", slice_str(etags[i]));
                buf_add_char(out, '}');
        }
        buf_add_str(out, "]}");
}

void lfs_verification_write(const char *oid, uint64_t size, struct buf *out)
{
        buf_add_fmt(out, "{\"oid\":\"%s\",\"size\":%" PRIu64 "}", oid, size);
}

/* ---- commit ---- */

void commit_header_write(struct slice summary, struct slice description, struct slice parent,
                         struct buf *out)
{
        buf_add_str(out, "{\"key\":\"header\",\"value\":{");
        add_text(out, "summary", summary);
        add_text(out, "description", description);
        if (parent.len)
                add_text(out, "parentCommit", parent);
        buf_add_str(out, "}}\n");
}

void commit_file_open(struct slice path, struct buf *out)
{
        buf_add_str(out, "{\"key\":\"file\",\"value\":{");
        add_text(out, "path", path);
        buf_add_str(out, ",\"encoding\":\"base64\",\"content\":\"");
}

void commit_file_close(struct buf *out)
{
        buf_add_str(out, "\"}}\n");
}

void commit_lfs_write(struct slice path, const char *oid, uint64_t size, struct buf *out)
{
        buf_add_str(out, "{\"key\":\"lfsFile\",\"value\":{");
        add_text(out, "path", path);
        buf_add_fmt(out, ",\"algo\":\"sha256\",\"oid\":\"%s\",\"size\":%" PRIu64 "}}\n", oid, size);
}

/* ---- history ---- */

static bool has_line(struct slice text, const char *line)
{
        struct slice one;

        while (slice_split(&text, '\n', &one)) {
                if (one.len && one.ptr[one.len - 1] == '\r')
                        one.len--;
                if (slice_is(one, line))
                        return true;
        }
        return false;
}

int history_search(struct slice json, const char *mark, const char *parent,
                   enum history_verdict *ret, char ret_sha[41], struct error *err)
{
        scoped(json_free) json_t *root = json_read(json, err);

        if (!root)
                return -1;
        if (!json_is_array(root))
                return error_set(err, ERR_UPSTREAM_BROKEN, "the Hub's history is no list");
        *ret = HISTORY_SILENT;
        for (size_t i = 0; i < json_array_size(root) && *ret == HISTORY_SILENT; i++) {
                const json_t *commit = json_array_get(root, i);
                struct slice id = json_text_of(commit, "id");

                if (slice_is(id, parent)) {
                        *ret = HISTORY_LACKS;
                } else if (has_line(json_text_of(commit, "message"), mark) && id.len == 40) {
                        *ret = HISTORY_HAS;
                        snprintf(ret_sha, 41, SLICE_FMT, SLICE_ARG(id));
                }
        }
        return 0;
}

void answer_complaint(struct slice json, struct buf *out)
{
        struct error ignored = { 0 };
        scoped(json_free) json_t *root = json_read(json, &ignored);
        const json_t *rows = json_object_get(root, "errors");
        struct slice one = json_text_of(root, "error");

        if (one.ptr)
                buf_add(out, one);
        for (size_t i = 0; i < json_array_size(rows); i++) {
                if (out->len)
                        buf_add_str(out, "; ");
                buf_add(out, json_text_of(json_array_get(rows, i), "message"));
        }
}
