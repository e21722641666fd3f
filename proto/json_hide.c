/*
 * Takes `xetHash` out of a document as text.
 *
 * Clients that see a Xet hash fetch from the Xet servers and pass us by (hub-protocol 5.8), so
 * the member has to go, and nothing else may change: numbers, order and spelling stay.  Each
 * object is read once; what is to be cut is noted as spans, sorted and left out at the end.
 */
#include "model.h"

#include <stdlib.h>

#include "json_text.h"

struct cut {
        const char *start, *end;
};

struct cuts {
        struct cut *v;
        size_t n, cap;
};

static int cuts_add(struct cuts *cuts, const char *start, const char *end, struct error *err)
{
        struct cut *grown;

        if (cuts->n == cuts->cap) {
                cuts->cap = cuts->cap ? cuts->cap * 2 : 64;
                grown = reallocarray(cuts->v, cuts->cap, sizeof(*grown));
                if (!grown)
                        return error_set(err, ERR_NOMEM, "no memory to rewrite a document");
                cuts->v = grown;
        }
        cuts->v[cuts->n++] = (struct cut){ start, end };
        return 0;
}

static int compare_cuts(const void *a, const void *b)
{
        const struct cut *x = a, *y = b;

        return (x->start > y->start) - (x->start < y->start);
}

static int malformed(struct error *err)
{
        return error_set(err, ERR_UPSTREAM_BROKEN, "upstream's JSON is malformed or too deep");
}

/* A size in digits only; anything else is not over the limit. */
static bool is_over_limit(struct slice number)
{
        uint64_t size = 0;

        for (size_t i = 0; i < number.len; i++) {
                if (number.ptr[i] < '0' || number.ptr[i] > '9')
                        return false;
                if (size > HUB_MAX_HTTP_FILE)
                        continue;
                size = size * 10 + (uint64_t)(number.ptr[i] - '0');
        }
        return size > HUB_MAX_HTTP_FILE;
}

static int scan_value(struct json_text *t, struct cuts *cuts, struct error *err);

static int scan_array(struct json_text *t, struct cuts *cuts, struct error *err)
{
        struct slice key;
        bool first = true;
        int r;

        if (!json_text_open(t, '['))
                return malformed(err);
        while ((r = json_text_next(t, ']', &first, &key)) > 0)
                if (scan_value(t, cuts, err) < 0)
                        return -1;
        return r < 0 ? malformed(err) : 0;
}

/* What one object has shown so far. */
struct object_scan {
        const char *before_end; /* where the member before xetHash ends, NULL if it is the first */
        struct slice xet_key, xet_value;
        const char *next_key; /* the key after xetHash, or the closing bracket */
        const char *last_end;
        bool has_xet, large;
};

static int scan_member(struct json_text *t, struct slice key, struct object_scan *o,
                       struct cuts *cuts, struct error *err)
{
        struct slice value;

        if (o->has_xet && !o->next_key)
                o->next_key = key.ptr;
        if (slice_is(key, "\"xetHash\"")) {
                if (o->has_xet || !json_text_value(t, &o->xet_value))
                        return malformed(err);
                o->has_xet = true;
                o->xet_key = key;
                o->before_end = o->last_end;
        } else if (slice_is(key, "\"size\"")) {
                if (!json_text_value(t, &value))
                        return malformed(err);
                o->large = is_over_limit(value);
        } else if (scan_value(t, cuts, err) < 0) {
                return -1;
        }
        o->last_end = t->rest.ptr;
        return 0;
}

static int scan_object(struct json_text *t, struct cuts *cuts, struct error *err)
{
        struct object_scan o = { 0 };
        struct slice key;
        bool first = true;
        int r;

        if (!json_text_open(t, '{'))
                return malformed(err);
        while ((r = json_text_next(t, '}', &first, &key)) > 0)
                if (scan_member(t, key, &o, cuts, err) < 0)
                        return -1;
        if (r < 0)
                return malformed(err);
        if (!o.has_xet || o.large)
                return 0;
        /* With the comma before it, or the one after it where it is the first member. */
        if (o.before_end)
                return cuts_add(cuts, o.before_end, o.xet_value.ptr + o.xet_value.len, err);
        return cuts_add(cuts, o.xet_key.ptr,
                        o.next_key ? o.next_key : o.xet_value.ptr + o.xet_value.len, err);
}

static int scan_value(struct json_text *t, struct cuts *cuts, struct error *err)
{
        struct slice value;

        json_text_space(t);
        if (t->rest.len && t->rest.ptr[0] == '{')
                return scan_object(t, cuts, err);
        if (t->rest.len && t->rest.ptr[0] == '[')
                return scan_array(t, cuts, err);
        return json_text_value(t, &value) ? 0 : malformed(err);
}

static int write_rest(struct slice json, struct cuts *cuts, struct buf *out, struct error *err)
{
        const char *at = json.ptr;

        qsort(cuts->v, cuts->n, sizeof(cuts->v[0]), compare_cuts);
        for (size_t i = 0; i < cuts->n; i++) {
                buf_add(out, slice_of(at, (size_t)(cuts->v[i].start - at)));
                at = cuts->v[i].end;
        }
        buf_add(out, slice_of(at, (size_t)(json.ptr + json.len - at)));
        return buf_ok(out) ? 1 : error_set(err, ERR_NOMEM, "no room to rewrite a document");
}

int json_hide_xet(struct slice json, struct buf *out, struct error *err)
{
        struct json_text t = { json, MODEL_DEPTH_MAX };
        struct cuts cuts = { 0 };
        int r;

        if (json.len == 0 || !memmem(json.ptr, json.len, "xetHash", 7))
                return 0;
        if (json.len > MODEL_JSON_MAX)
                return error_set(err, ERR_UPSTREAM_BROKEN, "upstream's JSON is too large");
        r = scan_value(&t, &cuts, err);
        json_text_space(&t);
        if (r == 0 && t.rest.len)
                r = malformed(err);
        if (r == 0 && cuts.n)
                r = write_rest(json, &cuts, out, err);
        free(cuts.v);
        return r;
}
