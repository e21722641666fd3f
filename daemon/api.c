#include "api.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bundle.h"
#include "commits.h"
#include "daemon.h"
#include "doctor.h"
#include "explain.h"
#include "event_stream.h"
#include "hub_error.h"
#include "inventory.h"
#include "log.h"
#include "poller.h"
#include "mode.h"
#include "prefetch.h"
#include "reply.h"
#include "server_gate.h"
#include "transfers.h"
#include "uri.h"

static const struct api_table *const tables[] = {
        &status_api, &inventory_api, &mode_api,    &prefetch_api,  &commits_api, &events_api,
        &poll_api,   &bundle_api,    &explain_api, &transfers_api, &doctor_api,
};

#define API_PREFIX "/-/api/v1"

enum { WORDS_MAX = 32, ANSWER_MAX = 16 << 20 };

/* ---- patterns ---- */

struct words {
        struct slice v[WORDS_MAX]; /* as they stand in the path, still encoded */
        size_t n;
};

/* False if there are too many. */
static bool split(struct slice text, struct words *ret)
{
        struct slice rest = text;

        for (ret->n = 0; text.len && ret->n < WORDS_MAX; ret->n++)
                if (!slice_split(&rest, '/', &ret->v[ret->n]))
                        return true;
        return !rest.ptr || !text.len;
}

/* Everything from a word on. */
static struct slice rest_from(const struct words *w, size_t at)
{
        const struct slice *last = &w->v[w->n - 1];

        return slice_of(w->v[at].ptr, (size_t)(last->ptr + last->len - w->v[at].ptr));
}

/* The words that the braces take are in params, still encoded. */
static bool matches(const char *pattern, const struct words *w, struct slice *params, size_t *ret_n)
{
        struct slice rest = slice_str(pattern), word;
        size_t at = 0;

        *ret_n = 0;
        for (; rest.len && slice_split(&rest, '/', &word); at++) {
                if (at >= w->n)
                        return false;
                if (word.ptr[0] != '{') {
                        if (!slice_eq(word, w->v[at]))
                                return false;
                        continue;
                }
                if (!w->v[at].len)
                        return false;
                if (slice_ends(word, SLICE("...}"))) {
                        params[(*ret_n)++] = rest_from(w, at);
                        return true;
                }
                params[(*ret_n)++] = w->v[at];
        }
        return at == w->n;
}

/* ---- finding the row ---- */

static void consider(const struct api_row *row, const struct words *w, enum http_method method,
                     bool admin, struct api_found *f)
{
        struct slice params[API_PARAMS_MAX] = { SLICE_NONE };
        size_t n = 0;

        if ((row->who == API_ADMIN && !admin) || !matches(row->pattern, w, params, &n))
                return;
        f->methods |= row->method;
        if (f->row || row->method != method)
                return;
        f->row = row;
        f->n_params = n;
        memcpy(f->params, params, sizeof(params));
}

void api_find(const struct api_table *const *in, size_t n, struct slice path,
              enum http_method method, bool admin, struct api_found *f)
{
        struct words w;

        *f = (struct api_found){ .row = NULL };
        if (!split(path, &w))
                return;
        if (method == HTTP_HEAD)
                method = HTTP_GET;
        for (size_t t = 0; t < n; t++)
                for (size_t i = 0; i < in[t]->n; i++)
                        consider(&in[t]->rows[i], &w, method, admin, f);
}

/* What stands behind the prefix; false if the path is not of this API. */
static bool path_of(struct slice raw, struct slice *ret)
{
        struct slice prefix = SLICE(API_PREFIX);

        if (!slice_starts(raw, prefix))
                return false;
        *ret = slice_skip(raw, prefix.len);
        if (!ret->len)
                return true;
        if (ret->ptr[0] != '/')
                return false;
        *ret = slice_skip(*ret, 1);
        return true;
}

/* ---- answers ---- */

/* Who changed what: operators want to know afterwards (S-17). */
static void audit(const struct request *r, int status)
{
        char path[512];

        if (!exchange_is_admin(r->x) || (r->hub.method & (HTTP_GET | HTTP_HEAD)))
                return;
        log_event(LOG_INFO, "admin.call", "peer=%s method=%s path=%s status=%d",
                  exchange_peer(r->x), http_method_name(r->hub.method),
                  log_escape(r->hub.raw_path, path, sizeof(path)), status);
}

static int result_of(int status)
{
        if (status == 401 || status == 403)
                return METRIC_RESULT_DENIED;
        return status >= 400 ? METRIC_RESULT_ERROR : METRIC_RESULT_HIT;
}

static void answer(struct request *r, int status, struct response *response)
{
        audit(r, status);
        if (response)
                response_header(response, "Cache-Control", "no-store");
        request_answer(r, response, result_of(status));
}

