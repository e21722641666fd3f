#include "rule.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/compiler.h"
#include "base/schedule.h"
#include "base/secret.h"
#include "secret_file.h"

enum { PLACE_MAX = 8192, TEXT_BYTES_MAX = 1024, LIST_ITEMS_MAX = 1024 };

/* ---- What is wrong ---- */

static void add_place(const struct rule_place *place, size_t line, const char *key, struct buf *out)
{
        if (place->file)
                buf_add_fmt(out, "%s:%zu: ", place->file, line);
        buf_add_str(out, place->name);
        if (key)
                buf_add_fmt(out, "%s%s", *place->name ? "." : "", key);
        if (key || *place->name)
                buf_add_str(out, ": ");
}

void rule_report(const struct rule_place *place, size_t line, const char *key, const char *fmt, ...)
{
        scoped(buf_done) struct buf text = BUF_INIT(PLACE_MAX);
        char what[1024];
        va_list ap;

        va_start(ap, fmt);
        vsnprintf(what, sizeof(what), fmt, ap);
        va_end(ap);
        add_place(place, line, key, &text);
        buf_add_str(&text, what);
        config_errors_add(place->errors, true, "%s", buf_ok(&text) ? text.ptr : what);
}

static void add_expected(const struct rule_row *row, struct buf *out)
{
        static const char *const expected[] = {
                [RULE_TEXT] = "printable text",
                [RULE_LIST] = "a list of texts",
                [RULE_WORDS] = "a list of",
                [RULE_SCHEDULE] = "an interval such as 5m or a cron expression in quotes",
                [RULE_WINDOW] = "a part of the day such as 22:00-06:00",
                [RULE_SIZE] = "a size such as 64KiB, 8MiB or 1GiB",
                [RULE_COUNT] = "a whole number",
                [RULE_BOOL] = "true or false",
                [RULE_MAYBE] = "true or false",
                [RULE_SECRET] = "the absolute path of a file",
        };

        buf_add_str(out, row->expected ? row->expected : expected[row->type]);
        if (row->words)
                buf_add_fmt(out, " %s", row->words);
        if (row->type == RULE_COUNT)
                buf_add_fmt(out, " from %" PRIu64 " to %" PRIu64, row->min, row->max);
}

/* `why` may be NULL: what was expected instead says enough. */
static void refuse(const struct rule_place *place, const struct rule_row *row,
                   const struct yaml_node *node, const char *why)
{
        scoped(buf_done) struct buf seen = BUF_INIT(1024);
        scoped(buf_done) struct buf expected = BUF_INIT(1024);

        if (node->kind == YAML_BAD)
                return;
        yaml_node_show(node, &seen);
        add_expected(row, &expected);
        rule_report(place, node->line, row->key, "got %s, %s%s", seen.ptr,
                    why ? "which is " : "expected ", why ? why : expected.ptr);
}

static void no_memory(const struct rule_place *place)
{
        config_errors_add(place->errors, true, "out of memory");
}

/* ---- One value ---- */

bool rule_text_printable(struct slice text)
{
        for (size_t i = 0; i < text.len; i++)
                if ((unsigned char)text.ptr[i] < 0x20 || text.ptr[i] == 0x7f)
                        return false;
        return text.len > 0 && text.len <= TEXT_BYTES_MAX;
}

static bool is_good(const struct rule_row *row, struct slice text)
{
        return rule_text_printable(text) && (!row->good || row->good(text));
}

static bool keep(const struct rule_place *place, struct slice text, char **ret)
{
        free(*ret);
        *ret = slice_dup(text);
        if (!*ret)
                no_memory(place);
        return *ret != NULL;
}

static bool take_word(struct slice text, const char *words, unsigned *bits)
{
        unsigned word;

        if (!parse_choice(text, words, &word))
                return false;
        *bits |= 1u << word;
        return true;
}

