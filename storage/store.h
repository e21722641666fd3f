/*
 * The store: blobs on disk, whole and in part, and the index beside them.
 * storage/README.md is its specification (rules W1-W9, S1...).
 *
 *   <data-dir>/lock                      held for life: one store, one process (I-18)
 *   <data-dir>/index.db
 *   <data-dir>/blobs/{sha256,git}/00..ff/<hex digest>     mode 0400, never changed
 *   <data-dir>/staging/<algo>-<hex digest>.part           mode 0600, sparse
 *
 * Calls that touch the disk block: run them on workers, unless a comment says otherwise.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "base/spans.h"
#include "digest.h"
#include "index.h"

struct store;
struct blob;
struct partial;

struct store_options {
        const char *dir;
        uint64_t min_free_bytes; /* blobs are evicted to keep so much of the filesystem free */
        uint64_t max_bytes;      /* of blobs and staging together, at every moment; 0: no limit */
        unsigned max_open_blobs; /* idle descriptors kept open */
        unsigned verify_interval_days; /* disk checksums are checked again after this; 0: 7 */
        bool drop_page_cache;          /* reserved */
};

/* Creates the layout (all shards), takes the lock (ERR_BUSY if another process has it), opens the
 * index, sweeps: staging files without row and rows without file go; a corrupt index is set aside
 * as index.db.corrupt-<time> and rebuilt from the blob files (each re-hashed lazily: rows appear
 * when a lookup meets them and blob_check has proved their digest), see README.md. */
must_use int store_open(const struct store_options *options, struct store **ret, struct error *err);
/* Every blob reference and every partial must be gone before. */
void store_close(struct store **store);
struct index *store_index(struct store *store);

/* Free bytes of the filesystem above min_free_bytes; for health and metrics. */
uint64_t store_free_bytes(struct store *store);
/* False while the last staging, write or sync failed for want of space or because the disk is
 * read-only; a later success sets it again.  Never blocks. */
bool store_writable(const struct store *store);

/* Any thread, never blocks; what is over a new limit goes with the next store_trim. */
void store_set_limits(struct store *store, uint64_t max_bytes, uint64_t min_free_bytes);
/*
 * Evicts what is over the limits, and some more, so that whoever opens a partial seldom has to make
 * the room itself.  What is pinned (index_pin) or being read stays.  Reads little if nothing is to
 * be done: call it now and then.
 */
must_use int store_trim(struct store *store, struct error *err);
struct store_usage {
        uint64_t blobs, blob_bytes, staged_bytes, max_bytes;
        uint64_t evicted_blobs, evicted_bytes; /* since start */
};
/* Reads a row of the index. */
void store_usage(struct store *store, struct store_usage *ret);

/* ---- whole blobs: class V ---- */

/*
 * 1 and a reference, 0 if there is no such blob, -1 on error.  Blobs that are open already are
 * found without any I/O; a file whose size differs from its row is quarantined and absent.
 */
must_use int store_find_blob(struct store *store, const struct digest *d, struct blob **ret,
                             struct error *err);
/* The same, only among those that are open: never blocks, for network threads. NULL if not open. */
struct blob *store_peek_blob(struct store *store, const struct digest *d);
struct blob *blob_ref(struct blob *b);
void blob_unref(struct blob **b); /* any thread, never blocks but for a close(2) */
uint64_t blob_size(const struct blob *b);
int blob_fd(const struct blob *b); /* borrowed; O_RDONLY */
const struct digest *blob_digest(const struct blob *b);

/* I-02: may [start, end) leave?  True if every SUM_CHUNK that it touches was checked against the
 * disk checksums since start and within verify_interval.  Atomic loads only.  A blob that was found
 * without row is not checked, even of size 0, until blob_check has proved its whole digest. */
bool blob_is_checked(const struct blob *b, uint64_t start, uint64_t end);
/* Reads and checks the chunks of [start, end) that are not.  ERR_CORRUPT: the blob was quarantined
 * (row dropped, file moved aside and unlinked); new lookups do not find it. */
must_use int blob_check(struct blob *b, uint64_t start, uint64_t end, struct error *err);
/* Removes row, then file (W9).  Readers that hold a reference go on. */
must_use int store_drop_blob(struct store *store, const struct digest *d, struct error *err);

/*
 * A scrub computes the whole digests of all blobs again, in the order of their digests, a piece at
 * a time: one that is damaged is quarantined like any other that blob_check finds.  It goes on
 * where another one ended (scrub_place), so that a restart does not begin anew.  One thread at a
 * time.
 */
struct scrub;
must_use int scrub_new(struct store *store, const struct digest *after, struct scrub **ret,
                       struct error *err);
void scrub_free(struct scrub **s);
/*
 * Reads at most `budget` bytes.  1: there is more; 0: all blobs were seen; -1: an error, the blob
 * is passed over.  *ret_bad is a digest that turned out damaged, or of DIGEST_NONE.
 */
must_use int scrub_step(struct scrub *s, uint64_t budget, struct digest *ret_bad,
                        struct error *err);
/* The last blob that is done with. */
const struct digest *scrub_place(const struct scrub *s);
/* Blobs and bytes that were checked so far. */
void scrub_counts(const struct scrub *s, uint64_t *ret_blobs, uint64_t *ret_bytes);

/* ---- unfinished blobs: classes T and R ---- */

