/*
 * import: everything in the bundle is read and checked, then sent; nothing of it is seen by anybody
 * before its repository's end.  What is sent already need not be sent again, so an import that was
 * broken off is simply run again.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "admin_client.h"
#include "base/clock.h"
#include "base/compiler.h"
#include "bundle_rows.h"
#include "bundle_sign.h"
#include "cmd_bundle.h"
#include "log.h"

enum { ASKED_AT_ONCE = 5000, TARGET_MAX = 256 };

struct arrival {
        struct bundle_command c;
        int dir; /* -1 */
        json_t *manifest;
        json_t *missing; /* blobs that are to be sent: digest: size */
        bool is_signed;
        uint64_t max_bytes, blob_bytes, free_bytes; /* of the daemon */
        uint64_t bytes;                             /* of what is missing */
        json_t *repo;                               /* at hand, in the manifest */
        bool sends;                                 /* its lines; or they are only checked */
        int code;
};

static void arrival_done(struct arrival *a)
{
        json_decref(take(a->manifest));
        json_decref(take(a->missing));
        close_fd(&a->dir);
}

static uint64_t number_at(const json_t *object, const char *key)
{
        uint64_t n = 0;

        return json_number_of(object, key, &n) ? n : 0;
}

/* ---- the manifest and its signature ---- */

/* 1 if one of the trusted keys signed it, 0 if none did, -1. */
static int check_keys(const struct command_line *line, const struct config *config,
                      struct slice text, struct slice signature, size_t *ret_n, struct error *err)
{
        const char *file;
        int r = 0;

        for (*ret_n = 0; r == 0 && (file = command_flag(line, "trust", *ret_n)); (*ret_n)++)
                r = bundle_verify(file, text, signature, err);
        if (*ret_n)
                return r;
        for (; r == 0 && *ret_n < config->import_trusted_keys.n; (*ret_n)++)
                r = bundle_verify(config->import_trusted_keys.v[*ret_n], text, signature, err);
        return r;
}

static int check_signature(struct arrival *a, const struct command_line *line, struct slice text)
{
        scoped(free_ptr) char *signature = NULL;
        struct error err = { 0 };
        size_t n = 0, n_keys = 0;
        int r;

        if (command_flag(line, "unsigned", 0))
                return CMD_DONE;
        r = bundle_read(a->dir, BUNDLE_SIGNATURE, BUNDLE_SIGNATURE_BYTES, &signature, &n, &err);
        if (r < 0)
                return bundle_fail(&a->c, &err);
        a->is_signed =
                check_keys(line, a->c.config, text, slice_of(signature, n), &n_keys, &err) > 0;
        if (error_is_set(&err))
                return bundle_fail(&a->c, &err);
        if (a->is_signed)
                return CMD_DONE;
        config_errors_add(a->c.errors, true, "%s",
                          !n_keys  ? "no key is trusted here: say --trust FILE or set "
                                     "import.trusted_keys; --unsigned takes a bundle from anybody"
                          : r == 0 ? "this bundle is not signed: --unsigned takes it all the same"
                                   : "this bundle is not signed by a key that is trusted here");
        return CMD_NOT_DONE;
}

static int open_bundle(struct arrival *a, const struct command_line *line)
{
        scoped(free_ptr) char *text = NULL;
        struct error err = { 0 };
        size_t n = 0;
        int r, code;

        if (bundle_dir_open(command_operand(line, 0), false, &a->dir, &err) < 0)
                return bundle_fail(&a->c, &err);
        r = bundle_read(a->dir, BUNDLE_MANIFEST, BUNDLE_MANIFEST_MAX, &text, &n, &err);
        if (r == 0)
                error_set(&err, ERR_IO, "%s is no bundle: it has no " BUNDLE_MANIFEST,
                          command_operand(line, 0));
        if (r <= 0)
                return bundle_fail(&a->c, &err);
        code = check_signature(a, line, slice_of(text, n));
        if (code != CMD_DONE)
                return code;
        if (bundle_manifest_parse(slice_of(text, n), &a->manifest, &err) < 0)
                return bundle_fail(&a->c, &err);
        return CMD_DONE;
}

/* ---- rows ---- */

/* The size that the manifest gives a file; false if it does not have it. */
static bool listed_size(const json_t *manifest, const struct digest *d, uint64_t *ret)
{
        scoped(buf_done) struct buf name = BUF_INIT(96);

        bundle_digest_name(d, &name);
        return json_number_of(json_object_get(manifest, "blobs"), name.ptr, ret) ||
               json_number_of(json_object_get(manifest, "earlier"), name.ptr, ret);
}

