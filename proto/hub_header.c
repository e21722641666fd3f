#include "hub_header.h"

#include <string.h>

enum { LINK_MAX = 16384 };

/* ---- Link (RFC 8288) ---- */

struct link {
        struct slice target, rel;
};

/* The length of one entry: up to a comma outside <> and quotes. */
static size_t entry_length(struct slice text)
{
        bool in_target = false, in_quotes = false;

        for (size_t i = 0; i < text.len; i++) {
                char c = text.ptr[i];

                if (in_target)
                        in_target = c != '>';
                else if (in_quotes && c == '\\')
                        i++;
                else if (c == '"')
                        in_quotes = !in_quotes;
                else if (!in_quotes && c == '<')
                        in_target = true;
                else if (!in_quotes && c == ',')
                        return i;
        }
        return text.len;
}

static struct slice unquote(struct slice text)
{
        if (text.len >= 2 && text.ptr[0] == '"' && text.ptr[text.len - 1] == '"')
                return slice_of(text.ptr + 1, text.len - 2);
        return text;
}

/* Takes one entry off *rest; false at the end.  A malformed entry has an empty target. */
static bool link_take(struct slice *rest, struct link *ret)
{
        size_t n = entry_length(*rest), end;
        struct slice entry = slice_trim(slice_cut(*rest, n)), param;

        *ret = (struct link){ SLICE_NONE, SLICE_NONE };
        if (rest->len == 0)
                return false;
        *rest = slice_skip(*rest, n + 1);
        end = slice_find(entry, '>');
        if (entry.len == 0 || entry.ptr[0] != '<' || end == entry.len)
                return true;
        ret->target = slice_of(entry.ptr + 1, end - 1);
        entry = slice_skip(entry, end + 1);
        while (slice_split(&entry, ';', &param)) {
                size_t at = slice_find(param, '=');

                if (slice_ieq(slice_trim(slice_cut(param, at)), SLICE("rel")) && !ret->rel.ptr)
                        ret->rel = unquote(slice_trim(slice_skip(param, at + 1)));
        }
        return true;
}

static bool rel_ok(struct slice rel)
{
        for (size_t i = 0; i < rel.len; i++)
                if (memchr("\"\\<>,;", rel.ptr[i], 6))
                        return false;
        return rel.len > 0;
}

/* Appends the target as clients of ours should see it; false if it is to be dropped. */
static bool add_target(struct slice target, const struct origin *from, struct slice to,
                       bool foreign_ok, struct buf *out)
{
        struct uri uri;

        if (slice_starts(target, SLICE("/")) && !slice_starts(target, SLICE("//"))) {
                buf_add(out, to);
        } else {
                if (uri_parse(target, &uri, NULL) < 0 || uri.has_userinfo)
                        return false;
                if (origin_eq(&uri.origin, from)) {
                        buf_add(out, to);
                        target = uri.path_query;
                } else if (!foreign_ok) {
                        return false;
                }
        }
        for (size_t i = 0; i < target.len; i++) {
                if (target.ptr[i] == ',')
                        buf_add_str(out, "%2C");
                else
                        buf_add_char(out, target.ptr[i]);
        }
        return true;
}

void link_rewrite(struct slice value, const struct origin *from, struct slice to, bool hide_xet,
                  struct buf *out)
{
        struct buf target = BUF_INIT(LINK_MAX * 3);
        struct slice rest = value;
        const char *separator = "";
        struct link link;

        if (!header_value_ok(value, LINK_MAX))
                return;
        while (link_take(&rest, &link)) {
                bool xet = slice_ieq(link.rel, SLICE("xet-auth")) ||
                           slice_ieq(link.rel, SLICE("xet-reconstruction-info"));

                buf_reset(&target);
                if ((xet && hide_xet) || link.target.len == 0 || !rel_ok(link.rel) ||
                    slice_find(link.target, ' ') < link.target.len ||
                    !add_target(link.target, from, to, xet, &target))
                        continue;
                buf_add_fmt(out, "%s<" SLICE_FMT ">; rel=\"" SLICE_FMT "\"", separator,
                            SLICE_ARG(buf_slice(&target)), SLICE_ARG(link.rel));
                separator = ", ";
        }
        buf_done(&target);
}

