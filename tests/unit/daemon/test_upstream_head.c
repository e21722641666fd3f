/* daemon/upstream_head.c: what upstream may send as a head (table E, rows 88, 92, 93). */
#include "../unit.h"

#include "base/buf.h"
#include "upstream_head.h"

#define X8(s)    s s s s s s s s
#define CONTINUE "HTTP/1.1 100 Continue\r\n\r\n"
#define HTTP_OK  "HTTP/1.1 200 OK\r\n"
#define LENGTH_5 "Content-Length: 5\r\n"
#define CHUNKED  "Transfer-Encoding: chunked\r\n"

/* Adds line by line, as curl does.  1 if the head is complete, 0 if not yet, -1 if refused. */
static int add_all(struct upstream_head *head, struct slice text, struct error *err)
{
        int r = 0, last = 0;

        error_clear(err);
        while (text.len && r >= 0) {
                size_t n = slice_find(text, '\n') + 1;

                r = upstream_head_add(head, slice_cut(text, n), err);
                if (r)
                        last = r;
                text = slice_skip(text, n);
        }
        return last;
}

static const struct head_case {
        const char *what;
        struct slice text;
        int end;         /* what add_all returns */
        const char *why; /* part of the reason of a refusal */
        uint64_t length;
        bool chunked;
        int status;
} heads[] = {
#define GOOD(what, text, status, length, chunked)                                                  \
        {                                                                                          \
                what, SLICE(text), 1, NULL, length, chunked, status                                \
        }
#define BAD(what, text, why)                                                                       \
        {                                                                                          \
                what, SLICE(text), -1, why                                                         \
        }
        GOOD("a length", HTTP_OK LENGTH_5 "\r\n", 200, 5, false),
        GOOD("the same length twice", HTTP_OK LENGTH_5 LENGTH_5 "\r\n", 200, 5, false),
        GOOD("a length of 18 digits", HTTP_OK "content-length: 999999999999999999\r\n\r\n", 200,
             UINT64_C(999999999999999999), false),
        GOOD("chunks", HTTP_OK CHUNKED "\r\n", 200, UINT64_MAX, true),
        GOOD("chunks, in capitals", HTTP_OK "TRANSFER-ENCODING:CHUNKED\r\n\r\n", 200, UINT64_MAX,
             true),
        GOOD("no framing", HTTP_OK "\r\n", 200, UINT64_MAX, false),
        GOOD("bare line feeds", "HTTP/1.0 404 Not Found\nContent-Length: 0\n\n", 404, 0, false),
        GOOD("no reason phrase", "HTTP/1.1 599\r\n\r\n", 599, UINT64_MAX, false),
        GOOD("8 interim responses", X8(CONTINUE) HTTP_OK LENGTH_5 "\r\n", 200, 5, false),
        GOOD("framing of an interim response",
             "HTTP/1.1 103 Hints\r\nContent-Length: 9\r\n" CHUNKED "\r\n" HTTP_OK LENGTH_5 "\r\n",
             200, 5, false),
        GOOD("a trailer", HTTP_OK CHUNKED "\r\nX-T: \x01\r\n" LENGTH_5 "\r\n", 200, UINT64_MAX,
             true),
        GOOD("a tab in a value", HTTP_OK "X-A: a\tb\r\n" LENGTH_5 "\r\n", 200, 5, false),
        { "nothing", SLICE(""), 0, NULL, UINT64_MAX, false, 0 },
        { "no end", SLICE(HTTP_OK LENGTH_5), 0, NULL, 5, false, 200 },
        { "only an interim response", SLICE(CONTINUE), 0, NULL, UINT64_MAX, false, 100 },

        /* Row 88: values are kept as they are, and what cannot be one is refused. */
        GOOD("an etag that is missing", HTTP_OK LENGTH_5 "\r\n", 200, 5, false),
        GOOD("an etag quoted twice", HTTP_OK "ETag: \"\"a\"\"\r\n" LENGTH_5 "\r\n", 200, 5, false),
        GOOD("an etag that climbs", HTTP_OK "ETag: \"../x\"\r\n" LENGTH_5 "\r\n", 200, 5, false),
        BAD("an etag with an escape", HTTP_OK "ETag: \"\x1b]0;x\"\r\n\r\n", "control bytes"),

        /* Row 92. */
        BAD("NUL", HTTP_OK "X-A: b\0c\r\n\r\n", "control bytes"),
        BAD("escape", HTTP_OK "X-A: \x1b[31m\r\n\r\n", "control bytes"),
        BAD("CR in a value", HTTP_OK "X-A: b\rc\r\n\r\n", "control bytes"),
        BAD("two CR at the end", HTTP_OK "X-A: b\r\r\n\r\n", "control bytes"),
        BAD("delete", HTTP_OK "X-A: \x7f\r\n\r\n", "control bytes"),
        BAD("NUL in a name", HTTP_OK "X\0A: b\r\n\r\n", "malformed header"),
        BAD("a space before the colon", HTTP_OK "X-A : b\r\n\r\n", "malformed header"),
        BAD("a folded line", HTTP_OK "X-A: b\r\n c\r\n\r\n", "malformed header"),
        BAD("a folded line with a colon", HTTP_OK "X-A: b\r\n c: d\r\n\r\n", "malformed header"),
        BAD("no colon", HTTP_OK "nonsense\r\n\r\n", "malformed header"),
        BAD("no name", HTTP_OK ": b\r\n\r\n", "malformed header"),
        BAD("a name that is not ASCII", HTTP_OK "X-\xc3\xbc: b\r\n\r\n", "malformed header"),

        /* Row 93. */
        BAD("status 099", "HTTP/1.1 099 Low\r\n\r\n", "status that does not exist"),
        BAD("status 000", "HTTP/1.1 000 None\r\n\r\n", "status that does not exist"),
        BAD("status 101", "HTTP/1.1 101 Switching\r\n\r\n", "status that does not exist"),
        BAD("status 600", "HTTP/1.1 600 High\r\n\r\n", "status that does not exist"),
        BAD("status 700", "HTTP/1.1 700 High\r\n\r\n", "status that does not exist"),
        BAD("status 20", "HTTP/1.1 20 Short\r\n\r\n", "status line"),
        BAD("status 2000", "HTTP/1.1 2000 Long\r\n\r\n", "status line"),
        BAD("status -20", "HTTP/1.1 -20 Minus\r\n\r\n", "status line"),
        BAD("status 2x0", "HTTP/1.1 2x0 OK\r\n\r\n", "status line"),
        BAD("no status", "HTTP/1.1\r\n\r\n", "status line"),
        BAD("version 2", "HTTP/2 200 OK\r\n\r\n", "status line"),
        BAD("version 1.2", "HTTP/1.2 200 OK\r\n\r\n", "status line"),
        BAD("9 interim responses", X8(CONTINUE) CONTINUE HTTP_OK "\r\n", "interim"),

        /* Framing. */
        BAD("both framings", HTTP_OK LENGTH_5 CHUNKED "\r\n", "both"),
        BAD("both, the other way round", HTTP_OK CHUNKED LENGTH_5 "\r\n", "both"),
        BAD("two lengths", HTTP_OK LENGTH_5 "Content-Length: 4\r\n\r\n", "two different"),
        BAD("a list of lengths", HTTP_OK "Content-Length: 5, 5\r\n\r\n", "Content-Length"),
        BAD("a signed length", HTTP_OK "Content-Length: +5\r\n\r\n", "Content-Length"),
        BAD("a negative length", HTTP_OK "Content-Length: -5\r\n\r\n", "Content-Length"),
        BAD("a length in hex", HTTP_OK "Content-Length: 0x5\r\n\r\n", "Content-Length"),
        BAD("an empty length", HTTP_OK "Content-Length:\r\n\r\n", "Content-Length"),
        BAD("a length of 2^64", HTTP_OK "Content-Length: 18446744073709551616\r\n\r\n",
            "Content-Length"),
        BAD("chunked twice", HTTP_OK CHUNKED CHUNKED "\r\n", "Transfer-Encoding"),
        BAD("gzip, chunked", HTTP_OK "Transfer-Encoding: gzip, chunked\r\n\r\n",
            "Transfer-Encoding"),
        BAD("identity", HTTP_OK "Transfer-Encoding: identity\r\n\r\n", "Transfer-Encoding"),
};

