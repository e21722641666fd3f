#include "route.h"

#include <stdlib.h>
#include <string.h>

#include "base/hex.h"
#include "route_table.h"
#include "uri.h"
#include "utf8.h"

enum {
        TARGET_MAX = 8192,
        SEGMENTS_MAX = 256,
        PATH_MAX_BYTES = 4096,
        REV_MAX = 255,
        ID_PART_MAX = 96,
        PARAMS_MAX = 100,
        /* The arena holds the target, repo, revision and path (each at most as long) and the
         * verb, which percent-encoding may make three times as long. */
        ARENA_FACTOR = 8,
        ARENA_SLACK = 64,
};

/* What a pattern took from the raw segments: indices into them, `n` of them. */
struct capture {
        size_t at, n;
};

struct match {
        const struct route *route;
        struct capture repo, rev, path, verb;
        bool ambiguous; /* the id may have one segment or two */
};

struct segments {
        struct slice v[SEGMENTS_MAX];
        size_t n;
        bool slash_at_end;
};

/* ---- words ---- */

static const struct {
        const char *name;
        enum http_method method;
} methods[] = {
        { "GET", HTTP_GET },         { "HEAD", HTTP_HEAD },   { "POST", HTTP_POST },
        { "PUT", HTTP_PUT },         { "PATCH", HTTP_PATCH }, { "DELETE", HTTP_DELETE },
        { "OPTIONS", HTTP_OPTIONS },
};

static const struct {
        const char *api, *prefix;
} kinds[REPO_KIND_MAX] = {
        [REPO_MODEL] = { "models", "" },
        [REPO_DATASET] = { "datasets", "datasets/" },
        [REPO_SPACE] = { "spaces", "spaces/" },
        [REPO_KERNEL] = { "kernels", "kernels/" },
};

static const char *const op_names[HUB_OP_MAX] = {
        [HUB_LOCAL] = "local",
        [HUB_RELAY] = "relay",
        [HUB_CAS] = "cas",
        [HUB_ENDPOINTS] = "endpoints",
        [HUB_VIEWER] = "viewer",
        [HUB_RESOLVE] = "resolve",
        [HUB_RESOLVE_CACHE] = "resolve-cache",
        [HUB_RAW] = "raw",
        [HUB_REPO_INFO] = "repo-info",
        [HUB_REVISION_INFO] = "revision-info",
        [HUB_TREE] = "tree",
        [HUB_PATHS_INFO] = "paths-info",
        [HUB_REFS] = "refs",
        [HUB_COMMITS] = "commits",
        [HUB_COMPARE] = "compare",
        [HUB_TREESIZE] = "treesize",
        [HUB_REPO_DOC] = "repo-doc",
        [HUB_LFS_FILES] = "lfs-files",
        [HUB_LISTING] = "listing",
        [HUB_PUBLIC_DOC] = "public-doc",
        [HUB_WHOAMI] = "whoami",
        [HUB_AUTH_CHECK] = "auth-check",
        [HUB_TELEMETRY] = "telemetry",
        [HUB_XET_TOKEN] = "xet-token",
        [HUB_USER_DOC] = "user-doc",
        [HUB_EVENTS] = "events",
        [HUB_PREUPLOAD] = "preupload",
        [HUB_COMMIT] = "commit",
        [HUB_LFS_BATCH] = "lfs-batch",
        [HUB_GIT_REFS] = "git-refs",
        [HUB_GIT_FETCH] = "git-fetch",
        [HUB_GIT_PUSH] = "git-push",
        [HUB_REPO_CREATE] = "repo-create",
        [HUB_REPO_DELETE] = "repo-delete",
        [HUB_REPO_MOVE] = "repo-move",
        [HUB_DUPLICATE] = "duplicate",
        [HUB_WRITE] = "write",
        [HUB_FORWARD] = "forward",
};

enum http_method http_method_parse(struct slice name)
{
        for (size_t i = 0; i < ARRAY_LEN(methods); i++)
                if (slice_is(name, methods[i].name))
                        return methods[i].method;
        return HTTP_OTHER;
}

