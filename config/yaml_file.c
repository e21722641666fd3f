#include "yaml_file.h"

#include <stdlib.h>
#include <string.h>
#include <yaml.h>

#include "base/compiler.h"

enum { LIST_VALUES_MAX = 1024, PATH_BYTES_MAX = 256 };

struct reader {
        yaml_parser_t parser;
        const char *name;
        yaml_entry_fn *fn;
        void *context;
        struct config_errors *errors;
        bool broken; /* a syntax error: nothing after it can be trusted */
};

static size_t line_of(const yaml_event_t *event)
{
        return event->start_mark.line + 1;
}

/* The next event; after an error or the end of the text, YAML_NO_EVENT. */
static yaml_event_type_t next(struct reader *r, yaml_event_t *event)
{
        const yaml_parser_t *p = &r->parser;

        if (r->broken || !yaml_parser_parse(&r->parser, event)) {
                if (!r->broken)
                        config_errors_add(r->errors, true, "%s:%zu: not valid YAML: %s%s%s",
                                          r->name, p->problem_mark.line + 1,
                                          p->problem ? p->problem : "cannot be read",
                                          p->context ? " " : "", p->context ? p->context : "");
                r->broken = true;
                *event = (yaml_event_t){ .type = YAML_NO_EVENT };
        }
        return event->type;
}

/* Steps over the rest of a node whose first event has been read. */
static void skip_node(struct reader *r, yaml_event_type_t first)
{
        size_t depth = first == YAML_SEQUENCE_START_EVENT || first == YAML_MAPPING_START_EVENT;
        yaml_event_t event;

        while (depth > 0) {
                yaml_event_type_t type = next(r, &event);

                depth += type == YAML_SEQUENCE_START_EVENT || type == YAML_MAPPING_START_EVENT;
                depth -= type == YAML_SEQUENCE_END_EVENT || type == YAML_MAPPING_END_EVENT;
                if (type == YAML_NO_EVENT)
                        return;
                yaml_event_delete(&event);
        }
}

/* Reports what a configuration has no use for; true if the node is plain. */
static bool node_is_plain(struct reader *r, const yaml_event_t *e)
{
        const yaml_char_t *anchor = NULL, *tag = NULL;

        if (e->type == YAML_SCALAR_EVENT) {
                anchor = e->data.scalar.anchor;
                tag = e->data.scalar.tag;
        } else if (e->type == YAML_SEQUENCE_START_EVENT) {
                anchor = e->data.sequence_start.anchor;
                tag = e->data.sequence_start.tag;
        } else if (e->type == YAML_MAPPING_START_EVENT) {
                anchor = e->data.mapping_start.anchor;
                tag = e->data.mapping_start.tag;
        } else if (e->type == YAML_ALIAS_EVENT) {
                anchor = e->data.alias.anchor;
        }
        if (!anchor && !tag)
                return true;
        config_errors_add(r->errors, true, "%s:%zu: %s are not supported here", r->name, line_of(e),
                          anchor ? "anchors and aliases" : "tags");
        return false;
}

/* A scalar's text; an unquoted null is empty.  Points into the event. */
static struct slice scalar_text(const yaml_event_t *e)
{
        struct slice text = slice_of(e->data.scalar.value, e->data.scalar.length);

        if (e->data.scalar.style == YAML_PLAIN_SCALAR_STYLE &&
            (slice_is(text, "~") || slice_is(text, "null")))
                return SLICE("");
        return text;
}

static void give(struct reader *r, const char *path, size_t line, bool is_list,
                 const struct slice *values, size_t n)
{
        struct yaml_entry entry = {
                .path = slice_str(path), .line = line, .is_list = is_list, .values = values, .n = n
        };

        r->fn(r->context, &entry);
}

/* The items of a list whose start has been read; gives the entry if all of them are scalars. */
static void read_list(struct reader *r, const char *path, size_t line)
{
        struct slice values[LIST_VALUES_MAX];
        yaml_event_t event;
        size_t n = 0;
        bool good = true;

        while (next(r, &event) != YAML_SEQUENCE_END_EVENT && event.type != YAML_NO_EVENT) {
                yaml_event_type_t type = event.type;
                char *copy = NULL;

                if (!node_is_plain(r, &event)) {
                        good = false;
                } else if (type != YAML_SCALAR_EVENT) {
                        good = false;
                        config_errors_add(r->errors, true,
                                          "%s:%zu: %s: expected a list of plain values", r->name,
                                          line_of(&event), path);
                } else if (n == LIST_VALUES_MAX || !(copy = slice_dup(scalar_text(&event)))) {
                        good = false;
                        config_errors_add(r->errors, true, "%s:%zu: %s: more than %d values",
                                          r->name, line_of(&event), path, (int)LIST_VALUES_MAX);
                } else {
                        values[n++] = slice_of(copy, scalar_text(&event).len);
                }
                yaml_event_delete(&event);
                skip_node(r, type);
        }
        yaml_event_delete(&event);
        if (good && !r->broken)
                give(r, path, line, true, values, n);
        while (n > 0)
                free((char *)values[--n].ptr);
}

