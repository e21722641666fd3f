#include "upstream_head.h"

#include <string.h>

static bool is_name_byte(unsigned char c)
{
        return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
               (c && strchr("!#$%&'*+-.^_`|~", c));
}

bool upstream_head_is_name(struct slice s)
{
        for (size_t i = 0; i < s.len; i++)
                if (!is_name_byte((unsigned char)s.ptr[i]))
                        return false;
        return s.len > 0;
}

bool upstream_head_is_value(struct slice s)
{
        for (size_t i = 0; i < s.len; i++) {
                unsigned char c = (unsigned char)s.ptr[i];

                if ((c < 0x20 && c != '\t') || c == 0x7f)
                        return false;
        }
        return true;
}

void upstream_head_init(struct upstream_head *head)
{
        *head = (struct upstream_head){
                .length = UINT64_MAX,
                .text = BUF_INIT(UPSTREAM_HEAD_BYTES_MAX),
        };
}

void upstream_head_done(struct upstream_head *head)
{
        buf_done(&head->text);
}

static int broken(struct error *err, const char *why)
{
        return error_set(err, ERR_UPSTREAM_BROKEN, "%s", why);
}

/* "HTTP/1.1 200 Reason": a new head begins. */
static int add_status(struct upstream_head *head, struct slice line, struct error *err)
{
        const char *p = line.ptr;
        int status = 0;

        if (line.len < 12 || memcmp(p, "HTTP/1.", 7) != 0 || (p[7] != '0' && p[7] != '1') ||
            p[8] != ' ' || (line.len > 12 && p[12] != ' '))
                return broken(err, "a malformed status line");
        for (int i = 9; i < 12; i++) {
                if (p[i] < '0' || p[i] > '9')
                        return broken(err, "a malformed status line");
                status = status * 10 + (p[i] - '0');
        }
        if (status < 100 || status == 101 || status > 599)
                return broken(err, "a status that does not exist");
        if (status < 200 && ++head->n_interim > UPSTREAM_HEAD_INTERIM_MAX)
                return broken(err, "too many interim responses");
        head->status = status;
        head->n_lines = 0;
        head->chunked = false;
        head->length = UINT64_MAX;
        buf_reset(&head->text);
        return 0;
}

static int take_length(struct upstream_head *head, struct slice value, struct error *err)
{
        uint64_t n = 0;

        if (value.len == 0 || value.len > 18)
                return broken(err, "a malformed Content-Length");
        for (size_t i = 0; i < value.len; i++) {
                if (value.ptr[i] < '0' || value.ptr[i] > '9')
                        return broken(err, "a malformed Content-Length");
                n = n * 10 + (uint64_t)(value.ptr[i] - '0');
        }
        if (head->length != UINT64_MAX && head->length != n)
                return broken(err, "two different Content-Lengths");
        head->length = n;
        return 0;
}

static int add_header(struct upstream_head *head, struct slice line, struct error *err)
{
        size_t colon = slice_find(line, ':');
        struct slice name = slice_cut(line, colon);
        struct slice value = slice_trim(slice_skip(line, colon + 1));
        struct upstream_head_line *h = &head->lines[head->n_lines];

        if (colon == line.len || !upstream_head_is_name(name))
                return broken(err, "a malformed header line");
        if (!upstream_head_is_value(value))
                return broken(err, "a header with control bytes");
        if (head->n_lines == UPSTREAM_HEAD_LINES_MAX)
                return broken(err, "too many headers");
        if (slice_ieq(name, SLICE("content-length")) && take_length(head, value, err) < 0)
                return -1;
        if (slice_ieq(name, SLICE("transfer-encoding"))) {
                if (head->chunked || !slice_ieq(value, SLICE("chunked")))
                        return broken(err, "an unknown Transfer-Encoding");
                head->chunked = true;
        }
        h->name = (uint32_t)head->text.len;
        h->name_len = (uint32_t)name.len;
        buf_add(&head->text, name);
        h->value = (uint32_t)head->text.len;
        h->value_len = (uint32_t)value.len;
        buf_add(&head->text, value);
        head->n_lines++;
        return buf_ok(&head->text) ? 0 : broken(err, "headers that are too long");
}

/* The empty line. */
static int end(struct upstream_head *head, struct error *err)
{
        if (head->status < 200)
                return 0;
        if (head->chunked && head->length != UINT64_MAX)
                return broken(err, "both Content-Length and Transfer-Encoding");
        head->complete = true;
        return 1;
}

int upstream_head_add(struct upstream_head *head, struct slice line, struct error *err)
{
        if (head->complete)
                return 0;
        head->n_bytes += line.len;
        if (head->n_bytes > UPSTREAM_HEAD_BYTES_MAX)
                return broken(err, "headers that are too long");
        if (line.len && line.ptr[line.len - 1] == '\n')
                line.len--;
        if (line.len && line.ptr[line.len - 1] == '\r')
                line.len--;
        if (line.len == 0)
                return end(head, err);
        if (slice_starts(line, SLICE("HTTP/")))
                return add_status(head, line, err);
        return add_header(head, line, err);
}

bool upstream_head_at(const struct upstream_head *head, size_t i, struct slice *ret_name,
                      struct slice *ret_value)
{
        const struct upstream_head_line *h;

        if (i >= head->n_lines)
                return false;
        h = &head->lines[i];
        *ret_name = slice_of(head->text.ptr + h->name, h->name_len);
        *ret_value = slice_of(head->text.ptr + h->value, h->value_len);
        return true;
}

struct slice upstream_head_find(const struct upstream_head *head, const char *name)
{
        struct slice wanted = slice_str(name), n, v;

        for (size_t i = 0; upstream_head_at(head, i, &n, &v); i++)
                if (slice_ieq(n, wanted))
                        return v;
        return SLICE_NONE;
}

static bool is_bodiless(const struct upstream_head *head, enum http_method method)
{
        return method == HTTP_HEAD || head->status == 204 || head->status == 304;
}

bool upstream_head_is_framed(const struct upstream_head *head, enum http_method method)
{
        return head->chunked || head->length != UINT64_MAX || is_bodiless(head, method);
}

int upstream_head_check_body(const struct upstream_head *head, enum http_method method,
                             uint64_t received, struct error *err)
{
        if (!head->complete)
                return error_set(err, ERR_UPSTREAM_CUT, "the head ended early");
        if (!upstream_head_is_framed(head, method))
                return error_set(err, ERR_UPSTREAM_CUT,
                                 "nothing says whether the body is complete");
        if (!is_bodiless(head, method) && head->length != UINT64_MAX && received != head->length)
                return error_set(err, ERR_UPSTREAM_CUT, "the body ended early");
        return 0;
}
