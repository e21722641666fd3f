/* Upstream's side of a flight: which spans to ask for, and what comes of asking. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/secret.h"
#include "daemon.h"
#include "etag.h"
#include "flight_impl.h"
#include "hub_header.h"
#include "metrics.h"
#include "range.h"
#include "redirect.h"
#include "route.h"
#include "upstream.h"

static void fetch_ask(struct fetch *f);
static void fetch_request(struct fetch *f, const struct source *source);

/* ---- ends ---- */

/* Hands what has been received to the disk and the digest. */
static void fetch_flush(struct fetch *f)
{
        struct chunk *c = f->filling;

        if (!c || !c->len)
                return;
        f->filling = NULL;
        if (f->flight->state == FLIGHT_RUNNING || f->flight->state == FLIGHT_FAILED) {
                flight_store_chunk(f->flight, c);
                return;
        }
        c->uses = 1;
        chunk_release(c);
}

static void fetch_end(struct fetch *f)
{
        if (f->dead)
                return;
        transfer_cancel(&f->transfer);
        question_leave(&f->waiter);
        loop_timer_stop(&f->retry);
        fetch_flush(f);
        if (f->filling) {
                f->filling->uses = 1;
                chunk_release(f->filling);
                f->filling = NULL;
        }
        f->dead = true;
        flight_check_soon(f->flight);
}

void fetch_cancel_all(struct flight *fl)
{
        list_each (n, &fl->fetches)
                fetch_end(list_entry(n, struct fetch, node));
}

/* A dead fetch is freed when its last chunk is on disk. */
static void sweep(struct flight *fl)
{
        list_each_safe (n, &fl->fetches) {
                struct fetch *f = list_entry(n, struct fetch, node);

                if (!f->dead || f->writing)
                        continue;
                loop_at_end_cancel(&f->flush);
                loop_timer_stop(&f->retry);
                list_remove(&f->node);
                fl->n_fetches--;
                free(f);
        }
}

static void fetch_broken(struct fetch *f, enum error_kind kind, const char *why)
{
        struct error err = { 0 };
        struct flight *fl = f->flight;

        error_set(&err, kind, "%s", why);
        fetch_end(f);
        flight_fail(fl, &err, NULL);
}

static void retry_now(void *arg)
{
        fetch_ask(arg);
}

/* Goes on at f->pos after a pause, or gives the flight up. */
static void fetch_again(struct fetch *f, const struct error *err)
{
        struct flight *fl = f->flight;
        struct daemon *d = fl->table->d;

        transfer_cancel(&f->transfer);
        fetch_flush(f);
        if (f->tries >= FETCH_TRIES || !upstream_may_retry(d->upstream) ||
            (fl->n_readers == 0 && f->tries > 1)) {
                struct error why = *err;

                fetch_end(f);
                flight_fail(fl, &why, NULL);
                return;
        }
        loop_timer_start(d->loop, &f->retry, upstream_backoff_ms(f->tries), 0, retry_now, f);
}

/* ---- bytes ---- */

static struct chunk *chunk_new(struct fetch *f)
{
        struct flights *t = f->flight->table;
        struct list_node *n = list_pop_front(&t->free_chunks);
        struct chunk *c;

        if (n) {
                t->n_free_chunks--;
                c = list_entry(n, struct chunk, node);
        } else {
                c = malloc(sizeof(*c));
                if (!c)
                        return NULL;
        }
        list_init(&c->node);
        c->flight = f->flight;
        c->fetch = f;
        c->offset = f->pos;
        c->len = 0;
        c->uses = 0;
        error_clear(&c->err);
        return c;
}

static void flush_at_end(void *arg)
{
        struct fetch *f = arg;
        struct flight *fl = f->flight;

        if (f->dead)
                return;
        /* With a write under way the rest may gather: fewer, larger jobs. */
        if (!f->writing)
                fetch_flush(f);
        f->turn = 0;
        /* The first bytes reach their readers before more are taken: flight_fetches_go_on. */
        if (f->begun && f->paused && f->transfer && fl->unwritten < UNWRITTEN_MAX &&
            !flight_pace_holds(fl)) {
                f->paused = false;
                transfer_resume(f->transfer);
        }
}

