/*
 * A secret that stands alone in a file: one word of visible ASCII, with blanks around it at most.
 */
#pragma once

#include <stdbool.h>

#include "config.h"

enum { SECRET_FILE_BYTES_MAX = 4096 };

/* The secret, for secret_drop, or NULL with the reason in `errors`, where `place` begins it; no
 * message holds a part of it.  A file that others may read is a warning, unless `shared_ok`. */
char *secret_file_read(const char *path, const char *place, bool shared_ok,
                       struct config_errors *errors);
