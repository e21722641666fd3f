#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/error.h"
#include "workers.h"
#include "yaml_file.h"

enum { SHOWN_BYTES_MAX = 80 };

static void *field_of(struct config *config, const struct option *o)
{
        return (char *)config + o->offset;
}

static const void *const_field_of(const struct config *config, const struct option *o)
{
        return (const char *)config + o->offset;
}

/* ---- Errors ---- */

/* A file that is read for two purposes says twice where it is no YAML. */
static bool is_listed(const struct config_errors *errors, const char *line)
{
        for (size_t i = 0; i < errors->n; i++)
                if (strcmp(errors->lines[i], line) == 0)
                        return true;
        return false;
}

void config_errors_add(struct config_errors *errors, bool fatal, const char *fmt, ...)
{
        char *line = NULL, **grown;
        va_list ap;

        errors->fatal += fatal;
        if (errors->n >= CONFIG_ERRORS_MAX) {
                errors->unlisted++;
                return;
        }
        va_start(ap, fmt);
        if (vasprintf(&line, fmt, ap) < 0)
                line = NULL;
        va_end(ap);
        if (line && is_listed(errors, line)) {
                free(line);
                return;
        }
        grown = line ? realloc(errors->lines, (errors->n + 1) * sizeof(*grown)) : NULL;
        if (!grown) {
                free(line);
                errors->unlisted++;
                return;
        }
        errors->lines = grown;
        errors->lines[errors->n++] = line;
}

void config_errors_print(const struct config_errors *errors, struct buf *out)
{
        for (size_t i = 0; i < errors->n; i++)
                buf_add_fmt(out, "%s\n", errors->lines[i]);
        if (errors->unlisted)
                buf_add_fmt(out, "and %zu more\n", errors->unlisted);
}

void config_errors_done(struct config_errors *errors)
{
        for (size_t i = 0; i < errors->n; i++)
                free(errors->lines[i]);
        free(errors->lines);
        *errors = (struct config_errors)CONFIG_ERRORS_INIT;
}

void config_add_shown(struct buf *out, struct slice text)
{
        struct slice cut = slice_cut(text, SHOWN_BYTES_MAX);

        buf_add_char(out, '"');
        for (size_t i = 0; i < cut.len; i++) {
                unsigned char c = (unsigned char)cut.ptr[i];

                if (c < 0x20 || c >= 0x7f || c == '"' || c == '\\')
                        buf_add_fmt(out, "\\x%02x", c);
                else
                        buf_add_char(out, (char)c);
        }
        buf_add_str(out, cut.len < text.len ? "...\"" : "\"");
}

static void add_bound(const struct option *o, uint64_t value, struct buf *out)
{
        if (o->type == OPTION_SIZE)
                format_size(value, out);
        else if (o->type == OPTION_DURATION)
                format_duration((int64_t)value, out);
        else
                buf_add_fmt(out, "%" PRIu64, value);
}

/* What a good value of an option looks like. */
static void add_expected(const struct option *o, struct buf *out)
{
        static const char *const expected[] = {
                [OPTION_BOOL] = "true or false",
                [OPTION_COUNT] = "a whole number",
                [OPTION_SIZE] = "a size such as 4096, 64KiB, 8MiB or 1GiB",
                [OPTION_DURATION] = "a duration such as 250ms, 10s, 5m, 1h or 7d",
                [OPTION_TEXT] = "printable text",
                [OPTION_PATH] = "a path",
                [OPTION_URL] = "http:// or https:// with a host, and a port if need be",
                [OPTION_ADDRESS] = "host:port, such as 127.0.0.1:8090, [::]:8090 or cache.lan:8090",
                [OPTION_LIST] = "host names, \"*.name\" for all names below, or \"*\"",
                [OPTION_PATHS] = "absolute paths, or two joined by \":\"",
                [OPTION_CHOICE] = "one of",
        };

        buf_add_str(out, expected[o->type]);
        if (o->type == OPTION_CHOICE)
                buf_add_fmt(out, " %s", o->words);
        if (o->max) {
                buf_add_str(out, " from ");
                add_bound(o, o->min, out);
                buf_add_str(out, " to ");
                add_bound(o, o->max, out);
        }
}

