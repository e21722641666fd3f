#include "workers_table.h"

#include <string.h>

#include "access.h"

/* ---- What a good value is ---- */

static bool all_of(struct slice text, const char *others)
{
        for (size_t i = 0; i < text.len; i++) {
                char c = text.ptr[i];
                bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');

                if (!letter && !(c >= '0' && c <= '9') && !(c && strchr(others, c)))
                        return false;
        }
        return true;
}

static bool has_none_of(struct slice text, const char *bytes)
{
        for (size_t i = 0; i < text.len; i++)
                if (!text.ptr[i] || strchr(bytes, text.ptr[i]))
                        return false;
        return true;
}

static bool has(struct slice text, const char *piece)
{
        return text.len && memmem(text.ptr, text.len, piece, strlen(piece));
}

/* A name as the Hub allows it for namespaces and repositories. */
static bool is_hub_name(struct slice text)
{
        enum { HUB_NAME_MAX = 96 };

        return text.len > 0 && text.len <= HUB_NAME_MAX && all_of(text, "_.-") &&
               !strchr(".-", text.ptr[0]) && !strchr(".-", text.ptr[text.len - 1]) &&
               !has(text, "--") && !has(text, "..");
}

/* "acme/name" */
static bool is_owned(struct slice text)
{
        size_t slash = slice_find(text, '/');

        return is_hub_name(slice_cut(text, slash)) && is_hub_name(slice_skip(text, slash + 1));
}

static bool is_collection(struct slice text)
{
        size_t slash = slice_find(text, '/');
        struct slice slug = slice_skip(text, slash + 1);

        return is_hub_name(slice_cut(text, slash)) && slug.len > 0 && all_of(slug, "_.-");
}

/* A branch, a tag, or "refs/pr/1": what git allows as the name of a ref. */
static bool is_revision(struct slice text)
{
        return text.len > 0 && text.len <= 255 && !has(text, "..") && !has(text, "//") &&
               !has(text, "@{") && !slice_starts(text, SLICE("/")) &&
               !slice_ends(text, SLICE("/")) && !slice_ends(text, SLICE(".")) &&
               has_none_of(text, " ~^:?*[\\");
}

bool workers_repository_parse(struct slice text, const char **ret_prefix, struct slice *ret_id,
                              struct slice *ret_revision)
{
        static const char *const prefixes[] = { "datasets/", "spaces/", "kernels/" };
        size_t at = slice_find(text, '@');

        *ret_prefix = "";
        *ret_id = slice_cut(text, at);
        *ret_revision = at < text.len ? slice_skip(text, at + 1) : SLICE_NONE;
        for (size_t i = 0; i < ARRAY_LEN(prefixes); i++) {
                if (!slice_starts(*ret_id, slice_str(prefixes[i])))
                        continue;
                *ret_prefix = prefixes[i];
                *ret_id = slice_skip(*ret_id, strlen(prefixes[i]));
                break;
        }
        return (is_owned(*ret_id) || is_hub_name(*ret_id)) &&
               (!ret_revision->ptr || is_revision(*ret_revision));
}

static bool is_repository(struct slice text)
{
        struct slice id, revision;
        const char *prefix;

        return workers_repository_parse(text, &prefix, &id, &revision);
}

/* What can be created: with an owner, and a branch is said apart from it. */
static bool is_own_repository(struct slice text)
{
        struct slice id, revision;
        const char *prefix;

        return workers_repository_parse(text, &prefix, &id, &revision) && !revision.ptr &&
               slice_find(id, '/') < id.len;
}

static bool is_branch(struct slice text)
{
        return is_revision(text) && !slice_starts(text, SLICE("refs/"));
}

/* Paths in a repository begin at its root without a slash. */
static bool is_pattern(struct slice text)
{
        return text.ptr[0] != '/';
}

static bool is_path_in_repo(struct slice text)
{
        struct slice segment;

        while (slice_split(&text, '/', &segment))
                if (segment.len == 0 || slice_is(segment, ".") || slice_is(segment, "..") ||
                    slice_ieq(segment, SLICE(".git")))
                        return false;
        return true;
}

static bool is_folder(struct slice text)
{
        return text.len > 1 && text.ptr[0] == '/';
}

static bool is_search(struct slice text)
{
        static const char *const kinds[] = { "models?", "datasets?", "spaces?" };

        for (size_t i = 0; i < ARRAY_LEN(kinds); i++)
                if (slice_starts(text, slice_str(kinds[i])))
                        return text.len > strlen(kinds[i]) && has_none_of(text, " #");
        return false;
}

/* http:// or https://, a host, and then anything; no user, no fragment. */
static bool is_url(struct slice text)
{
        size_t scheme = slice_find(text, '/') + 2;
        struct slice rest = slice_skip(text, scheme);
        size_t host = MIN(slice_find(rest, '/'), slice_find(rest, '?'));

        return scheme < text.len && has_none_of(text, " #") &&
               parse_origin_url(slice_cut(text, scheme + host));
}

static bool is_topic(struct slice text)
{
        unsigned topic;

        return parse_choice(text, "job|scheduled-job|endpoint|space|prefetch|commit", &topic);
}

