#include "commit_body.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/hex.h"
#include "json_text.h"
#include "route.h"

void commit_body_init(struct commit_body *c)
{
        *c = (struct commit_body){ .line = BUF_INIT(COMMIT_LINE_MAX) };
}

void commit_body_done(struct commit_body *c)
{
        for (size_t i = 0; i < c->n_files; i++)
                free(c->files[i].path);
        free(c->files);
        buf_done(&c->line);
        *c = (struct commit_body){ 0 };
}

static int keep_file(struct commit_body *c, struct slice path, const char *oid, uint64_t size,
                     struct error *err)
{
        struct commit_file *grown;

        if (c->n_files == COMMIT_FILES_MAX)
                return 0; /* what is beyond is simply not known */
        if (c->n_files == c->cap) {
                c->cap = c->cap ? c->cap * 2 : 16;
                grown = reallocarray(c->files, c->cap, sizeof(*grown));
                if (!grown)
                        return error_set(err, ERR_NOMEM, "no memory for a commit");
                c->files = grown;
        }
        c->files[c->n_files] = (struct commit_file){ .path = slice_dup(path), .size = size };
        if (!c->files[c->n_files].path)
                return error_set(err, ERR_NOMEM, "no memory for a commit");
        memcpy(c->files[c->n_files].oid, oid, 65);
        c->n_files++;
        return 0;
}

static int take_operation(struct commit_body *c, struct slice key, struct slice value,
                          struct error *err)
{
        static const char *const keys[] = { "path", "oid", "size" };
        scoped(buf_done) struct buf path = BUF_INIT(4096);
        struct slice got[3], bare;
        char oid[65];
        uint64_t size = UINT64_MAX;

        if (!json_text_members(value, keys, got, 3) || !got[0].ptr ||
            !json_text_unquote(got[0], &path))
                return error_set(err, ERR_BAD_REQUEST, "operation %zu of the commit has no path",
                                 c->operations);
        bare = buf_slice(&path);
        if (bare.len && bare.ptr[bare.len - 1] == '/')
                bare.len--; /* folders end in a slash */
        if (!hub_path_valid(bare))
                return error_set(
                        err, ERR_BAD_REQUEST,
                        "operation %zu of the commit has a path that no repository can hold",
                        c->operations);
        if (!slice_is(key, "\"lfsFile\"") || !json_text_copy(got[1], oid, sizeof(oid)) ||
            !hex_is_lower(slice_str(oid), 64))
                return 0;
        (void)json_text_u64(got[2], &size);
        return keep_file(c, bare, oid, size, err);
}

static int end_line(struct commit_body *c, struct error *err)
{
        static const char *const keys[] = { "key", "value" };
        struct slice line = slice_trim(buf_slice(&c->line)), got[2];
        int r = 0;

        while (line.len && (line.ptr[line.len - 1] == '\r'))
                line.len--;
        if (c->long_line) {
                if (line.len == 0 || line.ptr[0] != '{')
                        return error_set(err, ERR_BAD_REQUEST, "the commit is not lines of JSON");
        } else if (line.len) {
                if (++c->operations > COMMIT_OPERATIONS_MAX)
                        return error_set(err, ERR_TOO_LARGE, "a commit of over %d operations",
                                         COMMIT_OPERATIONS_MAX);
                if (!json_text_members(line, keys, got, 2) || !got[0].ptr || !got[1].ptr)
                        return error_set(err, ERR_BAD_REQUEST,
                                         "line %zu of the commit is malformed", c->operations);
                if (slice_is(got[0], "\"file\"") || slice_is(got[0], "\"lfsFile\"") ||
                    slice_is(got[0], "\"deletedFile\"") || slice_is(got[0], "\"deletedFolder\"") ||
                    slice_is(got[0], "\"deletedEntry\""))
                        r = take_operation(c, got[0], got[1], err);
        }
        buf_reset(&c->line);
        c->long_line = false;
        return r;
}

int commit_body_add(struct commit_body *c, struct slice bytes, struct error *err)
{
        while (bytes.len) {
                size_t end = slice_find(bytes, '\n');
                size_t room = COMMIT_LINE_MAX - c->line.len;

                if (!c->long_line) {
                        buf_add(&c->line, slice_cut(bytes, MIN(end, room)));
                        c->long_line = end > room;
                        if (!buf_ok(&c->line))
                                return error_set(err, ERR_NOMEM, "no memory for a commit");
                }
                if (end == bytes.len)
                        return 0;
                if (end_line(c, err) < 0)
                        return -1;
                bytes = slice_skip(bytes, end + 1);
        }
        return 0;
}

int commit_body_end(struct commit_body *c, struct error *err)
{
        return c->line.len || c->long_line ? end_line(c, err) : 0;
}

void commit_answer_read(struct slice json, struct commit_answer *ret)
{
        static const char *const keys[] = { "commitOid", "pullRequestUrl" };
        scoped(buf_done) struct buf url = BUF_INIT(4096);
        struct slice got[2], text;
        size_t at;

        *ret = (struct commit_answer){ 0 };
        if (!json_text_members(json, keys, got, 2))
                return;
        if (!json_text_copy(got[0], ret->commit, sizeof(ret->commit)) ||
            !commit_id_valid(slice_str(ret->commit)))
                ret->commit[0] = '\0';
        if (!got[1].ptr || !json_text_unquote(got[1], &url))
                return;
        text = buf_slice(&url);
        for (at = text.len; at > 0 && text.ptr[at - 1] != '/'; at--)
                ;
        if (!json_text_u64(slice_skip(text, at), &ret->pull_request))
                ret->pull_request = 0;
}

int json_member_text(struct slice json, const char *key, struct buf *out)
{
        struct slice value;

        if (!json_text_members(json, &key, &value, 1))
                return -1;
        if (!value.ptr || slice_is(value, "null"))
                return 0;
        return json_text_unquote(value, out) ? 1 : -1;
}
