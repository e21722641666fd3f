/*
 * Patterns of file names, as huggingface_hub's allow_patterns and ignore_patterns are
 * (utils/_paths.py filter_repo_objects): fnmatch over the whole path, in which a star also stands
 * for slashes, and a pattern that ends in a slash means everything below that folder.  Case counts.
 *
 * Pure; any thread.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

/* True if `path` matches one of `include` (or there are none) and none of `exclude`. */
bool patterns_allow(char *const *include, size_t n_include, char *const *exclude, size_t n_exclude,
                    const char *path);
