#include "route_table.h"

#include "base/compiler.h"

#define GET    HTTP_GET
#define POST   HTTP_POST
#define DELETE HTTP_DELETE
#define PUT    HTTP_PUT
#define CHANGE (HTTP_POST | HTTP_PUT | HTTP_PATCH | HTTP_DELETE)
#define EVERY  (HTTP_OTHER - 1)

#define INFO_PARAMS "expand blobs? securityStatus? files_metadata? full?"
#define TREE_PARAMS "recursive? expand? cursor limit"
#define LISTING_PARAMS                                                                             \
        "filter author apps gated~ inference inference_provider pipeline_tag library language "    \
        "license task num_parameters trained_dataset search sort direction limit full? config? "   \
        "cardData? expand cursor linked? datasets models other tags p skip"

const char route_reserved[] = "api datasets spaces kernels buckets papers collections jobs oauth "
                              "docs blog posts join login logout settings models tasks pricing v2 "
                              "organizations notifications search inference new front -";

const char route_page_verbs[] =
        "resolve raw blob tree blame commit commits discussions edit upload info git-upload-pack "
        "git-receive-pack ask-access user-access-report settings delete";

const char route_api_verbs[] =
        "revision tree treesize refs commits compare paths-info branch tag super-squash preupload "
        "commit lfs-files settings like likers discussions auth-check user-access-request "
        "xet-read-token xet-write-token duplicate resource-group scan jwt notebook sql-console";

const char route_space_verbs[] =
        "secrets variables runtime hardware sleeptime pause restart storage volumes dev-mode logs "
        "events metrics replicas";

const char route_dataset_verbs[] = "leaderboard parquet croissant";

/* What a success of most writes makes untrue. */
#define MOVED   (UNTRUE_REFS | UNTRUE_DOCS | UNTRUE_LISTS)
#define CHANGED (UNTRUE_DOCS | UNTRUE_LISTS)
#define OTHER   (UNTRUE_NAMED | UNTRUE_GONE | UNTRUE_LISTS)

/* Reads and writes; R(op, class, methods, pattern, params, right) makes nothing untrue. */
#define R(op, klass, methods, pattern, params, right)                                              \
        {                                                                                          \
                HUB_##op, CLASS_##klass, methods, pattern, params, RIGHT_##right, UNTRUE_NOTHING   \
        }
#define W(op, methods, pattern, params, right, untrue)                                             \
        {                                                                                          \
                HUB_##op, CLASS_WRITE, methods, pattern, params, RIGHT_##right, untrue             \
        }

