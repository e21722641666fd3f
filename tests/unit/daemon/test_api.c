/* daemon/api.c: which row a path leads to. */
#include "../unit.h"

#include "api.h"
#include "base/compiler.h"

static void handler(const struct api_call *call unused_arg)
{
}

static const struct api_row first_rows[] = {
        { HTTP_GET, "", API_ADMIN, handler },
        { HTTP_GET, "things", API_CLIENTS, handler },
        { HTTP_POST, "things", API_ADMIN, handler },
        { HTTP_GET, "things/all", API_ADMIN, handler },
        { HTTP_GET, "things/{id}", API_CLIENTS, handler },
        { HTTP_DELETE, "things/{id}", API_ADMIN, handler },
        { HTTP_POST, "things/{id}/run", API_ADMIN, handler },
};
static const struct api_row second_rows[] = {
        { HTTP_GET, "states/{topic}/{subject...}", API_CLIENTS, handler },
};
static const struct api_table first = { first_rows, ARRAY_LEN(first_rows) };
static const struct api_table second = { second_rows, ARRAY_LEN(second_rows) };
static const struct api_table *const tables[] = { &first, &second };

static const struct {
        enum http_method method;
        bool admin;
        const char *path;
        const char *found; /* "PATTERN PARAM,PARAM", or "-" and the methods that there are */
} cases[] = {
        { HTTP_GET, true, "", " " },
        { HTTP_GET, true, "things", "things " },
        { HTTP_HEAD, true, "things", "things " },
        { HTTP_POST, true, "things", "things " },
        { HTTP_GET, true, "things/all", "things/all " },
        { HTTP_GET, true, "things/7", "things/{id} 7" },
        { HTTP_GET, true, "things/a%2Fb", "things/{id} a%2Fb" },
        { HTTP_POST, true, "things/7/run", "things/{id}/run 7" },
        { HTTP_GET, true, "states/job/acme/65f0", "states/{topic}/{subject...} job,acme/65f0" },
        { HTTP_GET, true, "states/job/x", "states/{topic}/{subject...} job,x" },

        { HTTP_GET, true, "thing", "-" },
        { HTTP_GET, true, "things/", "-" },
        { HTTP_GET, true, "/things", "-" },
        { HTTP_GET, true, "things/7/", "-" },
        { HTTP_GET, true, "things/7/walk", "-" },
        { HTTP_GET, true, "things/7/run/9", "-" },
        { HTTP_GET, true, "states", "-" },
        { HTTP_GET, true, "states/job", "-" },
        { HTTP_GET, true, "states/job/", "-" },
        { HTTP_GET, true, "things/{id}/run", "- POST" },
        { HTTP_PUT, true, "things", "- GET POST" },
        { HTTP_OPTIONS, true, "things/7", "- GET DELETE" },

        /* Clients do not learn that there is more. */
        { HTTP_GET, false, "things/7", "things/{id} 7" },
        { HTTP_GET, false, "things/all", "things/{id} all" },
        { HTTP_GET, false, "", "-" },
        { HTTP_POST, false, "things/7/run", "-" },
        { HTTP_POST, false, "things", "- GET" },
        { HTTP_DELETE, false, "things/7", "- GET" },
};

static void describe(const struct api_found *f, struct buf *out)
{
        static const enum http_method all[] = { HTTP_GET, HTTP_POST, HTTP_PUT, HTTP_DELETE };

        if (f->row)
                buf_add_fmt(out, "%s ", f->row->pattern);
        else
                buf_add_char(out, '-');
        for (size_t i = 0; i < f->n_params; i++)
                buf_add_fmt(out, "%s" SLICE_FMT, i ? "," : "", SLICE_ARG(f->params[i]));
        for (size_t i = 0; !f->row && i < ARRAY_LEN(all); i++)
                if (f->methods & all[i])
                        buf_add_fmt(out, " %s", http_method_name(all[i]));
}

static void test_rows(void **state unused_arg)
{
        for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
                scoped(buf_done) struct buf out = BUF_INIT(4096);
                struct api_found f;

                api_find(tables, ARRAY_LEN(tables), slice_str(cases[i].path), cases[i].method,
                         cases[i].admin, &f);
                describe(&f, &out);
                if (strcmp(out.ptr, cases[i].found) != 0)
                        fail_msg("%s %s: %s", http_method_name(cases[i].method), cases[i].path,
                                 out.ptr);
        }
}

static void test_very_many_words(void **state unused_arg)
{
        scoped(buf_done) struct buf path = BUF_INIT(1 << 16);
        struct api_found f;

        buf_add_str(&path, "states/job");
        for (size_t i = 0; i < 4000; i++)
                buf_add_str(&path, "/a");
        api_find(tables, ARRAY_LEN(tables), buf_slice(&path), HTTP_GET, true, &f);
        assert_null(f.row);
        assert_int_equal(f.methods, 0);
}

/* Every row can be reached, and takes no more than there is room for. */
static void test_our_rows(void **state unused_arg)
{
        json_t *all = api_routes(true), *few = api_routes(false);

        assert_true(json_array_size(all) > json_array_size(few));
        for (size_t i = 0; i < json_array_size(all); i++) {
                const json_t *row = json_array_get(all, i);
                struct slice rest = json_text_of(row, "path"), piece;
                size_t braces = 0;

                assert_true(slice_starts(rest, SLICE("/-/api/v1/")));
                while (slice_split(&rest, '{', &piece))
                        braces++;
                assert_true(braces - 1 <= API_PARAMS_MAX);
        }
        json_decref(all);
        json_decref(few);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_rows),
                cmocka_unit_test(test_very_many_words),
                cmocka_unit_test(test_our_rows),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
