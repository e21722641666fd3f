#include "doctor.h"

#include <stdlib.h>

#include "api.h"
#include "base/clock.h"
#include "daemon.h"
#include "doctor_checks.h"
#include "errand.h"
#include "mode.h"
#include "user_agents.h"

enum { PATIENCE_MS = 5000 };

struct doctor {
        struct daemon *d;
        bool busy, done, stopping, offline;
        int64_t at, asked_ms;
        struct checks checks;
        struct loop_job job;
        struct errand *errand;
        struct user_agents clients;
};

static void finish(struct doctor *doctor)
{
        doctor->busy = false;
        doctor->done = true;
        doctor->at = clock_wall_ms();
}

/* ---- the Hub ---- */

static void check_clock(struct doctor *doctor, const struct errand_answer *a)
{
        scoped(free_ptr) char *date = slice_dup(errand_answer_header(a, "Date"));
        int64_t skew;

        if (!date || !check_skew(date, a->wall_ms, &skew))
                return;
        check_add(&doctor->checks, "clock", check_judge_skew(skew),
                  "let systemd-timesyncd, chrony or the like keep the time",
                  "%lld s from the Hub's", (long long)(skew / 1000));
}

static void on_answer(void *arg, const struct errand_answer *a)
{
        struct doctor *doctor = arg;
        long long ms = clock_mono_ms() - doctor->asked_ms;

        doctor->errand = NULL;
        if (error_is_set(a->err))
                check_add(&doctor->checks, "upstream", CHECK_FAIL,
                          "what dns, connect and tls say is the reason, or an outage of the Hub",
                          "%s: %s", daemon_config(doctor->d)->upstream_url, a->err->what);
        else
                check_add(&doctor->checks, "upstream", a->status < 400 ? CHECK_OK : CHECK_FAIL,
                          a->status == 429 ? "this address asks too much of the Hub"
                                           : "see whether upstream.url is a Hub",
                          "%s answers %d after %lld ms", daemon_config(doctor->d)->upstream_url,
                          a->status, ms);
        if (!error_is_set(a->err))
                check_clock(doctor, a);
        finish(doctor);
}

static void ask_hub(struct doctor *doctor)
{
        const struct errand_spec spec = {
                .method = HTTP_GET,
                .target = SLICE("/api/models?limit=1"),
                .reads = true,
                .account = { .anonymous = true },
                .patience_ms = PATIENCE_MS,
        };

        doctor->asked_ms = clock_mono_ms();
        doctor->errand = errand_start(doctor->d, &spec, on_answer, doctor);
        if (!doctor->errand)
                finish(doctor);
}

/* ---- running ---- */

static void run(void *arg)
{
        struct doctor *doctor = arg;

        check_disk(&doctor->checks, doctor->d);
        check_limits(&doctor->checks, doctor->d);
        check_tokens(&doctor->checks, doctor->d);
        if (!doctor->offline)
                check_network(&doctor->checks, doctor->d);
}

static void after(void *arg)
{
        struct doctor *doctor = arg;

        if (doctor->offline)
                check_add(&doctor->checks, "upstream", CHECK_OK, "",
                          "not asked: the mode is offline");
        if (doctor->offline || doctor->stopping)
                finish(doctor);
        else
                ask_hub(doctor);
}

/* ---- clients ---- */

void doctor_note_client(struct doctor *doctor, struct slice user_agent)
{
        user_agents_note(&doctor->clients, user_agent, loop_now(doctor->d->loop));
}

/* ---- the API ---- */

static json_t *clients_json(const struct daemon *d)
{
        json_t *list = json_array();

        for (unsigned i = 0; i < d->doctor->clients.n; i++) {
                const struct user_agent *a = &d->doctor->clients.v[i];
                int64_t ago = loop_now(d->loop) - a->seen_ms;

                json_array_append_new(list,
                                      json_pack("{s:s, s:s, s:I, s:I}", "name", a->name, "version",
                                                a->version, "requests", (json_int_t)a->requests,
                                                "age", (json_int_t)(ago / 1000)));
        }
        return list;
}

static json_t *checks_json(const struct checks *c)
{
        static const char *const words[] = { "ok", "warn", "fail" };
        json_t *list = json_array();

        for (size_t i = 0; i < c->n; i++)
                json_array_append_new(list, json_pack("{s:s, s:s, s:s, s:s}", "name", c->v[i].name,
                                                      "result", words[c->v[i].result], "says",
                                                      c->v[i].says, "advice", c->v[i].advice));
        return list;
}

static void show(const struct api_call *call)
{
        struct daemon *d = call->request->d;
        const struct doctor *doctor = d->doctor;

        api_answer(call->request, 200,
                   json_pack("{s:s, s:I, s:o, s:o}", "state",
                             doctor->busy   ? "running"
                             : doctor->done ? "done"
                                            : "none",
                             "at", (json_int_t)doctor->at, "checks",
                             doctor->busy ? json_array() : checks_json(&doctor->checks), "clients",
                             clients_json(d)));
}

static void start(const struct api_call *call)
{
        struct daemon *d = call->request->d;
        struct doctor *doctor = d->doctor;

        if (doctor->busy || doctor->stopping) {
                api_fail(call->request, 409, "the checks are being made");
                return;
        }
        doctor->busy = true;
        doctor->offline = daemon_mode(d) == CONFIG_OFFLINE;
        doctor->checks.n = 0;
        doctor->job = (struct loop_job){ .run = run, .after = after, .arg = doctor };
        loop_work(d->loop, &doctor->job);
        api_answer(call->request, 202, json_pack("{s:s}", "state", "running"));
}

int doctor_new(struct daemon *d, struct doctor **ret, struct error *err)
{
        *ret = calloc(1, sizeof(**ret));
        if (!*ret)
                return error_set(err, ERR_NOMEM, "no memory for a doctor");
        (*ret)->d = d;
        return 0;
}

void doctor_free(struct doctor **doctor)
{
        free(take(*doctor));
}

bool doctor_stop(struct doctor *doctor)
{
        doctor->stopping = true;
        return !doctor->busy;
}

static const struct api_row rows[] = {
        { HTTP_GET, "doctor", API_ADMIN, show },
        { HTTP_POST, "doctor", API_ADMIN, start },
};

const struct api_table doctor_api = { rows, ARRAY_LEN(rows) };
