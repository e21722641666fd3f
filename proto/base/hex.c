#include "base/hex.h"

static const char digits[] = "0123456789abcdef";

void hex_encode(const uint8_t *bytes, size_t n, char *ret_text)
{
        for (size_t i = 0; i < n; i++) {
                ret_text[2 * i] = digits[bytes[i] >> 4];
                ret_text[2 * i + 1] = digits[bytes[i] & 15];
        }
        ret_text[2 * n] = '\0';
}

static int value(char c)
{
        if (c >= '0' && c <= '9')
                return c - '0';
        if (c >= 'a' && c <= 'f')
                return c - 'a' + 10;
        if (c >= 'A' && c <= 'F')
                return c - 'A' + 10;
        return -1;
}

bool hex_decode(struct slice text, uint8_t *ret_bytes, size_t n)
{
        if (text.len != 2 * n)
                return false;
        for (size_t i = 0; i < n; i++) {
                int hi = value(text.ptr[2 * i]), lo = value(text.ptr[2 * i + 1]);

                if (hi < 0 || lo < 0)
                        return false;
                ret_bytes[i] = (uint8_t)(hi << 4 | lo);
        }
        return true;
}

bool hex_is_lower(struct slice text, size_t want)
{
        if (text.len != want)
                return false;
        for (size_t i = 0; i < want; i++)
                if (value(text.ptr[i]) < 0 || (text.ptr[i] >= 'A' && text.ptr[i] <= 'F'))
                        return false;
        return true;
}
