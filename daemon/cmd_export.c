/* export and diff: both walk through what the daemon has; diff only counts. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "admin_client.h"
#include "base/clock.h"
#include "base/compiler.h"
#include "bundle_rows.h"
#include "bundle_sign.h"
#include "cmd_bundle.h"
#include "uri.h"

enum { TARGET_MAX = 8192 };

struct walk {
        struct bundle_command c;
        int dir;           /* -1: nothing is written */
        json_t *since;     /* the earlier manifest, or NULL */
        json_t *repos;     /* as in the manifest */
        json_t *blobs;     /* digest: size */
        json_t *earlier;   /* what of them the earlier bundle has */
        json_t *report;    /* for diff */
        uint64_t bytes;    /* of blobs */
        uint64_t not_here; /* files whose bytes this daemon does not have */
        uint64_t documents_left;
        size_t n_commits;
};

/* One repository on its way. */
struct piece {
        struct walk *w;
        const char *name;     /* as people write it, canonical */
        const char *revision; /* NULL: all commits */
        char only[41];        /* the commit that it names */
        json_t *commits, *earlier, *refs;
        const json_t *had; /* in the earlier manifest, or NULL */
        struct bundle_file rows;
        uint64_t new_files, new_bytes;
};

static uint64_t number_at(const json_t *object, const char *key)
{
        uint64_t n = 0;

        return json_number_of(object, key, &n) ? n : 0;
}

static const char *text_at(const json_t *object, const char *key)
{
        const char *text = json_string_value(json_object_get(object, key));

        return text ? text : "";
}

/* ---- pages ---- */

/* One page of a part; *next goes on from page to page, and is "" after the last. */
static int get_page(struct walk *w, const char *repo, const char *part, const char *commit,
                    struct buf *next, json_t **ret)
{
        scoped(buf_done) struct buf target = BUF_INIT(TARGET_MAX);
        int code;

        buf_add_str(&target, "bundle/rows?repository=");
        uri_encode(slice_str(repo), "/", &target);
        buf_add_fmt(&target, "&part=%s", part);
        if (commit)
                buf_add_fmt(&target, "&commit=%s", commit);
        if (next->len)
                buf_add_fmt(&target, "&after=%s", next->ptr);
        code = bundle_call(&w->c, "GET", target.ptr, NULL, ret);
        buf_reset(next);
        if (code == CMD_DONE)
                buf_add_str(next, text_at(*ret, "next"));
        return code;
}

static int write_line(struct piece *p, const json_t *line)
{
        scoped(buf_done) struct buf text = BUF_INIT(BUNDLE_LINE_MAX);
        struct error err = { 0 };

        if (p->w->dir < 0)
                return CMD_DONE;
        json_write(line, &text);
        buf_add_char(&text, '\n');
        if (!buf_ok(&text))
                error_set(&err, ERR_TOO_LARGE, "rows of %s are too large to be carried", p->name);
        else if (bundle_file_write(&p->rows, buf_slice(&text), &err) == 0)
                return CMD_DONE;
        return bundle_fail(&p->w->c, &err);
}

/* ---- files of commits ---- */

static const json_t *in_earlier(const struct walk *w, const char *name)
{
        const json_t *found = json_object_get(json_object_get(w->since, "blobs"), name);

        return found ? found : json_object_get(json_object_get(w->since, "earlier"), name);
}

/* Takes note of a file whose bytes are here. */
static void note_blob(struct piece *p, const json_t *file)
{
        scoped(buf_done) struct buf name = BUF_INIT(96);
        struct walk *w = p->w;
        const char *lfs = json_string_value(json_object_get(file, "lfs"));
        uint64_t size = number_at(file, "size");

        buf_add_fmt(&name, "%s:%s", lfs ? "sha256" : "git", lfs ? lfs : text_at(file, "oid"));
        if (json_object_get(w->blobs, name.ptr) || json_object_get(w->earlier, name.ptr))
                return;
        if (in_earlier(w, name.ptr)) {
                json_object_set_new(w->earlier, name.ptr, json_integer((json_int_t)size));
                return;
        }
        json_object_set_new(w->blobs, name.ptr, json_integer((json_int_t)size));
        w->bytes += size;
        p->new_files++;
        p->new_bytes += size;
}

