#include "etag.h"

enum { LIST_MAX = 8192 };

struct slice etag_normalize(struct slice value)
{
        value = slice_trim(value);
        while (value.len && (value.ptr[0] == 'W' || value.ptr[0] == '/'))
                value = slice_skip(value, 1);
        while (value.len && value.ptr[0] == '"')
                value = slice_skip(value, 1);
        while (value.len && value.ptr[value.len - 1] == '"')
                value.len--;
        return value;
}

/* Takes one tag off *rest, without W/ and quotes.  A tag without quotes ends at a comma: some
 * clients send back the bare name of their cached file. */
static bool take_tag(struct slice *rest, struct slice *ret)
{
        size_t end;

        while (rest->len && (rest->ptr[0] == ',' || rest->ptr[0] == ' ' || rest->ptr[0] == '\t'))
                *rest = slice_skip(*rest, 1);
        if (rest->len == 0)
                return false;
        if (slice_starts(*rest, SLICE("W/\"")))
                *rest = slice_skip(*rest, 2);
        if (rest->ptr[0] == '"') {
                *rest = slice_skip(*rest, 1);
                end = slice_find(*rest, '"');
                *ret = slice_cut(*rest, end);
                *rest = slice_skip(*rest, end + 1);
                return true;
        }
        end = slice_find(*rest, ',');
        *ret = slice_trim(slice_cut(*rest, end));
        *rest = slice_skip(*rest, end);
        return true;
}

bool etag_list_matches(struct slice list, struct slice etag)
{
        struct slice rest = slice_trim(list), tag;

        if (list.len > LIST_MAX || etag.len == 0)
                return false;
        if (slice_is(rest, "*"))
                return true;
        while (take_tag(&rest, &tag))
                if (slice_eq(tag, etag))
                        return true;
        return false;
}

bool etag_if_range_matches(struct slice value, struct slice etag)
{
        value = slice_trim(value);
        return etag.len && value.len == etag.len + 2 && value.ptr[0] == '"' &&
               value.ptr[value.len - 1] == '"' && slice_eq(slice_of(value.ptr + 1, etag.len), etag);
}
