#include "utf8.h"

#include <stdint.h>

/* RFC 3629 4: what the second byte may be after each first byte; later bytes are 80..BF. */
static const struct lead {
        uint8_t first, last, second_min, second_max, len;
} leads[] = {
        { 0x00, 0x7f, 0x00, 0x00, 1 }, { 0xc2, 0xdf, 0x80, 0xbf, 2 }, { 0xe0, 0xe0, 0xa0, 0xbf, 3 },
        { 0xe1, 0xec, 0x80, 0xbf, 3 }, { 0xed, 0xed, 0x80, 0x9f, 3 }, { 0xee, 0xef, 0x80, 0xbf, 3 },
        { 0xf0, 0xf0, 0x90, 0xbf, 4 }, { 0xf1, 0xf3, 0x80, 0xbf, 4 }, { 0xf4, 0xf4, 0x80, 0x8f, 4 },
};

static const struct lead *lead_find(uint8_t byte)
{
        for (size_t i = 0; i < sizeof(leads) / sizeof(leads[0]); i++)
                if (byte >= leads[i].first && byte <= leads[i].last)
                        return &leads[i];
        return NULL;
}

size_t utf8_step(struct slice text)
{
        const uint8_t *p = (const uint8_t *)text.ptr;
        const struct lead *lead = text.len ? lead_find(p[0]) : NULL;

        if (!lead || text.len < lead->len)
                return 0;
        if (lead->len > 1 && (p[1] < lead->second_min || p[1] > lead->second_max))
                return 0;
        for (size_t i = 2; i < lead->len; i++)
                if ((p[i] & 0xc0) != 0x80)
                        return 0;
        return lead->len;
}

bool utf8_valid(struct slice text)
{
        size_t n;

        for (; text.len; text = slice_skip(text, n)) {
                n = utf8_step(text);
                if (n == 0)
                        return false;
        }
        return true;
}