const char *http_method_name(enum http_method method)
{
        for (size_t i = 0; i < ARRAY_LEN(methods); i++)
                if (method == methods[i].method)
                        return methods[i].name;
        return "OTHER";
}

const char *repo_kind_api(enum repo_kind kind)
{
        return kinds[kind].api;
}

const char *repo_kind_prefix(enum repo_kind kind)
{
        return kinds[kind].prefix;
}

const char *hub_op_name(enum hub_op op)
{
        return (unsigned)op < HUB_OP_MAX ? op_names[op] : "unknown";
}

const char *hub_right_name(enum hub_right right)
{
        static const char *const names[RIGHT_MAX] = {
                [RIGHT_NONE] = "none",         [RIGHT_READ] = "read",
                [RIGHT_COMMIT] = "commit",     [RIGHT_REFS] = "refs",
                [RIGHT_REPO] = "repo",         [RIGHT_DISCUSS] = "discuss",
                [RIGHT_SPACE] = "space",       [RIGHT_JOB] = "job",
                [RIGHT_ENDPOINT] = "endpoint", [RIGHT_COLLECTION] = "collection",
                [RIGHT_ACCESS] = "access",     [RIGHT_LIKE] = "like",
                [RIGHT_WHOAMI] = "whoami",     [RIGHT_NEVER] = "never",
        };

        return (unsigned)right < RIGHT_MAX ? names[right] : "unknown";
}

void hub_untrue_format(unsigned what, struct buf *out)
{
        static const struct {
                unsigned bit;
                const char *name;
        } names[] = {
                { UNTRUE_REFS, "refs" },   { UNTRUE_DOCS, "docs" },   { UNTRUE_RIGHTS, "rights" },
                { UNTRUE_GONE, "all" },    { UNTRUE_LISTS, "lists" }, { UNTRUE_PUBLIC, "public" },
                { UNTRUE_NAMED, "named" }, { UNTRUE_BYTES, "bytes" },
        };
        const char *comma = "";

        if (what == UNTRUE_NOTHING)
                buf_add_str(out, "nothing");
        for (size_t i = 0; i < ARRAY_LEN(names); i++) {
                if (!(what & names[i].bit))
                        continue;
                buf_add_str(out, comma);
                buf_add_str(out, names[i].name);
                comma = ",";
        }
}

static bool kind_of_word(struct slice word, enum repo_kind *ret)
{
        for (size_t i = 0; i < REPO_KIND_MAX; i++) {
                if (!slice_is(word, kinds[i].api))
                        continue;
                *ret = (enum repo_kind)i;
                return true;
        }
        return false;
}

/* True if `word` is one of the words in `list`, which `sep` separates. */
static bool word_in(struct slice word, struct slice list, char sep)
{
        struct slice piece;

        while (slice_split(&list, sep, &piece))
                if (slice_eq(piece, word))
                        return true;
        return false;
}

/* ---- the target as a whole ---- */

static bool is_control(uint8_t c)
{
        return c < 0x20 || c == 0x7f;
}

static int check_target(struct slice target, struct error *err)
{
        uint8_t byte;

        if (target.len > TARGET_MAX)
                return error_set(err, ERR_TOO_LARGE, "the target is over %d bytes", TARGET_MAX);
        if (target.len == 0 || target.ptr[0] != '/')
                return error_set(err, ERR_BAD_REQUEST, "the target does not begin with a slash");
        if (!utf8_valid(target))
                return error_set(err, ERR_BAD_REQUEST, "the target is not UTF-8");
        for (size_t i = 0; i < target.len; i++) {
                byte = (uint8_t)target.ptr[i];
                if (byte == ' ' || byte == '#')
                        return error_set(err, ERR_BAD_REQUEST, "the target holds a space or '#'");
                if (byte == '%' && !hex_decode(slice_cut(slice_skip(target, i + 1), 2), &byte, 1))
                        return error_set(err, ERR_BAD_REQUEST, "the target has a bad escape");
                if (is_control(byte))
                        return error_set(err, ERR_BAD_REQUEST, "the target has a control byte");
        }
        return 0;
}