struct slice link_next(struct slice value)
{
        struct link link;

        while (link_take(&value, &link))
                if (slice_ieq(link.rel, SLICE("next")) && link.target.len)
                        return link.target;
        return SLICE_NONE;
}

/* ---- names and types of files ---- */

static struct slice base_name(struct slice path)
{
        const char *slash = path.len ? memrchr(path.ptr, '/', path.len) : NULL;

        return slash ? slice_skip(path, (size_t)(slash - path.ptr) + 1) : path;
}

void content_disposition(struct slice path, bool attachment, struct buf *out)
{
        struct slice name = base_name(path);

        buf_add_fmt(out, "%s; filename*=UTF-8''", attachment ? "attachment" : "inline");
        uri_encode(name, "", out);
        buf_add_str(out, "; filename=\"");
        for (size_t i = 0; i < name.len; i++) {
                char c = name.ptr[i];

                if (c == '"' || c == '\\')
                        buf_add_char(out, '\\');
                /* One '?' for each character that is not ASCII, as the Hub has it. */
                if (((unsigned char)c & 0xc0) == 0x80)
                        continue;
                buf_add_char(out, c < ' ' || c == 0x7f ? '?' : c);
        }
        buf_add_str(out, "\";");
}

static const struct {
        const char *extensions; /* lower case, between spaces */
        const char *type;
        bool lfs_too; /* also for a file that LFS holds */
} types[] = {
        { " png ", "image/png", true },
        { " jpg jpeg jfif ", "image/jpeg", true },
        { " gif ", "image/gif", true },
        { " webp ", "image/webp", true },
        { " avif ", "image/avif", true },
        { " bmp ", "image/bmp", true },
        { " tif tiff ", "image/tiff", true },
        { " ico ", "image/x-icon", true },
        { " svg ", "image/svg+xml", true },
        { " mp3 ", "audio/mpeg", true },
        { " wav ", "audio/wav", true },
        { " flac ", "audio/flac", true },
        { " ogg oga opus ", "audio/ogg", true },
        { " m4a ", "audio/mp4", true },
        { " mp4 m4v ", "video/mp4", true },
        { " webm ", "video/webm", true },
        { " mov ", "video/quicktime", true },
        { " avi ", "video/x-msvideo", true },
        { " mkv ", "video/x-matroska", true },
        { " pdf ", "application/pdf", true },
        { " json jsonl md txt py yaml yml toml cfg ini csv tsv xml html htm css js mjs ts tsx jsx "
          "c h cc cpp hpp cu cuh rs go java kt rb sh bash bat ps1 r jl lua sql tex bib rst ipynb "
          "jinja j2 vocab merges log conf env lock diff patch proto cff ",
          "text/plain; charset=utf-8", false },
};

const char *content_type_of(struct slice path, bool is_lfs)
{
        struct slice name = base_name(path);
        const char *dot = name.len ? memrchr(name.ptr, '.', name.len) : NULL;
        char padded[16] = " ";
        size_t n;

        /* README, LICENSE, .gitattributes: what has no extension and is in git is text. */
        if (!dot || dot == name.ptr)
                return is_lfs ? "application/octet-stream" : "text/plain; charset=utf-8";
        name = slice_skip(name, (size_t)(dot - name.ptr) + 1);
        if (name.len == 0 || name.len > sizeof(padded) - 3)
                return "application/octet-stream";
        for (n = 0; n < name.len; n++) {
                char c = name.ptr[n];

                if (c == ' ' || c == '\0')
                        return "application/octet-stream";
                padded[n + 1] = c >= 'A' && c <= 'Z' ? (char)(c + ('a' - 'A')) : c;
        }
        padded[n + 1] = ' ';
        for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++)
                if ((types[i].lfs_too || !is_lfs) && strstr(types[i].extensions, padded))
                        return types[i].type;
        return "application/octet-stream";
}