static bool is_state(struct slice text)
{
        return text.len <= 64 && all_of(text, "_-");
}

/* ---- The members ---- */

#define MEMBER(kind, rule, member) .type = RULE_##kind, .offset = offsetof(struct rule, member)
#define PREFETCH(kind, member)     MEMBER(kind, prefetch_rule, member)
#define PREFETCH_PARSED(member)    .parsed = offsetof(struct prefetch_rule, member)
#define COMMIT(kind, member)       MEMBER(kind, commit_rule, member)
#define COMMIT_PARSED(member)      .parsed = offsetof(struct commit_rule, member)
#define WATCH(kind, member)        MEMBER(kind, watch_rule, member)
#define WEBHOOK(kind, member)      MEMBER(kind, webhook_rule, member)

/* clang-format off */
static const struct rule_row prefetch_rows[] = {
        { .key = "repositories", PREFETCH(LIST, repositories), .good = is_repository,
          .expected = "repositories such as acme/bert, or \"datasets/acme/corpus@v2\"",
          .example = "[\"acme/bert\", \"datasets/acme/corpus@v2\"]",
          .help = "Models are bare, others have their type in front. @ and a branch, tag or commit "
                  "may follow." },
        { .key = "organizations", PREFETCH(LIST, organizations), .good = is_hub_name,
          .expected = "names of users and organizations",
          .example = "[\"acme\"]", .help = "All their repositories of the types below." },
        { .key = "types", PREFETCH(WORDS, types),
          .initial = "model, dataset", .words = "model|dataset|space",
          .example = "[model, dataset]",
          .help = "Of what organizations and collections hold. Left out: models and datasets." },
        { .key = "collections", PREFETCH(LIST, collections), .good = is_collection,
          .expected = "slugs of collections such as acme/favourites-64f1...",
          .example = "[\"acme/favourites-64f9a55bb3115b4f513ec026\"]", .help = "What they hold." },
        { .key = "searches", PREFETCH(LIST, searches),
          .good = is_search,
          .expected = "a search such as \"models?search=bert&sort=downloads&limit=20\"",
          .example = "[\"models?search=bert&sort=downloads&limit=20\"]",
          .help = "What the Hub finds: what stands behind /api/ in its API." },
        { .key = "include", PREFETCH(LIST, include),
          .good = is_pattern, .expected = "patterns of files, without a slash in front",
          .example = "[\"*.safetensors\", \"*.json\"]", .help = "Which files. Left out: all." },
        { .key = "exclude", PREFETCH(LIST, exclude),
          .good = is_pattern, .expected = "patterns of files, without a slash in front",
          .example = "[\"*.bin\"]", .help = "And which of these not." },
        { .key = "schedule", PREFETCH(SCHEDULE, schedule_text),
          PREFETCH_PARSED(schedule), .example = "\"0 2 * * *\"",
          .help = "When again: an interval such as 6h, or a cron expression in local time. Left "
                  "out: once, and again when the rule has changed." },
        { .key = "window", PREFETCH(WINDOW, window_text),
          PREFETCH_PARSED(window), .example = "\"22:00-06:00\"",
          .help = "Files are fetched in this part of the day only. Left out: at any time." },
        { .key = "bandwidth", PREFETCH(SIZE, bandwidth),
          .max = INT64_MAX, .example = "50MiB",
          .help = "At most so many bytes per second. Left out: no limit." },
        { .key = "priority", PREFETCH(COUNT, priority),
          .initial = "5", .max = 9, .example = "5",
          .help = "0 to 9; the highest goes first. Left out: 5." },
        { .key = "max_size", PREFETCH(SIZE, max_size),
          .max = INT64_MAX, .example = "500GiB",
          .help = "Of all its files together; what does not fit is left. Left out: no ceiling." },
        { .key = "pool", PREFETCH(TEXT, pool),
          .good = access_name_valid, .expected = "the name of a pool", .example = "research",
          .help = "Whose tokens. Left out: any that serve the namespace." },
};

