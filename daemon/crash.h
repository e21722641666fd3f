/*
 * Named steps at which a test ends the process, as SIGKILL would (reliability.md, section 5).
 * Only in builds with -Dcrash_points=true: HUBCACHED_CRASH_AT=name, or name:3 for the third time.
 */
#pragma once

#ifdef HUBCACHED_CRASH_POINTS
void crash_point(const char *name);
/* Storage's own points count too. */
void crash_points_init(void);
#else
static inline void crash_point(const char *name)
{
        (void)name;
}
static inline void crash_points_init(void)
{
}
#endif