static void refuse(struct config_errors *errors, const char *place, const struct option *o,
                   struct slice text)
{
        scoped(buf_done) struct buf line = BUF_INIT(1024);

        buf_add_str(&line, "got ");
        config_add_shown(&line, text);
        buf_add_str(&line, ", expected ");
        add_expected(o, &line);
        config_errors_add(errors, true, "%s: %s", place, line.ptr);
}

/* ---- One value ---- */

static bool in_bounds(const struct option *o, uint64_t value)
{
        return (o->min == 0 && o->max == 0) || (value >= o->min && value <= o->max);
}

static bool is_printable(struct slice text)
{
        for (size_t i = 0; i < text.len; i++)
                if ((unsigned char)text.ptr[i] < 0x20 || text.ptr[i] == 0x7f)
                        return false;
        return true;
}

static bool set_string(char **field, struct slice text)
{
        char *copy = slice_dup(text);

        if (!copy)
                return false;
        free(*field);
        *field = copy;
        return true;
}

static bool set_scalar(const struct option *o, void *field, struct slice text)
{
        uint64_t number;
        int64_t ms;

        switch (o->type) {
        case OPTION_BOOL:
                return parse_bool(text, field);
        case OPTION_COUNT:
                if (!parse_count(text, &number) || !in_bounds(o, number) || number > UINT32_MAX)
                        return false;
                *(unsigned *)field = (unsigned)number;
                return true;
        case OPTION_SIZE:
                if (!parse_size(text, &number) || !in_bounds(o, number))
                        return false;
                *(uint64_t *)field = number;
                return true;
        case OPTION_DURATION:
                if (!parse_duration(text, &ms) || !in_bounds(o, (uint64_t)ms))
                        return false;
                *(int64_t *)field = ms;
                return true;
        case OPTION_TEXT:
        case OPTION_PATH:
                return is_printable(text) && set_string(field, text);
        case OPTION_URL:
                if (text.len && !parse_origin_url(text))
                        return false;
                return set_string(
                        field, slice_ends(text, SLICE("/")) ? slice_cut(text, text.len - 1) : text);
        case OPTION_ADDRESS:
                if (text.len == 0 && o->initial[0] == '\0') {
                        *(struct config_address *)field = (struct config_address){ .port = 0 };
                        return true;
                }
                return parse_address(text, field);
        case OPTION_CHOICE:
                return parse_choice(text, o->words, field);
        case OPTION_LIST:
        case OPTION_PATHS:
                break;
        }
        return false;
}

void string_list_done(struct string_list *list)
{
        for (size_t i = 0; i < list->n; i++)
                free(list->v[i]);
        free(list->v);
        *list = (struct string_list){ NULL, 0 };
}

bool string_list_add(struct string_list *list, struct slice text)
{
        char **grown = realloc(list->v, (list->n + 1) * sizeof(*grown));

        if (!grown)
                return false;
        list->v = grown;
        list->v[list->n] = slice_dup(text);
        if (!list->v[list->n])
                return false;
        list->n++;
        return true;
}

static bool is_list(const struct option *o)
{
        return o->type == OPTION_LIST || o->type == OPTION_PATHS;
}

static bool item_ok(const struct option *o, struct slice text)
{
        bool with_port = strcmp(o->field, "upstream_redirect_hosts") == 0 ||
                         strcmp(o->field, "upstream_upload_hosts") == 0;

        return o->type == OPTION_PATHS ? parse_paths(text) : parse_host_pattern(text, with_port);
}

/* Every bad item is reported; the field changes only if all are good. */
static void set_list(const struct option *o, struct string_list *field, const struct slice *values,
                     size_t n, const char *place, struct config_errors *errors)
{
        scoped(string_list_done) struct string_list list = { NULL, 0 };
        bool good = true;

        for (size_t i = 0; i < n; i++) {
                if (!item_ok(o, values[i]) || !string_list_add(&list, values[i])) {
                        refuse(errors, place, o, values[i]);
                        good = false;
                }
        }
        if (good) {
                string_list_done(field);
                *field = list;
                list = (struct string_list){ NULL, 0 };
        }
}

