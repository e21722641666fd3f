#include "options.h"

#include <string.h>

#include "base/compiler.h"
#include "config.h"

#define RELOAD  true
#define RESTART false

const struct option options[] = {
#define SECTION(name, sentence)
#define OPTION(kind, member, name, start, lo, hi, choices, when, sentence)                         \
        { .type = OPTION_##kind,                                                                   \
          .field = #member,                                                                        \
          .path = name,                                                                            \
          .initial = start,                                                                        \
          .min = lo,                                                                               \
          .max = hi,                                                                               \
          .words = choices,                                                                        \
          .reload = when,                                                                          \
          .help = sentence,                                                                        \
          .offset = offsetof(struct config, member) },
#include "options.def"
#undef OPTION
#undef SECTION
};

const size_t n_options = ARRAY_LEN(options);

const struct section sections[] = {
#define SECTION(title, sentence) { .name = title, .help = sentence },
#define OPTION(kind, member, name, start, lo, hi, choices, when, sentence)
#include "options.def"
#undef OPTION
#undef SECTION
};

const size_t n_sections = ARRAY_LEN(sections);

const struct option *option_find(struct slice path)
{
        for (size_t i = 0; i < n_options; i++)
                if (slice_is(path, options[i].path))
                        return &options[i];
        return NULL;
}

struct slice option_section(const struct option *o)
{
        const char *dot = strchr(o->path, '.');

        return dot ? slice_of(o->path, (size_t)(dot - o->path)) : SLICE("");
}

const char *option_key(const struct option *o)
{
        const char *dot = strchr(o->path, '.');

        return dot ? dot + 1 : o->path;
}

bool section_exists(struct slice name)
{
        for (size_t i = 0; i < n_sections; i++)
                if (name.len && slice_is(name, sections[i].name))
                        return true;
        return false;
}

/* The path with every separator as `separator`, in upper case if asked. */
static void spell(const struct option *o, char separator, bool upper, struct buf *out)
{
        for (const char *p = o->path; *p; p++) {
                if (*p == '.' || *p == '_')
                        buf_add_char(out, separator);
                else
                        buf_add_char(out, upper && *p >= 'a' ? (char)(*p - 'a' + 'A') : *p);
        }
}

void option_flag(const struct option *o, struct buf *out)
{
        spell(o, '-', false, out);
}

void option_variable(const struct option *o, struct buf *out)
{
        buf_add_str(out, "HUBCACHED_");
        spell(o, '_', true, out);
}

static bool is_spelled(const struct option *o, struct slice name, char separator, bool upper)
{
        scoped(buf_done) struct buf text = BUF_INIT(128);

        spell(o, separator, upper, &text);
        return slice_eq(buf_slice(&text), name);
}

const struct option *option_find_flag(struct slice flag)
{
        for (size_t i = 0; i < n_options; i++)
                if (is_spelled(&options[i], flag, '-', false))
                        return &options[i];
        return NULL;
}

const struct option *option_find_variable(struct slice name)
{
        if (!slice_starts(name, SLICE("HUBCACHED_")))
                return NULL;
        name = slice_skip(name, strlen("HUBCACHED_"));
        for (size_t i = 0; i < n_options; i++)
                if (is_spelled(&options[i], name, '_', true))
                        return &options[i];
        return NULL;
}

static char plain(char c)
{
        if (c == '.' || c == '-')
                return '_';
        return c >= 'A' && c <= 'Z' ? (char)(c + ('a' - 'A')) : c;
}

enum { SUGGEST_MAX = 48 };

/* Levenshtein's distance, one row at a time; both texts are at most SUGGEST_MAX bytes. */
static size_t distance(struct slice a, struct slice b)
{
        size_t row[SUGGEST_MAX + 1];

        for (size_t j = 0; j <= b.len; j++)
                row[j] = j;
        for (size_t i = 1; i <= a.len; i++) {
                size_t diagonal = row[0];

                row[0] = i;
                for (size_t j = 1; j <= b.len; j++) {
                        size_t change = diagonal + (plain(a.ptr[i - 1]) != plain(b.ptr[j - 1]));

                        diagonal = row[j];
                        row[j] = MIN(row[j] + 1, row[j - 1] + 1);
                        row[j] = MIN(row[j], change);
                }
        }
        return row[b.len];
}

size_t option_misspelt(struct slice wrong, struct slice right)
{
        size_t d = MAX(wrong.len, right.len) > SUGGEST_MAX ? SIZE_MAX : distance(wrong, right);

        /* One mistake in four letters still reads as the same word. */
        return d <= 1 + right.len / 4 ? d : SIZE_MAX;
}

const struct option *option_suggest(struct slice wrong)
{
        const struct option *best = NULL;
        size_t best_distance = SIZE_MAX;

        if (wrong.len > SUGGEST_MAX)
                return NULL;
        for (size_t i = 0; i < n_options; i++) {
                size_t d = option_misspelt(wrong, slice_str(options[i].path));

                if (d < best_distance) {
                        best = &options[i];
                        best_distance = d;
                }
        }
        if (best)
                return best;
        /* The right key in the wrong section is a common slip. */
        for (size_t i = 0; i < n_options; i++) {
                size_t dot = slice_find(wrong, '.');
                struct slice key = dot < wrong.len ? slice_skip(wrong, dot + 1) : wrong;

                if (slice_is(key, option_key(&options[i])))
                        return &options[i];
        }
        return NULL;
}

const char *option_kind(const struct option *o)
{
        static const char *const kinds[] = {
                [OPTION_BOOL] = "bool", [OPTION_COUNT] = "number",
                [OPTION_SIZE] = "size", [OPTION_DURATION] = "duration",
                [OPTION_TEXT] = "text", [OPTION_PATH] = "path",
                [OPTION_URL] = "url",   [OPTION_ADDRESS] = "address",
                [OPTION_LIST] = "list", [OPTION_PATHS] = "paths",
                [OPTION_CHOICE] = "",
        };

        return o->type == OPTION_CHOICE ? o->words : kinds[o->type];
}
