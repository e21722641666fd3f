#include "cmd_bundle.h"

#include <fcntl.h>
#include <string.h>

#include "admin_client.h"
#include "base/compiler.h"
#include "base/hex.h"
#include "bundle_rows.h"

int bundle_call(const struct bundle_command *c, const char *method, const char *target,
                const json_t *body, json_t **ret_doc)
{
        struct error err = { 0 };
        int status;

        if (admin_call(c->config, method, target, body, &status, ret_doc, &err) < 0) {
                config_errors_add(c->errors, true, "%s", err.what);
                return CMD_NO_DAEMON;
        }
        if (status < 400)
                return CMD_DONE;
        config_errors_add(c->errors, true, "%s", admin_error(status, *ret_doc));
        return CMD_NOT_DONE;
}

int bundle_fail(const struct bundle_command *c, const struct error *err)
{
        config_errors_add(c->errors, true, "%s", err->what);
        return CMD_NOT_DONE;
}

/* ---- the manifest ---- */

static int wrong(struct error *err, const char *what)
{
        return error_set(err, ERR_BAD_REQUEST, "manifest.json: %s", what);
}

static bool sizes_ok(const json_t *blobs)
{
        const char *name;
        json_t *size;

        if (!json_is_object(blobs))
                return false;
        json_object_foreach((json_t *)blobs, name, size)
        {
                struct digest ignored;

                if (!bundle_digest_parse(slice_str(name), &ignored) || !json_is_integer(size) ||
                    json_integer_value(size) < 0)
                        return false;
        }
        return true;
}

static bool commits_ok(const json_t *commits)
{
        const char *name;
        json_t *known;

        if (!json_is_object(commits))
                return false;
        json_object_foreach((json_t *)commits, name, known)
        {
                struct slice sum = slice_of(json_string_value(known), json_string_length(known));

                if (!commit_id_valid(slice_str(name)) || !hex_is_lower(sum, 64))
                        return false;
        }
        return true;
}

static int check_repository(const json_t *repo, struct error *err)
{
        const json_t *rows = json_object_get(repo, "rows");
        struct bundle_repo ignored;
        uint64_t number;

        if (!bundle_only(repo, "repository upstream_id visibility at rows commits earlier") ||
            !bundle_repo_parse(json_text_of(repo, "repository"), &ignored))
                return wrong(err, "a repository has no name, or an unknown member");
        if (bundle_visibility_named(json_text_of(repo, "visibility")) < 0 ||
            !json_number_of(repo, "at", &number) || !json_text_of(repo, "upstream_id").ptr)
                return wrong(err, "who may see a repository is not said");
        if (!bundle_only(rows, "size sha256") || !json_number_of(rows, "size", &number) ||
            !hex_is_lower(json_text_of(rows, "sha256"), 64))
                return wrong(err, "a repository's rows have no size or no digest");
        if (!commits_ok(json_object_get(repo, "commits")) ||
            !commits_ok(json_object_get(repo, "earlier")))
                return wrong(err, "a repository's commits are none");
        return 0;
}

/* Twice the same name would be two files with one name's rows. */
static int check_repositories(const json_t *list, struct error *err)
{
        scoped(json_free) json_t *seen = json_object();
        const json_t *repo;
        size_t i;

        if (!json_is_array(list))
                return wrong(err, "there are no repositories");
        json_array_foreach(list, i, repo)
        {
                const char *name;

                if (check_repository(repo, err) < 0)
                        return -1;
                name = json_string_value(json_object_get(repo, "repository"));
                if (json_object_get(seen, name))
                        return wrong(err, "a repository is there twice");
                json_object_set_new(seen, name, json_true());
        }
        return 0;
}

static int check_manifest(const json_t *m, struct error *err)
{
        uint64_t format = 0, number;

        if (!json_number_of(m, "format", &format))
                return wrong(err, "this is no manifest of a bundle");
        if (format != BUNDLE_FORMAT)
                return wrong(err, "a bundle of another format than this program knows");
        if (!bundle_only(m, "format created program repositories blobs earlier bytes") ||
            !json_number_of(m, "created", &number) || !json_text_of(m, "program").ptr ||
            !json_number_of(m, "bytes", &number))
                return wrong(err, "a member is missing or unknown");
        if (!sizes_ok(json_object_get(m, "blobs")) || !sizes_ok(json_object_get(m, "earlier")))
                return wrong(err, "a file has no digest or no size");
        return check_repositories(json_object_get(m, "repositories"), err);
}

int bundle_manifest_parse(struct slice text, json_t **ret, struct error *err)
{
        scoped(json_free) json_t *m = json_read(text, NULL);

        if (!m)
                return wrong(err, "it is no JSON, or has a name twice");
        if (check_manifest(m, err) < 0)
                return -1;
        *ret = take(m);
        return 0;
}

int bundle_manifest_load(const char *path, json_t **ret, struct error *err)
{
        scoped(free_ptr) char *text = NULL;
        size_t n = 0;
        const char *slash = strrchr(path, '/');
        scoped(free_ptr) char *folder =
                slash ? slice_dup(slice_of(path, (size_t)(slash - path) + 1))
                      : slice_dup(SLICE("."));
        scoped(close_fd) int dir = -1;
        int r;

        if (!folder)
                return error_set(err, ERR_NOMEM, "no memory for a path");
        if (bundle_dir_open(folder, false, &dir, err) < 0)
                return -1;
        r = bundle_read(dir, slash ? slash + 1 : path, BUNDLE_MANIFEST_MAX, &text, &n, err);
        if (r < 0)
                return -1;
        if (r == 0)
                return error_set(err, ERR_IO, "%s: there is no such file", path);
        return bundle_manifest_parse(slice_of(text, n), ret, err);
}

json_t *bundle_manifest_repo(const json_t *manifest, const char *name)
{
        json_t *repo;
        size_t i;

        json_array_foreach(json_object_get(manifest, "repositories"), i, repo)
        {
                if (strcmp(json_string_value(json_object_get(repo, "repository")), name) == 0)
                        return repo;
        }
        return NULL;
}
