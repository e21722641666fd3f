/*
 * Addresses of other hosts that we hand out as our own.
 *
 * The hub tells clients to upload to its object storage and its chunk storage.  A machine that can
 * reach nobody but us gets an address of ours in its place, with the real one inside, sealed by a
 * MAC: who presents it was given it by us, for this use and until this time, and nobody can make
 * one, so that we are no open relay.  Like the signed addresses that they replace, they are as good
 * as the right that they stand for, and are not logged.
 *
 *     http://cache.lan:8090/-/relay/<mac>/<claims>
 *     http://cache.lan:8090/-/cas/<mac>/<claims>           a prefix
 *
 * The key lies in the data directory, so that what was handed out before a restart is still good.
 * Immutable once opened: any thread.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/error.h"
#include "base/slice.h"
#include "route.h"

struct capabilities;

enum capability_use {
        CAP_DOWNLOAD = 'd', /* GET of an LFS object */
        CAP_UPLOAD = 'u',   /* PUT of an LFS object, or of a part of one */
        CAP_POST = 'p',     /* POST: completion, verification */
        CAP_CAS = 'c',      /* everything below the chunk storage's address */
};

struct capability {
        enum capability_use use;
        int64_t until;       /* wall clock, seconds; 0: for ever */
        enum repo_kind kind; /* on behalf of which repository */
        char repo[200];
        char oid[65]; /* sha256 of the object, "" if none */
        uint64_t size;
        uint64_t offset, length; /* the part of the object that this address takes */
        char *url;               /* owned when opened */
};

must_use int capabilities_new(const char *data_dir, struct capabilities **ret, struct error *err);
void capabilities_free(struct capabilities **c);
/* Appends the address, on the origin by which the client reaches us. */
void capability_seal(const struct capabilities *c, const struct capability *cap,
                     struct slice origin, struct buf *out);
/* From the two segments.  ERR_FORBIDDEN if it is not one of ours, or its time is over. */
must_use int capability_open(const struct capabilities *c, struct slice mac, struct slice claims,
                             struct capability *ret, struct error *err);
void capability_done(struct capability *cap);