void api_answer(struct request *r, int status, json_t *document)
{
        struct buf text = BUF_INIT(ANSWER_MAX);
        struct response *response = NULL;
        size_t n = 0;
        char *bytes;

        if (!document) {
                answer(r, status, response_bytes(status, NULL, 0));
                return;
        }
        json_write(document, &text);
        json_decref(document);
        buf_add_char(&text, '\n');
        bytes = buf_take(&text, &n);
        if (bytes)
                response = response_bytes(status, bytes, n);
        if (response)
                response_header(response, "Content-Type", "application/json; charset=utf-8");
        answer(r, response ? status : 503, response);
}

void api_fail(struct request *r, int status, const char *fmt, ...)
{
        char text[512];
        va_list args;

        va_start(args, fmt);
        vsnprintf(text, sizeof(text), fmt, args);
        va_end(args);
        r->slug = "api";
        answer(r, status, reply_status(status, text));
}

void api_fail_with(struct request *r, const struct error *err)
{
        r->slug = error_slug(err->kind);
        answer(r, hub_error_status(err->kind), reply_error(err->kind, err->what));
}

bool api_knows(const struct api_call *call, const char *names)
{
        const char *name;
        json_t *value;

        json_object_foreach(call->body, name, value)
        {
                struct slice rest = slice_str(names), word;
                bool known = false;

                while (!known && slice_split(&rest, ' ', &word))
                        known = slice_is(word, name);
                if (!known) {
                        api_fail(call->request, 400, "the body has an unknown member \"%.64s\"",
                                 name);
                        return false;
                }
        }
        return true;
}

/* ---- calls ---- */

static bool says_json(const struct request *r)
{
        struct slice type = exchange_header(r->x, "Content-Type");

        return slice_ieq(slice_trim(slice_cut(type, slice_find(type, ';'))),
                         SLICE("application/json"));
}

/* A form that a page in a browser can post elsewhere does not say JSON, and is refused with that.
 * False if it was answered. */
static bool read_body(struct request *r, json_t **ret)
{
        struct slice text = exchange_body(r->x);
        struct error err = { 0 };

        if (!text.len)
                return true;
        if (!says_json(r)) {
                api_fail(r, 415, "the body must be application/json");
                return false;
        }
        *ret = json_read(text, &err);
        if (json_is_object(*ret))
                return true;
        api_fail(r, 400, "the body must be a JSON object without a name that is there twice");
        return false;
}

/* Not after the call was answered: the request may be gone then. */
static bool decode(const struct api_found *f, struct buf *texts, struct api_call *call)
{
        for (size_t i = 0; i < f->n_params; i++) {
                if (uri_decode(f->params[i], &texts[i], NULL) < 0 || !buf_ok(&texts[i]))
                        return false;
                call->params[i] = buf_slice(&texts[i]);
        }
        return true;
}

static void run(struct request *r, const struct api_found *f)
{
        struct buf texts[API_PARAMS_MAX];
        struct api_call call = { .request = r,
                                 .admin = exchange_is_admin(r->x),
                                 .query = r->hub.query };
        json_t *body = NULL;

        for (size_t i = 0; i < API_PARAMS_MAX; i++)
                texts[i] = (struct buf)BUF_INIT(GATE_TARGET_MAX);
        if (!decode(f, texts, &call)) {
                api_fail(r, 400, "the path is not encoded rightly");
        } else if (read_body(r, &body)) {
                call.body = body;
                f->row->run(&call);
        }
        json_decref(body);
        for (size_t i = 0; i < API_PARAMS_MAX; i++)
                buf_done(&texts[i]);
}

static void refuse_method(struct request *r, unsigned methods)
{
        struct response *response = reply_status(405, "this path does not have this method");
        char allow[80] = "";

        for (unsigned m = 1; m <= methods; m <<= 1)
                if (methods & m)
                        snprintf(allow + strlen(allow), sizeof(allow) - strlen(allow), "%s%s",
                                 allow[0] ? ", " : "", http_method_name((enum http_method)m));
        response_header(response, "Allow", allow);
        r->slug = "api";
        answer(r, 405, response);
}

void api_begin(struct request *r)
{
        struct slice path;
        struct api_found f = { .row = NULL };

        if (path_of(r->hub.raw_path, &path))
                api_find(tables, ARRAY_LEN(tables), path, r->hub.method, exchange_is_admin(r->x),
                         &f);
        if (f.row)
                run(r, &f);
        else if (f.methods)
                refuse_method(r, f.methods);
        else
                api_fail(r, 404, "there is no such path in this API");
}

json_t *api_routes(bool admin)
{
        json_t *list = json_array();

        for (size_t t = 0; t < ARRAY_LEN(tables); t++)
                for (size_t i = 0; i < tables[t]->n; i++) {
                        const struct api_row *row = &tables[t]->rows[i];

                        if (admin || row->who == API_CLIENTS)
                                json_array_append_new(
                                        list,
                                        json_pack("{s:s, s:o, s:b}", "method",
                                                  http_method_name(row->method), "path",
                                                  json_sprintf(API_PREFIX "/%s", row->pattern),
                                                  "clients", row->who == API_CLIENTS));
                }
        return list;
}