static void take_bytes(struct fetch *f, struct slice bytes)
{
        struct flight *fl = f->flight;

        bool slow = flight_pace_take(fl, bytes.len);

        f->turn += bytes.len;
        fl->received += bytes.len;
        while (bytes.len) {
                size_t n;

                if (!f->filling && !(f->filling = chunk_new(f))) {
                        fetch_broken(f, ERR_NOMEM, "no memory for a transfer");
                        return;
                }
                n = MIN(bytes.len, CHUNK_SIZE - f->filling->len);
                memcpy(f->filling->bytes + f->filling->len, bytes.ptr, n);
                f->filling->len += n;
                fl->unwritten += n;
                f->pos += n;
                bytes = slice_skip(bytes, n);
                if (f->filling->len == CHUNK_SIZE)
                        fetch_flush(f);
        }
        /* curl hands over all that the socket has; the loop has others to answer, and the first
         * bytes have a client waiting. */
        if ((slow || fl->unwritten >= UNWRITTEN_MAX ||
             f->turn >= (f->begun ? TURN_BYTES : FIRST_TURN_BYTES)) &&
            !f->paused) {
                f->paused = true;
                transfer_pause(f->transfer);
        }
        f->flush.fn = flush_at_end;
        f->flush.arg = f;
        loop_at_end(fl->table->d->loop, &f->flush);
}

void flight_fetches_go_on(struct flight *fl)
{
        list_each (n, &fl->fetches) {
                struct fetch *f = list_entry(n, struct fetch, node);

                if (f->dead)
                        continue;
                if (!f->writing)
                        fetch_flush(f);
                f->begun = true;
                if (f->paused && f->transfer && fl->unwritten <= UNWRITTEN_LOW &&
                    !flight_pace_holds(fl)) {
                        f->paused = false;
                        transfer_resume(f->transfer);
                }
        }
        sweep(fl);
}

static void on_data(struct transfer *t, void *arg, struct slice bytes)
{
        struct fetch *f = arg;
        uint64_t room = f->end - f->pos;

        (void)t;
        if (bytes.len > room && f->end == f->flight->size) {
                fetch_broken(f, ERR_UPSTREAM_BROKEN, "upstream sends more bytes than the file has");
                return;
        }
        take_bytes(f, slice_cut(bytes, (size_t)MIN(room, (uint64_t)SIZE_MAX)));
        if (!f->dead && f->pos >= f->end && bytes.len > room) {
                /* The planner gave the rest to another fetch. */
                fetch_end(f);
        }
}

static void on_done(struct transfer *t, void *arg, const struct error *err)
{
        struct fetch *f = arg;
        struct error cut = *err;

        (void)t;
        f->transfer = NULL;
        if (f->pos < f->end) {
                if (!error_is_set(&cut))
                        error_set(&cut, ERR_UPSTREAM_CUT, "upstream ended the file early");
                if (cut.kind == ERR_UPSTREAM_BROKEN)
                        fetch_broken(f, cut.kind, cut.what);
                else
                        fetch_again(f, &cut);
                return;
        }
        fetch_end(f);
}

/* ---- heads ---- */

/* ERR_NONE if this response is the span asked for; else why not. */
static enum error_kind judge_head(struct fetch *f, struct transfer *t, const char **ret_why)
{
        struct flight *fl = f->flight;
        struct slice encoding = transfer_header(t, "content-encoding");
        struct slice etag = etag_normalize(transfer_header(t, "etag"));
        uint64_t length = transfer_length(t);
        struct content_range got;
        struct digest named;

        if (encoding.ptr && !slice_ieq(encoding, SLICE("identity"))) {
                *ret_why = "upstream encoded a file that we asked for plain";
                return ERR_UPSTREAM_BROKEN;
        }
        /* Other hosts name files by digests of their own: the CDN's etag is the Xet hash. */
        if (origin_eq(transfer_origin(t), upstream_hub(fl->table->d->upstream)) &&
            digest_parse(etag, &named) && named.algo == fl->want.algo &&
            !digest_eq(&named, &fl->want)) {
                *ret_why = "upstream's etag names other bytes than its metadata";
                return ERR_UPSTREAM_BROKEN;
        }
        if (transfer_status(t) == 206) {
                if (content_range_parse(transfer_header(t, "content-range"), &got) != 1 ||
                    got.start != f->pos || got.end > f->asked_end ||
                    (got.total != UINT64_MAX && got.total != fl->size)) {
                        *ret_why = "upstream's Content-Range is not the range that we asked for";
                        return ERR_UPSTREAM_BROKEN;
                }
                return ERR_NONE;
        }
        if (length != UINT64_MAX && length != fl->size) {
                *ret_why = "upstream's Content-Length is not the size in its metadata";
                return ERR_UPSTREAM_BROKEN;
        }
        /* The whole file in answer to a range: it begins at zero, and so do we. */
        if (f->filling)
                fetch_flush(f);
        f->pos = 0;
        return ERR_NONE;
}

