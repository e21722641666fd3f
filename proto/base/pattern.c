#include "base/pattern.h"

#include <stdint.h>

#include "base/slice.h"

/*
 * Python's fnmatch.fnmatchcase, by which the Hub's clients choose files.  libc's fnmatch(3) chooses
 * others: to it "[^a]" is a negation and "[[:digit:]]" a class, and its "?" is a byte or depends on
 * the locale.
 */

/* The character at *at, which moves behind it.  A byte that is not UTF-8 is a character of its own,
 * beyond those of Unicode. */
static uint32_t next_char(struct slice text, size_t *at)
{
        const unsigned char *p = (const unsigned char *)text.ptr + *at;
        size_t left = text.len - *at;
        size_t len = p[0] < 0xc2 ? 1 : p[0] < 0xe0 ? 2 : p[0] < 0xf0 ? 3 : p[0] < 0xf5 ? 4 : 1;
        uint32_t c = p[0] & (0x7fu >> (len > 1 ? len : 0));

        for (size_t i = 1; i < len; i++) {
                if (i >= left || (p[i] & 0xc0) != 0x80) {
                        len = 1;
                        break;
                }
                c = c << 6 | (p[i] & 0x3f);
        }
        *at += len;
        return len == 1 && p[0] >= 0x80 ? UINT32_MAX - 0xff + p[0] : c;
}

/* Where the "]" of the set that begins at `at` is, or the pattern's end: it is no set then. */
static size_t set_end(struct slice pattern, size_t at)
{
        if (at < pattern.len && pattern.ptr[at] == '!')
                at++;
        if (at < pattern.len && pattern.ptr[at] == ']')
                at++;
        return at + slice_find(slice_skip(pattern, at), ']');
}

/* `set` is what stands between the brackets. */
static bool set_has(struct slice set, uint32_t c)
{
        bool negated = set.ptr[0] == '!', found = false;
        size_t at = negated;

        while (at < set.len) {
                uint32_t first = next_char(set, &at), last = first;

                if (at + 1 < set.len && set.ptr[at] == '-') {
                        at++;
                        last = next_char(set, &at);
                }
                found |= first <= c && c <= last;
        }
        return found != negated;
}

/* Whether what stands at *at, which is no star, stands for `c`; *at moves behind it. */
static bool one_matches(struct slice pattern, size_t *at, uint32_t c)
{
        uint32_t want = next_char(pattern, at);
        size_t begin = *at, end;

        if (want == '?')
                return true;
        end = want == '[' ? set_end(pattern, begin) : pattern.len;
        if (end == pattern.len)
                return want == c;
        *at = end + 1;
        return set_has(slice_of(pattern.ptr + begin, end - begin), c);
}

/* `open`: anything may follow.  Only the last star is tried at other places, so that no pattern
 * takes longer than its length times the text's. */
static bool matches(struct slice pattern, bool open, struct slice text)
{
        size_t p = 0, t = 0, star = SIZE_MAX, star_text = 0;

        for (;;) {
                if (p == pattern.len && (open || t == text.len))
                        return true;
                if (p < pattern.len && pattern.ptr[p] == '*') {
                        star = ++p;
                        star_text = t;
                        continue;
                }
                if (t == text.len)
                        return false;
                if (p < pattern.len && one_matches(pattern, &p, next_char(text, &t)))
                        continue;
                if (star == SIZE_MAX)
                        return false;
                next_char(text, &star_text);
                p = star;
                t = star_text;
        }
}

static bool one_of(char *const *patterns, size_t n, struct slice path)
{
        for (size_t i = 0; i < n; i++) {
                struct slice pattern = slice_str(patterns[i]);

                if (matches(pattern, slice_ends(pattern, SLICE("/")), path))
                        return true;
        }
        return false;
}

bool patterns_allow(char *const *include, size_t n_include, char *const *exclude, size_t n_exclude,
                    const char *path)
{
        struct slice text = slice_str(path);

        return (n_include == 0 || one_of(include, n_include, text)) &&
               !one_of(exclude, n_exclude, text);
}