/*
 * One struct partial exists per digest at a time (ERR_BUSY else); the caller (the flight) owns it.
 * Opening one resumes what survived: pieces whose checksum is right (I-05).  ERR_NO_SPACE, ERR_IO:
 * relay without storing is then the caller's choice: see partial_open_unstored.
 */
must_use int partial_open(struct store *store, const struct digest *want, uint64_t size,
                          struct partial **ret, struct error *err);
/* A partial in an unlinked temporary file or, if the disk refuses, a memfd of at most
 * `memory_bytes` (a ring is not offered: ERR_NO_SPACE if size exceeds it).  It can be verified,
 * never published, and is gone when closed. */
must_use int partial_open_unstored(struct store *store, const struct digest *want, uint64_t size,
                                   uint64_t memory_bytes, struct partial **ret, struct error *err);

int partial_fd(const struct partial *p); /* borrowed; readable with pread at any time */
uint64_t partial_size(const struct partial *p);

/* Thread-safe snapshots of what has been written. */
bool partial_has(struct partial *p, uint64_t start, uint64_t end);
/* The first byte at or after pos that is not here: bytes [pos, result) may be read. */
uint64_t partial_have_until(struct partial *p, uint64_t pos);
/* The first byte at or after pos that is here, or UINT64_MAX. */
uint64_t partial_next_have(struct partial *p, uint64_t pos);
uint64_t partial_have_bytes(struct partial *p);

/* pwrite, all of it (EINTR and short writes handled), then adds the span.  Several threads may
 * write at once.  Bytes that are here already are skipped, never written again; ranges that overlap
 * are allowed, but cost a second reading of the file at partial_commit.  ERR_CORRUPT: beyond the
 * size.  After another failure the range may be written again. */
must_use int partial_write(struct partial *p, uint64_t offset, const void *bytes, size_t n,
                           struct error *err);
/* Has the disk begin with these bytes, so that the sync of a large file at partial_commit finds
 * little to wait for.  A hint. */
void partial_push(struct partial *p, uint64_t offset, uint64_t n);

/*
 * The digest runs over the contiguous prefix.  partial_hash feeds bytes that the caller still has
 * in memory: they are used if `offset` is where the digest stands, else ignored.  partial_hash_more
 * reads from the file what lies between the digest's position and the first gap, at most `budget`
 * bytes; returns 1 if there is more to do, 0 if not, -1 on error.  One thread at a time for these
 * two and partial_commit.  Bytes given to partial_hash need not be written yet, but must be those
 * that partial_write gets for that place.
 */
void partial_hash(struct partial *p, uint64_t offset, const void *bytes, size_t n);
must_use int partial_hash_more(struct partial *p, uint64_t budget, struct error *err);
uint64_t partial_hashed(const struct partial *p); /* any thread */

/* From now on each write is noted in a file beside, so that a process that is killed has all of
 * them after its next start; a power cut takes what was not checkpointed, as ever.  Before the
 * first write, and for those whose bytes are dear. */
must_use int partial_note_writes(struct partial *p, struct error *err);

/* fdatasync, then records which pieces are durable, with their checksums (W2).  Skips when nothing
 * changed.  One thread at a time, and not while partial_commit runs. */
must_use int partial_checkpoint(struct partial *p, struct error *err);

/*
 * W3 alone: all bytes must be here.  0: the digest is right, and what partial_fd reads may leave,
 * stored or not.  -1, ERR_CORRUPT: it is wrong, and the digest is tainted (I-04).
 */
must_use int partial_verify(struct partial *p, struct error *err);

/*
 * W3-W7: all bytes must be here.  Unless partial_verify did, finishes the digest, compares, syncs,
 * publishes, adds the row, drops the partial's row.  Does not consume p: whatever the outcome,
 * partial_fd(p) stays open and readable until partial_close or partial_discard, so that readers of
 * the flight go on with it. After this call p takes no more writes.
 *
 *  0  *ret_verified is true.  *ret_blob is a reference to the blob, all of it checked; partial_fd
 *     reads the same inode.  For an unstored partial *ret_blob is NULL.
 * -1, ERR_CORRUPT: wrong digest; staging is gone, the digest is tainted for 30 days (I-04).
 * -1, other kinds: *ret_blob is NULL.  *ret_verified true: the digest is right and the bytes can be
 *     read from partial_fd, but they are not stored.  *ret_verified false: not verified, or the
 * sync failed, after which the kernel may forget what it had (W4): readers must be cut short.
 */
must_use int partial_commit(struct partial *p, struct blob **ret_blob, bool *ret_verified,
                            struct error *err);
/* Nobody is given bytes of it before it is verified (an upload): if its digest turns out wrong, no
 * client can hold any of them, and the digest is not tainted. */
void partial_set_unread(struct partial *p);
/* Closes.  Without a commit before: checkpoints, and the staging file stays for the next
 * partial_open.  After partial_commit: only closes, whatever its outcome was. */
void partial_close(struct partial **p);
/* Closes and deletes what is staged (mismatch, identity changed).  After a successful commit the
 * blob stays, and this is partial_close. */
void partial_discard(struct partial **p);

/* I-04: marks a digest so that ranges on it restart from zero until the time is over. */
void store_taint(struct store *store, const struct digest *d);
bool store_is_tainted(struct store *store, const struct digest *d); /* in memory, never blocks */
