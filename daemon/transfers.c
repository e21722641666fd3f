#include "transfers.h"

#include "api.h"
#include "daemon.h"
#include "flight.h"
#include "loop.h"
#include "server.h"

enum { LISTED_MAX = 500 };

struct listing {
        json_t *transfers;
        unsigned more;
};

static json_t *name_of(enum repo_kind kind, struct slice repo)
{
        return json_sprintf("%s" SLICE_FMT, repo_kind_prefix(kind), SLICE_ARG(repo));
}

static void add_transfer(void *arg, const struct flight_view *v)
{
        struct listing *l = arg;

        if (json_array_size(l->transfers) == LISTED_MAX) {
                l->more++;
                return;
        }
        json_array_append_new(
                l->transfers,
                json_pack("{s:o, s:s, s:s, s:I, s:I, s:I, s:i, s:i, s:s, s:b, s:I}", "repository",
                          name_of(v->facts->kind, slice_str(v->facts->repo)), "path",
                          v->facts->path, "digest", DIGEST_STR(&v->facts->digest), "size",
                          (json_int_t)v->facts->size, "bytes", (json_int_t)v->here, "rate",
                          (json_int_t)v->rate, "readers", (int)v->readers, "fetches",
                          (int)v->fetches, "state", v->state, "waits_for_upstream", v->waits, "age",
                          (json_int_t)(v->age_ms / 1000)));
}

static json_t *request_json(const struct request *r)
{
        int64_t age =
                r->looked_ms ? loop_now(r->d->loop) - (r->deadline_ms - ANSWER_DEADLINE_MS) : 0;

        return json_pack("{s:s, s:o, s:s, s:I}", "op", hub_op_name(r->hub.op), "repository",
                         r->hub.has_repo ? name_of(r->hub.kind, r->hub.repo) : json_null(), "peer",
                         exchange_peer(r->x), "age_ms", (json_int_t)MAX(age, (int64_t)0));
}

/* The call itself waits, too, and is not told of. */
static json_t *requests_json(const struct request *asking, unsigned *more)
{
        json_t *list = json_array();

        list_each (n, &asking->d->waiting) {
                const struct request *r = list_entry(n, struct request, waiting);

                if (r == asking || r->answered)
                        continue;
                if (json_array_size(list) == LISTED_MAX)
                        (*more)++;
                else
                        json_array_append_new(list, request_json(r));
        }
        return list;
}

static void show(const struct api_call *call)
{
        struct request *r = call->request;
        struct listing l = { .transfers = json_array() };
        json_t *requests;

        flights_each(r->d->flights, add_transfer, &l);
        requests = requests_json(r, &l.more);
        api_answer(r, 200,
                   json_pack("{s:o, s:o, s:i, s:i, s:i}", "transfers", l.transfers, "requests",
                             requests, "more", (int)l.more, "connections",
                             (int)server_connections(r->d->server), "under_way",
                             (int)server_exchanges(r->d->server)));
}

static const struct api_row rows[] = {
        { HTTP_GET, "transfers", API_ADMIN, show },
};

const struct api_table transfers_api = { rows, ARRAY_LEN(rows) };