static bool is_as_expected(const struct head_case *c, const struct upstream_head *head, int end,
                           const struct error *err)
{
        if (end != c->end || head->complete != (end == 1))
                return false;
        if (end < 0)
                return err->kind == ERR_UPSTREAM_BROKEN && strstr(err->what, c->why);
        return head->status == c->status && head->length == c->length &&
               head->chunked == c->chunked;
}

static void test_heads(void **state unused_arg)
{
        int wrong = 0;

        for (size_t i = 0; i < ARRAY_LEN(heads); i++) {
                struct upstream_head head;
                struct error err;
                int end;

                upstream_head_init(&head);
                end = add_all(&head, heads[i].text, &err);
                if (!is_as_expected(&heads[i], &head, end, &err)) {
                        print_error("%s: %d, status %d: %s\n", heads[i].what, end, head.status,
                                    err.what);
                        wrong++;
                }
                upstream_head_done(&head);
        }
        assert_int_equal(wrong, 0);
}

/* ---- limits (rows 88, 92 and 93) ---- */

static const struct limit_case {
        const char *what, *first; /* first: what stands before the filling */
        unsigned n;               /* of lines */
        size_t bytes;             /* of each filling */
        const char *why;          /* NULL: it fits */
} limits[] = {
        { "200 headers", "X-A: ", 200, 20, NULL },
        { "201 headers", "X-A: ", 201, 20, "too many headers" },
        { "10,000 headers", "X-A: ", 10000, 1, "too many headers" },
        { "an etag of 10 KiB", "ETag: ", 1, 10 << 10, NULL },
        { "a header of 63 KiB", "X-A: ", 1, 63 << 10, NULL },
        { "a header of 64 KiB", "X-A: ", 1, 64 << 10, "too long" },
        { "a header of 1 MiB", "X-A: ", 1, 1 << 20, "too long" },
        { "4 headers of 16 KiB", "X-A: ", 4, 16 << 10, "too long" },
        { "a reason phrase of 63 KiB", "HTTP/1.1 200 ", 1, 63 << 10, NULL },
        { "a reason phrase of 64 KiB", "HTTP/1.1 200 ", 1, 64 << 10, "too long" },
        { "bytes of interim responses", "HTTP/1.1 103 ", 8, 10 << 10, "too long" },
        { "a flood of interim responses", "HTTP/1.1 100 ", 1000, 1, "interim" },
};