/* What a row leads to is in the manifest, as the row says it is. */
static int check_row(const struct arrival *a, const struct bundle_rows *rows, size_t i,
                     struct error *err)
{
        struct digest digest;
        uint64_t size = 0;

        if (rows->kind == BUNDLE_REFS &&
            !json_object_get(json_object_get(a->repo, "commits"), rows->names[i].commit) &&
            !json_object_get(json_object_get(a->repo, "earlier"), rows->names[i].commit))
                return error_set(err, ERR_CORRUPT, "a branch's commit is not in the bundle");
        if (rows->kind != BUNDLE_FILES || !rows->here[i])
                return 0;
        if (!file_row_digest(&rows->files[i], &digest) ||
            !listed_size(a->manifest, &digest, &size) || size != rows->files[i].size)
                return error_set(err, ERR_CORRUPT, "a file is not in the bundle as its row says");
        return 0;
}

static int check_line(const struct arrival *a, const json_t *object, struct error *err)
{
        struct bundle_rows rows;
        int r = bundle_rows_read(object, clock_wall_ms(), &rows, err);

        if (r == 0 && rows.kind == BUNDLE_FILES &&
            !json_object_get(json_object_get(a->repo, "commits"), rows.commit))
                r = error_set(err, ERR_CORRUPT, "a commit that the manifest does not list");
        for (size_t i = 0; r == 0 && i < rows.n; i++)
                r = check_row(a, &rows, i, err);
        bundle_rows_done(&rows);
        return r;
}

static int send_line(struct arrival *a, const json_t *object, struct error *err)
{
        scoped(json_free) json_t *body = json_pack(
                "{s:O, s:O}", "repository", json_object_get(a->repo, "repository"), "rows", object);
        scoped(json_free) json_t *doc = NULL;

        a->code = bundle_call(&a->c, "POST", "bundle/rows", body, &doc);
        return a->code == CMD_DONE ? 0 : error_set(err, ERR_CANCELLED, "the daemon refused rows");
}

static int on_line(void *arg, struct slice line, struct error *err)
{
        struct arrival *a = arg;
        scoped(json_free) json_t *object = json_read(line, NULL);

        if (!json_is_object(object))
                return error_set(err, ERR_CORRUPT, "a line is no JSON object");
        if (check_line(a, object, err) < 0)
                return -1;
        return a->sends ? send_line(a, object, err) : 0;
}

/* Every line of a repository, checked, and sent if a->sends. */
static int read_rows(struct arrival *a, size_t i)
{
        const json_t *rows = json_object_get(a->repo, "rows");
        scoped(close_fd) int fd = -1;
        char path[BUNDLE_PATH_MAX];
        struct error err = { 0 };
        struct digest is, want;
        uint64_t size = 0;
        int r = bundle_open(a->dir, bundle_rows_path(i, path), &fd, &size, &err);

        a->code = CMD_DONE;
        if (r == 0)
                error_set(&err, ERR_CORRUPT, "it is missing");
        else if (r > 0 && size != number_at(rows, "size"))
                error_set(&err, ERR_CORRUPT, "it is not as large as the manifest says");
        if (!error_is_set(&err) &&
            bundle_each_line(fd, BUNDLE_LINE_MAX, on_line, a, &is, &err) == 0 &&
            (!digest_parse(json_text_of(rows, "sha256"), &want) || !digest_eq(&is, &want)))
                error_set(&err, ERR_CORRUPT, "it is not what its digest says");
        if (a->code != CMD_DONE)
                return a->code;
        if (!error_is_set(&err))
                return CMD_DONE;
        error_wrap(&err, "%s", path);
        return bundle_fail(&a->c, &err);
}

static int check_rows(struct arrival *a)
{
        int code = CMD_DONE;
        size_t i;

        json_array_foreach(json_object_get(a->manifest, "repositories"), i, a->repo)
        {
                if (code == CMD_DONE)
                        code = read_rows(a, i);
        }
        return code;
}

/* ---- files ---- */

static void show(const char *what, uint64_t done, uint64_t all)
{
        scoped(buf_done) struct buf line = BUF_INIT(256);

        buf_add_fmt(&line, "import: %s ", what);
        show_bytes(&line, done);
        buf_add_str(&line, " of ");
        show_bytes(&line, all);
        if (buf_ok(&line))
                show_progress(line.ptr);
}

