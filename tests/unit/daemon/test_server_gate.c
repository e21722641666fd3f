/* The gate against reliability.md table A: every case is one request head. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <cmocka.h>

#include "base/buf.h"
#include "config.h"
#include "server_gate.h"

static char *allowed[] = { (char *)"cache.lan", (char *)"*.corp" };

static struct config config = {
        .listen = { .host = "listen.example", .port = 8090 },
        .public_url = (char *)"https://hub.example.org",
        .upstream_url = (char *)"https://origin.example",
        .allowed_hosts = { allowed, 2 },
};
static const struct gate_rules rules = { &config, "box.internal.net" };

static const char *fault_name(enum gate_fault fault)
{
        static const char *const names[] = {
#define X(fault, status, kind, text) #fault,
                GATE_FAULTS(X)
#undef X
        };

        return names[fault];
}

/* Lines as microhttpd hands them over: name up to the first colon, value without leading spaces. */
static enum gate_fault run_gate(struct gate *g, const char *method, const char *target,
                                const char *version, const char *headers)
{
        struct slice rest = slice_str(headers), line;

        gate_begin(g, &rules, slice_str(method), slice_str(version), slice_str(target));
        while (slice_split(&rest, '\n', &line)) {
                size_t colon = slice_find(line, ':');
                struct slice value = slice_skip(line, colon + 1);

                while (value.len > 0 && value.ptr[0] == ' ')
                        value = slice_skip(value, 1);
                if (line.len > 0)
                        gate_header(g, slice_cut(line, colon), value);
        }
        return gate_end(g);
}

struct head {
        const char *row; /* of table A, or what it is about */
        const char *method, *target, *version, *headers;
        enum gate_fault want;
};

#define H11     "HTTP/1.1"
#define OK_HOST "Host: cache.lan:8090\n"

