#include "base/error.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static const char *const slugs[ERR_KIND_MAX] = {
#define X(kind, slug) [kind] = slug,
        ERROR_KINDS(X)
#undef X
};

const char *error_slug(enum error_kind kind)
{
        return (unsigned)kind < ERR_KIND_MAX ? slugs[kind] : "internal";
}

int error_set(struct error *err, enum error_kind kind, const char *fmt, ...)
{
        va_list ap;

        if (!err)
                return -1;
        err->kind = kind;
        err->sys = 0;
        va_start(ap, fmt);
        vsnprintf(err->what, sizeof(err->what), fmt, ap);
        va_end(ap);
        return -1;
}

int error_errno(struct error *err, enum error_kind kind, int sys, const char *fmt, ...)
{
        char text[96];
        size_t used;
        va_list ap;

        if (!err)
                return -1;
        err->kind = kind;
        err->sys = sys;
        va_start(ap, fmt);
        vsnprintf(err->what, sizeof(err->what), fmt, ap);
        va_end(ap);
        used = strlen(err->what);
        snprintf(err->what + used, sizeof(err->what) - used, ": %s",
                 strerror_r(sys, text, sizeof(text)));
        return -1;
}

int error_wrap(struct error *err, const char *fmt, ...)
{
        char context[sizeof(err->what)];
        char inner[sizeof(err->what)];
        va_list ap;

        if (!err)
                return -1;
        va_start(ap, fmt);
        vsnprintf(context, sizeof(context), fmt, ap);
        va_end(ap);
        memcpy(inner, err->what, sizeof(inner));
        snprintf(err->what, sizeof(err->what), "%.100s: %s", context, inner);
        return -1;
}

enum error_kind error_kind_of_errno(int sys)
{
        switch (sys) {
        case ENOSPC:
        case EDQUOT:
        case EFBIG:
                return ERR_NO_SPACE;
        case ENOMEM:
                return ERR_NOMEM;
        default:
                return ERR_IO;
        }
}
