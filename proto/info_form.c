#include "info_form.h"

#include <string.h>

#include "json.h"
#include "uri.h"

/* ---- the form ---- */

static bool add_expand(struct info_form *f, struct slice value, size_t *used)
{
        struct buf text = BUF_INIT(512);
        bool good = uri_decode_form(value, &text, NULL) == 0 && buf_ok(&text) && text.len &&
                    f->n_expand < INFO_EXPAND_MAX && *used + text.len + 1 <= sizeof(f->names);

        if (good) {
                char *at = f->names + *used;

                memcpy(at, text.ptr, text.len);
                at[text.len] = '\0';
                f->expand[f->n_expand++] = at;
                *used += text.len + 1;
        }
        buf_done(&text);
        return good;
}

bool info_form_parse(struct slice query, struct info_form *ret)
{
        struct query_param p;
        struct slice rest = query;
        size_t used = 0;

        ret->n_expand = 0;
        ret->blobs = query_flag(query, "blobs") || query_flag(query, "files_metadata");
        if (query_flag(query, "securityStatus"))
                return false;
        while (query_next(&rest, &p)) {
                bool expands = slice_is(p.name, "expand") || slice_is(p.name, "expand[]") ||
                               slice_ieq(p.name, SLICE("expand%5B%5D"));

                if (expands && !add_expand(ret, p.value, &used))
                        return false;
        }
        return true;
}

/* ---- siblings ---- */

static json_t *text_value(struct slice text)
{
        return json_stringn(text.ptr ? text.ptr : "", text.len);
}

/* NULL if the Hub would say more of the file than is known. */
static json_t *sibling_of(const struct tree_entry *e, bool blobs)
{
        json_t *s = json_object(), *lfs;

        json_object_set_new(s, "rfilename", text_value(e->path));
        if (!blobs)
                return s;
        if (!e->oid[0] || e->size == UINT64_MAX) {
                json_decref(s);
                return NULL;
        }
        json_object_set_new(s, "blobId", json_string(e->oid));
        json_object_set_new(s, "size", json_integer((json_int_t)e->size));
        if (!e->has_lfs)
                return s;
        lfs = json_object();
        json_object_set_new(lfs, "sha256", json_string(e->lfs_oid));
        json_object_set_new(lfs, "size", json_integer((json_int_t)e->size));
        json_object_set_new(
                lfs, "pointerSize",
                json_integer((json_int_t)(e->pointer_size ? e->pointer_size
                                                          : lfs_pointer_size(e->size))));
        json_object_set_new(s, "lfs", lfs);
        return s;
}

/* From the files of the commit; NULL if they are not known well enough. */
static json_t *siblings_of(const struct info_facts *facts, bool blobs)
{
        json_t *all = facts->files ? json_array() : NULL;

        for (size_t i = 0; all && i < facts->n_files; i++) {
                json_t *s = sibling_of(&facts->files[i], blobs);

                if (!s) {
                        json_decref(all);
                        return NULL;
                }
                json_array_append_new(all, s);
        }
        return all;
}

/* A form that was asked with blobs says more of each file than the plain one. */
static void make_plain(json_t *siblings)
{
        size_t i;
        json_t *s;

        json_array_foreach(siblings, i, s)
        {
                json_t *name = json_object_get(s, "rfilename");
                json_t *only = json_object();

                json_object_set(only, "rfilename", name ? name : json_null());
                json_array_set_new(siblings, i, only);
        }
}

static bool set_siblings(json_t *root, const struct info_form *form, const struct info_facts *facts)
{
        json_t *have = json_object_get(root, "siblings");
        json_t *made;

        if (json_is_array(have) && !form->blobs) {
                make_plain(have);
                return true;
        }
        made = siblings_of(facts, form->blobs);
        if (!made)
                return false;
        json_object_set_new(root, "siblings", made);
        return true;
}

/* ---- the document ---- */

/* What follows from the name and from what the Hub said of the repository. */
static json_t *bare_document(const struct info_facts *facts)
{
        json_t *root = json_object();
        size_t slash = slice_find(facts->id, '/');

        json_object_set_new(root, "id", text_value(facts->id));
        if (facts->kind == REPO_MODEL)
                json_object_set_new(root, "modelId", text_value(facts->id));
        if (slash < facts->id.len)
                json_object_set_new(root, "author", text_value(slice_cut(facts->id, slash)));
        json_object_set_new(root, "sha", text_value(facts->sha));
        if (facts->is_public) {
                json_object_set_new(root, "private", json_false());
                json_object_set_new(root, "gated", json_false());
                json_object_set_new(root, "disabled", json_false());
        }
        return root;
}

/* Only the members that were asked for, and what the Hub adds to them (`_id`, `id`). */
static json_t *picked(json_t *root, const struct info_form *form)
{
        static const char *const always[] = { "_id", "id" };
        json_t *some = json_object();

        for (size_t i = 0; i < ARRAY_LEN(always); i++)
                if (json_object_get(root, always[i]))
                        json_object_set(some, always[i], json_object_get(root, always[i]));
        for (size_t i = 0; i < form->n_expand; i++) {
                json_t *value = json_object_get(root, form->expand[i]);

                if (!value) {
                        json_decref(some);
                        return NULL;
                }
                json_object_set(some, form->expand[i], value);
        }
        return some;
}

static bool wants_siblings(const struct info_form *form)
{
        for (size_t i = 0; i < form->n_expand; i++)
                if (strcmp(form->expand[i], "siblings") == 0)
                        return true;
        return form->n_expand == 0;
}

int info_form_make(const struct info_form *form, struct slice base, const struct info_facts *facts,
                   struct buf *out, struct error *err)
{
        scoped(json_free) json_t *root = base.ptr ? json_read(base, err) : bare_document(facts);
        scoped(json_free) json_t *some = NULL;

        if (!root)
                return -1;
        if (!json_is_object(root) || (base.ptr && !slice_eq(json_text_of(root, "sha"), facts->sha)))
                return 0;
        if (wants_siblings(form) && !set_siblings(root, form, facts))
                return 0;
        if (form->n_expand) {
                some = picked(root, form);
                if (!some)
                        return 0;
        }
        json_write(some ? some : root, out);
        return buf_ok(out) ? 1 : error_set(err, ERR_TOO_LARGE, "a document is too large");
}