static const struct head heads[] = {
        { "plain", "GET", "/a/b", H11, OK_HOST, GATE_OK },
        { "plain head", "HEAD", "/a/b?x=y%20", H11, OK_HOST "Accept: */*\n", GATE_OK },
        { "options", "OPTIONS", "/a", H11, OK_HOST, GATE_OK },
        { "1 CL and TE", "POST", "/", H11,
          OK_HOST "Content-Length: 5\nTransfer-Encoding: chunked\n", GATE_LENGTH_AND_CODING },
        { "2 two CL", "POST", "/", H11, OK_HOST "Content-Length: 5\nContent-Length: 6\n",
          GATE_HEADER_TWICE },
        { "3 equal CL", "POST", "/", H11, OK_HOST "Content-Length: 3\nContent-Length: 3\n",
          GATE_HEADER_TWICE },
        { "3 CL list", "POST", "/", H11, OK_HOST "Content-Length: 3, 3\n", GATE_LENGTH },
        { "4 CL +3", "POST", "/", H11, OK_HOST "Content-Length: +3\n", GATE_LENGTH },
        { "4 CL -1", "POST", "/", H11, OK_HOST "Content-Length: -1\n", GATE_LENGTH },
        { "4 CL 0x3", "POST", "/", H11, OK_HOST "Content-Length: 0x3\n", GATE_LENGTH },
        { "4 CL 3abc", "POST", "/", H11, OK_HOST "Content-Length: 3abc\n", GATE_LENGTH },
        { "4 CL empty", "POST", "/", H11, OK_HOST "Content-Length:\n", GATE_LENGTH },
        { "5 CL 2^63", "POST", "/", H11, OK_HOST "Content-Length: 9223372036854775808\n",
          GATE_BODY_LARGE },
        { "5 CL 2^64-1", "POST", "/", H11, OK_HOST "Content-Length: 18446744073709551615\n",
          GATE_BODY_LARGE },
        { "5 CL 2^64", "POST", "/", H11, OK_HOST "Content-Length: 18446744073709551616\n",
          GATE_BODY_LARGE },
        { "5 CL 40 digits", "POST", "/", H11,
          OK_HOST "Content-Length: 1844674407370955161618446744073709551616\n", GATE_BODY_LARGE },
        { "5 CL 2^63-1", "POST", "/", H11, OK_HOST "Content-Length: 9223372036854775807\n",
          GATE_OK },
        { "6 TE gzip, chunked", "POST", "/", H11, OK_HOST "Transfer-Encoding: gzip, chunked\n",
          GATE_CODING },
        { "6 TE xchunked", "POST", "/", H11, OK_HOST "Transfer-Encoding: xchunked\n", GATE_CODING },
        { "6 TE identity", "POST", "/", H11, OK_HOST "Transfer-Encoding: identity\n", GATE_CODING },
        { "6 TE empty", "POST", "/", H11, OK_HOST "Transfer-Encoding:\n", GATE_CODING },
        { "TE chunked", "POST", "/", H11, OK_HOST "Transfer-Encoding: Chunked\n", GATE_OK },
        { "7 TE twice", "POST", "/", H11,
          OK_HOST "Transfer-Encoding: chunked\ntransfer-encoding: chunked\n", GATE_HEADER_TWICE },
        { "8 CL space colon", "POST", "/", H11, OK_HOST "Content-Length : 5\n", GATE_HEADER_NAME },
        { "8 TE tab colon", "POST", "/", H11, OK_HOST "Transfer-Encoding\t: chunked\n",
          GATE_HEADER_NAME },
        { "9 TE with 1.0", "POST", "/", "HTTP/1.0", OK_HOST "Transfer-Encoding: chunked\n",
          GATE_CODING_VERSION },
        { "15 CR in value", "GET", "/", H11, OK_HOST "A: b\rc\n", GATE_HEADER_VALUE },
        { "15 0x01 in value", "GET", "/", H11, OK_HOST "A: b\001c\n", GATE_HEADER_VALUE },
        { "15 0x7f in value", "GET", "/", H11, OK_HOST "A: b\177c\n", GATE_HEADER_VALUE },
        { "tab and bytes in value", "GET", "/", H11, OK_HOST "A: b\tc\303\244\n", GATE_OK },
        { "18 fold in name", "GET", "/", H11, OK_HOST "Author ization: Bearer x\n",
          GATE_HEADER_NAME },
        { "19 empty name", "GET", "/", H11, OK_HOST ": x\n", GATE_HEADER_NAME },
        { "20 no Host", "GET", "/", H11, "", GATE_HOST_MISSING },
        { "20 no Host, 1.0", "GET", "/", "HTTP/1.0", "", GATE_OK },
        { "20 two Hosts", "GET", "/", H11, OK_HOST OK_HOST, GATE_HEADER_TWICE },
        { "20 Host with path", "GET", "/", H11, "Host: cache.lan/x\n", GATE_HOST_BAD },
        { "20 Host with user", "GET", "/", H11, "Host: u@cache.lan\n", GATE_HOST_BAD },
        { "20 Host empty", "GET", "/", H11, "Host:\n", GATE_HOST_BAD },
        { "Host bad in 1.0", "GET", "/", "HTTP/1.0", "Host: a b\n", GATE_HOST_BAD },
        { "Host bad port", "GET", "/", H11, "Host: cache.lan:99999\n", GATE_HOST_BAD },
        { "Host port word", "GET", "/", H11, "Host: cache.lan:http\n", GATE_HOST_BAD },
        { "Host empty port", "GET", "/", H11, "Host: cache.lan:\n", GATE_OK },
        { "Host bracket", "GET", "/", H11, "Host: [::1\n", GATE_HOST_BAD },
        { "Host bracket name", "GET", "/", H11, "Host: [cache.lan]\n", GATE_HOST_BAD },
        { "Host bracket tail", "GET", "/", H11, "Host: [::1]x\n", GATE_HOST_BAD },
        { "21 foreign Host", "GET", "/", H11, "Host: evil.example\n", GATE_HOST_FOREIGN },
        { "21 rebinding, 1.0", "GET", "/", "HTTP/1.0", "Host: evil.example\n", GATE_HOST_FOREIGN },
        { "21 suffix", "GET", "/", H11, "Host: xcache.lan\n", GATE_HOST_FOREIGN },
        { "Host upper case", "GET", "/", H11, "Host: CACHE.LAN\n", GATE_OK },
        { "Host final dot", "GET", "/", H11, "Host: cache.lan.:80\n", GATE_OK },
        { "Host pattern", "GET", "/", H11, "Host: a.b.corp\n", GATE_OK },
        { "Host IPv4", "GET", "/", H11, "Host: 10.1.2.3:8090\n", GATE_OK },
        { "Host IPv6", "GET", "/", H11, "Host: [fd00::1]:8090\n", GATE_OK },
        { "Host localhost", "GET", "/", H11, "Host: localhost:1\n", GATE_OK },
        { "Host a.localhost", "GET", "/", H11, "Host: a.localhost\n", GATE_OK },
        { "Host machine", "GET", "/", H11, "Host: box\n", GATE_OK },
        { "Host machine domain", "GET", "/", H11, "Host: box.home\n", GATE_OK },
        { "Host listen", "GET", "/", H11, "Host: listen.example\n", GATE_OK },
        { "Host public", "GET", "/", H11, "Host: hub.example.org\n", GATE_OK },
        { "22 absolute-form", "GET", "http://cache.lan/x", H11, OK_HOST, GATE_TARGET_FORM },
        { "23 CONNECT", "CONNECT", "host:443", H11, OK_HOST, GATE_METHOD_REFUSED },
        { "24 OPTIONS *", "OPTIONS", "*", H11, OK_HOST, GATE_METHOD_REFUSED },
        { "24 GET *", "GET", "*", H11, OK_HOST, GATE_TARGET_FORM },
        { "25 no slash", "GET", "a/b", H11, OK_HOST, GATE_TARGET_FORM },
        { "25 empty", "GET", "", H11, OK_HOST, GATE_TARGET_FORM },
        { "26 space", "GET", "/a b", H11, OK_HOST, GATE_TARGET_BYTES },
        { "26 tab", "GET", "/a\tb", H11, OK_HOST, GATE_TARGET_BYTES },
        { "fragment", "GET", "/a#b", H11, OK_HOST, GATE_TARGET_BYTES },
        { "27 1.9", "GET", "/", "HTTP/1.9", OK_HOST, GATE_VERSION },
        { "27 2.0", "PRI", "*", "HTTP/2.0", "", GATE_VERSION },
        { "27 0.9", "GET", "/", "", "", GATE_VERSION },
        { "28 upgrade", "GET", "/", H11, OK_HOST "Connection: Upgrade\nUpgrade: h2c\n", GATE_OK },
        { "29 get", "get", "/", H11, OK_HOST, GATE_METHOD_UNKNOWN },
        { "29 odd", "G=\":<>", "/", H11, OK_HOST, GATE_METHOD_UNKNOWN },
        { "29 TRACE", "TRACE", "/", H11, OK_HOST, GATE_METHOD_REFUSED },
        { "29 PATCH", "PATCH", "/", H11, OK_HOST, GATE_OK },
        { "31 GET with body", "GET", "/", H11, OK_HOST "Content-Length: 30\n", GATE_BODY },
        { "31 GET with chunks", "GET", "/", H11, OK_HOST "Transfer-Encoding: chunked\n",
          GATE_BODY },
        { "GET with CL 0", "GET", "/", H11, OK_HOST "Content-Length: 0\n", GATE_OK },
        { "HEAD with body", "HEAD", "/", H11, OK_HOST "Content-Length: 1\n", GATE_BODY },
        { "DELETE with body", "DELETE", "/", H11, OK_HOST "Content-Length: 1\n", GATE_OK },
        { "32 Expect", "POST", "/", H11, OK_HOST "Expect: 100-continue\nContent-Length: 1\n",
          GATE_OK },
        { "32 Expect foo", "POST", "/", H11, OK_HOST "Expect: foo\nContent-Length: 1\n",
          GATE_EXPECT },
        { "71 two Authorization", "GET", "/", H11,
          OK_HOST "Authorization: Bearer a\nauthorization: Bearer b\n", GATE_HEADER_TWICE },
        { "two Range", "GET", "/", H11, OK_HOST "Range: bytes=0-\nRange: bytes=1-\n",
          GATE_HEADER_TWICE },
        { "two Accept", "GET", "/", H11, OK_HOST "Accept: a\nAccept: b\n", GATE_OK },
        { "S-14 own Origin", "POST", "/", H11, OK_HOST "Origin: http://cache.lan:8090\n", GATE_OK },
        { "S-14 own Origin, default port", "POST", "/", H11,
          "Host: cache.lan:80\nOrigin: http://cache.lan\n", GATE_OK },
        { "S-14 own Origin behind TLS", "POST", "/", H11,
          "Host: cache.lan\nOrigin: https://cache.lan\n", GATE_OK },
        { "S-14 public Origin", "POST", "/", H11, OK_HOST "Origin: https://hub.example.org\n",
          GATE_OK },
        { "S-14 foreign Origin", "POST", "/", H11, OK_HOST "Origin: http://evil.example\n",
          GATE_CROSS_SITE },
        { "S-14 other port", "POST", "/", H11, OK_HOST "Origin: http://cache.lan:81\n",
          GATE_CROSS_SITE },
        { "S-14 null Origin", "POST", "/", H11, OK_HOST "Origin: null\n", GATE_CROSS_SITE },
        { "S-14 empty Origin", "POST", "/", H11, OK_HOST "Origin:\n", GATE_CROSS_SITE },
        { "S-14 cross-site", "GET", "/", H11, OK_HOST "Sec-Fetch-Site: cross-site\n",
          GATE_CROSS_SITE },
        { "S-14 same-origin", "GET", "/", H11, OK_HOST "Sec-Fetch-Site: same-origin\n", GATE_OK },
};