static void fill(struct buf *text, const struct limit_case *c)
{
        buf_add_str(text, HTTP_OK);
        for (unsigned i = 0; i < c->n; i++) {
                buf_add_str(text, c->first);
                for (size_t k = 0; k < c->bytes; k++)
                        buf_add_char(text, 'v');
                buf_add_str(text, "\r\n");
        }
        buf_add_str(text, "\r\n");
        assert_true(buf_ok(text));
}

static void test_limits(void **state unused_arg)
{
        for (size_t i = 0; i < ARRAY_LEN(limits); i++) {
                struct buf text = BUF_INIT(2 << 20);
                struct upstream_head head;
                struct error err;
                int end;

                upstream_head_init(&head);
                fill(&text, &limits[i]);
                end = add_all(&head, buf_slice(&text), &err);
                if (end != (limits[i].why ? -1 : 1))
                        print_error("%s: %s\n", limits[i].what, err.what);
                assert_int_equal(end, limits[i].why ? -1 : 1);
                if (limits[i].why)
                        assert_non_null(strstr(err.what, limits[i].why));
                upstream_head_done(&head);
                buf_done(&text);
        }
}

/* ---- looking into a head ---- */

static void test_find(void **state unused_arg)
{
        struct upstream_head head;
        struct slice name, value;
        struct error err;

        upstream_head_init(&head);
        assert_null(upstream_head_find(&head, "x-a").ptr);
        assert_int_equal(add_all(&head,
                                 SLICE("HTTP/1.1 103 Hints\r\nX-Hint: old\r\n\r\n" HTTP_OK
                                       "X-A: \t one  two \r\nx-a: three\r\nX-Empty:\r\n\r\n"
                                       "X-Trailer: late\r\n"),
                                 &err),
                         1);
        assert_true(slice_is(upstream_head_find(&head, "x-A"), "one  two"));
        assert_non_null(upstream_head_find(&head, "x-empty").ptr);
        assert_int_equal(upstream_head_find(&head, "x-empty").len, 0);
        assert_null(upstream_head_find(&head, "x-hint").ptr);
        assert_null(upstream_head_find(&head, "x-trailer").ptr);
        assert_null(upstream_head_find(&head, "x-").ptr);
        assert_true(upstream_head_at(&head, 1, &name, &value));
        assert_true(slice_is(name, "x-a") && slice_is(value, "three"));
        assert_false(upstream_head_at(&head, 3, &name, &value));
        upstream_head_done(&head);
}

