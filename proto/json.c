#include "json.h"

#include <stdlib.h>

#include "json_text.h"
#include "model.h"

/*
 * Texts with a NUL are let in by the library, because one bad name must not spoil a page; every
 * text is taken with its length and checked.  Of two members with one name readers would pick
 * different ones, so such a document is refused.
 */
enum { LOAD_FLAGS = JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL };

void json_free(json_t **value)
{
        json_decref(*value);
}

/* The structure is checked as text first: the library's own limit on depth is far away. */
json_t *json_read(struct slice text, struct error *err)
{
        struct json_text t = { text, MODEL_DEPTH_MAX };
        struct slice value;
        json_error_t why;
        json_t *root;

        if (text.len > MODEL_JSON_MAX || !json_text_value(&t, &value)) {
                error_set(err, ERR_UPSTREAM_BROKEN,
                          "upstream's JSON: malformed, too deep or too large");
                return NULL;
        }
        root = json_loadb(text.ptr, text.len, LOAD_FLAGS, &why);
        if (!root)
                error_set(err, ERR_UPSTREAM_BROKEN, "upstream's JSON: %s", why.text);
        return root;
}

struct slice json_text_of(const json_t *object, const char *key)
{
        const json_t *value = json_object_get(object, key);

        if (!json_is_string(value))
                return SLICE_NONE;
        return slice_of(json_string_value(value), json_string_length(value));
}

bool json_number_of(const json_t *object, const char *key, uint64_t *ret)
{
        const json_t *value = json_object_get(object, key);

        if (!json_is_integer(value) || json_integer_value(value) < 0)
                return false;
        *ret = (uint64_t)json_integer_value(value);
        return true;
}

static int add(const char *text, size_t n, void *out)
{
        buf_add(out, slice_of(text, n));
        return 0;
}

void json_write(const json_t *value, struct buf *out)
{
        json_dump_callback(value, add, out, JSON_COMPACT | JSON_ENCODE_ANY);
}