/* ---- values ---- */

bool header_value_ok(struct slice value, size_t max)
{
        if (value.len > max)
                return false;
        for (size_t i = 0; i < value.len; i++)
                if ((unsigned char)value.ptr[i] < ' ' || value.ptr[i] == 0x7f)
                        return false;
        return true;
}

static int base64_digit(char c)
{
        static const char digits[] =
                "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
        const char *at = c ? strchr(digits, c) : NULL;

        return at ? (int)(at - digits) : -1;
}

/* RFC 4648 4; padding may be absent.  False if there is a byte that is no digit. */
static bool base64_decode(struct slice text, struct buf *out)
{
        unsigned bits = 0, n_bits = 0;

        while (text.len && text.ptr[text.len - 1] == '=')
                text.len--;
        for (size_t i = 0; i < text.len; i++) {
                int digit = base64_digit(text.ptr[i]);

                if (digit < 0)
                        return false;
                bits = (bits << 6 | (unsigned)digit) & 0xffff;
                n_bits += 6;
                if (n_bits >= 8) {
                        n_bits -= 8;
                        buf_add_char(out, (char)(bits >> n_bits & 0xff));
                }
        }
        return true;
}

/* Leaves the password of "user:password" behind `mark`. */
static bool keep_password(struct buf *out, size_t mark)
{
        struct slice text = slice_of(out->ptr + mark, out->len - mark);
        size_t at = slice_find(text, ':'), n;

        if (at == text.len)
                return false;
        n = text.len - at - 1;
        memmove(out->ptr + mark, text.ptr + at + 1, n);
        buf_truncate(out, mark + n);
        return true;
}

int authorization_token(struct slice value, struct buf *out)
{
        struct slice rest = slice_trim(value);
        size_t at = slice_find(rest, ' '), mark = out->len;
        struct slice scheme = slice_cut(rest, at);
        bool ok = false;

        rest = slice_trim(slice_skip(rest, at));
        if (rest.len == 0)
                return 0;
        if (slice_ieq(scheme, SLICE("bearer"))) {
                buf_add(out, rest);
                ok = true;
        } else if (slice_ieq(scheme, SLICE("basic"))) {
                ok = base64_decode(rest, out) && out->len > mark && keep_password(out, mark);
        }
        if (ok && buf_ok(out) && out->len > mark &&
            header_value_ok(slice_of(out->ptr + mark, out->len - mark), out->len))
                return 1;
        buf_truncate(out, mark);
        return 0;
}

bool authorization_mentions(struct slice value, struct slice mark)
{
        struct slice rest = slice_trim(value);
        struct buf decoded = BUF_INIT(16384);
        size_t at = slice_find(rest, ' ');
        bool found = value.len && memmem(value.ptr, value.len, mark.ptr, mark.len) != NULL;

        /* What was decoded before a byte that is no digit counts as well. */
        if (!found && slice_ieq(slice_cut(rest, at), SLICE("basic"))) {
                base64_decode(slice_trim(slice_skip(rest, at)), &decoded);
                found = decoded.len && memmem(decoded.ptr, decoded.len, mark.ptr, mark.len) != NULL;
        }
        if (decoded.ptr)
                explicit_bzero(decoded.ptr, decoded.len);
        buf_done(&decoded);
        return found;
}

int retry_after_seconds(struct slice value, int fallback)
{
        enum { SHORTEST = 1, LONGEST = 300 };
        int seconds = 0;

        value = slice_trim(value);
        if (value.len == 0)
                return fallback;
        for (size_t i = 0; i < value.len; i++) {
                if (value.ptr[i] < '0' || value.ptr[i] > '9')
                        return fallback;
                seconds = seconds * 10 + (value.ptr[i] - '0');
                if (seconds > LONGEST)
                        seconds = LONGEST;
        }
        return seconds < SHORTEST ? SHORTEST : seconds;
}
