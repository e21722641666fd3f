#include "bundle_rows.h"

#include <stdlib.h>
#include <string.h>

#include "base/hex.h"
#include "uri.h"
#include "utf8.h"

enum { NAME_MAX_BYTES = 1024, KEY_MAX_BYTES = 65536, HEADER_MAX_BYTES = 8192 };

static int wrong(struct error *err, const char *what)
{
        return error_set(err, ERR_BAD_REQUEST, "%s", what);
}

bool bundle_only(const json_t *object, const char *names)
{
        const char *name;
        json_t *value;

        json_object_foreach((json_t *)object, name, value)
        {
                struct slice rest = slice_str(names), word;
                bool known = false;

                while (!known && slice_split(&rest, ' ', &word))
                        known = slice_is(word, name);
                if (!known)
                        return false;
        }
        return json_is_object(object);
}

/* ---- words ---- */

static const char *const visibilities[] = {
        [VIS_UNKNOWN] = "unknown", [VIS_PUBLIC] = "public", [VIS_GATED] = "gated",
        [VIS_PRIVATE] = "private", [VIS_GONE] = "gone",
};

const char *bundle_visibility_word(enum visibility v)
{
        return visibilities[v];
}

int bundle_visibility_named(struct slice word)
{
        for (size_t i = 0; i < ARRAY_LEN(visibilities); i++)
                if (slice_is(word, visibilities[i]))
                        return (int)i;
        return -1;
}

static const char *const types[] = {
        [FILE_ABSENT] = "absent",
        [FILE_REGULAR] = "file",
        [FILE_FOLDER] = "folder",
};

static bool type_named(struct slice word, enum file_type *ret)
{
        for (size_t i = 0; i < ARRAY_LEN(types); i++)
                if (slice_is(word, types[i])) {
                        *ret = (enum file_type)i;
                        return true;
                }
        return false;
}

void bundle_digest_name(const struct digest *d, struct buf *out)
{
        buf_add_fmt(out, "%s:%s", d->algo == DIGEST_SHA256 ? "sha256" : "git", DIGEST_STR(d));
}

bool bundle_digest_parse(struct slice text, struct digest *ret)
{
        size_t at = slice_find(text, ':');
        struct slice algo = slice_cut(text, at), hex = slice_skip(text, at + 1);

        return ((slice_is(algo, "sha256") && hex_is_lower(hex, 64)) ||
                (slice_is(algo, "git") && hex_is_lower(hex, 40))) &&
               digest_parse(hex, ret);
}

/* ---- names ---- */

static bool set_repo(enum repo_kind kind, struct slice name, struct bundle_repo *ret)
{
        if (!repo_id_valid(name) || name.len >= sizeof(ret->name))
                return false;
        *ret = (struct bundle_repo){ .kind = kind };
        memcpy(ret->name, name.ptr, name.len);
        return true;
}

bool bundle_repo_parse(struct slice text, struct bundle_repo *ret)
{
        for (int k = 0; k < REPO_KIND_MAX; k++) {
                struct slice prefix = slice_str(repo_kind_prefix((enum repo_kind)k));

                if (prefix.len && slice_starts(text, prefix))
                        return set_repo((enum repo_kind)k, slice_skip(text, prefix.len), ret);
        }
        return set_repo(REPO_MODEL, text, ret);
}

bool bundle_doc_owner(struct slice key, struct bundle_repo *ret)
{
        scoped(buf_done) struct buf name = BUF_INIT(sizeof(ret->name));
        struct slice rest = key, op, kind, encoded;

        if (!slice_split(&rest, ' ', &op) || !slice_split(&rest, ' ', &kind) ||
            !slice_split(&rest, ' ', &encoded) || !op.len || uri_decode(encoded, &name, NULL) < 0 ||
            !buf_ok(&name))
                return false;
        for (int k = 0; k < REPO_KIND_MAX; k++)
                if (slice_is(kind, repo_kind_api((enum repo_kind)k)))
                        return set_repo((enum repo_kind)k, buf_slice(&name), ret);
        return false;
}

static bool has_control(struct slice text)
{
        for (size_t i = 0; i < text.len; i++)
                if ((unsigned char)text.ptr[i] < 0x20 || text.ptr[i] == 0x7f)
                        return true;
        return false;
}

/* ---- reading ---- */

/* A member that is 2 * n digits.  False if it is there and something else. */
static bool read_hash(const json_t *object, const char *name, uint8_t *ret, size_t n, bool *ret_has)
{
        const json_t *value = json_object_get(object, name);
        struct slice text = json_text_of(object, name);

        *ret_has = value != NULL;
        return !value || (hex_is_lower(text, 2 * n) && hex_decode(text, ret, n));
}

/* False if it is there and no size. */
static bool read_size(const json_t *object, const char *name, uint64_t *ret)
{
        return !json_object_get(object, name) ||
               (json_number_of(object, name, ret) && *ret <= INT64_MAX);
}

static bool read_at(const json_t *object, int64_t now, int64_t *ret)
{
        uint64_t at = 0;

        if (!json_number_of(object, "at", &at))
                return false;
        *ret = (int64_t)MIN(at, (uint64_t)now);
        return true;
}

