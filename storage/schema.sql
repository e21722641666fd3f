-- The schema of index.db, as the migrations that build it.  Each block begins with "-- @version N"
-- and brings a file of version N-1 (PRAGMA user_version) to version N.  A block that was released
-- is never edited.  Digests are BLOBs of one algorithm byte (enum digest_algo) and the digest's
-- bytes.  Paths and document keys are BLOBs, so that they compare as bytes.  Moments are wall
-- clock milliseconds.  No triggers, no views: connections refuse both.

-- @version 1

-- One row per repository ever seen.  Rows are never removed, so that an id stays what it was.
CREATE TABLE repos (
        id            INTEGER PRIMARY KEY,
        kind          INTEGER NOT NULL,            -- enum repo_kind of proto, opaque here
        name          TEXT    NOT NULL,            -- canonical, exact case
        upstream_id   TEXT    NOT NULL DEFAULT '', -- upstream's `_id`; '' if unknown
        visibility    INTEGER NOT NULL DEFAULT 0,  -- enum visibility
        visibility_at INTEGER NOT NULL DEFAULT 0,  -- when upstream last said so
        UNIQUE (kind, name)
);

-- Names under which upstream redirects to a repository: old names, other case.
CREATE TABLE aliases (
        kind          INTEGER NOT NULL,
        name          TEXT    NOT NULL,
        repo_id       INTEGER NOT NULL,
        checked_at    INTEGER NOT NULL,            -- when upstream last redirected
        PRIMARY KEY (kind, name)
) WITHOUT ROWID;

-- Branches, tags, pull request refs: what they pointed at, and when that was asked.
CREATE TABLE refs (
        repo_id       INTEGER NOT NULL,
        name          TEXT    NOT NULL,
        sha           BLOB    NOT NULL,            -- 20 bytes
        checked_at    INTEGER NOT NULL,
        PRIMARY KEY (repo_id, name)
) WITHOUT ROWID;

-- AUTOINCREMENT: the id of a forgotten commit is never given to another one, so a writer that
-- still holds it cannot add files to the wrong commit.
CREATE TABLE commits (
        id            INTEGER PRIMARY KEY AUTOINCREMENT,
        repo_id       INTEGER NOT NULL,
        sha           BLOB    NOT NULL,            -- 20 bytes
        completeness  INTEGER NOT NULL DEFAULT 0,  -- enum completeness; only grows
        UNIQUE (repo_id, sha)
);

-- What a path is in a commit.  NULL means unknown, except in lfs and xet: not such a file.
CREATE TABLE files (
        commit_id     INTEGER NOT NULL,
        path          BLOB    NOT NULL,
        type          INTEGER NOT NULL,            -- enum file_type
        oid           BLOB,                        -- 20 bytes: git object id
        size          INTEGER,                     -- of the content
        lfs           BLOB,                        -- 32 bytes: sha256 of the content
        pointer_size  INTEGER,                     -- of the LFS pointer
        xet           BLOB,                        -- 32 bytes
        PRIMARY KEY (commit_id, path)
) WITHOUT ROWID;

-- Answers of upstream's API that everybody who may see the repository shares.
CREATE TABLE docs (
        id            INTEGER PRIMARY KEY,
        key           BLOB    NOT NULL UNIQUE,
        repo_id       INTEGER NOT NULL,            -- 0: belongs to no repository
        status        INTEGER NOT NULL,
        fetched_at    INTEGER NOT NULL,
        content_type  TEXT,
        link          TEXT,
        body          BLOB    NOT NULL
);
CREATE INDEX docs_of_repo ON docs (repo_id, key);

-- S1: a row names a complete file whose digest was verified.  The sums are kept apart, because a
-- touch rewrites its whole row.
CREATE TABLE blobs (
        digest        BLOB    NOT NULL PRIMARY KEY,
        size          INTEGER NOT NULL,
        created_at    INTEGER NOT NULL,
        accessed_at   INTEGER NOT NULL,
        verified_at   INTEGER NOT NULL             -- when the whole digest was last computed
) WITHOUT ROWID;
CREATE TABLE blob_sums (
        id            INTEGER PRIMARY KEY,
        digest        BLOB    NOT NULL UNIQUE,
        sums          BLOB    NOT NULL             -- XXH3-64 per MiB, 8 bytes each, little endian
);

-- One row: how many blobs there are, so that nobody counts them.
CREATE TABLE totals (
        id            INTEGER PRIMARY KEY CHECK (id = 1),
        blobs         INTEGER NOT NULL,
        bytes         INTEGER NOT NULL
);
INSERT INTO totals VALUES (1, 0, 0);

-- Unfinished blobs: which of their bytes are on disk for certain.
CREATE TABLE partials (
        id            INTEGER PRIMARY KEY,
        digest        BLOB    NOT NULL UNIQUE,
        size          INTEGER NOT NULL,
        spans         BLOB    NOT NULL,            -- start, end: 8 bytes each, little endian
        sums          BLOB    NOT NULL             -- XXH3-64 per piece (span cut at every MiB)
);

-- I-04: digests of which a client may hold wrong bytes.
CREATE TABLE taints (
        digest        BLOB    NOT NULL PRIMARY KEY,
        until         INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX taints_until ON taints (until);