static const struct rule_row commit_rows[] = {
        { .key = "folder", COMMIT(TEXT, folder),
          .required = true, .good = is_folder, .expected = "the absolute path of a folder",
          .example = "/var/log/train", .help = "What is committed." },
        { .key = "repository", COMMIT(TEXT, repository),
          .required = true, .good = is_own_repository,
          .expected = "a repository with its owner, such as datasets/acme/logs",
          .example = "datasets/acme/logs", .help = "Where to. It is created if it is missing." },
        { .key = "private", COMMIT(MAYBE, is_private),
          .example = "true", .help = "How it is created. Left out: as its owner has it." },
        { .key = "revision", COMMIT(TEXT, revision),
          .initial = "main", .good = is_branch, .expected = "the name of a branch",
          .example = "main", .help = "The branch. Left out: main." },
        { .key = "path_in_repo", COMMIT(TEXT, path_in_repo), .good = is_path_in_repo,
          .expected = "a path without a slash at its ends, and without \"..\"",
          .example = "runs", .help = "The folder in the repository. Left out: its root." },
        { .key = "allow", COMMIT(LIST, allow),
          .good = is_pattern, .expected = "patterns of files, without a slash in front",
          .example = "[\"*.jsonl\"]", .help = "Which files. Left out: all." },
        { .key = "ignore", COMMIT(LIST, ignore),
          .good = is_pattern, .expected = "patterns of files, without a slash in front",
          .example = "[\"*.tmp\"]", .help = "And which of these not." },
        { .key = "schedule", COMMIT(SCHEDULE, schedule_text),
          COMMIT_PARSED(schedule), .initial = "5m", .example = "5m",
          .help = "How often: an interval, or a cron expression in local time. Left out: 5m." },
        { .key = "squash_history", COMMIT(BOOL, squash_history), .initial = "false",
          .example = "false", .help = "Whether only the last commit is kept each time." },
        { .key = "message", COMMIT(TEXT, message),
          .initial = "Scheduled Commit", .example = "\"Scheduled Commit\"",
          .help = "The title of the commits." },
        { .key = "pool", COMMIT(TEXT, pool),
          .good = access_name_valid, .expected = "the name of a pool", .example = "research",
          .help = "Whose tokens. Left out: any that may write there." },
};

static const struct rule_row watch_rows[] = {
        { .key = "kinds", WATCH(WORDS, kinds),
          .initial = "jobs, scheduled-jobs, endpoints, spaces",
          .words = "jobs|scheduled-jobs|endpoints|spaces",
          .example = "[jobs, scheduled-jobs, endpoints, spaces]",
          .help = "Of what. Left out: all." },
        { .key = "pool", WATCH(TEXT, pool),
          .good = access_name_valid, .expected = "the name of a pool", .example = "research",
          .help = "Whose tokens. Left out: any that serve the namespace." },
};

static const struct rule_row webhook_rows[] = {
        { .key = "url", WEBHOOK(TEXT, url),
          .required = true, .good = is_url,
          .expected = "http:// or https:// with a host, without user and fragment",
          .example = "\"https://hooks.example/hubcached\"", .help = "What is called, by POST." },
        { .key = "secret_file", WEBHOOK(SECRET, secret),
          .example = "/etc/hubcached/hook",
          .help = "A file with the secret that signs each call (HMAC-SHA256)." },
        { .key = "topics", WEBHOOK(LIST, topics),
          .good = is_topic,
          .expected = "a list of job|scheduled-job|endpoint|space|prefetch|commit",
          .example = "[job, endpoint, space]", .help = "What it is called for. Left out: all." },
        { .key = "states", WEBHOOK(LIST, states),
          .good = is_state, .expected = "states such as ERROR or COMPLETED",
          .example = "[ERROR, FAILED]", .help = "And which new states. Left out: all." },
};
/* clang-format on */

static void check_prefetch(const struct rule_place *place, const struct yaml_node *map,
                           const void *rule)
{
        static const char *const sources[] = { "repositories", "organizations", "collections",
                                               "searches" };
        const struct prefetch_rule *r = rule;
        bool given = r->repositories.n || r->organizations.n || r->collections.n || r->searches.n;

        /* One that was refused was meant to name something. */
        for (size_t i = 0; i < ARRAY_LEN(sources); i++) {
                const struct yaml_node *node = yaml_node_find(map, sources[i]);

                given |= node && node->kind != YAML_LIST && node->text.len > 0;
                given |= node && node->n > 0;
        }
        if (!given)
                rule_report(place, map->line, NULL,
                            "nothing to fetch: expected repositories, organizations, collections "
                            "or searches");
}

#define SECTION_OF(member, type, table)                                                            \
        .rows = (table), .n_rows = ARRAY_LEN(table), .rule_bytes = sizeof(struct type),            \
        .v = offsetof(struct workers_config, member),                                              \
        .n = offsetof(struct workers_config, n_##member)

const struct workers_section workers_sections[WORKERS_SECTIONS] = {
        [SECTION_PREFETCH] = {
                .key = "prefetch",
                .help = "What is fetched before anybody asks for it.",
                .example = "nightly",
                SECTION_OF(prefetch, prefetch_rule, prefetch_rows),
                .name_good = access_name_valid,
                .check = check_prefetch,
        },
        [SECTION_COMMITS] = {
                .key = "commits",
                .help = "Folders whose new and changed files are committed to the Hub again and "
                        "again.",
                .example = "train-logs",
                SECTION_OF(commits, commit_rule, commit_rows),
                .name_good = access_name_valid,
        },
        [SECTION_WATCH] = {
                .key = "watch",
                .help = "Namespaces whose jobs, endpoints and Spaces are watched, besides what "
                        "clients ask about.",
                .example = "acme",
                SECTION_OF(watch, watch_rule, watch_rows),
                .name_good = is_hub_name,
                .name_expected = "the name of a user or an organization",
        },
        [SECTION_WEBHOOKS] = {
                .key = "webhooks",
                .help = "Who is called when something has changed its state.",
                .example = "ops",
                SECTION_OF(webhooks, webhook_rule, webhook_rows),
                .name_good = access_name_valid,
        },
};
