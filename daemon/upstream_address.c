#include "upstream_address.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>

#include "base/compiler.h"

static bool v4_in(uint32_t a, uint32_t net, unsigned bits)
{
        return (a ^ net) >> (32 - bits) == 0;
}

static bool v4_is_public(uint32_t a)
{
        static const struct {
                uint32_t net;
                unsigned bits;
        } not_public[] = {
                { 0x00000000, 8 },  { 0x0a000000, 8 },  { 0x64400000, 10 }, { 0x7f000000, 8 },
                { 0xa83f8110, 32 }, /* 168.63.129.16: Azure's host */
                { 0xa9fe0000, 16 }, { 0xac100000, 12 }, { 0xc0000000, 24 }, { 0xc0a80000, 16 },
                { 0xc6120000, 15 }, { 0xe0000000, 4 },  { 0xf0000000, 4 },
        };

        for (size_t i = 0; i < ARRAY_LEN(not_public); i++)
                if (v4_in(a, not_public[i].net, not_public[i].bits))
                        return false;
        return true;
}

static uint32_t read_be32(const uint8_t *p)
{
        return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

/* Only global unicast, 2000::/3, and NAT64 of public addresses; without tunnels that would hide a
 * private address of version 4: 2002::/16 and 2001::/32. */
static bool v6_is_public(const uint8_t a[16])
{
        static const uint8_t nat64[12] = { 0x00, 0x64, 0xff, 0x9b };

        if (memcmp(a, nat64, sizeof(nat64)) == 0)
                return v4_is_public(read_be32(a + 12));
        if ((a[0] & 0xe0) != 0x20)
                return false;
        if (a[0] == 0x20 && a[1] == 0x02)
                return false;
        return read_be32(a) != 0x20010000;
}

bool upstream_address_is_public(const struct sockaddr *sa)
{
        if (sa->sa_family == AF_INET)
                return v4_is_public(ntohl(((const struct sockaddr_in *)sa)->sin_addr.s_addr));
        if (sa->sa_family == AF_INET6)
                return v6_is_public(((const struct sockaddr_in6 *)sa)->sin6_addr.s6_addr);
        return false;
}

bool upstream_address_is_literal(const char *host)
{
        struct in6_addr a;

        return inet_pton(AF_INET, host, &a) == 1 || inet_pton(AF_INET6, host, &a) == 1;
}
