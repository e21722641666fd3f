#include "crash.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/slice.h"

extern void (*storage_crash_point)(const char *name);

static const char *wanted;
static size_t name_len;
static long countdown;

void crash_point(const char *name)
{
        if (!wanted || strlen(name) != name_len || memcmp(name, wanted, name_len) != 0)
                return;
        if (__atomic_sub_fetch(&countdown, 1, __ATOMIC_SEQ_CST) == 0)
                kill(getpid(), SIGKILL);
}

void crash_points_init(void)
{
        const char *at = getenv("HUBCACHED_CRASH_AT");
        const char *colon = at ? strchr(at, ':') : NULL;

        if (!at)
                return;
        name_len = colon ? (size_t)(colon - at) : strlen(at);
        countdown = colon ? strtol(colon + 1, NULL, 10) : 1;
        wanted = at;
        storage_crash_point = crash_point;
}