static void read_mapping(struct reader *r, const char *section);

/* The value of a key: reads it whole, whatever it is. */
static void read_value(struct reader *r, const char *section, const char *path, size_t line)
{
        yaml_event_t event;
        yaml_event_type_t type = next(r, &event);

        if (type == YAML_NO_EVENT)
                return;
        if (!node_is_plain(r, &event)) {
                skip_node(r, type);
        } else if (type == YAML_SCALAR_EVENT) {
                struct slice text = scalar_text(&event);

                give(r, path, line, false, &text, 1);
        } else if (type == YAML_SEQUENCE_START_EVENT) {
                read_list(r, path, line);
        } else if (*section == '\0') {
                read_mapping(r, path);
        } else {
                config_errors_add(r->errors, true, "%s:%zu: %s: expected a value, not a mapping",
                                  r->name, line_of(&event), path);
                skip_node(r, type);
        }
        yaml_event_delete(&event);
}

/* The keys of a mapping whose start has been read. */
static void read_mapping(struct reader *r, const char *section)
{
        yaml_event_t event;

        while (next(r, &event) != YAML_MAPPING_END_EVENT && event.type != YAML_NO_EVENT) {
                scoped(buf_done) struct buf path = BUF_INIT(PATH_BYTES_MAX);
                size_t line = line_of(&event);

                if (!node_is_plain(r, &event) || event.type != YAML_SCALAR_EVENT) {
                        if (event.type != YAML_SCALAR_EVENT && event.type != YAML_ALIAS_EVENT)
                                config_errors_add(r->errors, true,
                                                  "%s:%zu: expected the name of an option", r->name,
                                                  line);
                        skip_node(r, event.type);
                        yaml_event_delete(&event);
                        if (next(r, &event) != YAML_NO_EVENT)
                                skip_node(r, event.type);
                        yaml_event_delete(&event);
                        continue;
                }
                if (*section)
                        buf_add_fmt(&path, "%s.", section);
                buf_add(&path, scalar_text(&event));
                yaml_event_delete(&event);
                if (!buf_ok(&path)) {
                        config_errors_add(r->errors, true,
                                          "%s:%zu: the name of an option is too long", r->name,
                                          line);
                        buf_reset(&path);
                        buf_add_str(&path, "?");
                }
                read_value(r, section, path.ptr, line);
        }
        yaml_event_delete(&event);
}

/* Stream start, at most one document that is a mapping (or nothing at all), stream end. */
static void read_stream(struct reader *r)
{
        size_t documents = 0;
        yaml_event_t event;

        while (next(r, &event) != YAML_STREAM_END_EVENT && event.type != YAML_NO_EVENT) {
                yaml_event_type_t type = event.type;
                bool plain = node_is_plain(r, &event);
                size_t line = line_of(&event);
                bool blank = type == YAML_SCALAR_EVENT && scalar_text(&event).len == 0;

                yaml_event_delete(&event);
                if (type == YAML_DOCUMENT_START_EVENT && ++documents > 1) {
                        config_errors_add(r->errors, true, "%s:%zu: a second document", r->name,
                                          line);
                        return;
                }
                if (type == YAML_MAPPING_START_EVENT && plain) {
                        read_mapping(r, "");
                } else if (type == YAML_SCALAR_EVENT || type == YAML_SEQUENCE_START_EVENT ||
                           type == YAML_MAPPING_START_EVENT) {
                        if (plain && !blank)
                                config_errors_add(r->errors, true,
                                                  "%s:%zu: expected lines of the form \"name: "
                                                  "value\"",
                                                  r->name, line);
                        skip_node(r, type);
                }
        }
        yaml_event_delete(&event);
}

void yaml_file_parse(const char *name, struct slice text, yaml_entry_fn *fn, void *context,
                     struct config_errors *errors)
{
        struct reader r = { .name = name, .fn = fn, .context = context, .errors = errors };

        if (text.len && memchr(text.ptr, '\0', text.len)) {
                config_errors_add(errors, true, "%s: contains a NUL byte", name);
                return;
        }
        if (!yaml_parser_initialize(&r.parser)) {
                config_errors_add(errors, true, "%s: out of memory", name);
                return;
        }
        yaml_parser_set_encoding(&r.parser, YAML_UTF8_ENCODING);
        yaml_parser_set_input_string(&r.parser, (const unsigned char *)(text.ptr ? text.ptr : ""),
                                     text.len);
        read_stream(&r);
        yaml_parser_delete(&r.parser);
}