static void note_files(struct piece *p, const json_t *files)
{
        const json_t *file;
        size_t i;

        json_array_foreach(files, i, file)
        {
                if (json_is_true(json_object_get(file, "here")))
                        note_blob(p, file);
                else if (strcmp(text_at(file, "type"), "file") == 0)
                        p->w->not_here++;
        }
}

/* What is known of the files, whether or not they are here. */
static void sum_files(struct hasher *h, const json_t *files)
{
        json_t *file;
        size_t i;

        json_array_foreach(files, i, file)
        {
                scoped(buf_done) struct buf text = BUF_INIT(BUNDLE_LINE_MAX);

                json_object_del(file, "here");
                json_write(file, &text);
                hasher_update(h, text.ptr, text.len);
        }
}

/* The pages of a commit, each a line of its own, and their sum. */
static int write_commit(struct piece *p, const char *sha, int completeness, struct hasher *h)
{
        scoped(buf_done) struct buf next = BUF_INIT(TARGET_MAX);
        bool left_out = false;
        int code;

        do {
                scoped(json_free) json_t *page = NULL, *line = NULL;
                json_t *files;

                code = get_page(p->w, p->name, "files", sha, &next, &page);
                if (code != CMD_DONE)
                        return code;
                files = json_object_get(page, "files");
                note_files(p, files);
                /* A list that is not whole proves nothing about what it does not have. */
                left_out |= json_object_get(page, "left_out") != NULL;
                line = json_pack("{s:s, s:i, s:O}", "commit", sha, "completeness",
                                 next.len || left_out ? 0 : completeness, "files", files);
                code = write_line(p, line);
                sum_files(h, files);
        } while (code == CMD_DONE && next.len);
        hasher_update(h, &completeness, sizeof(completeness));
        return code;
}

/* Whether the earlier bundle says the same of the commit, or the one before that. */
static bool is_carried(const struct piece *p, const char *sha, const char *sum)
{
        struct slice had = json_text_of(json_object_get(p->had, "commits"), sha);

        if (!had.ptr)
                had = json_text_of(json_object_get(p->had, "earlier"), sha);
        return slice_is(had, sum);
}

static int walk_commit(struct piece *p, const char *sha, int completeness)
{
        scoped(hasher_free) struct hasher *h = NULL;
        uint64_t begun = p->rows.size;
        struct error err = { 0 };
        struct digest sum;
        bool carried;
        int code;

        if (hasher_new(DIGEST_SHA256, 0, &h, &err) < 0)
                return bundle_fail(&p->w->c, &err);
        code = write_commit(p, sha, completeness, h);
        if (code != CMD_DONE)
                return code;
        hasher_final(h, &sum);
        carried = is_carried(p, sha, DIGEST_STR(&sum));
        json_object_set_new(carried ? p->earlier : p->commits, sha, json_string(DIGEST_STR(&sum)));
        if (carried && p->w->dir >= 0 && bundle_file_cut(&p->rows, begun, &err) < 0)
                return bundle_fail(&p->w->c, &err);
        return CMD_DONE;
}

static int walk_commits(struct piece *p)
{
        scoped(buf_done) struct buf next = BUF_INIT(TARGET_MAX);
        int code;

        do {
                scoped(json_free) json_t *page = NULL;
                const json_t *row;
                size_t i;

                code = get_page(p->w, p->name, "commits", NULL, &next, &page);
                json_array_foreach(json_object_get(page, "commits"), i, row)
                {
                        const char *sha = text_at(row, "commit");

                        if (code == CMD_DONE && (!p->only[0] || strcmp(sha, p->only) == 0))
                                code = walk_commit(p, sha, (int)number_at(row, "completeness"));
                }
        } while (code == CMD_DONE && next.len);
        return code;
}

/* ---- names and documents ---- */

/* Those that point to what is carried: a branch may have moved meanwhile. */
static int write_refs(struct piece *p)
{
        scoped(json_free) json_t *line = NULL;
        json_t *kept = json_array(), *ref;
        size_t i;

        json_array_foreach(p->refs, i, ref)
        {
                const char *sha = text_at(ref, "commit");

                if (json_object_get(p->commits, sha) || json_object_get(p->earlier, sha))
                        json_array_append(kept, ref);
        }
        line = json_pack("{s:o}", "refs", kept);
        return json_array_size(kept) ? write_line(p, line) : CMD_DONE;
}

