/*
 * Changing the file of the local clients, as `hubcached client` does it.
 *
 *   access_edit_open      locks the file's directory against other edits, and reads the file
 *   access_edit_add, access_edit_remove, access_edit_find
 *   access_edit_commit    writes a file beside it, reads that back, and renames it over the old one
 *   access_edit_abandon   leaves everything as it was
 *
 * The file is for its owner only.  Run by root it stays, or becomes, the property of whoever owns
 * the old file, or else the directory, because the daemon has to read it.  Comments are not kept.
 * These calls block.
 */
#pragma once

#include "access.h"

struct access_edit;

/* A file that is not there is one without clients; its directory is made. */
must_use int access_edit_open(const char *file, struct access_edit **ret,
                              struct config_errors *errors);
const struct access_clients *access_edit_clients(const struct access_edit *e);
/* Copies everything; the name must be new. */
must_use int access_edit_add(struct access_edit *e, const struct access_client *client,
                             struct config_errors *errors);
/* The client to change, or NULL; until the next addition or removal. */
struct access_client *access_edit_find(struct access_edit *e, struct slice name);
bool access_edit_remove(struct access_edit *e, struct slice name);
/* Consumes *e on every outcome. */
must_use int access_edit_commit(struct access_edit **e, struct config_errors *errors);
void access_edit_abandon(struct access_edit **e);