static void test_heads(void **state)
{
        int wrong = 0;

        (void)state;
        for (size_t i = 0; i < sizeof(heads) / sizeof(heads[0]); i++) {
                const struct head *h = &heads[i];
                struct gate g;
                enum gate_fault got = run_gate(&g, h->method, h->target, h->version, h->headers);

                if (got != h->want) {
                        print_error("%s: %s instead of %s\n", h->row, fault_name(got),
                                    fault_name(h->want));
                        wrong++;
                }
        }
        assert_int_equal(wrong, 0);
}

/* Row 30: a target of 8 KiB passes, one byte more does not. */
static void test_target_length(void **state)
{
        static char target[GATE_TARGET_MAX + 2];
        struct gate g;

        (void)state;
        memset(target, 'a', GATE_TARGET_MAX);
        target[0] = '/';
        assert_int_equal(run_gate(&g, "GET", target, H11, OK_HOST), GATE_OK);
        target[GATE_TARGET_MAX] = 'a';
        assert_int_equal(run_gate(&g, "GET", target, H11, OK_HOST), GATE_TARGET_LONG);
}

/* Row 30: 100 headers pass, 101 do not. */
static void test_header_count(void **state)
{
        struct buf headers = BUF_INIT(65536);
        struct gate g;

        (void)state;
        buf_add_str(&headers, OK_HOST);
        for (int i = 1; i < GATE_HEADERS_MAX; i++)
                buf_add_fmt(&headers, "X-%d: y\n", i);
        assert_int_equal(run_gate(&g, "GET", "/", H11, headers.ptr), GATE_OK);
        buf_add_str(&headers, "X-More: y\n");
        assert_int_equal(run_gate(&g, "GET", "/", H11, headers.ptr), GATE_HEADERS_MANY);
        buf_done(&headers);
}