static int read_refs(struct piece *p)
{
        scoped(buf_done) struct buf next = BUF_INIT(TARGET_MAX);
        int code;

        do {
                scoped(json_free) json_t *page = NULL;

                code = get_page(p->w, p->name, "refs", NULL, &next, &page);
                if (code == CMD_DONE)
                        json_array_extend(p->refs, json_object_get(page, "refs"));
        } while (code == CMD_DONE && next.len);
        return code;
}

/* A part whose pages are lines as they are. */
static int write_part(struct piece *p, const char *part)
{
        scoped(buf_done) struct buf next = BUF_INIT(TARGET_MAX);
        int code;

        do {
                scoped(json_free) json_t *page = NULL, *line = NULL;
                json_t *rows;

                code = get_page(p->w, p->name, part, NULL, &next, &page);
                if (code != CMD_DONE)
                        return code;
                rows = json_object_get(page, part);
                p->w->documents_left += number_at(page, "left_out");
                line = json_pack("{s:O}", part, rows);
                if (json_array_size(rows))
                        code = write_line(p, line);
        } while (code == CMD_DONE && next.len);
        return code;
}

/* ---- repositories ---- */

static int find_revision(struct piece *p)
{
        const json_t *ref;
        size_t i;

        if (!p->revision)
                return CMD_DONE;
        if (commit_id_valid(slice_str(p->revision)))
                memcpy(p->only, p->revision, 40);
        json_array_foreach(p->refs, i, ref)
        {
                if (strcmp(text_at(ref, "name"), p->revision) == 0)
                        memcpy(p->only, text_at(ref, "commit"), 40);
        }
        if (p->only[0])
                return CMD_DONE;
        config_errors_add(p->w->c.errors, true, "%s: no commit of %s is known here", p->name,
                          p->revision);
        return CMD_NOT_DONE;
}

static int end_rows(struct piece *p, json_t *repo)
{
        char path[BUNDLE_PATH_MAX];
        scoped(close_fd) int fd = -1;
        struct error err = { 0 };
        struct digest digest;
        uint64_t size = 0;

        if (p->w->dir < 0)
                return CMD_DONE;
        bundle_rows_path(json_array_size(p->w->repos), path);
        if (bundle_file_end(&p->rows, &err) < 0 ||
            bundle_open(p->w->dir, path, &fd, &size, &err) <= 0 ||
            bundle_hash(fd, size, &digest, &err) < 0)
                return bundle_fail(&p->w->c, &err);
        json_object_set_new(
                repo, "rows",
                json_pack("{s:I, s:s}", "size", (json_int_t)size, "sha256", DIGEST_STR(&digest)));
        return CMD_DONE;
}

static int walk_rows(struct piece *p)
{
        int code = read_refs(p);

        if (code == CMD_DONE)
                code = find_revision(p);
        if (code == CMD_DONE)
                code = walk_commits(p);
        if (code == CMD_DONE && p->only[0] && !json_object_size(p->commits) &&
            !json_object_size(p->earlier)) {
                config_errors_add(p->w->c.errors, true, "%s: the commit %s is not known here",
                                  p->name, p->only);
                return CMD_NOT_DONE;
        }
        /* Documents by an old name come after what says where that leads. */
        if (code == CMD_DONE && p->w->dir >= 0)
                code = write_part(p, "aliases");
        if (code == CMD_DONE && p->w->dir >= 0)
                code = write_part(p, "documents");
        return code == CMD_DONE ? write_refs(p) : code;
}

static void keep_repository(struct piece *p, const json_t *info, json_t *repo)
{
        struct walk *w = p->w;

        json_object_set(repo, "repository", json_object_get(info, "repository"));
        json_object_set(repo, "upstream_id", json_object_get(info, "upstream_id"));
        json_object_set(repo, "visibility", json_object_get(info, "visibility"));
        json_object_set(repo, "at", json_object_get(info, "at"));
        json_object_set(repo, "commits", p->commits);
        json_object_set(repo, "earlier", p->earlier);
        w->n_commits += json_object_size(p->commits);
        if (p->new_files || json_object_size(p->commits))
                json_array_append_new(w->report,
                                      json_pack("{s:s, s:I, s:I, s:I}", "repository", p->name,
                                                "commits", (json_int_t)json_object_size(p->commits),
                                                "files", (json_int_t)p->new_files, "bytes",
                                                (json_int_t)p->new_bytes));
        json_array_append(w->repos, repo);
}

