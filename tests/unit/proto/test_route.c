#include "route.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "route_table.h"
#include "support.h"

#define SHA   "0123456789abcdef0123456789abcdef01234567"
#define OTHER "89abcdef0123456789abcdef0123456789abcdef"

static const char *const class_names[] = {
        [CLASS_LOCAL] = "local",       [CLASS_FILE] = "file",     [CLASS_COMMIT_DOC] = "commit-doc",
        [CLASS_REPO_DOC] = "repo-doc", [CLASS_LIST] = "list",     [CLASS_PUBLIC] = "public",
        [CLASS_USER] = "user",         [CLASS_STREAM] = "stream", [CLASS_WRITE] = "write",
        [CLASS_FORWARD] = "forward",
};

/* ---- what a target is taken for ---- */

static const struct target_case {
        const char *target;
        enum http_method method;
        enum hub_op op;
        enum hub_class klass;
        const char *kind, *repo, *rev, *path, *verb; /* kind NULL: no repository */
} targets[] = {
#define FILE_AT(t, op, kind, repo, rev, path, verb)                                                \
        {                                                                                          \
                t, HTTP_GET, op, CLASS_FILE, kind, repo, rev, path, verb                           \
        }
#define DOC(t, op, kind, repo, rev, path, verb)                                                    \
        {                                                                                          \
                t, HTTP_GET, op, CLASS_COMMIT_DOC, kind, repo, rev, path, verb                     \
        }
#define PLAIN(m, t, op, klass, verb)                                                               \
        {                                                                                          \
                t, m, op, klass, NULL, "", "", "", verb                                            \
        }
        FILE_AT("/gpt2/resolve/main/config.json", HUB_RESOLVE, "models", "gpt2", "main",
                "config.json", "resolve"),
        FILE_AT("/a/b/resolve/main/c/d.bin", HUB_RESOLVE, "models", "a/b", "main", "c/d.bin",
                "resolve"),
        FILE_AT("//a/b/resolve/main/c", HUB_RESOLVE, "models", "a/b", "main", "c", "resolve"),
        FILE_AT("/a/b/resolve/refs%2Fpr%2F1/c", HUB_RESOLVE, "models", "a/b", "refs/pr/1", "c",
                "resolve"),
        FILE_AT("/a/b/resolve/refs/pr/1/c", HUB_RESOLVE, "models", "a/b", "refs/pr/1", "c",
                "resolve"),
        FILE_AT("/datasets/x/resolve/refs/convert/parquet/a/b.parquet", HUB_RESOLVE, "datasets",
                "x", "refs/convert/parquet", "a/b.parquet", "resolve"),
        FILE_AT("/datasets/a/b/resolve/" SHA "/c%2Fd", HUB_RESOLVE, "datasets", "a/b", SHA, "c/d",
                "resolve"),
        FILE_AT("/spaces/a/b/raw/main/app.py", HUB_RAW, "spaces", "a/b", "main", "app.py", "raw"),
        FILE_AT("/kernels/a/b/resolve/v1/x", HUB_RESOLVE, "kernels", "a/b", "v1", "x", "resolve"),
        FILE_AT("/datasets/datasets/x/resolve/main/f", HUB_RESOLVE, "datasets", "datasets/x",
                "main", "f", "resolve"),
        FILE_AT("/a/b/resolve/main/resolve", HUB_RESOLVE, "models", "a/b", "main", "resolve",
                "resolve"),
        FILE_AT("/a/b/resolve/main/raw", HUB_RESOLVE, "models", "a/b", "main", "raw", "resolve"),
        FILE_AT("/a/b/resolve/main/tree/main", HUB_RESOLVE, "models", "a/b", "main", "tree/main",
                "resolve"),
        FILE_AT("/a/b/resolve/main/api", HUB_RESOLVE, "models", "a/b", "main", "api", "resolve"),
        FILE_AT("/gpt2/resolve/main/resolve", HUB_RESOLVE, "models", "gpt2", "main", "resolve",
                "resolve"),
        FILE_AT("/acme/delete/resolve/main/f", HUB_RESOLVE, "models", "acme/delete", "main", "f",
                "resolve"),
        FILE_AT("/datasets/a/settings/raw/main/f", HUB_RAW, "datasets", "a/settings", "main", "f",
                "raw"),
        FILE_AT("/gpt2/raw/main/resolve/main/x", HUB_RAW, "models", "gpt2", "main",
                "resolve/main/x", "raw"),
        FILE_AT("/a/b/resolve/main/x;a=b.css", HUB_RESOLVE, "models", "a/b", "main", "x;a=b.css",
                "resolve"),
        FILE_AT("/a/b/resolve/main/x%23y%3fz", HUB_RESOLVE, "models", "a/b", "main", "x#y?z",
                "resolve"),
        FILE_AT("/a/b/resolve/main/C:\\x", HUB_RESOLVE, "models", "a/b", "main", "C:\\x",
                "resolve"),
        FILE_AT("/a/b/resolve/main/%252e%252e", HUB_RESOLVE, "models", "a/b", "main", "%2e%2e",
                "resolve"),
        FILE_AT("/a/b/resolve/main/a%252fb", HUB_RESOLVE, "models", "a/b", "main", "a%2fb",
                "resolve"),
        FILE_AT("/a/b/resolve/0123ABCD/x", HUB_RESOLVE, "models", "a/b", "0123ABCD", "x",
                "resolve"),
        FILE_AT("/a/b/resolve/x%40%7by%20z%3f%23/x", HUB_RESOLVE, "models", "a/b", "x@{y z?#", "x",
                "resolve"),
        FILE_AT("/a/b/resolve/main/\xc3\xa9.txt", HUB_RESOLVE, "models", "a/b", "main",
                "\xc3\xa9.txt", "resolve"),
        FILE_AT("/A/B/resolve/main/x?download=true", HUB_RESOLVE, "models", "A/B", "main", "x",
                "resolve"),
        FILE_AT("/api/resolve-cache/models/gpt2/" SHA "/a/b?etag=%22x%22", HUB_RESOLVE_CACHE,
                "models", "gpt2", SHA, "a/b", ""),
        FILE_AT("/api/resolve-cache/datasets/a/b/" SHA "/c%2Fd", HUB_RESOLVE_CACHE, "datasets",
                "a/b", SHA, "c/d", ""),
        DOC("/api/models/gpt2", HUB_REPO_INFO, "models", "gpt2", "main", "", ""),
        DOC("/api/models/a/b", HUB_REPO_INFO, "models", "a/b", "main", "", ""),
        DOC("/api/datasets/a/metrics", HUB_REPO_INFO, "datasets", "a/metrics", "main", "", ""),
        DOC("//api/models/a/b", HUB_REPO_INFO, "models", "a/b", "main", "", ""),
        DOC("/api/models/a/b/revision/v1.0", HUB_REVISION_INFO, "models", "a/b", "v1.0", "",
            "revision"),
        DOC("/api/models/gpt2/revision/refs%2Fpr%2F2", HUB_REVISION_INFO, "models", "gpt2",
            "refs/pr/2", "", "revision"),
        DOC("/api/models/gpt2/tree/main", HUB_TREE, "models", "gpt2", "main", "", "tree"),
        DOC("/api/models/gpt2/tree/main/refs", HUB_TREE, "models", "gpt2", "main", "refs", "tree"),
        DOC("/api/models/a/b/tree/refs/pr/1", HUB_TREE, "models", "a/b", "refs/pr/1", "", "tree"),
        DOC("/api/models/a/b/tree/main/c%2Fd", HUB_TREE, "models", "a/b", "main", "c/d", "tree"),
        DOC("/api/models/a/b/tree/main/c/d", HUB_TREE, "models", "a/b", "main", "c/d", "tree"),
        DOC("/api/models/a/b/treesize/main/c", HUB_TREESIZE, "models", "a/b", "main", "c",
            "treesize"),
        DOC("/api/spaces/a/b/commits/refs%2Fpr%2F1", HUB_COMMITS, "spaces", "a/b", "refs/pr/1", "",
            "commits"),
        DOC("/api/models/a/b/compare/" OTHER ".." SHA, HUB_COMPARE, "models", "a/b", SHA, "",
            "compare/" OTHER ".." SHA),
        { "/api/models/a/b/compare/main..dev", HTTP_GET, HUB_COMPARE, CLASS_REPO_DOC, "models",
          "a/b", "main", "", "compare/main..dev" },
        { "/api/models/a/b/paths-info/main", HTTP_POST, HUB_PATHS_INFO, CLASS_COMMIT_DOC, "models",
          "a/b", "main", "", "paths-info" },
        { "/api/models/gpt2/refs", HTTP_HEAD, HUB_REFS, CLASS_REPO_DOC, "models", "gpt2", "main",
          "", "refs" },
        { "/api/models/a/b/discussions/3", HTTP_GET, HUB_REPO_DOC, CLASS_REPO_DOC, "models", "a/b",
          "main", "", "discussions/3" },
        { "/api/models/a/b/xet-read-token/" SHA, HTTP_GET, HUB_XET_TOKEN, CLASS_USER, "models",
          "a/b", SHA, "", "xet-read-token" },
        { "/api/spaces/a/b/logs/build", HTTP_GET, HUB_EVENTS, CLASS_STREAM, "spaces", "a/b", "main",
          "", "logs/build" },
        { "/api/models/a/b/commit/main", HTTP_POST, HUB_COMMIT, CLASS_WRITE, "models", "a/b",
          "main", "", "commit" },
        { "/api/models/a/b/preupload/main", HTTP_POST, HUB_PREUPLOAD, CLASS_USER, "models", "a/b",
          "main", "", "preupload" },
        { "/a/b.git/info/lfs/objects/batch", HTTP_POST, HUB_LFS_BATCH, CLASS_USER, "models", "a/b",
          "main", "", "info/lfs/objects/batch" },
        { "/datasets/x/info/refs?service=git-upload-pack", HTTP_GET, HUB_GIT_REFS, CLASS_USER,
          "datasets", "x", "main", "", "info/refs" },
        { "/-/metrics", HTTP_GET, HUB_LOCAL, CLASS_LOCAL, NULL, "", "", "metrics", "" },
        { "/-/a/b%20c", HTTP_POST, HUB_LOCAL, CLASS_LOCAL, NULL, "", "", "a/b c", "" },
        PLAIN(HTTP_GET, "/api/models", HUB_LISTING, CLASS_LIST, "models"),
        PLAIN(HTTP_GET, "/api/spaces/semantic-search?q=x", HUB_LISTING, CLASS_LIST,
              "spaces/semantic-search"),
        PLAIN(HTTP_GET, "/api/spaces/templates", HUB_LISTING, CLASS_LIST, "spaces/templates"),
        PLAIN(HTTP_GET, "/api/jobs/hardware", HUB_LISTING, CLASS_LIST, "jobs/hardware"),
        PLAIN(HTTP_GET, "/api/users/a%2Fb/likes", HUB_LISTING, CLASS_LIST, "users/a%2Fb/likes"),
        PLAIN(HTTP_GET, "/api/collections/a/b-0", HUB_LISTING, CLASS_LIST, "collections/a/b-0"),
        PLAIN(HTTP_HEAD, "/api/telemetry/x/y", HUB_TELEMETRY, CLASS_FORWARD, "telemetry/x/y"),
        PLAIN(HTTP_GET, "/api/whoami-v2", HUB_WHOAMI, CLASS_USER, "whoami-v2"),
        PLAIN(HTTP_GET, "/api/tasks", HUB_PUBLIC_DOC, CLASS_PUBLIC, "tasks"),
        PLAIN(HTTP_POST, "/api/repos/create", HUB_REPO_CREATE, CLASS_WRITE, "repos/create"),
        PLAIN(HTTP_POST, "/api/validate-yaml", HUB_FORWARD, CLASS_FORWARD, "validate-yaml"),
        PLAIN(HTTP_GET, "/", HUB_FORWARD, CLASS_FORWARD, ""),
        PLAIN(HTTP_GET, "/docs/hub/", HUB_FORWARD, CLASS_FORWARD, ""),
        PLAIN(HTTP_GET, "/api/models/", HUB_FORWARD, CLASS_FORWARD, ""),
        PLAIN(HTTP_GET, "/api/resolve/main/x", HUB_FORWARD, CLASS_FORWARD, ""),
        PLAIN(HTTP_GET, "/api/models/a/b/never-heard", HUB_FORWARD, CLASS_FORWARD, ""),
        PLAIN(HTTP_GET, "/buckets/a/b/resolve/x", HUB_FORWARD, CLASS_FORWARD, ""),
        PLAIN(HTTP_GET, "/a/b/resolve/main", HUB_FORWARD, CLASS_FORWARD, ""),
        PLAIN(HTTP_DELETE, "/a/b/resolve/main/x", HUB_FORWARD, CLASS_FORWARD, ""),
        PLAIN(HTTP_OPTIONS, "/a/b/resolve/main/x", HUB_FORWARD, CLASS_FORWARD, ""),
        PLAIN(HTTP_GET, "/gpt2/%72esolve/main/x", HUB_FORWARD, CLASS_FORWARD, ""),
        PLAIN(HTTP_GET, "/GPT2/Resolve/main/x", HUB_FORWARD, CLASS_FORWARD, ""),
        /* A repository named like a verb could be read in two ways. */
        PLAIN(HTTP_GET, "/a/resolve/resolve/main/x", HUB_FORWARD, CLASS_FORWARD, ""),
        PLAIN(HTTP_GET, "/api/models/a/tree/tree/main", HUB_FORWARD, CLASS_FORWARD, ""),
        PLAIN(HTTP_GET, "/api/spaces/a/metrics/refs", HUB_FORWARD, CLASS_FORWARD, ""),
};