/* clang-format off */
/* Hot rows stand first; otherwise the order is that of hub-protocol section 4. */
const struct route routes[] = {
        /* Ours: other hosts under paths of ours, and what we say of ourselves. */
        R(RELAY, USER, EVERY, "/-/relay/{any}/{any}", "", NONE),
        R(CAS, USER, EVERY, "/-/cas/{any}/{any}/{any+}", "", NONE),
        R(ENDPOINTS, USER, GET, "/-/endpoints/api/{any+}", "", NONE),
        R(ENDPOINTS, USER, GET, "/-/endpoints/{any+}", "", ENDPOINT),
        W(ENDPOINTS, CHANGE, "/-/endpoints/{any+}", "", ENDPOINT, UNTRUE_NOTHING),
        R(VIEWER, USER, GET, "/-/viewer/{any+}", "", READ),
        R(LOCAL, LOCAL, EVERY, "/-/{path*}", "", NONE),

        R(RESOLVE, FILE, GET, "/{repo}/resolve/{rev}/{path+}", "download?", READ),
        R(RESOLVE, FILE, GET, "/{type}/{repo}/resolve/{rev}/{path+}", "download?", READ),
        R(RESOLVE_CACHE, FILE, GET, "/api/resolve-cache/{kind}/{repo}/{rev}/{path+}",
          "download? etag-", READ),
        R(RAW, FILE, GET, "/{repo}/raw/{rev}/{path+}", "download?", READ),
        R(RAW, FILE, GET, "/{type}/{repo}/raw/{rev}/{path+}", "download?", READ),

        /* Fixed words where an id could stand. */
        R(LISTING, LIST, GET, "/api/spaces/semantic-search",
          "q p limit filter sdk category includeNonRunning? agents?", NONE),
        R(LISTING, LIST, GET, "/api/spaces/hardware|templates", "", NONE),
        R(USER_DOC, USER, GET, "/api/spaces/zero-gpu/{any*}", "", NEVER),
        R(FORWARD, FORWARD, EVERY, "/api/spaces/semantic-search|hardware|templates|zero-gpu/{any*}",
          "", NEVER),

        /* Reading a repository. */
        R(REVISION_INFO, COMMIT_DOC, GET, "/api/{kind}/{repo}/revision/{rev}", INFO_PARAMS, READ),
        R(TREE, COMMIT_DOC, GET, "/api/{kind}/{repo}/tree/{rev}/{path*}", TREE_PARAMS, READ),
        R(PATHS_INFO, COMMIT_DOC, POST, "/api/{kind}/{repo}/paths-info/{rev}", "expand?", READ),
        R(REFS, REPO_DOC, GET, "/api/{kind}/{repo}/refs", "include_prs?", READ),
        R(COMMITS, COMMIT_DOC, GET, "/api/{kind}/{repo}/commits/{rev}", "expand p limit cursor",
          READ),
        R(COMPARE, COMMIT_DOC, GET, "/api/{kind}/{repo}/compare/{any+}", "raw?", READ),
        R(TREESIZE, COMMIT_DOC, GET, "/api/{kind}/{repo}/treesize/{rev}/{path*}", "", READ),
        R(REPO_DOC, REPO_DOC, GET, "/api/{kind}/{repo}/likers|scan", "expand limit cursor", READ),
        R(REPO_DOC, REPO_DOC, GET, "/api/{kind}/{repo}/discussions",
          "p type status author search sort", READ),
        R(REPO_DOC, REPO_DOC, GET, "/api/{kind}/{repo}/discussions/{any}", "diff?", READ),
        R(REPO_DOC, REPO_DOC, GET, "/api/spaces/{repo}/runtime", "", READ),
        R(REPO_DOC, REPO_DOC, GET, "/api/datasets/{repo}/leaderboard|parquet|croissant", "", READ),
        R(EVENTS, STREAM, GET, "/api/spaces/{repo}/logs|events|metrics|replicas/{any*}", "", SPACE),

        /* What depends on the caller. */
        R(LFS_FILES, USER, GET, "/api/{kind}/{repo}/lfs-files", "cursor limit xet", COMMIT),
        R(AUTH_CHECK, USER, GET, "/api/{kind}/{repo}/auth-check", "", READ),
        R(XET_TOKEN, USER, GET, "/api/{kind}/{repo}/xet-read-token/{rev}", "create_pr?", READ),
        R(XET_TOKEN, USER, GET, "/api/{kind}/{repo}/xet-write-token/{rev}", "create_pr?", COMMIT),
        R(XET_TOKEN, USER, GET, "/api/buckets/{any}/{any}/xet-read-token|xet-write-token", "",
          NEVER),
        R(USER_DOC, USER, GET, "/api/{kind}/{repo}/jwt|resource-group", "", NEVER),
        R(USER_DOC, USER, GET, "/api/{kind}/{repo}/user-access-request/{any}", "limit cursor",
          ACCESS),
        R(USER_DOC, USER, GET, "/api/{kind}/{repo}/discussions/{any}/storage", "", DISCUSS),
        R(USER_DOC, USER, GET, "/api/spaces/{repo}/secrets|variables", "", SPACE),

        /* Requests by POST or GET that change nothing and are not worth keeping. */
        R(PREUPLOAD, USER, POST, "/api/{kind}/{repo}/preupload/{rev}", "create_pr?", COMMIT),
        R(FORWARD, FORWARD, GET, "/api/{kind}/{repo}/notebook/{any+}", "", READ),
        R(FORWARD, FORWARD, POST, "/api/validate-yaml|quicksearch", "", NONE),

        /* Writes to a repository. */
        W(REPO_CREATE, POST, "/api/repos/create", "", REPO, OTHER),
        W(REPO_MOVE, POST, "/api/repos/move", "", REPO, OTHER),
        W(REPO_DELETE, DELETE, "/api/repos/delete", "", REPO, OTHER),
        W(WRITE, POST | DELETE, "/api/{kind}/{repo}/branch|tag/{rev}", "", REFS,
          UNTRUE_REFS | UNTRUE_DOCS),
        W(COMMIT, POST, "/api/{kind}/{repo}/commit/{rev}", "create_pr? hot_reload?", COMMIT, MOVED),
        W(WRITE, POST, "/api/{kind}/{repo}/super-squash/{rev}", "", REFS, MOVED),
        W(WRITE, PUT, "/api/{kind}/{repo}/settings", "", REPO, UNTRUE_RIGHTS | CHANGED),
        W(WRITE, POST | DELETE, "/api/{kind}/{repo}/like", "", LIKE, CHANGED),
        W(DUPLICATE, POST, "/api/{kind}/{repo}/duplicate", "", REPO, OTHER),
        W(WRITE, POST, "/api/{kind}/{repo}/resource-group", "", NEVER, UNTRUE_RIGHTS | CHANGED),
        /* Another repository gets them. */
        W(WRITE, POST, "/api/{kind}/{repo}/lfs-files/duplicate", "", COMMIT, UNTRUE_DOCS),
        /* Their bytes may be gone from every commit, and history rewritten. */
        W(WRITE, CHANGE, "/api/{kind}/{repo}/lfs-files/{any+}", "", COMMIT,
          UNTRUE_BYTES | UNTRUE_GONE | UNTRUE_LISTS),
        W(WRITE, POST, "/api/{kind}/{repo}/user-access-request/{any}", "", ACCESS, UNTRUE_RIGHTS),
        /* Pull requests come and go with refs of their own, and people's profiles count them. */
        W(WRITE, POST, "/api/{kind}/{repo}/discussions", "", DISCUSS, MOVED),
        W(WRITE, DELETE, "/api/{kind}/{repo}/discussions/{any}", "", DISCUSS, MOVED),
        W(WRITE, POST, "/api/{kind}/{repo}/discussions/{any}/merge", "", DISCUSS, MOVED),
        W(WRITE, CHANGE, "/api/{kind}/{repo}/discussions/{any}/ref", "", DISCUSS,
          UNTRUE_REFS | UNTRUE_DOCS),
        W(WRITE, CHANGE, "/api/{kind}/{repo}/discussions/{any+}", "", DISCUSS, UNTRUE_DOCS),
        W(WRITE, CHANGE, "/api/{kind}/{repo}/sql-console/{any+}", "", REPO, UNTRUE_DOCS),
        W(WRITE, CHANGE,
          "/api/spaces/{repo}/secrets|variables|volumes|hardware|sleeptime|pause|restart|storage|"
          "dev-mode",
          "factory?", SPACE, CHANGED),
        W(WRITE, POST, "/{repo}/ask-access", "", ACCESS, UNTRUE_RIGHTS),
        W(WRITE, POST, "/{type}/{repo}/ask-access", "", ACCESS, UNTRUE_RIGHTS),

        /* Listings.  With a token of the pool they would name what the client may not see. */
        R(LISTING, LIST, GET, "/api/{kind}", LISTING_PARAMS, NONE),
        R(LISTING, LIST, GET, "/api/trending", "type limit", NONE),
        R(LISTING, LIST, GET, "/api/quicksearch", "q type limit lang namespace repoType", NONE),
        R(LISTING, LIST, GET, "/api/collections", "owner item sort limit q cursor p", NONE),
        R(USER_DOC, USER, GET, "/api/collections/{any}/{any}/resource-group", "", NEVER),
        R(LISTING, LIST, GET, "/api/collections/{any+}", "", COLLECTION),
        R(USER_DOC, USER, GET, "/api/users/{any}/billing/{any*}", "", NEVER),
        R(LISTING, LIST, GET, "/api/users/{any+}", "limit cursor", NONE),
        R(LISTING, LIST, GET, "/api/organizations/{any}/overview|members|followers|avatar|socials",
          "limit cursor search email", NONE),
        R(USER_DOC, USER, GET, "/api/organizations/{any+}", "", NEVER),
        R(LISTING, LIST, GET, "/api/avatars/{any}", "redirect?", NONE),
        R(LISTING, LIST, GET, "/api/jobs/hardware", "", NONE),

        /* The same for everybody. */
        R(PUBLIC_DOC, PUBLIC, GET, "/api/models-tags-by-type|datasets-tags-by-type", "type", NONE),
        R(PUBLIC_DOC, PUBLIC, GET, "/api/tasks|agent-harnesses", "", NONE),
        R(PUBLIC_DOC, PUBLIC, GET, "/api/daily_papers",
          "date week month submitter sort limit p", NONE),
        R(PUBLIC_DOC, PUBLIC, GET, "/api/papers", "cursor limit", NONE),
        R(PUBLIC_DOC, PUBLIC, GET, "/api/papers/search", "q limit", NONE),
        R(PUBLIC_DOC, PUBLIC, GET, "/api/papers/{any}", "field", NONE),
        R(PUBLIC_DOC, PUBLIC, GET, "/api/docs", "", NONE),
        R(PUBLIC_DOC, PUBLIC, GET, "/api/docs/search", "q product", NONE),
        R(PUBLIC_DOC, PUBLIC, GET, "/api/docs/search/full-text", "q product limit", NONE),

        /* The caller's own. */
        R(WHOAMI, USER, GET, "/api/whoami-v2|whoami", "", WHOAMI),
        R(TELEMETRY, FORWARD, GET, "/api/telemetry/{any*}", "", NONE),
        /* Chunk storage loses the path of its address here (hf_xet 1.8). */
        R(TELEMETRY, FORWARD, POST, "/v1/telemetry", "", NONE),
        R(USER_DOC, USER, GET, "/api/settings/{any+}", "limit cursor", NEVER),
        R(USER_DOC, USER, GET, "/api/notifications", "", NEVER),
        R(EVENTS, STREAM, GET, "/api/jobs/{any}/{any}/logs|events|metrics", "", JOB),
        R(USER_DOC, USER, GET, "/api/jobs|scheduled-jobs/{any+}", "", JOB),
        R(USER_DOC, USER, GET, "/api/agentic|registry/{any+}", "", NEVER),
        R(USER_DOC, USER, GET | POST, "/oauth/userinfo", "", NEVER),
        R(USER_DOC, USER, GET, "/{repo}/user-access-report", "", ACCESS),
        R(USER_DOC, USER, GET, "/{type}/{repo}/user-access-report", "", ACCESS),

        /* Checks that are sent by POST; then the writes below the same words. */
        R(FORWARD, FORWARD, POST, "/api/jobs/{any}/auth-check/{any}", "", JOB),
        R(FORWARD, FORWARD, POST, "/api/jobs/{any}/{any}/auth-check/{any}", "", JOB),
        W(WRITE, CHANGE, "/api/jobs|scheduled-jobs/{any+}", "", JOB, UNTRUE_NOTHING),
        W(WRITE, CHANGE, "/api/collections/{any}/{any}/resource-group", "", NEVER, UNTRUE_LISTS),
        W(WRITE, CHANGE, "/api/collections/{any*}", "", COLLECTION, UNTRUE_LISTS),
        W(WRITE, CHANGE, "/api/organizations|users|settings/{any+}", "", NEVER, UNTRUE_LISTS),
        W(WRITE, CHANGE, "/api/notifications/{any*}", "", NEVER, UNTRUE_NOTHING),
        W(WRITE, CHANGE, "/api/papers|posts|blog/{any+}", "", NEVER, UNTRUE_PUBLIC),
        W(WRITE, CHANGE, "/api/agentic/{any+}", "", NEVER, UNTRUE_NOTHING),
        /* A verb of a repository that we do not know may do anything to it. */
        W(WRITE, CHANGE, "/api/{kind}/{repo}/{any+}", "", NEVER, UNTRUE_GONE | UNTRUE_LISTS),

        /* Git: smart HTTP and git-lfs. */
        R(LFS_BATCH, USER, POST, "/{repo}/info/lfs/objects/batch", "", READ),
        R(LFS_BATCH, USER, POST, "/{type}/{repo}/info/lfs/objects/batch", "", READ),
        R(GIT_REFS, USER, GET, "/{repo}/info/refs", "service", READ),
        R(GIT_REFS, USER, GET, "/{type}/{repo}/info/refs", "service", READ),
        R(GIT_FETCH, USER, POST, "/{repo}/git-upload-pack", "", READ),
        R(GIT_FETCH, USER, POST, "/{type}/{repo}/git-upload-pack", "", READ),
        W(GIT_PUSH, POST, "/{repo}/git-receive-pack", "", COMMIT, MOVED),
        W(GIT_PUSH, POST, "/{type}/{repo}/git-receive-pack", "", COMMIT, MOVED),
        R(FORWARD, FORWARD, EVERY, "/{repo}/info/{any+}", "", COMMIT),
        R(FORWARD, FORWARD, EVERY, "/{type}/{repo}/info/{any+}", "", COMMIT),

        /* The web pages of a repository. */
        R(FORWARD, FORWARD, GET, "/{repo}/blob|tree|blame|commit|commits|discussions/{any*}", "",
          READ),
        R(FORWARD, FORWARD, GET, "/{type}/{repo}/blob|tree|blame|commit|commits|discussions/{any*}",
          "", READ),
        R(FORWARD, FORWARD, EVERY,
          "/{repo}/blob|tree|blame|commit|commits|discussions|edit|upload|settings|delete/{any*}",
          "", NEVER),
        R(FORWARD, FORWARD, EVERY,
          "/{type}/{repo}/blob|tree|blame|commit|commits|discussions|edit|upload|settings|delete/"
          "{any*}",
          "", NEVER),
        { HUB_OP_MAX, CLASS_FORWARD, GET, "/{name}/{any}/{any}/resolve|raw/{rev}/{path+}", "",
          RIGHT_NEVER, UNTRUE_NOTHING },
        { HUB_OP_MAX, CLASS_FORWARD, GET, "/{type}/{any}/{any}/{any}/resolve|raw/{rev}/{path+}", "",
          RIGHT_NEVER, UNTRUE_NOTHING },

        /* Last, because any id of two segments looks like it. */
        R(REPO_INFO, COMMIT_DOC, GET, "/api/{kind}/{repo}", INFO_PARAMS, READ),
};
/* clang-format on */

const size_t n_routes = ARRAY_LEN(routes);