static void follow(struct fetch *f, struct transfer *t)
{
        struct daemon *d = f->flight->table->d;
        scoped(buf_done) struct buf target = BUF_INIT(LOCATION_MAX);
        enum redirect_kind kind;
        struct error err = { 0 };
        struct uri uri;
        struct source next = { 0 };

        if (++f->hops > REDIRECT_HOPS_MAX ||
            redirect_decide(&d->redirects, SLICE("/"), transfer_header(t, "location"), &kind,
                            &target, &err) < 0) {
                fetch_broken(f, ERR_REDIRECT,
                             err.what[0] ? err.what : "upstream redirects too often");
                return;
        }
        if (kind == REDIRECT_HUB) {
                next.origin = *upstream_hub(d->upstream);
                next.on_hub = true;
                next.path_query = slice_dup(buf_slice(&target));
        } else if (uri_parse(buf_slice(&target), &uri, &err) == 0) {
                next.origin = uri.origin;
                next.path_query = slice_dup(uri.path_query);
        }
        transfer_cancel(&f->transfer);
        if (next.path_query)
                fetch_request(f, &next);
        else
                fetch_broken(f, ERR_REDIRECT, "upstream redirects to a malformed address");
        secret_free(&next.path_query);
}

static void on_refusal(struct fetch *f, int status)
{
        struct error err = { 0 };

        error_set(&err, status == 429 ? ERR_OVERLOAD : ERR_UPSTREAM_STATUS,
                  "upstream answered %d for the bytes of a file", status);
        /* A signed address may have expired: ask the hub for a new one, once. */
        questions_forget_source(f->flight->table->d->questions, &f->flight->want);
        if (status < 500 && status != 429 && f->used_known_source && f->asks == 0) {
                transfer_cancel(&f->transfer);
                fetch_ask(f);
                return;
        }
        if (status >= 500 || status == 429 || status == 408) {
                fetch_again(f, &err);
                return;
        }
        fetch_broken(f, err.kind, err.what);
}

static void on_head(struct transfer *t, void *arg)
{
        struct fetch *f = arg;
        int status = transfer_status(t);
        const char *why = "";
        enum error_kind bad;

        if (status >= 300 && status < 400) {
                follow(f, t);
        } else if (status == 200 || status == 206) {
                bad = judge_head(f, t, &why);
                if (bad != ERR_NONE)
                        fetch_broken(f, bad, why);
        } else if (status == 416) {
                fetch_broken(f, ERR_UPSTREAM_BROKEN,
                             "upstream's file is shorter than its metadata says");
        } else {
                on_refusal(f, status);
        }
}

static const struct transfer_ops ops = {
        .on_head = on_head,
        .on_data = on_data,
        .on_done = on_done,
};

/* ---- asking ---- */

static void fetch_request(struct fetch *f, const struct source *source)
{
        struct flight *fl = f->flight;
        struct error err = { 0 };
        char range[64];
        struct transfer_spec spec = {
                .method = HTTP_GET,
                .origin = &source->origin,
                .path_query = slice_str(source->path_query),
                .authorization = source->on_hub ? slice_str(fl->authorization) : SLICE_NONE,
                .account = source->on_hub ? fl->account : NULL,
                .foreground = !flight_is_background(fl),
                .ops = &ops,
                .arg = f,
        };

        if (f->pos > 0 || f->end < fl->size) {
                snprintf(range, sizeof(range), "bytes=%" PRIu64 "-%" PRIu64, f->pos, f->end - 1);
                spec.range = slice_str(range);
        }
        f->paused = false;
        f->asked_end = f->end;
        f->transfer = transfer_start(fl->table->d->upstream, &spec, &err);
        if (!f->transfer)
                fetch_broken(f, err.kind, err.what);
}

static void on_found(void *arg, struct finding *finding)
{
        struct fetch *f = arg;
        struct flight *fl = f->flight;
        struct error err = finding->err;

        f->asking = false;
        if (error_is_set(&err) || finding->verdict == HUB_TRANSIENT ||
            finding->verdict == HUB_RATE_LIMITED) {
                if (!error_is_set(&err))
                        error_set(&err, ERR_UPSTREAM_STATUS, "upstream answered %d",
                                  finding->status);
                fetch_again(f, &err);
                return;
        }
        if (!finding->has_file) {
                error_set(&err, ERR_UPSTREAM_STATUS, "upstream refused the file with %d",
                          finding->status);
                fetch_end(f);
                flight_fail(fl, &err, finding);
                return;
        }
        if (!digest_eq(&finding->digest, &fl->want) || finding->size != fl->size) {
                fetch_broken(f, ERR_UPSTREAM_BROKEN,
                             "upstream names other bytes for a fixed commit");
                return;
        }
        fetch_request(f, &finding->source);
}