static int check_blobs(struct arrival *a)
{
        uint64_t all = number_at(a->manifest, "bytes"), done = 0;
        const char *name;
        json_t *size;

        json_object_foreach(json_object_get(a->manifest, "blobs"), name, size)
        {
                char path[BUNDLE_PATH_MAX] = "";
                struct error err = { 0 };
                struct digest d;
                int r = 0;

                show("checked", done, all);
                if (bundle_digest_parse(slice_str(name), &d))
                        r = bundle_check(a->dir, bundle_blob_path(&d, path), &d,
                                         (uint64_t)json_integer_value(size), &err);
                if (r == 0)
                        error_set(&err, ERR_CORRUPT, "%s is missing", path);
                if (r <= 0)
                        return bundle_fail(&a->c, &err);
                done += (uint64_t)json_integer_value(size);
        }
        show_progress("");
        return CMD_DONE;
}

/* One question for what is not there; body is taken over. */
static int ask_missing(struct arrival *a, json_t *body, json_t **ret)
{
        int code = bundle_call(&a->c, "POST", "bundle/missing", body, ret);

        json_decref(body);
        a->max_bytes = number_at(*ret, "max_bytes");
        a->blob_bytes = number_at(*ret, "blob_bytes");
        a->free_bytes = number_at(*ret, "free_bytes");
        return code;
}

/* Which of these the daemon does not have, into *out (digest: size). */
static int find_missing(struct arrival *a, const json_t *blobs, json_t *out)
{
        json_t *names = json_array();
        size_t left = json_object_size(blobs);
        const char *name;
        json_t *size;
        int code = CMD_DONE;

        json_object_foreach((json_t *)blobs, name, size)
        {
                scoped(json_free) json_t *doc = NULL;
                const json_t *one;
                size_t i;

                json_array_append_new(names, json_string(name));
                left--;
                if (left && json_array_size(names) < ASKED_AT_ONCE)
                        continue;
                code = ask_missing(a, json_pack("{s:O}", "blobs", names), &doc);
                json_array_clear(names);
                json_array_foreach(json_object_get(doc, "missing"), i, one)
                {
                        const char *key = json_string_value(one);

                        if (key && json_object_get(blobs, key))
                                json_object_set(out, key, json_object_get(blobs, key));
                }
                if (code != CMD_DONE)
                        break;
        }
        json_decref(names);
        return code;
}

static int needs_earlier(struct arrival *a, size_t files, size_t commits)
{
        config_errors_add(a->c.errors, true,
                          "this bundle continues an earlier one, of which %zu files and %zu "
                          "commits are not here: import that one first",
                          files, commits);
        return CMD_NOT_DONE;
}

/* What the bundle needs of an earlier one is here. */
static int check_earlier(struct arrival *a)
{
        scoped(json_free) json_t *blobs = json_object();
        int code = find_missing(a, json_object_get(a->manifest, "earlier"), blobs);
        json_t *repo;
        size_t i;

        if (code == CMD_DONE && json_object_size(blobs))
                return needs_earlier(a, json_object_size(blobs), 0);
        json_array_foreach(json_object_get(a->manifest, "repositories"), i, repo)
        {
                scoped(json_free) json_t *doc = NULL;
                json_t *commits = json_array(), *ignored;
                const char *sha;

                json_object_foreach(json_object_get(repo, "earlier"), sha, ignored)
                        json_array_append_new(commits, json_string(sha));
                if (code == CMD_DONE)
                        code = ask_missing(a,
                                           json_pack("{s:O, s:O}", "repository",
                                                     json_object_get(repo, "repository"), "commits",
                                                     commits),
                                           &doc);
                json_decref(commits);
                if (code == CMD_DONE && json_array_size(json_object_get(doc, "missing")))
                        return needs_earlier(a, 0,
                                             json_array_size(json_object_get(doc, "missing")));
        }
        return code;
}

/* Nothing is begun that cannot be ended, and nothing that is here has to go for it. */
static int check_room(struct arrival *a)
{
        const char *name;
        json_t *size;

        json_object_foreach(a->missing, name, size) a->bytes += (uint64_t)json_integer_value(size);
        if (!a->bytes || (a->bytes <= a->free_bytes &&
                          (!a->max_bytes || a->blob_bytes + a->bytes <= a->max_bytes)))
                return CMD_DONE;
        config_errors_add(a->c.errors, true,
                          "there is no room for %" PRIu64 " bytes more: %" PRIu64 " are here, "
                          "cache.max_size is %" PRIu64 " (0: no limit), the disk has %" PRIu64
                          " beside cache.min_free",
                          a->bytes, a->blob_bytes, a->max_bytes, a->free_bytes);
        return CMD_NOT_DONE;
}

