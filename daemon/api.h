/*
 * The daemon's own API, /-/api/v1/...: what operators and the command line ask of it.
 *
 * It is served whole on the admin socket (option admin.socket): a UNIX socket of mode 0660, whose
 * peers must be root, our own user, or members of its group (S-17).  On the addresses that clients
 * use there are only the rows that say API_CLIENTS, for callers who prove their right by their own
 * token; all others are 404 there (S-14, table H 117).
 *
 * A handler runs on the loop with the request's body gathered; it answers once, by api_answer or
 * api_fail: now, or after request_work (what it finds on the worker goes into r->api).  Whatever
 * else takes time is started, answered 202, and asked about again, because a request that waits may
 * be gone any time: its client left, or ANSWER_DEADLINE_MS is over.
 *
 * Bodies are JSON objects of at most API_BODY_MAX bytes and say so in Content-Type, which keeps out
 * what a form in a browser can send; foreign Origins are refused by the gate.  Calls over the admin
 * socket that change something leave a line in the log.  The Hub's own paths are 404 over it.
 *
 * Answers are JSON objects; errors are {"error": "sentence"} with the status that fits.  Unknown
 * members of a body are refused.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "json.h"
#include "request.h"

enum api_who { API_ADMIN, API_CLIENTS };

enum { API_PARAMS_MAX = 4, API_BODY_MAX = 64 << 10 };

struct api_call {
        struct request *request; /* d, x, who, authorization; valid until it is answered */
        bool admin;              /* it came over the admin socket */
        /* Borrowed for the handler's call: */
        struct slice params[API_PARAMS_MAX]; /* of the pattern's braces, decoded; in order */
        json_t *body;                        /* an object, or NULL if there was no body */
        struct slice query;                  /* raw; see query_find */
};

struct api_row {
        enum http_method method;
        const char *pattern; /* behind /-/api/v1/: "prefetches/{id}"; "{path...}" takes the rest */
        enum api_who who;
        void (*run)(const struct api_call *call);
};

/* Each worker has its rows; api.c lists these tables.  The first row that fits is taken. */
struct api_table {
        const struct api_row *rows;
        size_t n;
};

extern const struct api_table status_api;

/* Loop thread: a request for HUB_LOCAL below api/ is here. */
void api_begin(struct request *r);
/* `document` is taken over (json_decref); NULL: status alone. */
void api_answer(struct request *r, int status, json_t *document);
void api_fail(struct request *r, int status, const char *fmt, ...) printf_like(3, 4);
/* From an error of ours: ERR_BAD_REQUEST 400, ERR_BUSY 503, ... (hub_error_status). */
void api_fail_with(struct request *r, const struct error *err);
/* False, and answered 400, if the body has a member that is not among these, as in "repo type". */
bool api_knows(const struct api_call *call, const char *names);
/* The rows as a JSON array; for the admin, or for clients. */
json_t *api_routes(bool admin);

/* Which row a path behind /-/api/v1/ leads to.  Pure. */
struct api_found {
        const struct api_row *row; /* NULL: none */
        unsigned methods;          /* that the path has for this caller: enum http_method */
        struct slice params[API_PARAMS_MAX]; /* still encoded */
        size_t n_params;
};
void api_find(const struct api_table *const *in, size_t n, struct slice path,
              enum http_method method, bool admin, struct api_found *f);