static void test_targets(void **state)
{
        struct hub_request r;
        struct error err;

        (void)state;
        for (size_t i = 0; i < ARRAY_LEN(targets); i++) {
                const struct target_case *c = &targets[i];

                if (hub_request_parse(c->method, slice_str(c->target), &r, &err) < 0)
                        fail_msg("%s: refused: %s", c->target, err.what);
                check_text(c->target, slice_str(hub_op_name(r.op)), hub_op_name(c->op));
                check_text(c->target, slice_str(class_names[r.klass]), class_names[c->klass]);
                check_number(c->target, "has_repo", r.has_repo, c->kind != NULL);
                if (c->kind)
                        check_text(c->target, slice_str(repo_kind_api(r.kind)), c->kind);
                check_text(c->target, r.repo, c->repo);
                check_text(c->target, r.rev, c->rev);
                check_text(c->target, r.path, c->path);
                check_text(c->target, r.verb, c->verb);
                check_number(c->target, "rev_is_commit", r.rev_is_commit, commit_id_valid(r.rev));
                hub_request_done(&r);
        }
}

/* ---- what is refused (reliability.md A 22-26, B 37-52) ---- */

static const struct refused_case {
        const char *name, *target;
        enum error_kind kind;
} refused[] = {
        { "absolute-form", "http://huggingface.co/a", ERR_BAD_REQUEST },
        { "no slash", "api/models", ERR_BAD_REQUEST },
        { "empty", "", ERR_BAD_REQUEST },
        { "space", "/a b", ERR_BAD_REQUEST },
        { "tab", "/a\tb", ERR_BAD_REQUEST },
        { "fragment", "/a#b", ERR_BAD_REQUEST },
        { "dot dot", "/../../etc/passwd", ERR_BAD_REQUEST },
        { "encoded dot dot", "/a/%2e%2e/b", ERR_BAD_REQUEST },
        { "half encoded dot dot", "/a/.%2E/b", ERR_BAD_REQUEST },
        { "dot", "/a/./b", ERR_BAD_REQUEST },
        { "dot dot in an encoded path", "/a/b/resolve/main/x%2F..%2Fy", ERR_BAD_REQUEST },
        { "dot dot in a revision", "/a/b/resolve/refs%2F..%2Fx/y", ERR_BAD_REQUEST },
        { "slash in repo id", "/a%2fb/resolve/main/x", ERR_BAD_REQUEST },
        { "slash in api repo id", "/api/models/a%2Fb", ERR_BAD_REQUEST },
        { "slash in second part", "/a/b%2fc/resolve/main/x", ERR_BAD_REQUEST },
        { "NUL", "/a/b/resolve/main/x%00", ERR_BAD_REQUEST },
        { "CRLF", "/a/b/resolve/main/x%0d%0ay", ERR_BAD_REQUEST },
        { "DEL", "/a/b/resolve/main/x%7f", ERR_BAD_REQUEST },
        { "bad escape", "/a/b/resolve/main/%zz", ERR_BAD_REQUEST },
        { "cut escape", "/a/b/resolve/main/%4", ERR_BAD_REQUEST },
        { "bad escape in a query", "/a/b/resolve/main/x?y=%4", ERR_BAD_REQUEST },
        { "overlong UTF-8", "/a/b/resolve/main/%c0%af", ERR_BAD_REQUEST },
        { "surrogate", "/a/b/resolve/main/%ed%a0%80", ERR_BAD_REQUEST },
        { "raw 0xff", "/a/b/resolve/main/\xff", ERR_BAD_REQUEST },
        { "empty segment", "/a/b/resolve/main//x", ERR_BAD_REQUEST },
        { "empty id part", "/api/models//b", ERR_BAD_REQUEST },
        { "slash at the end of a file", "/a/b/resolve/main/x/", ERR_BAD_REQUEST },
        { "no file but a slash", "/a/b/resolve/main/", ERR_BAD_REQUEST },
        { "slash at the end of a path", "/api/models/a/b/tree/main/x/", ERR_BAD_REQUEST },
        { "backslash in repo id", "/a/b\\c/resolve/main/x", ERR_BAD_REQUEST },
        { "double dash", "/a/b--c/resolve/main/x", ERR_BAD_REQUEST },
        { "double dot", "/a/b..c/resolve/main/x", ERR_BAD_REQUEST },
        { "git at the end", "/a/b.git/resolve/main/x", ERR_BAD_REQUEST },
        { "leading dash", "/a/-b/resolve/main/x", ERR_BAD_REQUEST },
        { "leading dot", "/.a/b/resolve/main/x", ERR_BAD_REQUEST },
        { "trailing dash", "/api/models/a/b-", ERR_BAD_REQUEST },
        { "space in repo id", "/api/models/a/b%20c", ERR_BAD_REQUEST },
        { "three segments", "/a/b/c/resolve/main/x", ERR_BAD_REQUEST },
        { "three segments of a dataset", "/datasets/a/b/c/resolve/main/x", ERR_BAD_REQUEST },
        { "empty revision part", "/a/b/resolve/refs%2F%2Fx/y", ERR_BAD_REQUEST },
};