static void test_facts(void **state)
{
        struct gate g;

        (void)state;
        run_gate(&g, "PUT", "/", H11, "Host:  cache.lan \nContent-Length: 17\n");
        assert_int_equal(g.method, HTTP_PUT);
        assert_true(slice_is(g.host, "cache.lan"));
        assert_true(gate_has_body(&g));
        assert_int_equal(g.length, 17);
        run_gate(&g, "POST", "/", H11, OK_HOST "Transfer-Encoding: chunked\n");
        assert_true(gate_has_body(&g) && g.chunked && !g.has_length);
        run_gate(&g, "POST", "/", H11, OK_HOST "Content-Length: 0\n");
        assert_false(gate_has_body(&g));
}

static void test_any_host(void **state)
{
        char *any[] = { (char *)"*" };
        struct config open = config;
        const struct gate_rules all = { &open, "" };
        struct gate g;

        (void)state;
        open.allowed_hosts = (struct string_list){ any, 1 };
        gate_begin(&g, &all, SLICE("GET"), SLICE(H11), SLICE("/"));
        gate_header(&g, SLICE("Host"), SLICE("whatever.example"));
        assert_int_equal(gate_end(&g), GATE_OK);
}

/* Every fault has a row with an error status and a sentence that is safe inside JSON. */
static void test_replies(void **state)
{
        (void)state;
        for (int i = GATE_OK + 1; i < GATE_FAULT_MAX; i++) {
                const struct gate_reply *r = gate_reply((enum gate_fault)i);

                assert_in_range(r->status, 400, 505);
                assert_int_not_equal(r->kind, ERR_NONE);
                assert_true(strlen(r->text) > 0);
                assert_null(strpbrk(r->text, "\"\\\n"));
        }
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_heads),        cmocka_unit_test(test_target_length),
                cmocka_unit_test(test_header_count), cmocka_unit_test(test_facts),
                cmocka_unit_test(test_any_host),     cmocka_unit_test(test_replies),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
