#include "user_agents.h"

#include <string.h>

#include "base/compiler.h"

static void copy(char to[USER_AGENT_NAME_MAX], struct slice text)
{
        static const char others[] =
                "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
                "._+-@";
        size_t n = MIN(text.len, (size_t)USER_AGENT_NAME_MAX - 1);

        for (size_t i = 0; i < n; i++)
                to[i] = text.ptr[i] && strchr(others, text.ptr[i]) ? text.ptr[i] : '_';
        to[n] = '\0';
}

/* "name/version" out of a product. */
static void take_product(struct slice product, struct user_agent *ret)
{
        size_t slash = slice_find(product, '/');

        copy(ret->name, slice_cut(product, slash));
        copy(ret->version, slash < product.len ? slice_skip(product, slash + 1) : SLICE(""));
}

static bool speaks_to_the_hub(struct slice product)
{
        static const char *const libraries[] = { "hf_hub/", "hf-hub/", "git-lfs/",
                                                 "huggingface_hub/" };

        for (size_t i = 0; i < ARRAY_LEN(libraries); i++)
                if (slice_starts(product, slice_str(libraries[i])))
                        return true;
        return false;
}

void user_agent_parse(struct slice header, struct user_agent *ret)
{
        struct slice rest = header, part;

        *ret = (struct user_agent){ .name = "unknown" };
        for (bool first = true; rest.len && slice_split(&rest, ';', &part); first = false) {
                struct slice product = slice_trim(part);

                product = slice_cut(product, slice_find(product, ' '));
                if (!product.len)
                        continue;
                if (first || speaks_to_the_hub(product))
                        take_product(product, ret);
                if (speaks_to_the_hub(product))
                        return;
        }
}

void user_agents_note(struct user_agents *u, struct slice header, int64_t now_ms)
{
        struct user_agent found, *at = NULL;

        user_agent_parse(header, &found);
        for (unsigned i = 0; i < u->n; i++) {
                struct user_agent *a = &u->v[i];

                if (strcmp(a->name, found.name) == 0 && strcmp(a->version, found.version) == 0) {
                        a->requests++;
                        a->seen_ms = now_ms;
                        return;
                }
                if (!at || a->seen_ms < at->seen_ms)
                        at = a;
        }
        if (u->n < USER_AGENTS_MAX)
                at = &u->v[u->n++];
        found.requests = 1;
        found.seen_ms = now_ms;
        *at = found;
}