static void check_refused(const char *name, struct slice target, enum error_kind kind)
{
        struct hub_request r;
        struct error err;

        if (hub_request_parse(HTTP_GET, target, &r, &err) == 0) {
                hub_request_done(&r);
                fail_msg("%s: accepted", name);
        }
        check_text(name, slice_str(error_slug(err.kind)), error_slug(kind));
        assert_null(r.arena);
}

static void test_refused(void **state)
{
        (void)state;
        for (size_t i = 0; i < ARRAY_LEN(refused); i++)
                check_refused(refused[i].name, slice_str(refused[i].target), refused[i].kind);
}

/* ---- sizes ---- */

static const struct size_case {
        const char *name, *before, *unit;
        size_t count;
        const char *after;
        enum error_kind kind; /* ERR_NONE: accepted */
} sizes[] = {
        { "target of 8192", "/", "x", 8191, "", ERR_NONE },
        { "target of 8193", "/", "x", 8192, "", ERR_TOO_LARGE },
        { "path of 4096", "/a/b/resolve/main/", "x", 4096, "", ERR_NONE },
        { "path of 4097", "/a/b/resolve/main/", "x", 4097, "", ERR_TOO_LARGE },
        { "255 segments", "", "/x", 255, "", ERR_NONE },
        { "300 segments", "/a/b/resolve/main", "/x", 296, "", ERR_TOO_LARGE },
        { "id of 96", "/api/models/a/", "x", 96, "", ERR_NONE },
        { "id of 97", "/api/models/a/", "x", 97, "", ERR_BAD_REQUEST },
        { "namespace of 97", "/api/models/", "x", 97, "/b", ERR_BAD_REQUEST },
        { "revision of 255", "/a/b/resolve/", "x", 255, "/y", ERR_NONE },
        { "revision of 256", "/a/b/resolve/", "x", 256, "/y", ERR_BAD_REQUEST },
        { "1,000 parameters", "/api/models?", "&limit=1", 1000, "", ERR_NONE },
};