/* ---- the end of the body ---- */

static const struct body_case {
        const char *what, *text;
        enum http_method method;
        uint64_t received;
        bool framed, whole;
} bodies[] = {
        { "as long as it says", HTTP_OK LENGTH_5 "\r\n", HTTP_GET, 5, true, true },
        { "too short", HTTP_OK LENGTH_5 "\r\n", HTTP_GET, 4, true, false },
        { "too long", HTTP_OK LENGTH_5 "\r\n", HTTP_GET, 6, true, false },
        { "chunks", HTTP_OK CHUNKED "\r\n", HTTP_GET, 7, true, true },
        { "no framing", HTTP_OK "\r\n", HTTP_GET, 5, false, false },
        { "no framing, nothing came", HTTP_OK "\r\n", HTTP_GET, 0, false, false },
        { "HEAD", HTTP_OK LENGTH_5 "\r\n", HTTP_HEAD, 0, true, true },
        { "HEAD without a length", HTTP_OK "\r\n", HTTP_HEAD, 0, true, true },
        { "204", "HTTP/1.1 204 No\r\n\r\n", HTTP_GET, 0, true, true },
        { "304", "HTTP/1.1 304 No\r\n" LENGTH_5 "\r\n", HTTP_GET, 0, true, true },
        { "no end of the head", HTTP_OK LENGTH_5, HTTP_GET, 0, true, false },
        { "no head", "", HTTP_GET, 0, false, false },
        { "only an interim response", CONTINUE, HTTP_HEAD, 0, true, false },
};

static void test_bodies(void **state unused_arg)
{
        for (size_t i = 0; i < ARRAY_LEN(bodies); i++) {
                const struct body_case *c = &bodies[i];
                struct upstream_head head;
                struct error err;
                int r;

                upstream_head_init(&head);
                assert_true(add_all(&head, slice_str(c->text), &err) >= 0);
                r = upstream_head_check_body(&head, c->method, c->received, &err);
                if ((r == 0) != c->whole || upstream_head_is_framed(&head, c->method) != c->framed)
                        print_error("%s: %s\n", c->what, err.what);
                assert_int_equal(r, c->whole ? 0 : -1);
                assert_int_equal(err.kind, c->whole ? ERR_NONE : ERR_UPSTREAM_CUT);
                assert_int_equal(upstream_head_is_framed(&head, c->method), c->framed);
                upstream_head_done(&head);
        }
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_heads),
                cmocka_unit_test(test_limits),
                cmocka_unit_test(test_find),
                cmocka_unit_test(test_bodies),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
