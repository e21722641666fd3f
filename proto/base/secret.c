#include "base/secret.h"

#include <stdlib.h>
#include <string.h>

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