static void test_sizes(void **state)
{
        struct hub_request r;
        struct error err;

        (void)state;
        for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
                const struct size_case *c = &sizes[i];
                struct buf text = BUF_INIT(65536);

                buf_add_str(&text, c->before);
                for (size_t n = 0; n < c->count; n++)
                        buf_add_str(&text, c->unit);
                buf_add_str(&text, c->after);
                if (c->kind != ERR_NONE) {
                        check_refused(c->name, buf_slice(&text), c->kind);
                } else {
                        if (hub_request_parse(HTTP_GET, buf_slice(&text), &r, &err) < 0)
                                fail_msg("%s: refused: %s", c->name, err.what);
                        hub_request_done(&r);
                }
                buf_done(&text);
        }
}

/* ---- every published operation ---- */

/* What stands for a placeholder in a sample target. */
static const struct {
        const char *name, *sample;
} samples[] = {
        { "{namespace}", "acme" }, { "{repo}", "m1" },           { "{rev}", "main" },
        { "{path}", "a%2Fb" },     { "{repoType}", "datasets" }, { "{compare}", "main..dev" },
};

static void add_sample(struct slice segment, struct buf *out)
{
        for (size_t i = 0; i < ARRAY_LEN(samples); i++) {
                if (!slice_is(segment, samples[i].name))
                        continue;
                buf_add_str(out, samples[i].sample);
                return;
        }
        if (slice_find(segment, '{') < segment.len)
                buf_add_str(out, "x1");
        else
                buf_add(out, segment);
}