/* "." and "..", encoded or not. */
static bool is_dots(struct slice segment)
{
        size_t dots = 0;

        while (segment.len) {
                if (segment.ptr[0] == '.')
                        segment = slice_skip(segment, 1);
                else if (slice_ieq(slice_cut(segment, 3), SLICE("%2e")))
                        segment = slice_skip(segment, 3);
                else
                        return false;
                dots++;
        }
        return dots == 1 || dots == 2;
}

static int split_path(struct slice path, struct segments *ret, struct error *err)
{
        struct slice rest = slice_skip(path, 1), piece;

        ret->n = 0;
        ret->slash_at_end = false;
        if (rest.len == 0)
                return 0;
        while (slice_split(&rest, '/', &piece)) {
                if (piece.len == 0 && !rest.ptr) {
                        ret->slash_at_end = true;
                        return 0;
                }
                if (piece.len == 0 || is_dots(piece))
                        return error_set(err, ERR_BAD_REQUEST,
                                         "the path has an empty or dot segment");
                if (ret->n == SEGMENTS_MAX)
                        return error_set(err, ERR_TOO_LARGE, "the path has over %d segments",
                                         SEGMENTS_MAX);
                ret->v[ret->n++] = piece;
        }
        return 0;
}

/* ---- matching ---- */

/* Whether `word` behind a one-segment id, at segment `at`, is a verb rather than a name. */
static bool is_verb(const struct segments *s, size_t at)
{
        if (!slice_is(s->v[0], "api"))
                return word_in(s->v[at], slice_str(route_page_verbs), ' ');
        return word_in(s->v[at], slice_str(route_api_verbs), ' ') ||
               (slice_is(s->v[1], "spaces") &&
                word_in(s->v[at], slice_str(route_space_verbs), ' ')) ||
               (slice_is(s->v[1], "datasets") &&
                word_in(s->v[at], slice_str(route_dataset_verbs), ' '));
}

/* Whether a file's path follows at `at`: then what stands before is a name, unless it begins a path
 * with a revision itself ("gpt2/tree/resolve/..."). */
static bool is_file_behind(const struct segments *s, size_t at)
{
        return at + 1 < s->n && !slice_is(s->v[0], "api") &&
               word_in(s->v[at], SLICE("resolve raw"), ' ') &&
               !word_in(s->v[at - 1], SLICE("resolve raw blob tree blame edit commits"), ' ');
}

/* How many segments the id at `at` has.  Behind resolve-cache no verb tells, but a commit does. */
static size_t repo_segments(const struct segments *s, size_t at, bool rev_follows,
                            bool *ret_ambiguous)
{
        if (at >= s->n)
                return 0;
        if (at == 0 && word_in(s->v[0], slice_str(route_reserved), ' '))
                return 0;
        if (at + 1 >= s->n)
                return 1;
        if (rev_follows)
                return commit_id_valid(s->v[at + 1]) ? 1 : 2;
        if (!is_verb(s, at + 1) || is_file_behind(s, at + 2))
                return 2;
        *ret_ambiguous = at + 2 < s->n && is_verb(s, at + 2);
        return 1;
}

/* An unencoded "refs/x/y" is a revision of three segments (hub-protocol 2). */
static size_t rev_segments(const struct segments *s, size_t at)
{
        if (at >= s->n)
                return 0;
        return slice_is(s->v[at], "refs") && at + 2 < s->n ? 3 : 1;
}

enum token { WORD, KIND, TYPE, REPO, REV, NAME, ANY, ANY_0, ANY_1, PATH_0, PATH_1 };

static enum token token_of(struct slice text)
{
        static const char *const names[] = {
                [KIND] = "{kind}",    [TYPE] = "{type}",    [REPO] = "{repo}",  [REV] = "{rev}",
                [NAME] = "{name}",    [ANY] = "{any}",      [ANY_0] = "{any*}", [ANY_1] = "{any+}",
                [PATH_0] = "{path*}", [PATH_1] = "{path+}",
        };