/* Sets an option from one text; the items of a list are separated by commas. */
static void set_text(struct config *config, const struct option *o, struct slice text,
                     const char *place, struct config_errors *errors)
{
        struct slice values[64], piece, rest = slice_trim(text);
        size_t n = 0;

        if (!is_list(o)) {
                if (!set_scalar(o, field_of(config, o), text))
                        refuse(errors, place, o, text);
                return;
        }
        if (rest.len == 0)
                rest = SLICE_NONE;
        while (slice_split(&rest, ',', &piece)) {
                if (n == ARRAY_LEN(values)) {
                        config_errors_add(errors, true, "%s: more than %zu items", place,
                                          ARRAY_LEN(values));
                        return;
                }
                values[n++] = slice_trim(piece);
        }
        set_list(o, field_of(config, o), values, n, place, errors);
}

/* ---- The file ---- */

struct file_reader {
        struct config *config;
        struct config_errors *errors;
        const char *name;
        size_t *seen_at; /* per option: the line where it was given, 0 if it was not */
};

static void report_unknown(const struct file_reader *f, const struct yaml_entry *entry)
{
        const struct option *near = option_suggest(entry->path);
        scoped(buf_done) struct buf name = BUF_INIT(1024);

        config_add_shown(&name, entry->path);
        if (section_exists(entry->path))
                config_errors_add(
                        f->errors, true,
                        "%s:%zu: %s is a section: expected its options below it, indented", f->name,
                        entry->line, name.ptr);
        else if (near)
                config_errors_add(f->errors, true,
                                  "%s:%zu: unknown option %s; did you mean \"%s\"?", f->name,
                                  entry->line, name.ptr, near->path);
        else
                config_errors_add(f->errors, true, "%s:%zu: unknown option %s", f->name,
                                  entry->line, name.ptr);
}

static void on_entry(void *context, const struct yaml_entry *entry)
{
        struct file_reader *f = context;
        const struct option *o = option_find(entry->path);
        scoped(buf_done) struct buf place = BUF_INIT(8192);

        if (!o) {
                /* An empty section is a section without options. */
                if (!section_exists(entry->path) || entry->n != 1 || entry->values[0].len)
                        report_unknown(f, entry);
                return;
        }
        buf_add_fmt(&place, "%s:%zu: %s", f->name, entry->line, o->path);
        if (!buf_ok(&place))
                return;
        if (f->seen_at[o - options]) {
                config_errors_add(f->errors, true, "%s: given twice, first in line %zu", place.ptr,
                                  f->seen_at[o - options]);
                return;
        }
        f->seen_at[o - options] = entry->line;
        if (!entry->is_list)
                set_text(f->config, o, entry->values[0], place.ptr, f->errors);
        else if (is_list(o))
                set_list(o, field_of(f->config, o), entry->values, entry->n, place.ptr, f->errors);
        else
                config_errors_add(f->errors, true, "%s: expected one value, not a list", place.ptr);
}

int config_read_file(const char *name, bool may_be_absent, struct buf *text,
                     struct config_errors *errors)
{
        scoped(close_fd) int fd = open(name, O_RDONLY | O_CLOEXEC | O_NOCTTY);

        if (fd < 0) {
                if (errno == ENOENT && may_be_absent)
                        return 0;
                config_errors_add(errors, true, "%s: cannot be opened: %s", name, strerror(errno));
                return -1;
        }
        for (;;) {
                char *to = buf_room(text, 16384);
                ssize_t n;

                if (!to) {
                        config_errors_add(errors, true, "%s: larger than 1 MiB", name);
                        return -1;
                }
                n = read(fd, to, 16384);
                if (n < 0 && errno == EINTR)
                        continue;
                if (n < 0) {
                        config_errors_add(errors, true, "%s: cannot be read: %s", name,
                                          strerror(errno));
                        return -1;
                }
                if (n == 0)
                        return 1;
                buf_grew(text, (size_t)n);
        }
}

static void load_file(struct config *config, const char *name, bool may_be_absent,
                      struct config_errors *errors)
{
        scoped(buf_done) struct buf text = CONFIG_FILE_BUF;
        scoped(free_ptr) size_t *seen_at = calloc(n_options, sizeof(*seen_at));
        struct file_reader f = {
                .config = config, .errors = errors, .name = name, .seen_at = seen_at
        };

