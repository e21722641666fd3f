#include "base/secret.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

char *secret_dup(const char *text)
{
        return text ? strdup(text) : NULL;
}

void secret_free(char **text)
{
        if (*text)
                explicit_bzero(*text, strlen(*text));
        free(*text);
        *text = NULL;
}

static size_t whole_pages(size_t n)
{
        size_t page = (size_t)sysconf(_SC_PAGESIZE);

        return (n + page - 1) / page * page;
}

char *secret_keep(struct slice text)
{
        size_t n = whole_pages(text.len + 1);
        char *copy = aligned_alloc((size_t)sysconf(_SC_PAGESIZE), n);

        if (!copy)
                return NULL;
        /* Each may be refused by a limit or a sandbox, and the secret is no less needed then. */
        (void)!mlock(copy, n);
        (void)!madvise(copy, n, MADV_DONTDUMP);
        (void)!madvise(copy, n, MADV_WIPEONFORK);
        memset(copy, 0, n);
        if (text.len)
                memcpy(copy, text.ptr, text.len);
        return copy;
}

void secret_drop(char **text)
{
        size_t n;

        if (!*text)
                return;
        n = whole_pages(strlen(*text) + 1);
        explicit_bzero(*text, n);
        (void)!madvise(*text, n, MADV_KEEPONFORK);
        (void)!madvise(*text, n, MADV_DODUMP);
        (void)!munlock(*text, n);
        free(*text);
        *text = NULL;
}