        if (text.ptr[0] != '{')
                return WORD;
        for (size_t i = KIND; i < ARRAY_LEN(names); i++)
                if (slice_is(text, names[i]))
                        return (enum token)i;
        return WORD;
}

/* How many segments at `at` the token takes, or SIZE_MAX if it does not fit. */
static size_t token_segments(enum token token, struct slice text, const struct segments *s,
                             size_t at, bool rev_follows, struct match *m)
{
        enum repo_kind kind;
        size_t left = s->n - at, n = SIZE_MAX;

        if (token == ANY_0 || token == PATH_0)
                return left;
        /* A file URL that ends with its revision and a slash is refused later. */
        if (token == PATH_1 && left == 0 && s->slash_at_end)
                return 0;
        if (left == 0)
                return SIZE_MAX;
        if (token == ANY_1 || token == PATH_1)
                return left;
        if (token == REPO)
                n = repo_segments(s, at, rev_follows, &m->ambiguous);
        else if (token == REV)
                n = rev_segments(s, at);
        else if (token == WORD)
                return word_in(s->v[at], text, '|') ? 1 : SIZE_MAX;
        else if (token == KIND || token == TYPE)
                return kind_of_word(s->v[at], &kind) && (token == KIND || kind) ? 1 : SIZE_MAX;
        else if (token == NAME)
                return word_in(s->v[at], slice_str(route_reserved), ' ') ? SIZE_MAX : 1;
        else
                return 1;
        return n ? n : SIZE_MAX;
}

static bool match_route(const struct route *route, const struct segments *s, struct match *m)
{
        struct slice rest = slice_str(route->pattern + 1), text;
        size_t at = 0, verb_end = SIZE_MAX;

        *m = (struct match){ .route = route };
        while (slice_split(&rest, '/', &text)) {
                enum token token = token_of(text);
                size_t n =
                        token_segments(token, text, s, at, slice_starts(rest, SLICE("{rev}")), m);

                if (n == SIZE_MAX)
                        return false;
                if (token == REPO)
                        m->repo = (struct capture){ at, n };
                else if (token == REV)
                        m->rev = (struct capture){ at, n };
                else if (token == PATH_0 || token == PATH_1)
                        m->path = (struct capture){ at, n };
                if (token == REV || token == PATH_0 || token == PATH_1)
                        verb_end = MIN(verb_end, at);
                at += n;
        }
        /* The verb stands behind the id, or behind "api". */
        m->verb.at = m->repo.n ? m->repo.at + m->repo.n : 1;
        verb_end = MIN(verb_end, at);
        m->verb.n = verb_end > m->verb.at ? verb_end - m->verb.at : 0;
        return at == s->n;
}

static bool find_route(enum http_method method, const struct segments *s, struct match *ret)
{
        unsigned wanted = method == HTTP_HEAD ? HTTP_HEAD | HTTP_GET : method;

        for (size_t i = 0; i < n_routes; i++)
                if ((routes[i].methods & wanted) && match_route(&routes[i], s, ret))
                        return true;
        return false;
}

/* ---- from the match to the request ---- */

static struct slice since(const struct buf *arena, size_t mark)
{
        return slice_of(arena->ptr + mark, arena->len - mark);
}

/* Decodes captured segments and joins them with slashes. */
static int decode_capture(const struct segments *s, struct capture c, struct buf *arena,
                          struct slice *ret, struct error *err)
{
        size_t mark = arena->len;

        for (size_t i = 0; i < c.n; i++) {
                if (i)
                        buf_add_char(arena, '/');
                if (uri_decode(s->v[c.at + i], arena, err) < 0)
                        return error_wrap(err, "segment %zu", c.at + i);
        }
        *ret = since(arena, mark);
        return 0;
}

static bool is_git(enum hub_op op)
{
        return op == HUB_LFS_BATCH || op == HUB_GIT_REFS || op == HUB_GIT_FETCH ||
               op == HUB_GIT_PUSH;
}