        if (!seen_at)
                config_errors_add(errors, true, "%s: out of memory", name);
        else if (config_read_file(name, may_be_absent, &text, errors) > 0)
                yaml_file_parse(name, buf_slice(&text), workers_config_section, on_entry, &f,
                                errors);
}

/* ---- The environment ---- */

static const char *variable(char *const *environment, const char *name)
{
        size_t n = strlen(name);

        for (; environment && *environment; environment++)
                if (strncmp(*environment, name, n) == 0 && (*environment)[n] == '=')
                        return *environment + n + 1;
        return NULL;
}

/*
 * Names that are near an option get a warning and others are left alone: container platforms put
 * variables such as HUBCACHED_PORT_8090_TCP into every process, which are not meant for us.
 */
static void load_variable(struct config *config, struct slice name, struct slice value,
                          struct config_errors *errors)
{
        const struct option *o = option_find_variable(name);
        scoped(buf_done) struct buf place = BUF_INIT(8192);

        buf_add(&place, name);
        if (o) {
                set_text(config, o, value, place.ptr, errors);
                return;
        }
        o = option_suggest(slice_skip(name, strlen("HUBCACHED_")));
        if (o && !slice_is(name, "HUBCACHED_CONFIG")) {
                scoped(buf_done) struct buf right = BUF_INIT(128);

                option_variable(o, &right);
                config_errors_add(errors, false,
                                  "%s: an unknown variable, ignored; did you mean %s?", place.ptr,
                                  right.ptr);
        }
}

static void load_environment(struct config *config, char *const *environment,
                             struct config_errors *errors)
{
        for (; environment && *environment; environment++) {
                struct slice entry = slice_str(*environment);
                size_t at = slice_find(entry, '=');

                if (at < entry.len && at < 256 && slice_starts(entry, SLICE("HUBCACHED_")))
                        load_variable(config, slice_cut(entry, at), slice_skip(entry, at + 1),
                                      errors);
        }
}

/* ---- All together ---- */

static void load_settings(struct config *config, const struct config_sources *sources,
                          struct config_errors *errors)
{
        for (size_t i = 0; i < sources->n_settings; i++) {
                const struct config_setting *s = &sources->settings[i];
                scoped(buf_done) struct buf place = BUF_INIT(256);

                buf_add_str(&place, "--");
                option_flag(s->option, &place);
                set_text(config, s->option, slice_str(s->text), place.ptr, errors);
        }
}

/* The directory that the platform means for us; only when the option is empty. */
static void choose_data_dir(struct config *config, char *const *environment,
                            struct config_errors *errors)
{
        const char *state = variable(environment, "STATE_DIRECTORY");
        const char *cache = variable(environment, "XDG_CACHE_HOME");
        const char *home = variable(environment, "HOME");
        scoped(buf_done) struct buf dir = BUF_INIT(4096);

        if (config->data_dir[0])
                return;
        if (state && state[0] == '/')
                buf_add(&dir, slice_cut(slice_str(state), slice_find(slice_str(state), ':')));
        else if (cache && cache[0] == '/')
                buf_add_fmt(&dir, "%s/hubcached", cache);
        else if (home && home[0] == '/')
                buf_add_fmt(&dir, "%s/.cache/hubcached", home);
        if (!buf_ok(&dir) || dir.len == 0 || !set_string(&config->data_dir, buf_slice(&dir)))
                config_errors_add(errors, true,
                                  "data_dir: not given, and there is no home directory to put it "
                                  "in");
}

/* What no row can say alone. */
static void check_together(const struct config *c, struct config_errors *errors)
{
        if (!c->upstream_url[0])
                config_errors_add(errors, true, "upstream.url: must not be empty");
        if (c->upstream_max_connections_per_host > c->upstream_max_connections)
                config_errors_add(errors, true,
                                  "upstream.max_connections_per_host: got %u, expected at most "
                                  "upstream.max_connections, which is %u",
                                  c->upstream_max_connections_per_host,
                                  c->upstream_max_connections);
        if (c->tls_listen.host[0] && c->tls_certificates.n == 0)
                config_errors_add(errors, true,
                                  "tls.certificates: must not be empty where tls.listen is given");
        if (c->max_connections_per_ip > c->max_connections)
                config_errors_add(errors, true,
                                  "max_connections_per_ip: got %u, expected at most "
                                  "max_connections, which is %u",
                                  c->max_connections_per_ip, c->max_connections);
}