/* Sends the request to where the bytes are known to be, or asks the hub where that is. */
static void fetch_ask(struct fetch *f)
{
        struct flight *fl = f->flight;
        struct daemon *d = fl->table->d;
        const struct source *known = questions_source(d->questions, &fl->want);
        scoped(buf_done) struct buf target = BUF_INIT(32768);
        struct question_spec spec = { .kind = ASK_FILE, .method = HTTP_HEAD };

        f->tries++;
        if (known) {
                f->used_known_source = true;
                fetch_request(f, known);
                return;
        }
        f->used_known_source = false;
        f->asks++;
        if (!fl->facts->commit[0]) {
                fetch_broken(f, ERR_UPSTREAM_BROKEN,
                             "the address of the object is no longer good: ask for it again");
                return;
        }
        hub_resolve_target(fl->facts->kind, slice_str(fl->facts->repo),
                           slice_str(fl->facts->commit), slice_str(fl->facts->path), &target);
        if (!buf_ok(&target)) {
                fetch_broken(f, ERR_INTERNAL, "the path of a file is too long to ask for");
                return;
        }
        spec.client_target = target.ptr;
        spec.upstream_target = target.ptr;
        spec.authorization = fl->authorization;
        spec.account = fl->account;
        spec.since_ms = loop_now(d->loop);
        spec.background = flight_is_background(fl);
        spec.who = permits_principal(d->permits, slice_str(fl->authorization));
        f->waiter.found = on_found;
        f->waiter.arg = f;
        f->asking = true;
        question_ask(d->questions, &spec, &f->waiter);
}

void flight_set_foreground(struct flight *fl, bool foreground)
{
        list_each (n, &fl->fetches) {
                struct fetch *f = list_entry(n, struct fetch, node);

                if (f->dead)
                        continue;
                if (f->transfer)
                        transfer_set_foreground(f->transfer, foreground);
                if (f->asking && foreground)
                        question_promote(&f->waiter);
        }
}

/* ---- planning ---- */

static void fetch_new(struct flight *fl, uint64_t start, uint64_t end)
{
        struct fetch *f = calloc(1, sizeof(*f));
        struct error err = { 0 };

        if (!f) {
                error_set(&err, ERR_NOMEM, "no memory for a transfer");
                flight_fail(fl, &err, NULL);
                return;
        }
        f->flight = fl;
        f->start = f->pos = start;
        f->end = end;
        list_push_back(&fl->fetches, &f->node);
        fl->n_fetches++;
        fetch_ask(f);
}

/* The live fetch that will bring the byte at pos, or NULL. */
static struct fetch *fetch_covering(struct flight *fl, uint64_t pos)
{
        list_each (n, &fl->fetches) {
                struct fetch *f = list_entry(n, struct fetch, node);

                if (!f->dead && f->pos <= pos && pos < f->end)
                        return f;
        }
        return NULL;
}

/* Bytes that were received but are not on disk yet count as coming too.  Chunks are written side by
 * side, so that later ones may be there already. */
static bool being_written(struct flight *fl, uint64_t pos)
{
        list_each (n, &fl->fetches) {
                struct fetch *f = list_entry(n, struct fetch, node);

                if (pos < f->pos && (f->pos - pos <= fl->unwritten ||
                                     (pos >= f->start && (f->writing || f->filling))))
                        return true;
        }
        return false;
}

static uint64_t next_boundary(struct flight *fl, uint64_t pos, uint64_t end)
{
        end = MIN(end, partial_next_have(fl->partial, pos));
        list_each (n, &fl->fetches) {
                struct fetch *f = list_entry(n, struct fetch, node);

                if (!f->dead && f->pos > pos)
                        end = MIN(end, f->pos);
        }
        return end;
}

/* A long span may be worth several connections (option upstream.range_streams). */
static void fetch_span(struct flight *fl, uint64_t start, uint64_t end)
{
        const struct config *config = daemon_config(fl->table->d);
        uint64_t streams = MAX(config->upstream_range_streams, 1u);
        uint64_t piece;

        if (streams == 1 || end - start < config->upstream_range_stream_min_size) {
                fetch_new(fl, start, end);
                return;
        }
        piece = (end - start + streams - 1) / streams;
        piece = (piece + MIB(1) - 1) / MIB(1) * MIB(1);
        for (uint64_t at = start; at < end; at += piece)
                fetch_new(fl, at, MIN(at + piece, end));
}

static void plan_one(struct flight *fl, uint64_t pos, uint64_t end)
{
        struct fetch *f = fetch_covering(fl, pos);

        if (fl->state != FLIGHT_RUNNING || fl->n_fetches >= FETCHES_MAX || being_written(fl, pos) ||
            (f && pos - f->pos <= JUMP_BYTES))
                return;
        if (f) {
                /* It would take long to come here: it stops where the new one begins. */
                end = MIN(end, f->end);
                f->end = pos;
        }
        fetch_span(fl, pos, next_boundary(fl, pos, end));
}

void flight_plan(struct flight *fl)
{
        struct span wants[WANTS_MAX];
        size_t n = flight_wants(fl, wants, WANTS_MAX);

        for (size_t i = 0; i < n; i++)
                plan_one(fl, wants[i].start, wants[i].end);
}