static int decode_repo(const struct segments *s, const struct match *m, struct hub_request *r,
                       struct buf *arena, struct error *err)
{
        if (decode_capture(s, m->repo, arena, &r->repo, err) < 0)
                return -1;
        /* git adds ".git" to the name (hub-protocol 7). */
        if ((m->route->klass == CLASS_FORWARD || is_git(m->route->op)) &&
            slice_ends(r->repo, SLICE(".git")))
                r->repo.len -= 4;
        if (!repo_id_valid(r->repo) ||
            (m->repo.n == 1) != (slice_find(r->repo, '/') == r->repo.len))
                return error_set(err, ERR_BAD_REQUEST, "not a repository id");
        r->kind = REPO_MODEL;
        if (m->repo.at)
                kind_of_word(s->v[m->repo.at - 1], &r->kind);
        r->has_repo = true;
        return 0;
}

/* True if no component between slashes is empty, "." or "..". */
static bool components_ok(struct slice text)
{
        struct slice rest = text, piece;

        while (slice_split(&rest, '/', &piece))
                if (piece.len == 0 || slice_is(piece, ".") || slice_is(piece, ".."))
                        return false;
        return true;
}

static int decode_rev(const struct segments *s, const struct match *m, struct hub_request *r,
                      struct buf *arena, struct error *err)
{
        r->rev = r->has_repo ? SLICE("main") : SLICE("");
        if (m->rev.n == 0)
                return 0;
        if (decode_capture(s, m->rev, arena, &r->rev, err) < 0)
                return -1;
        if (r->rev.len == 0 || r->rev.len > REV_MAX || !components_ok(r->rev))
                return error_set(err, ERR_BAD_REQUEST, "not a revision");
        r->rev_is_commit = commit_id_valid(r->rev);
        return 0;
}

static int decode_path(const struct segments *s, const struct match *m, struct hub_request *r,
                       struct buf *arena, struct error *err)
{
        r->path = SLICE("");
        if (m->path.n == 0)
                return 0;
        if (decode_capture(s, m->path, arena, &r->path, err) < 0)
                return -1;
        if (r->path.len > PATH_MAX_BYTES)
                return error_set(err, ERR_TOO_LARGE, "the path is over %d bytes", PATH_MAX_BYTES);
        if (!components_ok(r->path))
                return error_set(err, ERR_BAD_REQUEST, "not a path of a repository");
        return 0;
}

/* The verb stays encoded, in one spelling, so that an encoded slash in it is not a slash. */
static int decode_verb(const struct segments *s, const struct match *m, struct hub_request *r,
                       struct buf *arena, struct error *err)
{
        struct buf plain = BUF_INIT(TARGET_MAX);
        size_t mark = arena->len;
        int res = 0;

        for (size_t i = 0; i < m->verb.n && res == 0; i++) {
                if (i)
                        buf_add_char(arena, '/');
                buf_reset(&plain);
                res = uri_decode(s->v[m->verb.at + i], &plain, err);
                uri_encode(buf_slice(&plain), "", arena);
        }
        buf_done(&plain);
        r->verb = since(arena, mark);
        return res;
}

/* "A..B" is determined by commits only if both sides are; otherwise a branch may move. */
static void settle_compare(struct hub_request *r)
{
        struct slice sides = slice_skip(r->verb, sizeof("compare/") - 1);
        struct slice after = slice_skip(sides, 42);

        if (commit_id_valid(slice_cut(sides, 40)) && commit_id_valid(after) &&
            slice_is(slice_cut(slice_skip(sides, 40), 2), "..")) {
                r->rev = after;
                r->rev_is_commit = true;
        } else {
                r->klass = CLASS_REPO_DOC;
        }
}

static const char *param_find(const char *params, struct slice name)
{
        struct slice rest = slice_str(params), piece;

        while (slice_split(&rest, ' ', &piece)) {
                struct slice bare = piece;

                if (bare.len && memchr("?~-", bare.ptr[bare.len - 1], 3))
                        bare.len--;
                if (bare.len && slice_eq(bare, name))
                        return piece.ptr + piece.len - 1;
        }
        return NULL;
}