static int read_file(const json_t *object, struct file_row *row, bool *here, struct error *err)
{
        struct slice path = json_text_of(object, "path");
        const json_t *said = json_object_get(object, "here");
        struct digest ignored;

        *row = (struct file_row){ .size = UINT64_MAX };
        if (!bundle_only(object, "path type oid size lfs pointer_size xet here"))
                return wrong(err, "a file has an unknown member");
        if (!hub_path_valid(path))
                return wrong(err, "a file's path is none of a repository");
        row->path = (char *)path.ptr;
        if (!type_named(json_text_of(object, "type"), &row->type))
                return wrong(err, "a file's type is unknown");
        if (!read_hash(object, "oid", row->oid, sizeof(row->oid), &row->has_oid) ||
            !read_hash(object, "lfs", row->lfs, sizeof(row->lfs), &row->has_lfs) ||
            !read_hash(object, "xet", row->xet, sizeof(row->xet), &row->has_xet))
                return wrong(err, "a file's digest is none");
        if (!read_size(object, "size", &row->size) ||
            !read_size(object, "pointer_size", &row->pointer_size))
                return wrong(err, "a file's size is none");
        if (said && !json_is_boolean(said))
                return wrong(err, "whether a file is here is not said");
        *here = json_is_true(said);
        if (*here && (!file_row_digest(row, &ignored) || row->size == UINT64_MAX))
                return wrong(err, "a file that is here has no digest or no size");
        return 0;
}

static int read_files(const json_t *object, const json_t *list, struct bundle_rows *ret,
                      struct error *err)
{
        struct slice commit = json_text_of(object, "commit");
        uint64_t completeness = 0;

        if (!bundle_only(object, "commit completeness files") || !commit_id_valid(commit) ||
            !json_number_of(object, "completeness", &completeness) || completeness > TREE_FULL)
                return wrong(err, "the files are of no commit");
        memcpy(ret->commit, commit.ptr, 40);
        ret->completeness = (enum completeness)completeness;
        ret->files = calloc(ret->n + 1, sizeof(*ret->files));
        ret->here = calloc(ret->n + 1, sizeof(*ret->here));
        if (!ret->files || !ret->here)
                return error_set(err, ERR_NOMEM, "no memory for a bundle's files");
        for (size_t i = 0; i < ret->n; i++)
                if (read_file(json_array_get(list, i), &ret->files[i], &ret->here[i], err) < 0)
                        return -1;
        return 0;
}

/* False if it is there and no header's value. */
static bool read_header(const json_t *object, const char *name, struct slice *ret)
{
        *ret = json_text_of(object, name);
        if (!json_object_get(object, name))
                return true;
        return ret->ptr && ret->len <= HEADER_MAX_BYTES && !has_control(*ret);
}

static int read_doc(const json_t *object, int64_t now, struct bundle_doc *ret, struct error *err)
{
        struct bundle_repo ignored;
        uint64_t status = 0;

        ret->key = json_text_of(object, "key");
        ret->body = json_text_of(object, "body");
        if (!bundle_only(object, "key status at type link body"))
                return wrong(err, "a document has an unknown member");
        if (ret->key.len > KEY_MAX_BYTES || !bundle_doc_owner(ret->key, &ignored))
                return wrong(err, "a document's key is of no repository");
        if (!json_number_of(object, "status", &status) || status < 200 || status > 599)
                return wrong(err, "a document's status is none");
        if (!ret->body.ptr || ret->body.len > BUNDLE_DOC_MAX)
                return wrong(err, "a document's body is not there or too large");
        if (!read_header(object, "type", &ret->content_type) ||
            !read_header(object, "link", &ret->link))
                return wrong(err, "a document's header is none");
        ret->status = (int)status;
        return read_at(object, now, &ret->fetched_at) ? 0 : wrong(err, "a document has no moment");
}

static int read_docs(const json_t *object, const json_t *list, int64_t now, struct bundle_rows *ret,
                     struct error *err)
{
        if (!bundle_only(object, "documents"))
                return wrong(err, "documents and something else");
        ret->docs = calloc(ret->n + 1, sizeof(*ret->docs));
        if (!ret->docs)
                return error_set(err, ERR_NOMEM, "no memory for a bundle's documents");
        for (size_t i = 0; i < ret->n; i++)
                if (read_doc(json_array_get(list, i), now, &ret->docs[i], err) < 0)
                        return -1;
        return 0;
}

static int read_name(const json_t *object, bool is_ref, int64_t now, struct bundle_name *ret,
                     struct error *err)
{
        struct slice commit = json_text_of(object, "commit");

        ret->name = json_text_of(object, "name");
        if (!bundle_only(object, is_ref ? "name commit at" : "name at") ||
            !read_at(object, now, &ret->at))
                return wrong(err, "a branch or an old name is not whole");
        if (is_ref) {
                if (!ret->name.len || ret->name.len > NAME_MAX_BYTES || has_control(ret->name) ||
                    !utf8_valid(ret->name) || !commit_id_valid(commit))
                        return wrong(err, "a branch has no name or no commit");
                memcpy(ret->commit, commit.ptr, 40);
        } else if (!repo_id_valid(ret->name)) {
                return wrong(err, "an old name is no repository's");
        }
        return 0;
}

