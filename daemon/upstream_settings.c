#include "upstream_impl.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "config.h"
#include "metrics.h"

#ifndef HUBCACHED_VERSION
#define HUBCACHED_VERSION "unversioned"
#endif

void upstream_reload(struct upstream *up, const struct config *config)
{
        const char *words = config->upstream_user_agent_suffix;

        up->limits = (struct upstream_limits){
                .connect_ms = config->upstream_connect_timeout_ms,
                .first_byte_ms = config->upstream_first_byte_timeout_ms,
                .stall_ms = config->upstream_stall_timeout_ms,
                .stall_bytes_per_second = config->upstream_stall_bytes_per_second,
        };
        up->allow_private = config->upstream_allow_private_addresses;
        if (!upstream_head_is_value(slice_str(words)))
                words = "";
        snprintf(up->user_agent, sizeof(up->user_agent), "hubcached/%s%s%s", HUBCACHED_VERSION,
                 *words ? " " : "", words);
}

void upstream_set_offline(struct upstream *up, bool offline)
{
        up->offline = offline;
}

int upstream_settings_init(struct upstream *up, const struct config *config, struct error *err)
{
        struct uri hub;

        if (uri_parse(slice_str(config->upstream_url), &hub, err) < 0)
                return error_wrap(err, "upstream.url");
        up->hub = hub.origin;
        up->background_max = MAX(config->upstream_max_connections * 3 / 4, 1U);
        up->background_host_max = MAX(config->upstream_max_connections_per_host * 3 / 4, 1U);
        upstream_reload(up, config);
        if (!config->upstream_ca_file || !*config->upstream_ca_file)
                return 0;
        up->ca_file = strdup(config->upstream_ca_file);
        return up->ca_file ? 0 : error_set(err, ERR_NOMEM, "no memory for upstream");
}

const struct origin *upstream_hub(const struct upstream *up)
{
        return &up->hub;
}

bool upstream_is_down(struct upstream *up)
{
        return breaker_refuses(breaker_of(&up->breakers, &up->hub), loop_now(up->loop));
}

bool upstream_is_away(struct upstream *up)
{
        return breaker_of(&up->breakers, &up->hub)->state != BREAKER_CLOSED;
}

bool upstream_may_retry(struct upstream *up)
{
        if (!retry_budget_take(&up->budget))
                return false;
        metrics_add(M_UPSTREAM_RETRIES, 1);
        return true;
}

int64_t upstream_backoff_ms(unsigned attempt)
{
        return retry_backoff_ms(attempt, arc4random());
}