/* Decodes a parameter's name into `out`, without "[]" (hub-protocol 3.3). */
static int decode_name(struct slice raw, struct buf *out)
{
        if (uri_decode_form(raw, out, NULL) < 0)
                return -1;
        if (slice_ends(buf_slice(out), SLICE("[]")))
                buf_truncate(out, out->len - 2);
        return 0;
}

static bool query_is_known(const char *params, struct slice query)
{
        struct buf text = BUF_INIT(TARGET_MAX);
        struct query_param param;
        bool known = true;
        size_t n = 0;

        while (known && query_next(&query, &param)) {
                buf_reset(&text);
                known = ++n <= PARAMS_MAX && decode_name(param.name, &text) == 0 &&
                        param_find(params, buf_slice(&text));
                buf_reset(&text);
                known = known && uri_decode_form(param.value, &text, NULL) == 0;
        }
        buf_done(&text);
        return known;
}

static void set_forward(struct hub_request *r)
{
        r->op = HUB_FORWARD;
        r->klass = CLASS_FORWARD;
        r->right = RIGHT_NEVER;
        r->untrue = UNTRUE_NOTHING;
        r->has_repo = false;
        r->rev_is_commit = false;
        r->query_known = false;
        r->repo = r->rev = r->path = r->verb = SLICE("");
        r->params = "";
}

static int fill_request(const struct segments *s, const struct match *m, struct hub_request *r,
                        struct buf *arena, struct error *err)
{
        r->op = m->route->op;
        r->klass = m->route->klass;
        r->params = m->route->params;
        r->right = m->route->right;
        r->untrue = m->route->untrue;
        if ((m->repo.n && decode_repo(s, m, r, arena, err) < 0) ||
            decode_rev(s, m, r, arena, err) < 0 || decode_path(s, m, r, arena, err) < 0 ||
            decode_verb(s, m, r, arena, err) < 0)
                return -1;
        if (r->op == HUB_COMPARE)
                settle_compare(r);
        if (r->op == HUB_GIT_REFS && slice_is(r->query, "service=git-receive-pack"))
                r->right = RIGHT_COMMIT;
        r->query_known = r->klass != CLASS_FORWARD && query_is_known(r->params, r->query);
        return 0;
}

static int route_request(struct hub_request *r, struct buf *arena, struct error *err)
{
        struct segments s;
        struct match m;

        set_forward(r);
        if (split_path(r->raw_path, &s, err) < 0)
                return -1;
        if (r->method == HTTP_OPTIONS && !(s.n && slice_is(s.v[0], "-")))
                return 0;
        if (s.n == 0 || !find_route(r->method, &s, &m))
                return 0;
        if (m.route->op == HUB_OP_MAX)
                return error_set(err, ERR_BAD_REQUEST, "a repository id has at most two segments");
        if (s.slash_at_end && m.path.at && m.route->klass != CLASS_LOCAL)
                return error_set(err, ERR_BAD_REQUEST, "the path ends with a slash");
        if (m.ambiguous || (s.slash_at_end && m.route->klass != CLASS_LOCAL))
                return 0;
        if (fill_request(&s, &m, r, arena, err) == 0)
                return 0;
        if (m.route->klass != CLASS_FORWARD)
                return -1;
        set_forward(r);
        error_clear(err);
        return 0;
}

int hub_request_parse(enum http_method method, struct slice target, struct hub_request *ret,
                      struct error *err)
{
        struct buf arena = BUF_INIT(target.len * ARENA_FACTOR + ARENA_SLACK);
        struct error own;
        size_t at;