/* column: method, path, operation, class, right, what a success makes untrue. */
static void check_operation(const struct slice *column)
{
        struct slice method = column[0], path = column[1], op = column[2], klass = column[3];
        struct buf target = BUF_INIT(4096), name = BUF_INIT(4096), untrue = BUF_INIT(256);
        struct slice rest = slice_skip(path, 1), segment;
        struct hub_request r;
        struct error err;

        while (slice_split(&rest, '/', &segment)) {
                buf_add_char(&target, '/');
                add_sample(segment, &target);
        }
        buf_add_fmt(&name, SLICE_FMT " " SLICE_FMT, SLICE_ARG(method), SLICE_ARG(path));
        if (hub_request_parse(http_method_parse(method), buf_slice(&target), &r, &err) < 0)
                fail_msg("%s: refused: %s", name.ptr, err.what);
        if (!slice_is(op, hub_op_name(r.op)) || !slice_is(klass, class_names[r.klass]))
                fail_msg("%s: got %s, %s; want " SLICE_FMT ", " SLICE_FMT, name.ptr,
                         hub_op_name(r.op), class_names[r.klass], SLICE_ARG(op), SLICE_ARG(klass));
        hub_untrue_format(r.untrue, &untrue);
        if (!slice_is(column[4], hub_right_name(r.right)) ||
            !slice_eq(column[5], buf_slice(&untrue)))
                fail_msg("%s: got right %s, untrue %s; want " SLICE_FMT ", " SLICE_FMT, name.ptr,
                         hub_right_name(r.right), untrue.ptr, SLICE_ARG(column[4]),
                         SLICE_ARG(column[5]));
        hub_request_done(&r);
        buf_done(&target);
        buf_done(&name);
        buf_done(&untrue);
}

