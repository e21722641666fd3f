#include "hosts.h"

#include <arpa/inet.h>
#include <string.h>

#include "base/compiler.h"

/* "name:80" -> "name", "[::1]:80" -> "[::1]". */
static struct slice without_port(struct slice host)
{
        if (host.len && host.ptr[0] == '[')
                return slice_cut(host, MIN(slice_find(host, ']') + 1, host.len));
        return slice_cut(host, slice_find(host, ':'));
}

static bool is_address(struct slice host)
{
        char text[INET6_ADDRSTRLEN + 1];
        struct in6_addr any;
        bool v6 = host.len > 2 && host.ptr[0] == '[' && host.ptr[host.len - 1] == ']';

        if (v6)
                host = slice_cut(slice_skip(host, 1), host.len - 2);
        if (host.len >= sizeof(text))
                return false;
        memcpy(text, host.ptr, host.len);
        text[host.len] = '\0';
        return inet_pton(v6 ? AF_INET6 : AF_INET, text, &any) == 1;
}

/* True if name is `machine`, or `machine` with a domain behind it. */
static bool is_machine(struct slice name, struct slice machine)
{
        struct slice own = slice_cut(machine, slice_find(machine, '.'));

        if (own.len == 0 || !slice_ieq(slice_cut(name, own.len), own))
                return false;
        return name.len == own.len || name.ptr[own.len] == '.';
}

static bool is_host_of(const char *url, struct slice name)
{
        const char *host = strstr(url, "://");

        return host && slice_ieq(without_port(slice_str(host + 3)), name);
}

bool hosts_match(const struct string_list *patterns, struct slice name)
{
        for (size_t i = 0; i < patterns->n; i++) {
                struct slice p = slice_str(patterns->v[i]);

                if (slice_is(p, "*") || slice_ieq(p, name))
                        return true;
                if (!slice_starts(p, SLICE("*.")))
                        continue;
                p = slice_skip(p, 1);
                if (name.len > p.len && slice_ieq(slice_skip(name, name.len - p.len), p))
                        return true;
        }
        return false;
}

static bool is_one_of(const char *const *names, size_t n, struct slice name)
{
        for (size_t i = 0; i < n; i++)
                if (slice_ieq(slice_str(names[i]), name))
                        return true;
        return false;
}

static bool is_ours(const struct config *config, struct slice name, const char *machine,
                    const char *const *more, size_t n)
{
        return name.len > 0 &&
               (slice_ieq(name, SLICE("localhost")) || is_machine(name, slice_str(machine)) ||
                slice_ieq(name, slice_str(config->listen.host)) ||
                slice_ieq(name, slice_str(config->tls_listen.host)) ||
                is_host_of(config->public_url, name) || is_host_of(config->upstream_url, name) ||
                is_one_of(more, n, name) || hosts_match(&config->allowed_hosts, name));
}

bool hosts_accept(const struct config *config, struct slice host_header, const char *machine,
                  const char *const *more, size_t n)
{
        const struct slice viewer = SLICE("datasets-server.");
        struct slice name = without_port(host_header);

        if (name.len > 1 && name.ptr[name.len - 1] == '.')
                name.len--;
        if (is_address(name) || is_ours(config, name, machine, more, n))
                return true;
        return slice_ieq(slice_cut(name, viewer.len), viewer) &&
               is_ours(config, slice_skip(name, viewer.len), machine, more, n);
}
