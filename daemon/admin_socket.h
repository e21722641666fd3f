/*
 * The admin socket as a file: where it is, who may use it, both of its ends.
 *
 * It is admin.sock in data_dir, or where admin.socket says, with mode 0660 and the group
 * admin.group.  Paths may be longer than a socket's address: it is then reached through a
 * descriptor of its folder.  data_dir lets nobody but its owner in, so a socket for a group is put
 * elsewhere.
 */
#pragma once

#include <stdbool.h>
#include <sys/types.h>

#include "base/error.h"
#include "config.h"

/* For the caller to free; NULL without memory. */
char *admin_socket_path(const struct config *config);

/* The daemon's end: listens, and takes the place of a socket that nobody listens on any more.
 * ERR_BUSY if somebody does.  *ret_group is the group whose members may use it. */
must_use int admin_socket_listen(const struct config *config, int *ret_fd, gid_t *ret_group,
                                 struct error *err);
void admin_socket_remove(const struct config *config);
/* Whether the peer of a connection is root, our own user or in the group; *ret_uid is its user. */
bool admin_socket_may(int fd, gid_t group, uid_t *ret_uid);

/* The other end: a blocking connection, or -1 with what to do about it. */
must_use int admin_socket_connect(const struct config *config, struct error *err);
/* "no daemon answers at ..." and the like, with as much of the path as fits. */
int admin_socket_fail(const struct config *config, struct error *err, const char *what);