/* Every row of the table: a decision about rights and, if it writes, about what becomes untrue. */
static void test_decisions(void **state)
{
        (void)state;
        for (size_t i = 0; i < n_routes; i++) {
                const struct route *row = &routes[i];
                bool writes = row->klass == CLASS_WRITE;
                bool is_ours =
                        row->klass == CLASS_LOCAL || row->op == HUB_RELAY || row->op == HUB_CAS;

                if ((unsigned)row->right >= RIGHT_MAX)
                        fail_msg("%s: no right", row->pattern);
                if (!writes && row->untrue != UNTRUE_NOTHING)
                        fail_msg("%s: a read makes nothing untrue", row->pattern);
                if (writes && (row->right == RIGHT_NONE || row->right == RIGHT_READ))
                        fail_msg("%s: a write that anybody may make", row->pattern);
                /* Nothing of these is ever kept, so nothing of it can become untrue. */
                if (writes && row->untrue == UNTRUE_NOTHING && !strstr(row->pattern, "jobs") &&
                    !strstr(row->pattern, "notifications") && !strstr(row->pattern, "agentic") &&
                    row->op != HUB_ENDPOINTS)
                        fail_msg("%s: a write that makes nothing untrue", row->pattern);
                if (writes && strstr(row->pattern, "{repo}") && !strstr(row->pattern, "access") &&
                    !(row->untrue & (UNTRUE_DOCS | UNTRUE_GONE)))
                        fail_msg("%s: what is said of the repository stays", row->pattern);
                /* Bytes and documents of a repository go by the right to read it. */
                if (!is_ours && !writes && strstr(row->pattern, "{repo}") &&
                    row->right == RIGHT_NONE)
                        fail_msg("%s: a repository without a right", row->pattern);
        }
}

static void test_operations(void **state)
{
        FILE *file = fopen(OPERATIONS_TSV, "re");
        char line[1024];
        size_t n = 0;

        (void)state;
        if (!file)
                fail_msg("%s: %s", OPERATIONS_TSV, strerror(errno));
        while (fgets(line, sizeof(line), file)) {
                struct slice rest = slice_of(line, strcspn(line, "\n")), column[6];

                if (line[0] == '#')
                        continue;
                for (size_t i = 0; i < ARRAY_LEN(column); i++)
                        if (!slice_split(&rest, '\t', &column[i]))
                                fail_msg("%s: a column is missing", line);
                check_operation(column);
                n++;
        }
        fclose(file);
        check_number("operations.tsv", "number of operations", (long long)n, 311);
}

/* ---- methods, queries and keys ---- */

static void test_methods(void **state)
{
        static const char *const good[] = { "GET",   "HEAD",   "POST",   "PUT",
                                            "PATCH", "DELETE", "OPTIONS" };
        static const char *const bad[] = { "get", "G=\":<>", "TRACE", "CONNECT", "", "GETX", "GE" };
        struct hub_request r;
        struct error err;

        (void)state;
        for (size_t i = 0; i < ARRAY_LEN(good); i++)
                check_text(good[i],
                           slice_str(http_method_name(http_method_parse(slice_str(good[i])))),
                           good[i]);
        for (size_t i = 0; i < ARRAY_LEN(bad); i++)
                check_number(bad[i], "method", http_method_parse(slice_str(bad[i])), HTTP_OTHER);
        assert_int_equal(hub_request_parse(HTTP_OTHER, SLICE("/"), &r, &err), -1);
        assert_int_equal(err.kind, ERR_METHOD);
        assert_int_equal(hub_request_parse(HTTP_OPTIONS, SLICE("*"), &r, &err), -1);
        assert_int_equal(err.kind, ERR_METHOD);
}