static void piece_done(struct piece *p)
{
        json_decref(take(p->commits));
        json_decref(take(p->earlier));
        json_decref(take(p->refs));
        bundle_file_done(&p->rows);
}

static int walk_repository(struct walk *w, const char *name, const char *revision)
{
        scoped(buf_done) struct buf next = BUF_INIT(TARGET_MAX);
        scoped(piece_done) struct piece p = { .w = w,
                                              .revision = revision,
                                              .commits = json_object(),
                                              .earlier = json_object(),
                                              .refs = json_array(),
                                              .rows = BUNDLE_FILE_NONE };
        scoped(json_free) json_t *info = NULL, *repo = json_object();
        char path[BUNDLE_PATH_MAX];
        struct error err = { 0 };
        int code = get_page(w, name, "repository", NULL, &next, &info);

        if (code != CMD_DONE) {
                config_errors_add(w->c.errors, true, "%s: it cannot be exported", name);
                return code;
        }
        /* By whatever name it was asked for. */
        p.name = text_at(info, "repository");
        p.had = bundle_manifest_repo(w->since, p.name);
        bundle_rows_path(json_array_size(w->repos), path);
        if (w->dir >= 0 && bundle_file_begin(w->dir, path, &p.rows, &err) < 0)
                return bundle_fail(&w->c, &err);
        code = walk_rows(&p);
        if (code == CMD_DONE)
                code = end_rows(&p, repo);
        if (code == CMD_DONE)
                keep_repository(&p, info, repo);
        return code;
}

static int walk_all(struct walk *w)
{
        uint64_t next = 0;
        int code;

        do {
                scoped(json_free) json_t *page = NULL;
                const json_t *row;
                char target[64];
                size_t i;

                snprintf(target, sizeof(target), "repos?after=%" PRIu64, next);
                code = bundle_call(&w->c, "GET", target, NULL, &page);
                json_array_foreach(json_object_get(page, "repositories"), i, row)
                {
                        if (code == CMD_DONE)
                                code = walk_repository(w, text_at(row, "repository"), NULL);
                }
                next = number_at(page, "next");
        } while (code == CMD_DONE && next);
        return code;
}

static int walk_named(struct walk *w, const char *operand)
{
        struct slice text = slice_str(operand);
        size_t at = slice_find(text, '@');
        scoped(free_ptr) char *name = slice_dup(slice_cut(text, at));
        const char *revision = at < text.len ? operand + at + 1 : NULL;
        struct bundle_repo ignored;

        if (!name || !bundle_repo_parse(slice_str(name), &ignored) || (revision && !revision[0])) {
                config_errors_add(w->c.errors, true,
                                  "%s: a repository is named like acme/bert, "
                                  "datasets/acme/corpus@v2",
                                  operand);
                return CMD_WRONG_VALUE;
        }
        return walk_repository(w, name, revision);
}

static void walk_begin(struct walk *w)
{
        w->repos = json_array();
        w->blobs = json_object();
        w->earlier = json_object();
        w->report = json_array();
}

static void walk_done(struct walk *w)
{
        json_decref(take(w->since));
        json_decref(take(w->repos));
        json_decref(take(w->blobs));
        json_decref(take(w->earlier));
        json_decref(take(w->report));
        close_fd(&w->dir);
}

/* ---- files ---- */

struct fetch {
        struct bundle_file file;
        struct hasher *hasher;
        uint64_t size; /* no more than that */
};

static void fetch_done(struct fetch *f)
{
        hasher_free(&f->hasher);
        bundle_file_done(&f->file);
}

static int fetch_bytes(void *arg, struct slice bytes, struct error *err)
{
        struct fetch *f = arg;

        if (f->file.size + bytes.len > f->size)
                return error_set(err, ERR_CORRUPT, "the daemon sends more than the file has");
        hasher_update(f->hasher, bytes.ptr, bytes.len);
        return bundle_file_write(&f->file, bytes, err);
}

