/*
 * hubcached watch: what happens, as lines, and the exit status that says how it ended.
 *
 * It stays connected while the Hub is away, and comes back to a daemon that was restarted, behind
 * the last event that it has seen.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "admin_client.h"
#include "base/clock.h"
#include "base/compiler.h"
#include "cmd.h"
#include "events.h"
#include "parse.h"
#include "poll_status.h"
#include "uri.h"

enum { CMD_TIMED_OUT = 124, AGAIN_MS = 500, TARGET_MAX = 64 << 10, LINE_MAX = 8192 };

struct watched {
        const char *text; /* the operand */
        enum event_topic topic;
        struct slice name; /* empty: all of the topic */
        enum { OPEN, REACHED, ENDED } how;
        char state[POLL_STATE_MAX + 1]; /* the last that was shown */
};

struct watch {
        const struct command_line *line;
        struct watched *v;
        size_t n;
        bool json, until, told_trouble;
        int64_t deadline_ms; /* INT64_MAX: none */
        char last_id[32];
        bool connected, over, timed_out;
};

/* ---- what to watch ---- */

static bool parse_operand(const char *text, struct watched *ret, struct config_errors *errors)
{
        struct slice all = slice_str(text);
        size_t colon = slice_find(all, ':');

        *ret = (struct watched){ .text = text, .name = SLICE("") };
        if (colon < all.len)
                ret->name = slice_skip(all, colon + 1);
        if (!event_topic_parse(slice_cut(all, colon), &ret->topic) ||
            (colon < all.len && !ret->name.len)) {
                config_errors_add(errors, true,
                                  "watch %s: expected a topic (job, scheduled-job, endpoint, "
                                  "space, prefetch, commit) or one of it, such as job:acme/65f0",
                                  text);
                return false;
        }
        return true;
}

static bool parse_line(struct watch *w, struct config_errors *errors)
{
        const char *timeout = command_flag(w->line, "timeout", 0);
        const char *since = command_flag(w->line, "since", 0);
        int64_t ms;

        w->json = command_flag(w->line, "json", 0) != NULL;
        w->until = command_flag(w->line, "until", 0) != NULL;
        w->deadline_ms = INT64_MAX;
        for (size_t i = 0; i < w->n; i++)
                if (!parse_operand(command_operand(w->line, i), &w->v[i], errors))
                        return false;
        if (timeout && !parse_duration(slice_str(timeout), &ms)) {
                config_errors_add(errors, true, "--timeout %s: expected a duration, such as 30s",
                                  timeout);
                return false;
        }
        if (timeout)
                w->deadline_ms = clock_mono_ms() + ms;
        if (since && (!since[0] || strlen(since) > 18 || since[strspn(since, "0123456789")])) {
                config_errors_add(errors, true, "--since %s: expected the number of an event",
                                  since);
                return false;
        }
        snprintf(w->last_id, sizeof(w->last_id), "%s", since ? since : "");
        return true;
}

static void target_of(const struct watch *w, struct buf *out)
{
        buf_add_str(out, "events");
        for (size_t i = 0; i < w->n; i++) {
                buf_add_fmt(out, "%c%s=", i ? '&' : '?', w->v[i].name.len ? "subject" : "topic");
                uri_encode(slice_str(w->v[i].text), "", out);
        }
}

/* ---- what is shown ---- */

/* What came from elsewhere must not move the cursor of a terminal. */
static void add_text(struct buf *out, struct slice text)
{
        for (size_t i = 0; i < text.len; i++) {
                unsigned char c = (unsigned char)text.ptr[i];

                buf_add_char(out, c < ' ' || c == 0x7f ? '?' : text.ptr[i]);
        }
}

static void show(struct buf *text, FILE *to)
{
        if (text->len)
                fwrite(text->ptr, 1, text->len, to);
        fflush(to);
}