/* False if the text is no good. */
static bool set_number(const struct rule_row *row, void *field, struct slice text)
{
        uint64_t number;
        bool is_true;

        switch (row->type) {
        case RULE_SIZE:
                if (!parse_size(text, &number) || number < row->min || number > row->max)
                        return false;
                *(uint64_t *)field = number;
                return true;
        case RULE_COUNT:
                if (!parse_count(text, &number) || number < row->min || number > row->max)
                        return false;
                *(unsigned *)field = (unsigned)number;
                return true;
        case RULE_BOOL:
                return parse_bool(text, field);
        default:
                if (!parse_bool(text, &is_true))
                        return false;
                *(int *)field = is_true;
                return true;
        }
}

static void set_secret(const struct rule_place *place, const struct rule_row *row,
                       const struct yaml_node *node, char **field)
{
        scoped(buf_done) struct buf where = BUF_INIT(PLACE_MAX);
        scoped(free_ptr) char *path = slice_dup(node->text);

        if (node->text.ptr[0] != '/' || !rule_text_printable(node->text)) {
                refuse(place, row, node, NULL);
                return;
        }
        add_place(place, node->line, row->key, &where);
        buf_truncate(&where, where.len - 2);
        if (!path || !buf_ok(&where))
                no_memory(place);
        else
                *field = secret_file_read(path, where.ptr, false, place->errors);
}

/* A text and what it says. */
static void set_parsed(const struct rule_place *place, const struct rule_row *row,
                       const struct yaml_node *node, void *rule)
{
        char **text = (char **)((char *)rule + row->offset);
        void *parsed = (char *)rule + row->parsed;
        struct error err = { 0 };
        int failed = row->type == RULE_SCHEDULE ? schedule_parse(node->text, parsed, &err)
                                                : day_window_parse(node->text, parsed, &err);

        if (failed)
                refuse(place, row, node, err.what);
        else
                keep(place, node->text, text);
}

static void set_scalar(const struct rule_place *place, const struct rule_row *row,
                       const struct yaml_node *node, void *rule)
{
        void *field = (char *)rule + row->offset;

        switch (row->type) {
        case RULE_TEXT:
                if (is_good(row, node->text))
                        keep(place, node->text, field);
                else
                        refuse(place, row, node, NULL);
                break;
        case RULE_SCHEDULE:
        case RULE_WINDOW:
                set_parsed(place, row, node, rule);
                break;
        case RULE_SECRET:
                set_secret(place, row, node, field);
                break;
        default:
                if (!set_number(row, field, node->text))
                        refuse(place, row, node, NULL);
        }
}

static void set_item(const struct rule_place *place, const struct rule_row *row,
                     const struct yaml_node *item, void *field)
{
        bool is_text = item->kind == YAML_TEXT;

        if (row->type == RULE_WORDS) {
                if (!is_text || !take_word(item->text, row->words, field))
                        refuse(place, row, item, NULL);
        } else if (!is_text || !is_good(row, item->text)) {
                refuse(place, row, item, NULL);
        } else if (!string_list_add(field, item->text)) {
                no_memory(place);
        }
}

static void set_member(const struct rule_place *place, const struct rule_row *row,
                       const struct yaml_node *node, void *rule)
{
        void *field = (char *)rule + row->offset;
        bool is_list = row->type == RULE_LIST || row->type == RULE_WORDS;

        if (is_list && node->kind == YAML_LIST && node->n <= LIST_ITEMS_MAX) {
                for (const struct yaml_node *item = node->first; item; item = item->next)
                        set_item(place, row, item, field);
        } else if (is_list && node->kind == YAML_LIST) {
                rule_report(place, node->line, row->key, "more than %d items", (int)LIST_ITEMS_MAX);
        } else if (node->kind != YAML_TEXT) {
                refuse(place, row, node, NULL);
        } else if (is_list) {
                set_item(place, row, node, field);
        } else {
                set_scalar(place, row, node, rule);
        }
}