const char *config_file_of(const struct config_sources *sources)
{
        const char *named = sources->file;

        if (!named)
                named = variable(sources->environment, "HUBCACHED_CONFIG");
        if (named && *named)
                return named;
        return sources->default_file ? sources->default_file : CONFIG_DEFAULT_FILE;
}

static bool load_defaults(struct config *config, struct config_errors *errors)
{
        size_t before = errors->fatal;

        for (size_t i = 0; i < n_options; i++)
                set_text(config, &options[i], slice_str(options[i].initial), options[i].path,
                         errors);
        return errors->fatal == before;
}

int config_load(const struct config_sources *sources, struct config **ret,
                struct config_errors *errors)
{
        scoped(config_free) struct config *config = calloc(1, sizeof(*config));
        const char *file = config_file_of(sources);
        const char *named = sources->file;

        if (!named)
                named = variable(sources->environment, "HUBCACHED_CONFIG");
        if (!config || !load_defaults(config, errors)) {
                config_errors_add(errors, true, "out of memory");
                return -1;
        }
        load_file(config, file, !named || !*named, errors);
        load_environment(config, sources->environment, errors);
        load_settings(config, sources, errors);
        choose_data_dir(config, sources->environment, errors);
        check_together(config, errors);
        if (errors->fatal)
                return -1;
        *ret = take(config);
        return 0;
}

static void field_done(struct config *config, const struct option *o)
{
        void *field = field_of(config, o);

        switch (o->type) {
        case OPTION_TEXT:
        case OPTION_PATH:
        case OPTION_URL:
                free(*(char **)field);
                *(char **)field = NULL;
                break;
        case OPTION_LIST:
        case OPTION_PATHS:
                string_list_done(field);
                break;
        default:
                break;
        }
}

void config_free(struct config **config)
{
        if (!*config)
                return;
        for (size_t i = 0; i < n_options; i++)
                field_done(*config, &options[i]);
        workers_config_free(&(*config)->workers);
        free(*config);
        *config = NULL;
}

void config_format(const struct config *config, const struct option *o, struct buf *out)
{
        const void *field = const_field_of(config, o);
        const struct string_list *list;

        switch (o->type) {
        case OPTION_BOOL:
                buf_add_str(out, *(const bool *)field ? "true" : "false");
                break;
        case OPTION_COUNT:
                buf_add_fmt(out, "%u", *(const unsigned *)field);
                break;
        case OPTION_SIZE:
                format_size(*(const uint64_t *)field, out);
                break;
        case OPTION_DURATION:
                format_duration(*(const int64_t *)field, out);
                break;
        case OPTION_TEXT:
        case OPTION_PATH:
        case OPTION_URL:
                buf_add_str(out, *(char *const *)field);
                break;
        case OPTION_ADDRESS:
                format_address(field, out);
                break;
        case OPTION_LIST:
        case OPTION_PATHS:
                list = field;
                for (size_t i = 0; i < list->n; i++)
                        buf_add_fmt(out, "%s%s", i ? ", " : "", list->v[i]);
                break;
        case OPTION_CHOICE:
                buf_add(out, choice_word(o->words, *(const unsigned *)field));
                break;
        }
}

int config_reload_changes(const struct config *running, struct config *next,
                          struct config_errors *notes)
{
        int changed = 0;

        for (size_t i = 0; i < n_options; i++) {
                const struct option *o = &options[i];
                scoped(buf_done) struct buf old = BUF_INIT(CONFIG_FILE_BYTES_MAX);
                scoped(buf_done) struct buf new = BUF_INIT(CONFIG_FILE_BYTES_MAX);
                struct config_errors none = CONFIG_ERRORS_INIT;

                config_format(running, o, &old);
                config_format(next, o, &new);
                if (!buf_ok(&old) || !buf_ok(&new))
                        return -1;
                if (o->reload || slice_eq(buf_slice(&old), buf_slice(&new)))
                        continue;
                changed++;
                config_errors_add(notes, false, "%s: the new value takes effect at the next start",
                                  o->path);
                set_text(next, o, buf_slice(&old), o->path, &none);
                if (none.fatal) {
                        config_errors_done(&none);
                        return -1;
                }
        }
        return changed;
}