static void show_transition(const json_t *doc)
{
        scoped(buf_done) struct buf text = BUF_INIT(LINE_MAX);
        struct slice at = json_text_of(doc, "at"), before = json_text_of(doc, "before");
        const json_t *data = json_object_get(doc, "data");
        struct slice message = json_text_of(data, "message"); /* commits: why a round failed */

        if (!message.len)
                message = json_text_of(data, "error");
        if (at.len >= 19)
                buf_add_fmt(&text, "%.10s %.8sZ  ", at.ptr, at.ptr + 11);
        add_text(&text, json_text_of(doc, "topic"));
        buf_add_char(&text, ' ');
        add_text(&text, json_text_of(doc, "subject"));
        buf_add_str(&text, "  ");
        if (before.len) {
                add_text(&text, before);
                buf_add_str(&text, " -> ");
        }
        add_text(&text, json_text_of(doc, "state"));
        if (message.len) {
                buf_add_str(&text, "  (");
                add_text(&text, message);
                buf_add_char(&text, ')');
        }
        buf_add_char(&text, '\n');
        show(&text, stdout);
}

/* What is known at the beginning, or that it is old. */
static void show_state(const json_t *doc, bool stale)
{
        scoped(buf_done) struct buf text = BUF_INIT(LINE_MAX);
        struct slice state = json_text_of(doc, "state");
        uint64_t age_s;

        if (stale)
                buf_add_str(&text, "hubcached: ");
        add_text(&text, json_text_of(doc, "topic"));
        buf_add_char(&text, ' ');
        add_text(&text, json_text_of(doc, "subject"));
        if (!stale) {
                buf_add_fmt(&text, "  " SLICE_FMT "\n", SLICE_ARG(state));
                show(&text, stdout);
                return;
        }
        buf_add_str(&text, ": ");
        add_text(&text, json_text_of(doc, "trouble"));
        if (state.len && json_number_of(doc, "age_seconds", &age_s)) {
                buf_add_str(&text, "; ");
                add_text(&text, state);
                buf_add_str(&text, " when it was last seen, ");
                show_seconds(&text, (int64_t)age_s);
                buf_add_str(&text, " ago");
        }
        buf_add_char(&text, '\n');
        show(&text, stderr);
}

static void show_raw(struct slice data)
{
        scoped(buf_done) struct buf text = BUF_INIT(64 << 10);

        buf_add(&text, data);
        buf_add_char(&text, '\n');
        show(&text, stdout);
}

/* ---- how it ends ---- */

static bool is_awaited(const struct watch *w, const char *state)
{
        const char *want;

        for (size_t i = 0; (want = command_flag(w->line, "until", i)); i++)
                if (strcasecmp(want, state) == 0)
                        return true;
        return false;
}

static void note_state(struct watch *w, const json_t *doc)
{
        scoped(free_ptr) char *state = slice_dup(json_text_of(doc, "state"));
        struct slice topic = json_text_of(doc, "topic"), subject = json_text_of(doc, "subject");

        for (size_t i = 0; state && i < w->n; i++) {
                struct watched *v = &w->v[i];

                if (!slice_is(topic, event_topic_word(v->topic)) ||
                    (v->name.len && !slice_eq(v->name, subject)))
                        continue;
                snprintf(v->state, sizeof(v->state), "%s", state);
                if (is_awaited(w, state))
                        v->how = REACHED;
                else if (v->name.len && v->how == OPEN && poll_state_ends(v->topic, state))
                        v->how = ENDED;
        }
        if (state && !w->n)
                w->over |= is_awaited(w, state);
}

/* All that were named have come to an end, or one of a kind to what was awaited. */
static bool is_over(const struct watch *w)
{
        size_t open = 0;

        if (!w->until)
                return false;
        for (size_t i = 0; i < w->n; i++)
                open += w->v[i].how == OPEN;
        return w->n ? open == 0 : w->over;
}