        *ret = (struct hub_request){ .method = method };
        err = err ? err : &own;
        error_clear(err);
        if (method == HTTP_OTHER || (method == HTTP_OPTIONS && slice_is(target, "*")))
                return error_set(err, ERR_METHOD, "the method is not one of the Hub's");
        if (check_target(target, err) < 0)
                return -1;
        /* Clients whose endpoint ends with a slash send "//api/..." (hub-protocol 5.9). */
        while (target.len > 1 && target.ptr[1] == '/')
                target = slice_skip(target, 1);
        /* All room at once: slices into the arena stay where they are. */
        if (!buf_room(&arena, arena.ceiling))
                return error_set(err, ERR_NOMEM, "no memory for a request");
        buf_add(&arena, target);
        ret->target = buf_slice(&arena);
        at = slice_find(ret->target, '?');
        ret->raw_path = slice_cut(ret->target, at);
        ret->query = slice_skip(ret->target, at + 1);
        ret->arena = arena.ptr;
        if (route_request(ret, &arena, err) < 0) {
                hub_request_done(ret);
                return -1;
        }
        return 0;
}

void hub_request_done(struct hub_request *r)
{
        free(r->arena);
        *r = (struct hub_request){ .method = r->method };
}

/* ---- the canonical key ---- */

/* The value of a parameter as the key has it, or NULL where it is the default. */
static const char *param_value(char mark, struct slice value, const char *text)
{
        bool yes = slice_ieq(value, SLICE("true")), no = slice_ieq(value, SLICE("false"));

        if (mark == '-')
                return NULL;
        if (mark == '?' && (value.len == 0 || slice_is(value, "1") || yes))
                return "true";
        if (mark == '?' && (slice_is(value, "0") || no))
                return NULL;
        if (mark == '~' && (yes || no))
                return yes ? "true" : "false";
        return text;
}

/* Appends "name=value" in canonical form, or nothing. */
static void add_param(const char *params, const struct query_param *param, struct buf *out)
{
        struct buf name = BUF_INIT(TARGET_MAX), value = BUF_INIT(TARGET_MAX);
        const char *mark, *text;

        if (decode_name(param->name, &name) == 0 &&
            uri_decode_form(param->value, &value, NULL) == 0) {
                mark = param_find(params, buf_slice(&name));
                text = param_value(mark ? *mark : '\0', buf_slice(&value),
                                   value.ptr ? value.ptr : "");
                if (text) {
                        uri_encode(buf_slice(&name), "", out);
                        buf_add_char(out, '=');
                        uri_encode(slice_str(text), "", out);
                }
        }
        buf_done(&name);
        buf_done(&value);
}

static int compare_params(const void *a, const void *b)
{
        const struct slice *x = a, *y = b;
        int res = memcmp(x->ptr, y->ptr, MIN(x->len, y->len));

        return res ? res : (x->len > y->len) - (x->len < y->len);
}

static void add_query(const struct hub_request *r, struct buf *out)
{
        struct slice params[PARAMS_MAX], rest = r->query;
        struct buf text = BUF_INIT(TARGET_MAX * 3);
        size_t ends[PARAMS_MAX], n = 0, start = 0, kept = 0;
        struct query_param param;

        for (; n < PARAMS_MAX && query_next(&rest, &param); n++) {
                add_param(r->params, &param, &text);
                ends[n] = text.len;
        }
        for (size_t i = 0; i < n; start = ends[i++])
                if (ends[i] > start)
                        params[kept++] = slice_of(text.ptr + start, ends[i] - start);
        if (kept)
                qsort(params, kept, sizeof(params[0]), compare_params);
        for (size_t i = 0; i < kept; i++) {
                if (i && slice_eq(params[i], params[i - 1]))
                        continue;
                buf_add_char(out, i ? '&' : '?');
                buf_add(out, params[i]);
        }
        buf_done(&text);
}

