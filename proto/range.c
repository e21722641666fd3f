#include "range.h"

#include "base/compiler.h"

/* Reads digits off *rest; false if there is none.  Too large a number is UINT64_MAX. */
static bool take_number(struct slice *rest, uint64_t *ret)
{
        bool over = false;
        uint64_t value = 0;
        size_t n = 0;

        for (; n < rest->len && rest->ptr[n] >= '0' && rest->ptr[n] <= '9'; n++) {
                over = over || __builtin_mul_overflow(value, UINT64_C(10), &value) ||
                       __builtin_add_overflow(value, (uint64_t)(rest->ptr[n] - '0'), &value);
        }
        *ret = over ? UINT64_MAX : value;
        *rest = slice_skip(*rest, n);
        return n > 0;
}

static bool take_char(struct slice *rest, char c)
{
        if (rest->len == 0 || rest->ptr[0] != c)
                return false;
        *rest = slice_skip(*rest, 1);
        return true;
}

/* "-n": the last n bytes. */
static enum range_result parse_suffix(struct slice rest, uint64_t size, struct byte_range *ret)
{
        uint64_t n;

        if (!take_number(&rest, &n) || rest.len)
                return RANGE_NONE;
        if (n == 0 || size == 0)
                return RANGE_UNSATISFIABLE;
        *ret = (struct byte_range){ size - MIN(n, size), size };
        return RANGE_ONE;
}

enum range_result range_parse(struct slice value, uint64_t size, struct byte_range *ret)
{
        static const size_t unit_len = sizeof("bytes=") - 1;
        struct slice rest = slice_trim(value);
        uint64_t first, last = UINT64_MAX;

        *ret = (struct byte_range){ 0, size };
        if (!slice_ieq(slice_cut(rest, unit_len), SLICE("bytes=")))
                return RANGE_NONE;
        rest = slice_trim(slice_skip(rest, unit_len));
        if (take_char(&rest, '-'))
                return parse_suffix(rest, size, ret);
        if (!take_number(&rest, &first) || !take_char(&rest, '-'))
                return RANGE_NONE;
        if (rest.len && !take_number(&rest, &last))
                return RANGE_NONE;
        if (rest.len || last < first)
                return RANGE_NONE;
        if (first >= size)
                return RANGE_UNSATISFIABLE;
        *ret = (struct byte_range){ first, last >= size ? size : last + 1 };
        return RANGE_ONE;
}

int content_range_parse(struct slice value, struct content_range *ret)
{
        struct slice rest = slice_trim(value);
        struct content_range got = { 0 };
        uint64_t last;
        bool unsatisfied;

        if (!slice_ieq(slice_cut(rest, 6), SLICE("bytes ")))
                return 0;
        rest = slice_trim(slice_skip(rest, 6));
        unsatisfied = take_char(&rest, '*');
        if (!unsatisfied) {
                if (!take_number(&rest, &got.start) || !take_char(&rest, '-') ||
                    !take_number(&rest, &last) || last < got.start || last == UINT64_MAX)
                        return 0;
                got.end = last + 1;
        }
        if (!take_char(&rest, '/'))
                return 0;
        if (!unsatisfied && take_char(&rest, '*'))
                got.total = UINT64_MAX;
        else if (!take_number(&rest, &got.total) || got.total == UINT64_MAX)
                return 0;
        if (rest.len || got.end > got.total)
                return 0;
        *ret = got;
        return unsatisfied ? 2 : 1;
}
