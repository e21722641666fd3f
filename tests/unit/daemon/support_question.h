/*
 * The scene of support_daemon.h with a hub that answers what each test's routes say, and askers
 * that keep what they were told.
 */
#pragma once

#include "support_daemon.h"

#define COMMIT "0123456789abcdef0123456789abcdef01234567"
#define SHA256 "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
#define OTHER  "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
#define GIT    "e69de29bb2d1d6434b8b29ae775ad8c2e48c5391"

#define FILE_TARGET "/org/name/resolve/main/f"
#define HEAD_FILE   "HEAD " FILE_TARGET
#define GET_FILE    "GET " FILE_TARGET
#define INFO_TARGET "/api/models/org/name/revision/main"
#define GET_INFO    "GET " INFO_TARGET

#define OF_COMMIT            "X-Repo-Commit: " COMMIT "\r\n"
#define OF_GIT               "ETag: \"" GIT "\"\r\n"
#define LINKED               "X-Linked-Etag: \"" SHA256 "\"\r\nX-Linked-Size: 1234567\r\n"
#define EMPTY                "Content-Length: 0\r\n\r\n"
#define SMALL_FILE           "HTTP/1.1 200 OK\r\n" OF_COMMIT OF_GIT "Content-Length: 12\r\n\r\n"
#define UNAVAILABLE          "HTTP/1.1 503 Service Unavailable\r\n" EMPTY
#define TO(status, location) "HTTP/1.1 " status " Moved\r\nLocation: " location "\r\n"

#define INFO                                                                                       \
        "{\"id\":\"org/name\",\"sha\":\"" COMMIT "\",\"private\":false,"                           \
        "\"gated\":false}"
#define HEAD_OF_JSON "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"

/* ---- the hub: what it answers to which request, the last answer again and again ---- */

static struct route {
        const char *line;
        const char *answers[4];
        unsigned n;
} routes[8];

static pthread_mutex_t routes_lock = PTHREAD_MUTEX_INITIALIZER;

static void hub_answers(struct http_call *call)
{
        const char *text = "HTTP/1.1 404 Not Found\r\n" EMPTY;
        scoped(free_ptr) char *copy = NULL;

        http_gate(call);
        pthread_mutex_lock(&routes_lock);
        for (size_t i = 0; i < ARRAY_LEN(routes); i++) {
                struct route *r = &routes[i];

                if (!r->line || strcmp(r->line, call->line) != 0)
                        continue;
                text = r->answers[r->n];
                if (r->n + 1 < ARRAY_LEN(r->answers) && r->answers[r->n + 1])
                        r->n++;
        }
        copy = strdup(text);
        pthread_mutex_unlock(&routes_lock);
        http_send(call, slice_str(copy));
}

static void forget_routes(void)
{
        pthread_mutex_lock(&routes_lock);
        memset(routes, 0, sizeof(routes));
        pthread_mutex_unlock(&routes_lock);
}

#define answers(line, ...) add_route(line, (const char *const[4]){ __VA_ARGS__ })

static void add_route(const char *line, const char *const texts[4])
{
        pthread_mutex_lock(&routes_lock);
        for (size_t i = 0; i < ARRAY_LEN(routes); i++) {
                if (routes[i].line)
                        continue;
                routes[i].line = line;
                memcpy(routes[i].answers, texts, sizeof(routes[i].answers));
                break;
        }
        pthread_mutex_unlock(&routes_lock);
}

unused_fn static int setup(void **state unused_arg)
{
        forget_routes();
        scene_start(hub_answers, hub_answers);
        return 0;
}

unused_fn static int teardown(void **state unused_arg)
{
        scene_end();
        return 0;
}

/* ---- who asks ---- */

struct asker {
        struct question_waiter waiter;
        struct finding *found;
        unsigned n_told;
};

static void on_found(void *arg, struct finding *f)
{
        struct asker *a = arg;

        a->n_told++;
        a->found = finding_ref(f);
}

unused_fn static bool is_told(void *arg)
{
        struct asker *a = arg;

        return a->n_told > 0;
}

unused_fn static struct question_spec file_spec(const char *token)
{
        return (struct question_spec){ .kind = ASK_FILE,
                                       .method = HTTP_HEAD,
                                       .client_target = FILE_TARGET,
                                       .upstream_target = FILE_TARGET,
                                       .who = permits_principal(d.permits, slice_str(token)),
                                       .authorization = token };
}

unused_fn static struct question_spec info_spec(void)
{
        return (struct question_spec){ .kind = ASK_DOCUMENT,
                                       .method = HTTP_GET,
                                       .client_target = INFO_TARGET,
                                       .upstream_target = INFO_TARGET,
                                       .keep = true };
}

unused_fn static void ask(struct asker *a, struct question_spec spec)
{
        *a = (struct asker){ .waiter = { .found = on_found, .arg = a } };
        question_ask(d.questions, &spec, &a->waiter);
        assert_int_equal(a->n_told, 0);
}

/* The finding, which the asker holds until asker_done. */
unused_fn static const struct finding *answer_to(struct asker *a, struct question_spec spec)
{
        ask(a, spec);
        run_until(is_told, a);
        assert_int_equal(a->n_told, 1);
        return a->found;
}

unused_fn static void asker_done(struct asker *a)
{
        finding_unref(&a->found);
}