void hub_request_key(const struct hub_request *r, struct slice commit, struct buf *out)
{
        /* The same bytes by another way have the same key. */
        enum hub_op op = r->op == HUB_RESOLVE_CACHE ? HUB_RESOLVE : r->op;

        buf_add_fmt(out, "%s %s ", hub_op_name(op), r->has_repo ? repo_kind_api(r->kind) : "");
        uri_encode(r->repo, "/", out);
        buf_add_char(out, ' ');
        if (op != HUB_RESOLVE)
                buf_add(out, r->verb);
        buf_add_char(out, ' ');
        uri_encode(commit.len ? commit : r->rev, "/", out);
        buf_add_char(out, ' ');
        uri_encode(r->path, "/", out);
        if (r->op == HUB_FORWARD)
                buf_add(out, r->target);
        else if (r->query_known)
                add_query(r, out);
        else if (r->query.len)
                buf_add_fmt(out, " " SLICE_FMT, SLICE_ARG(r->query));
}

void hub_key_prefix(enum hub_op op, enum repo_kind kind, struct slice repo, struct buf *out)
{
        buf_add_fmt(out, "%s ", hub_op_name(op));
        if (repo.len == 0)
                return;
        buf_add_fmt(out, "%s ", repo_kind_api(kind));
        uri_encode(repo, "/", out);
        buf_add_char(out, ' ');
}

/* ---- targets for upstream ---- */

void hub_resolve_target(enum repo_kind kind, struct slice repo, struct slice rev, struct slice path,
                        struct buf *out)
{
        buf_add_fmt(out, "/%s", repo_kind_prefix(kind));
        uri_encode(repo, "/", out);
        buf_add_str(out, "/resolve/");
        uri_encode(rev, "", out);
        buf_add_char(out, '/');
        uri_encode(path, "/", out);
}

void hub_api_target(enum repo_kind kind, struct slice repo, const char *verb, struct slice rev,
                    struct slice path, struct buf *out)
{
        buf_add_fmt(out, "/api/%s/", repo_kind_api(kind));
        uri_encode(repo, "/", out);
        if (verb && *verb)
                buf_add_fmt(out, "/%s", verb);
        if (rev.len == 0)
                return;
        buf_add_char(out, '/');
        uri_encode(rev, "", out);
        if (path.len == 0)
                return;
        buf_add_char(out, '/');
        uri_encode(path, "/", out);
}

/* ---- ids ---- */

static bool id_part_valid(struct slice part)
{
        char first, last;

        if (part.len == 0 || part.len > ID_PART_MAX)
                return false;
        first = part.ptr[0];
        last = part.ptr[part.len - 1];
        if (first == '-' || first == '.' || last == '-' || last == '.')
                return false;
        for (size_t i = 0; i < part.len; i++) {
                char c = part.ptr[i];
                bool alnum =
                        (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');

                /* The client's rule allows letters of every alphabet. */
                if (!alnum && !(c & 0x80) && c != '_' && c != '.' && c != '-')
                        return false;
                if ((c == '.' || c == '-') && i && part.ptr[i - 1] == c)
                        return false;
        }
        return true;
}

bool repo_id_valid(struct slice id)
{
        size_t at = slice_find(id, '/');

        if (slice_ends(id, SLICE(".git")) || !utf8_valid(id))
                return false;
        if (at == id.len)
                return id_part_valid(id);
        return id_part_valid(slice_cut(id, at)) && id_part_valid(slice_skip(id, at + 1));
}

bool commit_id_valid(struct slice rev)
{
        return hex_is_lower(rev, 40);
}

bool hub_path_valid(struct slice path)
{
        if (path.len == 0 || path.len > PATH_MAX_BYTES || !utf8_valid(path))
                return false;
        for (size_t i = 0; i < path.len; i++)
                if (is_control((uint8_t)path.ptr[i]))
                        return false;
        return components_ok(path);
}

bool path_is_open_when_gated(struct slice path)
{
        static const char *const endings[] = {
                ".md",  ".gitattributes", ".png",  ".jpg", ".jpeg",
                ".gif", ".svg",           ".webp", ".mp4", ".webm",
        };

        for (size_t i = 0; i < ARRAY_LEN(endings); i++) {
                struct slice end = slice_str(endings[i]);

                if (path.len >= end.len && slice_ieq(slice_skip(path, path.len - end.len), end))
                        return true;
        }
        return false;
}