/* ---- All of a rule ---- */

static bool is_blank(const struct yaml_node *node)
{
        return (node->kind == YAML_TEXT && node->text.len == 0) ||
               (node->kind == YAML_LIST && node->n == 0);
}

static void set_initial(const struct rule_place *place, const struct rule_row *row, void *rule)
{
        struct yaml_node node = { .kind = YAML_TEXT,
                                  .text = slice_str(row->initial ? row->initial : "") };
        void *field = (char *)rule + row->offset;

        if (row->type == RULE_WORDS)
                for (struct slice word, rest = node.text; slice_split(&rest, ',', &word);)
                        take_word(slice_trim(word), row->words, field);
        else if (row->type == RULE_MAYBE)
                *(int *)field = -1;
        else if (row->initial && *row->initial)
                set_scalar(place, row, &node, rule);
        else if (row->type == RULE_TEXT || row->type == RULE_SCHEDULE || row->type == RULE_WINDOW)
                keep(place, SLICE(""), field);
}

static void report_unknown(const struct rule_place *place, const struct yaml_node *node,
                           const struct rule_row *rows, size_t n_rows)
{
        scoped(buf_done) struct buf name = BUF_INIT(1024);
        scoped(buf_done) struct buf all = BUF_INIT(1024);
        size_t best = SIZE_MAX;
        const char *near = NULL;

        for (size_t i = 0; i < n_rows; i++) {
                size_t d = option_misspelt(node->key, slice_str(rows[i].key));

                if (d < best) {
                        best = d;
                        near = rows[i].key;
                }
                buf_add_fmt(&all, "%s%s", i ? ", " : "", rows[i].key);
        }
        config_add_shown(&name, node->key);
        if (near)
                rule_report(place, node->line, NULL, "unknown member %s; did you mean \"%s\"?",
                            name.ptr, near);
        else
                rule_report(place, node->line, NULL, "unknown member %s, expected one of %s",
                            name.ptr, all.ptr);
}

static const struct rule_row *row_of(const struct rule_row *rows, size_t n_rows, struct slice key)
{
        for (size_t i = 0; i < n_rows; i++)
                if (slice_is(key, rows[i].key))
                        return &rows[i];
        return NULL;
}

void rule_read(const struct rule_place *place, const struct yaml_node *map,
               const struct rule_row *rows, size_t n_rows, void *rule)
{
        uint64_t given = 0; /* one bit for each row */

        for (const struct yaml_node *node = map->first; node; node = node->next) {
                const struct rule_row *row = row_of(rows, n_rows, node->key);
                uint64_t bit = row ? UINT64_C(1) << (row - rows) : 0;

                if (!row && node->key.ptr)
                        report_unknown(place, node, rows, n_rows);
                if (!row || is_blank(node))
                        continue;
                /* In a file yaml_tree_parse has said so. */
                if ((given & bit) && !place->file)
                        rule_report(place, node->line, row->key, "given twice");
                if (!(given & bit))
                        set_member(place, row, node, rule);
                given |= bit;
        }
        for (size_t i = 0; i < n_rows; i++) {
                if (given >> i & 1)
                        continue;
                set_initial(place, &rows[i], rule);
                if (rows[i].required)
                        rule_report(place, map->line, NULL, "\"%s\" is missing", rows[i].key);
        }
}

void rule_done(const struct rule_row *rows, size_t n_rows, void *rule)
{
        for (size_t i = 0; i < n_rows; i++) {
                void *field = (char *)rule + rows[i].offset;

                switch (rows[i].type) {
                case RULE_TEXT:
                case RULE_SCHEDULE:
                case RULE_WINDOW:
                        free(*(char **)field);
                        *(char **)field = NULL;
                        break;
                case RULE_LIST:
                        string_list_done(field);
                        break;
                case RULE_SECRET:
                        secret_drop(field);
                        break;
                default:
                        break;
                }
        }
}