static const struct query_case {
        const char *target;
        bool known;
} queries[] = {
        { "/a/b/resolve/main/x", true },
        { "/a/b/resolve/main/x?download=true", true },
        { "/a/b/resolve/main/x?download=true&x=1", false },
        { "/api/models/a/b?expand%5B%5D=likes&expand[]=x", true },
        { "/api/models/a/b?%65xpand=x", true },
        { "/api/models/a/b?Expand=x", false },
        { "/api/models/a/b?expand=%ff", false },
        { "/api/models/a/b/tree/main?recursive=True&expand=False&cursor=x&limit=10", true },
        { "/api/models?filter=a&filter=b&gated=True&sort=likes&limit=5", true },
        { "/api/models?unheard-of", false },
        { "/api/tasks?x=1", false },
        { "/api/models?&&limit=1&", true },
};

static void test_queries(void **state)
{
        struct hub_request r;
        struct error err;

        (void)state;
        for (size_t i = 0; i < ARRAY_LEN(queries); i++) {
                assert_int_equal(
                        hub_request_parse(HTTP_GET, slice_str(queries[i].target), &r, &err), 0);
                check_number(queries[i].target, "query_known", r.query_known, queries[i].known);
                hub_request_done(&r);
        }
}

static const struct key_case {
        const char *a, *b;
        bool same;
} keys[] = {
        { "/api/models/a/b/tree/main?recursive=True&expand=False",
          "/api/models/a/b/tree/main?expand=false&recursive=true", true },
        { "/api/models/a/b/tree/main?recursive=false&expand=0", "/api/models/a/b/tree/main", true },
        { "/api/models/a/b/tree/main?recursive", "/api/models/a/b/tree/main?recursive=1", true },
        { "/api/models/a/b/tree/main?recursive=true", "/api/models/a/b/tree/main", false },
        { "/api/models/a/b/tree/main/c%2Fd", "/api/models/a/b/tree/main/c/d", true },
        { "/api/models/a/b/tree/main/c/d", "/api/models/a/b/tree/main/c%20d", false },
        { "/api/models/a/b/tree/refs/pr/1", "/api/models/a/b/tree/refs%2Fpr%2F1", true },
        { "/api/models/a/b?expand=likes&expand=sha",
          "/api/models/a/b?expand[]=sha&expand%5B%5D=likes", true },
        { "/api/models/a/b?expand=likes&expand=likes", "/api/models/a/b?expand=likes", true },
        { "/api/models/a/b?expand=likes", "/api/models/a/b?expand=sha", false },
        { "/api/models/a/b?expand=likes", "/api/models/a/b", false },
        { "/api/models/a/b", "/api/models/a/b/revision/main", false },
        { "/api/models/a/b", "/api/datasets/a/b", false },
        { "/api/models/a/b", "/api/models/a/B", false },
        { "/api/models?gated=True", "/api/models?gated=true", true },
        { "/api/models?gated=false", "/api/models", false },
        { "/api/models?search=a+b", "/api/models?search=a%20b", true },
        { "/api/models?search=A", "/api/models?search=a", false },
        { "/api/models?search=True", "/api/models?search=true", false },
        { "/api/models?search=a%26limit%3D1", "/api/models?search=a&limit=1", false },
        { "/api/models/a/b/discussions/1", "/api/models/a/b/discussions/2", false },
        { "/api/models/a/b/likers", "/api/models/a/b/scan", false },
        { "/api/users/a%2Flikes", "/api/users/a/likes", false },
        { "/a/b/resolve/" SHA "/x?download=false", "/api/resolve-cache/models/a/b/" SHA "/x?etag=y",
          true },
        { "/a/b/resolve/main/x", "/a/b/raw/main/x", false },
        { "/api/models?x=1", "/api/models?x=2", false },
};

static void add_key(const char *target, struct slice commit, struct buf *out)
{
        struct hub_request r;
        struct error err;

        assert_int_equal(hub_request_parse(HTTP_GET, slice_str(target), &r, &err), 0);
        hub_request_key(&r, commit, out);
        assert_true(buf_ok(out));
        hub_request_done(&r);
}

static void test_keys(void **state)
{
        (void)state;
        for (size_t i = 0; i < ARRAY_LEN(keys); i++) {
                struct buf a = BUF_INIT(65536), b = BUF_INIT(65536);

                add_key(keys[i].a, SLICE_NONE, &a);
                add_key(keys[i].b, SLICE_NONE, &b);
                if (slice_eq(buf_slice(&a), buf_slice(&b)) != keys[i].same)
                        fail_msg("%s and %s: \"%s\", \"%s\"", keys[i].a, keys[i].b, a.ptr, b.ptr);
                buf_done(&a);
                buf_done(&b);
        }
}

