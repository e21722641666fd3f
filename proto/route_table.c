#include "route_table.h"

#include "base/compiler.h"

#define GET    HTTP_GET
#define POST   HTTP_POST
#define DELETE HTTP_DELETE
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

/* Hot rows stand first; otherwise the order is that of hub-protocol section 4. */
const struct route routes[] = {
        { HUB_LOCAL, CLASS_LOCAL, EVERY, "/-/{path*}", "" },
        { HUB_RESOLVE, CLASS_FILE, GET, "/{repo}/resolve/{rev}/{path+}", "download?" },
        { HUB_RESOLVE, CLASS_FILE, GET, "/{type}/{repo}/resolve/{rev}/{path+}", "download?" },
        { HUB_RESOLVE_CACHE, CLASS_FILE, GET, "/api/resolve-cache/{kind}/{repo}/{rev}/{path+}",
          "download? etag-" },
        { HUB_RAW, CLASS_FILE, GET, "/{repo}/raw/{rev}/{path+}", "download?" },
        { HUB_RAW, CLASS_FILE, GET, "/{type}/{repo}/raw/{rev}/{path+}", "download?" },

        /* Fixed words where an id could stand. */
        { HUB_LISTING, CLASS_LIST, GET, "/api/spaces/semantic-search",
          "q p limit filter sdk category includeNonRunning? agents?" },
        { HUB_LISTING, CLASS_LIST, GET, "/api/spaces/hardware|templates", "" },
        { HUB_USER_DOC, CLASS_USER, GET, "/api/spaces/zero-gpu/{any*}", "" },
        { HUB_FORWARD, CLASS_FORWARD, EVERY,
          "/api/spaces/semantic-search|hardware|templates|zero-gpu/{any*}", "" },

        /* Reading a repository. */
        { HUB_REVISION_INFO, CLASS_COMMIT_DOC, GET, "/api/{kind}/{repo}/revision/{rev}",
          INFO_PARAMS },
        { HUB_TREE, CLASS_COMMIT_DOC, GET, "/api/{kind}/{repo}/tree/{rev}/{path*}", TREE_PARAMS },
        { HUB_PATHS_INFO, CLASS_COMMIT_DOC, POST, "/api/{kind}/{repo}/paths-info/{rev}",
          "expand?" },
        { HUB_REFS, CLASS_REPO_DOC, GET, "/api/{kind}/{repo}/refs", "include_prs?" },
        { HUB_COMMITS, CLASS_COMMIT_DOC, GET, "/api/{kind}/{repo}/commits/{rev}",
          "expand p limit cursor" },
        { HUB_COMPARE, CLASS_COMMIT_DOC, GET, "/api/{kind}/{repo}/compare/{any+}", "raw?" },
        { HUB_TREESIZE, CLASS_COMMIT_DOC, GET, "/api/{kind}/{repo}/treesize/{rev}/{path*}", "" },
        { HUB_REPO_DOC, CLASS_REPO_DOC, GET, "/api/{kind}/{repo}/likers|scan",
          "expand limit cursor" },
        { HUB_REPO_DOC, CLASS_REPO_DOC, GET, "/api/{kind}/{repo}/discussions",
          "p type status author search sort" },
        { HUB_REPO_DOC, CLASS_REPO_DOC, GET, "/api/{kind}/{repo}/discussions/{any}", "diff?" },
        { HUB_REPO_DOC, CLASS_REPO_DOC, GET, "/api/spaces/{repo}/runtime", "" },
        { HUB_REPO_DOC, CLASS_REPO_DOC, GET, "/api/datasets/{repo}/leaderboard|parquet|croissant",
          "" },
        { HUB_EVENTS, CLASS_STREAM, GET, "/api/spaces/{repo}/logs|events|metrics|replicas/{any*}",
          "" },

        /* What depends on the caller. */
        { HUB_LFS_FILES, CLASS_USER, GET, "/api/{kind}/{repo}/lfs-files", "cursor limit xet" },
        { HUB_AUTH_CHECK, CLASS_USER, GET, "/api/{kind}/{repo}/auth-check", "" },
        { HUB_XET_TOKEN, CLASS_USER, GET, "/api/{kind}/{repo}/xet-read-token|xet-write-token/{rev}",
          "create_pr?" },
        { HUB_USER_DOC, CLASS_USER, GET, "/api/{kind}/{repo}/jwt|resource-group", "" },
        { HUB_USER_DOC, CLASS_USER, GET, "/api/{kind}/{repo}/user-access-request/{any}",
          "limit cursor" },
        { HUB_USER_DOC, CLASS_USER, GET, "/api/{kind}/{repo}/discussions/{any}/storage", "" },
        { HUB_USER_DOC, CLASS_USER, GET, "/api/spaces/{repo}/secrets|variables", "" },

        /* Requests by POST or GET that change nothing and are not worth keeping. */
        { HUB_FORWARD, CLASS_FORWARD, POST, "/api/{kind}/{repo}/preupload/{rev}", "" },
        { HUB_FORWARD, CLASS_FORWARD, GET, "/api/{kind}/{repo}/notebook/{any+}", "" },

        /* Writes to a repository. */
        { HUB_WRITE, CLASS_WRITE, POST, "/api/repos/create|move", "" },
        { HUB_WRITE, CLASS_WRITE, DELETE, "/api/repos/delete", "" },
        { HUB_WRITE, CLASS_WRITE, POST | DELETE, "/api/{kind}/{repo}/branch|tag/{rev}", "" },
        { HUB_WRITE, CLASS_WRITE, POST, "/api/{kind}/{repo}/commit|super-squash/{rev}",
          "create_pr? hot_reload?" },
        { HUB_WRITE, CLASS_WRITE, HTTP_PUT, "/api/{kind}/{repo}/settings", "" },
        { HUB_WRITE, CLASS_WRITE, POST | DELETE, "/api/{kind}/{repo}/like", "" },
        { HUB_WRITE, CLASS_WRITE, POST, "/api/{kind}/{repo}/duplicate|resource-group", "" },
        { HUB_WRITE, CLASS_WRITE, CHANGE, "/api/{kind}/{repo}/lfs-files/{any+}", "" },
        { HUB_WRITE, CLASS_WRITE, POST, "/api/{kind}/{repo}/user-access-request/{any}", "" },
        { HUB_WRITE, CLASS_WRITE, CHANGE, "/api/{kind}/{repo}/discussions/{any*}", "" },
        { HUB_WRITE, CLASS_WRITE, CHANGE, "/api/{kind}/{repo}/sql-console/{any+}", "" },
        { HUB_WRITE, CLASS_WRITE, CHANGE,
          "/api/spaces/{repo}/secrets|variables|volumes|hardware|sleeptime|pause|restart|storage|"
          "dev-mode",
          "factory?" },
        { HUB_WRITE, CLASS_WRITE, POST, "/{repo}/ask-access", "" },
        { HUB_WRITE, CLASS_WRITE, POST, "/{type}/{repo}/ask-access", "" },

        /* Listings. */
        { HUB_LISTING, CLASS_LIST, GET, "/api/{kind}", LISTING_PARAMS },
        { HUB_LISTING, CLASS_LIST, GET, "/api/trending", "type limit" },
        { HUB_LISTING, CLASS_LIST, GET, "/api/quicksearch",
          "q type limit lang namespace repoType" },
        { HUB_LISTING, CLASS_LIST, GET, "/api/collections", "owner item sort limit q cursor p" },
        { HUB_USER_DOC, CLASS_USER, GET, "/api/collections/{any}/{any}/resource-group", "" },
        { HUB_LISTING, CLASS_LIST, GET, "/api/collections/{any+}", "" },
        { HUB_USER_DOC, CLASS_USER, GET, "/api/users/{any}/billing/{any*}", "" },
        { HUB_LISTING, CLASS_LIST, GET, "/api/users/{any+}", "limit cursor" },
        { HUB_LISTING, CLASS_LIST, GET,
          "/api/organizations/{any}/overview|members|followers|avatar|socials",
          "limit cursor search email" },
        { HUB_USER_DOC, CLASS_USER, GET, "/api/organizations/{any+}", "" },
        { HUB_LISTING, CLASS_LIST, GET, "/api/avatars/{any}", "redirect?" },
        { HUB_LISTING, CLASS_LIST, GET, "/api/jobs/hardware", "" },

        /* The same for everybody. */
        { HUB_PUBLIC_DOC, CLASS_PUBLIC, GET, "/api/models-tags-by-type|datasets-tags-by-type",
          "type" },
        { HUB_PUBLIC_DOC, CLASS_PUBLIC, GET, "/api/tasks|agent-harnesses", "" },
        { HUB_PUBLIC_DOC, CLASS_PUBLIC, GET, "/api/daily_papers",
          "date week month submitter sort limit p" },
        { HUB_PUBLIC_DOC, CLASS_PUBLIC, GET, "/api/papers", "cursor limit" },
        { HUB_PUBLIC_DOC, CLASS_PUBLIC, GET, "/api/papers/search", "q limit" },
        { HUB_PUBLIC_DOC, CLASS_PUBLIC, GET, "/api/papers/{any}", "field" },
        { HUB_PUBLIC_DOC, CLASS_PUBLIC, GET, "/api/docs", "" },
        { HUB_PUBLIC_DOC, CLASS_PUBLIC, GET, "/api/docs/search", "q product" },
        { HUB_PUBLIC_DOC, CLASS_PUBLIC, GET, "/api/docs/search/full-text", "q product limit" },

        /* The caller's own. */
        { HUB_WHOAMI, CLASS_USER, GET, "/api/whoami-v2|whoami", "" },
        { HUB_TELEMETRY, CLASS_FORWARD, GET, "/api/telemetry/{any*}", "" },
        { HUB_USER_DOC, CLASS_USER, GET, "/api/settings/{any+}", "limit cursor" },
        { HUB_USER_DOC, CLASS_USER, GET, "/api/notifications", "" },
        { HUB_EVENTS, CLASS_STREAM, GET, "/api/jobs/{any}/{any}/logs|events|metrics", "" },
        { HUB_USER_DOC, CLASS_USER, GET, "/api/jobs|scheduled-jobs/{any+}", "" },
        { HUB_USER_DOC, CLASS_USER, GET, "/api/agentic|registry/{any+}", "" },
        { HUB_USER_DOC, CLASS_USER, HTTP_GET | HTTP_POST, "/oauth/userinfo", "" },
        { HUB_USER_DOC, CLASS_USER, GET, "/{repo}/user-access-report", "" },
        { HUB_USER_DOC, CLASS_USER, GET, "/{type}/{repo}/user-access-report", "" },

        /* Checks that are sent by POST; then the writes below the same words. */
        { HUB_FORWARD, CLASS_FORWARD, POST, "/api/jobs/{any}/auth-check/{any}", "" },
        { HUB_FORWARD, CLASS_FORWARD, POST, "/api/jobs/{any}/{any}/auth-check/{any}", "" },
        { HUB_WRITE, CLASS_WRITE, CHANGE, "/api/jobs|scheduled-jobs/{any+}", "" },
        { HUB_WRITE, CLASS_WRITE, CHANGE, "/api/collections/{any*}", "" },
        { HUB_WRITE, CLASS_WRITE, CHANGE, "/api/organizations|users|settings/{any+}", "" },
        { HUB_WRITE, CLASS_WRITE, CHANGE, "/api/notifications/{any*}", "" },
        { HUB_WRITE, CLASS_WRITE, CHANGE, "/api/papers|posts|blog|agentic/{any+}", "" },

        /* Git, and the web pages of a repository. */
        { HUB_FORWARD, CLASS_FORWARD, EVERY, "/{repo}/info/{any+}", "" },
        { HUB_FORWARD, CLASS_FORWARD, EVERY, "/{type}/{repo}/info/{any+}", "" },
        { HUB_FORWARD, CLASS_FORWARD, EVERY, "/{repo}/git-upload-pack|git-receive-pack", "" },
        { HUB_FORWARD, CLASS_FORWARD, EVERY, "/{type}/{repo}/git-upload-pack|git-receive-pack",
          "" },
        { HUB_FORWARD, CLASS_FORWARD, EVERY,
          "/{repo}/blob|tree|blame|commit|commits|discussions|edit|upload|settings|delete/{any*}",
          "" },
        { HUB_FORWARD, CLASS_FORWARD, EVERY,
          "/{type}/{repo}/blob|tree|blame|commit|commits|discussions|edit|upload|settings|delete/"
          "{any*}",
          "" },
        { HUB_OP_MAX, CLASS_FORWARD, GET, "/{name}/{any}/{any}/resolve|raw/{rev}/{path+}", "" },
        { HUB_OP_MAX, CLASS_FORWARD, GET, "/{type}/{any}/{any}/{any}/resolve|raw/{rev}/{path+}",
          "" },

        /* Last, because any id of two segments looks like it. */
        { HUB_REPO_INFO, CLASS_COMMIT_DOC, GET, "/api/{kind}/{repo}", INFO_PARAMS },
};

const size_t n_routes = ARRAY_LEN(routes);
