#include "mode.h"

#include "api.h"
#include "daemon.h"
#include "hot.h"
#include "log.h"
#include "upstream.h"

enum { MODE_AS_CONFIGURED = 0 }; /* daemon.mode_said is one more than a mode, or this */

static const char *const words[] = {
        [CONFIG_ONLINE] = "online",
        [CONFIG_FALLBACK] = "fallback",
        [CONFIG_OFFLINE] = "offline",
};

const char *mode_word(int mode)
{
        return words[mode];
}

int daemon_mode(const struct daemon *d)
{
        int said = __atomic_load_n(&d->mode_said, __ATOMIC_RELAXED);

        return said == MODE_AS_CONFIGURED ? (int)daemon_config(d)->mode : said - 1;
}

int64_t daemon_stale_max_ms(const struct daemon *d)
{
        switch (daemon_mode(d)) {
        case CONFIG_OFFLINE:
                return INT64_MAX;
        case CONFIG_ONLINE:
                return 0;
        default:
                return daemon_config(d)->cache_stale_max_ms;
        }
}

void mode_apply(struct daemon *d)
{
        upstream_set_offline(d->upstream, daemon_mode(d) == CONFIG_OFFLINE);
}

static json_t *mode_json(const struct daemon *d)
{
        return json_pack("{s:s, s:s}", "mode", mode_word(daemon_mode(d)), "configured",
                         mode_word((int)daemon_config(d)->mode));
}

static void show(const struct api_call *call)
{
        api_answer(call->request, 200, mode_json(call->request->d));
}

/* One more than the mode, MODE_AS_CONFIGURED for null, -1 if it is neither. */
static int said_in(const json_t *body)
{
        const json_t *value = json_object_get(body, "mode");

        if (json_is_null(value))
                return MODE_AS_CONFIGURED;
        for (size_t i = 0; i < ARRAY_LEN(words); i++)
                if (json_is_string(value) && slice_is(json_text_of(body, "mode"), words[i]))
                        return (int)i + 1;
        return -1;
}

static void change(const struct api_call *call)
{
        struct request *r = call->request;
        struct daemon *d = r->d;
        int said = call->body ? said_in(call->body) : -1;

        if (said < 0) {
                api_fail(r, 400, "the body must say a \"mode\": online, fallback, offline or null");
                return;
        }
        if (!api_knows(call, "mode"))
                return;
        __atomic_store_n(&d->mode_said, said, __ATOMIC_RELAXED);
        mode_apply(d);
        /* What is ready in memory was made under the other mode. */
        hot_drop_all(d->hot);
        log_event(LOG_INFO, "mode.changed", "mode=%s", mode_word(daemon_mode(d)));
        api_answer(r, 200, mode_json(d));
}

static const struct api_row rows[] = {
        { HTTP_GET, "mode", API_ADMIN, show },
        { HTTP_POST, "mode", API_ADMIN, change },
};

const struct api_table mode_api = { rows, ARRAY_LEN(rows) };