static void test_key_with_commit(void **state)
{
        struct buf a = BUF_INIT(4096), b = BUF_INIT(4096);

        (void)state;
        add_key("/api/models/a/b/tree/main", SLICE(SHA), &a);
        add_key("/api/models/a/b/tree/" SHA, SLICE_NONE, &b);
        assert_string_equal(a.ptr, b.ptr);
        buf_done(&a);
        buf_done(&b);
}

/* ---- targets ---- */

static void test_upstream_targets(void **state)
{
        struct buf out = BUF_INIT(4096);

        (void)state;
        hub_resolve_target(REPO_DATASET, SLICE("a/b"), SLICE("refs/pr/1"), SLICE("c d/e#f"), &out);
        assert_string_equal(out.ptr, "/datasets/a/b/resolve/refs%2Fpr%2F1/c%20d/e%23f");
        buf_reset(&out);
        hub_resolve_target(REPO_MODEL, SLICE("gpt2"), SLICE("main"), SLICE("x"), &out);
        assert_string_equal(out.ptr, "/gpt2/resolve/main/x");
        buf_reset(&out);
        hub_api_target(REPO_SPACE, SLICE("a/b"), "tree", SLICE("main"), SLICE("c/d"), &out);
        assert_string_equal(out.ptr, "/api/spaces/a/b/tree/main/c/d");
        buf_reset(&out);
        hub_api_target(REPO_MODEL, SLICE("gpt2"), "refs", SLICE_NONE, SLICE_NONE, &out);
        assert_string_equal(out.ptr, "/api/models/gpt2/refs");
        buf_reset(&out);
        hub_api_target(REPO_MODEL, SLICE("gpt2"), "", SLICE_NONE, SLICE_NONE, &out);
        assert_string_equal(out.ptr, "/api/models/gpt2");
        buf_done(&out);
}

/* What we ask upstream for is read back as what was meant. */
static void test_round_trip(void **state)
{
        static const char *const paths[] = { "a",        "a/b", "a b",  "a#b?c&d=e",     "%2e",
                                             "\xc3\xa9", "+",   "a\\b", "resolve/main/x" };
        static const char *const revs[] = { "main", "refs/pr/1", "feature/x y", "a#b?c", SHA };

        (void)state;
        for (size_t i = 0; i < ARRAY_LEN(paths); i++) {
                for (size_t j = 0; j < ARRAY_LEN(revs); j++) {
                        struct buf out = BUF_INIT(4096);
                        struct hub_request r;

                        hub_resolve_target(REPO_DATASET, SLICE("n/x"), slice_str(revs[j]),
                                           slice_str(paths[i]), &out);
                        assert_int_equal(hub_request_parse(HTTP_GET, buf_slice(&out), &r, NULL), 0);
                        check_text(out.ptr, r.repo, "n/x");
                        check_text(out.ptr, r.rev, revs[j]);
                        check_text(out.ptr, r.path, paths[i]);
                        hub_request_done(&r);
                        buf_done(&out);
                }
        }
}

/* ---- memory ---- */

static void test_random(void **state)
{
        static const char *const starts[] = {
                "/",  "/api/models/", "/a/b/resolve/", "/datasets/", "/api/resolve-cache/models/a/",
                "/-/"
        };
        struct random random = { 1 };

        (void)state;
        for (int i = 0; i < RANDOM_ROUNDS; i++) {
                struct slice tail = random_text(&random, "ab/.-%20Fe?&=refs[]+", 60);
                struct buf text = BUF_INIT(4096), key = BUF_INIT(1 << 20);
                struct hub_request r;
                char *exact;

                buf_add_str(&text, starts[random_next(&random) % ARRAY_LEN(starts)]);
                buf_add(&text, tail);
                exact = malloc(text.len);
                assert_non_null(exact);
                memcpy(exact, text.ptr, text.len);
                if (hub_request_parse(i % 3 ? HTTP_GET : HTTP_POST, slice_of(exact, text.len), &r,
                                      NULL) == 0) {
                        free(exact);
                        hub_request_key(&r, SLICE_NONE, &key);
                        assert_true(buf_ok(&key));
                        hub_request_done(&r);
                } else {
                        free(exact);
                }
                free_text(tail);
                buf_done(&text);
                buf_done(&key);
        }
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_targets),         cmocka_unit_test(test_refused),
                cmocka_unit_test(test_sizes),           cmocka_unit_test(test_decisions),
                cmocka_unit_test(test_operations),      cmocka_unit_test(test_methods),
                cmocka_unit_test(test_queries),         cmocka_unit_test(test_keys),
                cmocka_unit_test(test_key_with_commit), cmocka_unit_test(test_upstream_targets),
                cmocka_unit_test(test_round_trip),      cmocka_unit_test(test_random),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