static int fetch_blob(struct walk *w, const char *name, const struct digest *d, uint64_t size)
{
        scoped(fetch_done) struct fetch f = { .file = BUNDLE_FILE_NONE, .size = size };
        scoped(json_free) json_t *doc = NULL;
        char path[BUNDLE_PATH_MAX], target[128];
        struct error err = { 0 };
        struct digest is;
        int status = 0;

        /* What an earlier try left is not fetched again if it is right. */
        if (bundle_check(w->dir, bundle_blob_path(d, path), d, size, &err) > 0)
                return CMD_DONE;
        error_clear(&err);
        snprintf(target, sizeof(target), "bundle/blobs/%s", name);
        if (bundle_file_begin(w->dir, path, &f.file, &err) < 0 ||
            hasher_new((enum digest_algo)d->algo, size, &f.hasher, &err) < 0)
                return bundle_fail(&w->c, &err);
        if (admin_download(w->c.config, target, fetch_bytes, &f, &status, &doc, &err) < 0) {
                error_wrap(&err, "%.80s", name);
                return bundle_fail(&w->c, &err);
        }
        if (status != 200) {
                config_errors_add(w->c.errors, true, "%s: %s; run it again, what is written stays",
                                  name, admin_error(status, doc));
                return CMD_NOT_DONE;
        }
        hasher_final(f.hasher, &is);
        if (!digest_eq(&is, d))
                error_set(&err, ERR_CORRUPT, "%.80s: the daemon sent other bytes", name);
        else if (bundle_file_end(&f.file, &err) == 0)
                return CMD_DONE;
        return bundle_fail(&w->c, &err);
}

static int fetch_blobs(struct walk *w)
{
        uint64_t done = 0;
        const char *name;
        json_t *size;
        int code = CMD_DONE;

        json_object_foreach(w->blobs, name, size)
        {
                scoped(buf_done) struct buf line = BUF_INIT(256);
                struct digest d;

                buf_add_str(&line, "export: ");
                show_bytes(&line, done);
                buf_add_str(&line, " of ");
                show_bytes(&line, w->bytes);
                if (buf_ok(&line))
                        show_progress(line.ptr);
                if (bundle_digest_parse(slice_str(name), &d))
                        code = fetch_blob(w, name, &d, (uint64_t)json_integer_value(size));
                if (code != CMD_DONE)
                        break;
                done += (uint64_t)json_integer_value(size);
        }
        show_progress("");
        return code;
}

/* ---- the manifest, last ---- */

static int write_file(struct walk *w, const char *name, struct slice bytes)
{
        scoped(bundle_file_done) struct bundle_file f = BUNDLE_FILE_NONE;
        struct error err = { 0 };

        if (bundle_file_begin(w->dir, name, &f, &err) < 0 ||
            bundle_file_write(&f, bytes, &err) < 0 || bundle_file_end(&f, &err) < 0)
                return bundle_fail(&w->c, &err);
        return CMD_DONE;
}

static int write_manifest(struct walk *w, const char *key)
{
        scoped(json_free) json_t *m =
                json_pack("{s:i, s:I, s:s, s:O, s:O, s:O, s:I}", "format", BUNDLE_FORMAT, "created",
                          (json_int_t)clock_wall_ms(), "program", "hubcached " HUBCACHED_VERSION,
                          "repositories", w->repos, "blobs", w->blobs, "earlier", w->earlier,
                          "bytes", (json_int_t)w->bytes);
        scoped(buf_done) struct buf text = BUF_INIT(BUNDLE_MANIFEST_MAX);
        uint8_t signature[BUNDLE_SIGNATURE_BYTES];
        struct error err = { 0 };
        int code = CMD_DONE;

        json_write(m, &text);
        buf_add_char(&text, '\n');
        if (!buf_ok(&text)) {
                error_set(&err, ERR_TOO_LARGE,
                          "too many files for one bundle: export the repositories in several");
                return bundle_fail(&w->c, &err);
        }
        if (key && bundle_sign(key, buf_slice(&text), signature, &err) < 0)
                return bundle_fail(&w->c, &err);
        if (key)
                code = write_file(w, BUNDLE_SIGNATURE, slice_of(signature, sizeof(signature)));
        return code == CMD_DONE ? write_file(w, BUNDLE_MANIFEST, buf_slice(&text)) : code;
}