static int send_blob(struct arrival *a, const char *name, uint64_t size)
{
        scoped(json_free) json_t *doc = NULL;
        scoped(close_fd) int fd = -1;
        char path[BUNDLE_PATH_MAX], target[TARGET_MAX];
        struct error err = { 0 };
        uint64_t real = 0;
        struct digest d;
        int status = 0;

        if (!bundle_digest_parse(slice_str(name), &d) ||
            bundle_open(a->dir, bundle_blob_path(&d, path), &fd, &real, &err) <= 0 ||
            real != size) {
                config_errors_add(a->c.errors, true, "%s changed while it was read", name);
                return CMD_NOT_DONE;
        }
        snprintf(target, sizeof(target), "bundle/blobs/%s", name);
        if (admin_upload(a->c.config, target, fd, size, &status, &doc, &err) < 0) {
                config_errors_add(a->c.errors, true, "%s", err.what);
                return CMD_NO_DAEMON;
        }
        if (status == 200)
                return CMD_DONE;
        config_errors_add(a->c.errors, true, "%s: %s", name, admin_error(status, doc));
        return CMD_NOT_DONE;
}

static int send_blobs(struct arrival *a)
{
        uint64_t done = 0;
        const char *name;
        json_t *size;
        int code = CMD_DONE;

        json_object_foreach(a->missing, name, size)
        {
                show("stored", done, a->bytes);
                code = send_blob(a, name, (uint64_t)json_integer_value(size));
                if (code != CMD_DONE)
                        break;
                done += (uint64_t)json_integer_value(size);
        }
        show_progress("");
        return code;
}

/* ---- repositories ---- */

static int send_step(struct arrival *a, const char *step)
{
        char name[400];
        scoped(json_free) json_t *doc = NULL;
        scoped(json_free) json_t *body = json_pack(
                "{s:s, s:b, s:O, s:O, s:O, s:O}", "step", step, "signed", (int)a->is_signed,
                "repository", json_object_get(a->repo, "repository"), "upstream_id",
                json_object_get(a->repo, "upstream_id"), "visibility",
                json_object_get(a->repo, "visibility"), "at", json_object_get(a->repo, "at"));
        int code = bundle_call(&a->c, "POST", "bundle/repositories", body, &doc);

        /* A name may be made to look like something else (S-23). */
        if (code != CMD_DONE)
                config_errors_add(
                        a->c.errors, true, "%s: it was not imported",
                        log_escape(json_text_of(a->repo, "repository"), name, sizeof(name)));
        return code;
}

static int send_rows(struct arrival *a)
{
        int code = CMD_DONE;
        size_t i;

        a->sends = true;
        json_array_foreach(json_object_get(a->manifest, "repositories"), i, a->repo)
        {
                if (code == CMD_DONE)
                        code = send_step(a, "begin");
                if (code == CMD_DONE)
                        code = read_rows(a, i);
                if (code == CMD_DONE)
                        code = send_step(a, "end");
        }
        return code;
}

static void say_result(const struct arrival *a, struct buf *out)
{
        size_t closed = 0, i;
        json_t *repo;

        json_array_foreach(json_object_get(a->manifest, "repositories"), i, repo) closed +=
                !slice_is(json_text_of(repo, "visibility"), "public");
        buf_add_fmt(out, "%zu repositories, %zu files, ",
                    json_array_size(json_object_get(a->manifest, "repositories")),
                    json_object_size(json_object_get(a->manifest, "blobs")));
        show_bytes(out, number_at(a->manifest, "bytes"));
        buf_add_fmt(out, "; %zu files were not here yet\n", json_object_size(a->missing));
        if (closed)
                buf_add_fmt(out,
                            "%zu of the repositories are not public: nobody is given them before "
                            "the Hub says that he may have them\n",
                            closed);
}

int cmd_import(const struct command_line *line, const struct config *config, struct buf *out,
               struct config_errors *errors)
{
        scoped(arrival_done) struct arrival a = { .c = { config, errors },
                                                  .dir = -1,
                                                  .missing = json_object() };
        int code = open_bundle(&a, line);

        if (code == CMD_DONE)
                code = check_rows(&a);
        if (code == CMD_DONE)
                code = check_blobs(&a);
        if (code == CMD_DONE)
                code = check_earlier(&a);
        if (code == CMD_DONE)
                code = find_missing(&a, json_object_get(a.manifest, "blobs"), a.missing);
        if (code == CMD_DONE)
                code = check_room(&a);
        if (code == CMD_DONE)
                code = send_blobs(&a);
        if (code == CMD_DONE)
                code = send_rows(&a);
        if (code == CMD_DONE)
                say_result(&a, out);
        return code;
}