static int read_names(const json_t *object, const json_t *list, const char *member, int64_t now,
                      struct bundle_rows *ret, struct error *err)
{
        if (!bundle_only(object, member))
                return wrong(err, "names and something else");
        ret->names = calloc(ret->n + 1, sizeof(*ret->names));
        if (!ret->names)
                return error_set(err, ERR_NOMEM, "no memory for a bundle's names");
        for (size_t i = 0; i < ret->n; i++)
                if (read_name(json_array_get(list, i), ret->kind == BUNDLE_REFS, now,
                              &ret->names[i], err) < 0)
                        return -1;
        return 0;
}

int bundle_rows_read(const json_t *object, int64_t now, struct bundle_rows *ret, struct error *err)
{
        static const char *const members[] = {
                [BUNDLE_FILES] = "files",
                [BUNDLE_DOCUMENTS] = "documents",
                [BUNDLE_ALIASES] = "aliases",
                [BUNDLE_REFS] = "refs",
        };
        const json_t *list = NULL;

        *ret = (struct bundle_rows){ .n = 0 };
        for (size_t k = 0; k < ARRAY_LEN(members) && !list; k++) {
                list = json_object_get(object, members[k]);
                ret->kind = (enum bundle_rows_kind)k;
        }
        if (!json_is_array(list))
                return wrong(err, "a line is neither files nor documents nor names");
        ret->n = json_array_size(list);
        switch (ret->kind) {
        case BUNDLE_FILES:
                return read_files(object, list, ret, err);
        case BUNDLE_DOCUMENTS:
                return read_docs(object, list, now, ret, err);
        default:
                return read_names(object, list, members[ret->kind], now, ret, err);
        }
}

void bundle_rows_done(struct bundle_rows *rows)
{
        free(rows->files);
        free(rows->here);
        free(rows->docs);
        free(rows->names);
        *rows = (struct bundle_rows){ .n = 0 };
}

/* ---- writing ---- */

static bool can_be_text(struct slice s)
{
        return utf8_valid(s) && (!s.len || !memchr(s.ptr, '\0', s.len));
}

static void set_text(json_t *object, const char *name, struct slice text)
{
        json_object_set_new(object, name, json_stringn(text.ptr ? text.ptr : "", text.len));
}

static void set_number(json_t *object, const char *name, int64_t n)
{
        json_object_set_new(object, name, json_integer((json_int_t)n));
}

static void set_hash(json_t *object, const char *name, bool has, const uint8_t *bytes, size_t n)
{
        char text[65];

        if (!has)
                return;
        hex_encode(bytes, n, text);
        json_object_set_new(object, name, json_string(text));
}

json_t *bundle_file_json(const struct file_row *row, bool here)
{
        json_t *object;

        if (!hub_path_valid(slice_str(row->path)))
                return NULL;
        object = json_pack("{s:s, s:s}", "path", row->path, "type", types[row->type]);
        set_hash(object, "oid", row->has_oid, row->oid, sizeof(row->oid));
        set_hash(object, "lfs", row->has_lfs, row->lfs, sizeof(row->lfs));
        set_hash(object, "xet", row->has_xet, row->xet, sizeof(row->xet));
        if (row->size != UINT64_MAX)
                set_number(object, "size", (int64_t)row->size);
        if (row->has_lfs && row->pointer_size)
                set_number(object, "pointer_size", (int64_t)row->pointer_size);
        if (here)
                json_object_set_new(object, "here", json_true());
        return object;
}

json_t *bundle_doc_json(const struct bundle_doc *doc)
{
        struct bundle_repo ignored;
        json_t *object;

        if (doc->body.len > BUNDLE_DOC_MAX || !can_be_text(doc->body) || !can_be_text(doc->key) ||
            doc->status < 200 || doc->status > 599 || has_control(doc->content_type) ||
            has_control(doc->link) || !can_be_text(doc->content_type) || !can_be_text(doc->link) ||
            !bundle_doc_owner(doc->key, &ignored))
                return NULL;
        object = json_object();
        set_text(object, "key", doc->key);
        set_number(object, "status", doc->status);
        set_number(object, "at", doc->fetched_at);
        if (doc->content_type.ptr)
                set_text(object, "type", doc->content_type);
        if (doc->link.ptr)
                set_text(object, "link", doc->link);
        set_text(object, "body", doc->body);
        return object;
}

json_t *bundle_name_json(const struct bundle_name *row, bool has_commit)
{
        json_t *object;

        if (!can_be_text(row->name) || has_control(row->name) ||
            (!has_commit && !repo_id_valid(row->name)))
                return NULL;
        object = json_object();
        set_text(object, "name", row->name);
        if (has_commit)
                json_object_set_new(object, "commit", json_string(row->commit));
        set_number(object, "at", row->at);
        return object;
}