static int exit_code(const struct watch *w)
{
        if (w->timed_out)
                return CMD_TIMED_OUT;
        for (size_t i = 0; i < w->n; i++)
                if (w->v[i].how != REACHED)
                        return CMD_NOT_DONE;
        return CMD_DONE;
}

/* ---- events ---- */

static bool is_known(const struct watch *w, const json_t *doc)
{
        for (size_t i = 0; i < w->n; i++)
                if (slice_eq(w->v[i].name, json_text_of(doc, "subject")) &&
                    slice_is(json_text_of(doc, "topic"), event_topic_word(w->v[i].topic)))
                        return slice_is(json_text_of(doc, "state"), w->v[i].state);
        return false;
}

static void on_transition(struct watch *w, const json_t *doc, struct slice data)
{
        if (w->json)
                show_raw(data);
        else
                show_transition(doc);
        note_state(w, doc);
}

static void on_state(struct watch *w, const json_t *doc, struct slice data)
{
        bool stale = json_is_true(json_object_get(doc, "stale"));

        /* What a transition has just said is not said again. */
        if (stale || !is_known(w, doc)) {
                if (w->json)
                        show_raw(data);
                else
                        show_state(doc, stale);
        }
        if (!stale)
                note_state(w, doc);
}

static bool on_event(void *arg, const struct admin_event *e)
{
        struct watch *w = arg;
        struct error ignored = { 0 };
        scoped(json_free) json_t *doc = e ? json_read(e->data, &ignored) : NULL;

        w->connected = true;
        w->told_trouble = false;
        if (doc && e->id.len && e->id.len < sizeof(w->last_id))
                snprintf(w->last_id, sizeof(w->last_id), SLICE_FMT, SLICE_ARG(e->id));
        if (doc && slice_is(e->name, "transition"))
                on_transition(w, doc, e->data);
        else if (doc && slice_is(e->name, "state"))
                on_state(w, doc, e->data);
        else if (doc && slice_is(e->name, "gap"))
                fprintf(stderr, "hubcached: events before this are no longer in the history\n");
        w->timed_out = clock_mono_ms() >= w->deadline_ms && !is_over(w);
        return !is_over(w) && !w->timed_out;
}

/* Until it is over.  The first time somebody must answer; after that it waits for the daemon. */
static int watch_all(struct watch *w, const struct config *config, struct config_errors *errors)
{
        scoped(buf_done) struct buf target = BUF_INIT(TARGET_MAX);
        struct error err = { 0 };
        int r;

        target_of(w, &target);
        if (!buf_ok(&target)) {
                config_errors_add(errors, true, "watch: so many names are too long");
                return CMD_WRONG_VALUE;
        }
        for (;;) {
                error_clear(&err);
                r = admin_stream(config, target.ptr, w->last_id[0] ? w->last_id : NULL, on_event, w,
                                 &err);
                if (r == 0)
                        return exit_code(w);
                if (r < 0 && (err.kind == ERR_BAD_REQUEST || !w->connected)) {
                        config_errors_add(errors, true, "%s", err.what);
                        return err.kind == ERR_BAD_REQUEST ? CMD_NOT_DONE : CMD_NO_DAEMON;
                }
                if (clock_mono_ms() >= w->deadline_ms)
                        return CMD_TIMED_OUT;
                if (!w->told_trouble)
                        fprintf(stderr, "hubcached: the daemon is gone; waiting for it\n");
                w->told_trouble = true;
                usleep(AGAIN_MS * 1000);
        }
}

int cmd_watch(const struct command_line *line, const struct config *config, struct buf *out,
              struct config_errors *errors)
{
        struct watch w = { .line = line, .n = line->operands.n };
        int code;

        (void)out;
        w.v = calloc(w.n ? w.n : 1, sizeof(*w.v));
        if (!w.v) {
                config_errors_add(errors, true, "no memory");
                return CMD_NOT_DONE;
        }
        code = parse_line(&w, errors) ? watch_all(&w, config, errors) : CMD_WRONG_VALUE;
        free(w.v);
        return code;
}