static void say_result(const struct walk *w, const char *key, struct buf *out)
{
        buf_add_fmt(out, "%zu repositories, %zu commits, %zu files, ", json_array_size(w->repos),
                    w->n_commits, json_object_size(w->blobs));
        show_bytes(out, w->bytes);
        buf_add_str(out, key ? "; signed\n" : "; not signed: import needs --unsigned\n");
        if (json_object_size(w->earlier))
                buf_add_fmt(out,
                            "%zu files are in the earlier bundle, which has to be imported first\n",
                            json_object_size(w->earlier));
        if (w->not_here)
                buf_add_fmt(out,
                            "%" PRIu64
                            " entries of these commits have no bytes here, and will have none "
                            "there: prefetch them first, if they are wanted\n",
                            w->not_here);
        if (w->documents_left)
                buf_add_fmt(out, "%" PRIu64 " documents are too large to be carried\n",
                            w->documents_left);
}

static int load_since(struct walk *w, const char *path)
{
        struct error err = { 0 };

        if (!path || bundle_manifest_load(path, &w->since, &err) == 0)
                return CMD_DONE;
        return bundle_fail(&w->c, &err);
}

/* What is half written is no bundle: the manifest goes first and comes last. */
static int open_out(struct walk *w, const char *path)
{
        struct error err = { 0 };

        if (bundle_dir_open(path, true, &w->dir, &err) < 0 ||
            bundle_remove(w->dir, BUNDLE_MANIFEST, &err) < 0 ||
            bundle_remove(w->dir, BUNDLE_SIGNATURE, &err) < 0)
                return bundle_fail(&w->c, &err);
        return CMD_DONE;
}

/* Before hours of work, not after. */
static int try_key(struct walk *w, const char *key)
{
        uint8_t ignored[BUNDLE_SIGNATURE_BYTES];
        struct error err = { 0 };

        if (!key || bundle_sign(key, SLICE("try"), ignored, &err) == 0)
                return CMD_DONE;
        return bundle_fail(&w->c, &err);
}

int cmd_export(const struct command_line *line, const struct config *config, struct buf *out,
               struct config_errors *errors)
{
        scoped(walk_done) struct walk w = { .c = { config, errors }, .dir = -1 };
        const char *key = command_flag(line, "key", 0), *operand;
        bool all = command_flag(line, "all", 0) != NULL;
        int code;

        walk_begin(&w);
        if (all == (command_operand(line, 0) != NULL)) {
                config_errors_add(errors, true, "export: name repositories, or say --all");
                return CMD_WRONG_VALUE;
        }
        code = load_since(&w, command_flag(line, "since", 0));
        if (code == CMD_DONE)
                code = try_key(&w, key);
        if (code == CMD_DONE)
                code = open_out(&w, command_flag(line, "out", 0));
        if (code == CMD_DONE && all)
                code = walk_all(&w);
        for (size_t i = 0; code == CMD_DONE && (operand = command_operand(line, i)); i++)
                code = walk_named(&w, operand);
        if (code == CMD_DONE)
                code = fetch_blobs(&w);
        if (code == CMD_DONE)
                code = write_manifest(&w, key);
        if (code == CMD_DONE)
                say_result(&w, key, out);
        return code;
}

/* ---- diff ---- */

static void say_diff(const struct walk *w, struct buf *out)
{
        const json_t *row;
        size_t i;

        json_array_foreach(w->report, i, row)
        {
                buf_add_fmt(out, "%s: %" PRIu64 " commits, %" PRIu64 " files, ",
                            text_at(row, "repository"), number_at(row, "commits"),
                            number_at(row, "files"));
                show_bytes(out, number_at(row, "bytes"));
                buf_add_char(out, '\n');
        }
        if (!json_array_size(w->report))
                buf_add_str(out, "nothing\n");
}

int cmd_diff(const struct command_line *line, const struct config *config, struct buf *out,
             struct config_errors *errors)
{
        scoped(walk_done) struct walk w = { .c = { config, errors }, .dir = -1 };
        int code;

        walk_begin(&w);
        code = load_since(&w, command_operand(line, 0));
        if (code == CMD_DONE)
                code = walk_all(&w);
        if (code != CMD_DONE)
                return code;
        if (command_flag(line, "json", 0)) {
                json_write(w.report, out);
                buf_add_char(out, '\n');
        } else {
                say_diff(&w, out);
        }
        return CMD_DONE;
}
