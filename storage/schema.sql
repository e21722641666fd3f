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

-- @version 2

-- What prefetches are to do and have done (daemon/prefetch.h).  Which of a commit's files are here
-- is not said: the blobs say it.
CREATE TABLE prefetches (
        id            INTEGER PRIMARY KEY AUTOINCREMENT,
        identity      TEXT    NOT NULL UNIQUE,     -- two that have it in common are one
        rule          TEXT    NOT NULL,            -- its name in the configuration; '' on demand
        wants         TEXT    NOT NULL,            -- a JSON object, see prefetch_wants_write
        state         INTEGER NOT NULL,            -- enum prefetch_state of daemon, opaque here
        why           TEXT    NOT NULL,            -- a sentence for people, or ''
        sha           TEXT    NOT NULL,            -- the commit that was last finished, or ''
        files         INTEGER NOT NULL,
        files_done    INTEGER NOT NULL,
        bytes         INTEGER NOT NULL,
        bytes_done    INTEGER NOT NULL,
        created_at    INTEGER NOT NULL,
        started_at    INTEGER NOT NULL,            -- of the run that is under way or was the last
        finished_at   INTEGER NOT NULL,            -- of the last run; 0 before
        next_run_at   INTEGER NOT NULL             -- 0: no more
);

-- Watched folders, their rounds and what of them is in the repository (daemon/commits.h).

CREATE TABLE folders (
        id            INTEGER PRIMARY KEY,
        name          TEXT    NOT NULL UNIQUE,
        origin        INTEGER NOT NULL,            -- enum folder_origin
        definition    TEXT    NOT NULL,            -- JSON of the daemon's, opaque here
        target        TEXT    NOT NULL,            -- where its files go; another one: nothing is there
        paused        INTEGER NOT NULL DEFAULT 0,
        repo_known    INTEGER NOT NULL DEFAULT 0,  -- the repository was seen, or made
        squash_due    INTEGER NOT NULL DEFAULT 0,  -- committed, and not squashed yet
        rounds        INTEGER NOT NULL DEFAULT 0,  -- begun so far
        last          TEXT    NOT NULL DEFAULT ''  -- JSON: what the last round came to
);

-- What of a folder is in the repository, for certain.  The stamps are those of the local file when
-- it was read; 0 in mtime_ns: it has to be read again.
CREATE TABLE folder_files (
        folder        INTEGER NOT NULL,
        path          BLOB    NOT NULL,            -- below the folder
        size          INTEGER NOT NULL,            -- as committed
        mtime_ns      INTEGER NOT NULL,
        ctime_ns      INTEGER NOT NULL,
        inode         INTEGER NOT NULL,
        digest        BLOB    NOT NULL,            -- as the repository names it
        PRIMARY KEY (folder, path)
) WITHOUT ROWID;

-- I-24: a row is here, and on disk, before its commit is sent.  AUTOINCREMENT: an id is never used
-- again.
CREATE TABLE folder_commits (
        id            INTEGER PRIMARY KEY AUTOINCREMENT,
        folder        INTEGER NOT NULL,
        round         INTEGER NOT NULL,
        state         INTEGER NOT NULL,            -- enum folder_commit_state
        mark          TEXT    NOT NULL,            -- stands in the commit's message
        parent        TEXT    NOT NULL,            -- the head on which it is made
        operations    TEXT    NOT NULL,            -- JSON of the daemon's, opaque here
        sha           TEXT    NOT NULL DEFAULT '', -- of the commit
        begun_at      INTEGER NOT NULL,
        ended_at      INTEGER NOT NULL DEFAULT 0,
        files         INTEGER NOT NULL,
        bytes         INTEGER NOT NULL,
        error         TEXT    NOT NULL DEFAULT ''
);
CREATE INDEX folder_commits_of ON folder_commits (folder, id);
CREATE INDEX folder_commits_open ON folder_commits (folder, id) WHERE state = 0;

-- What has happened (daemon/events.h), and what is being watched (daemon/poll.h).
-- What has happened (daemon/events.h), and what is being watched (daemon/poller.h).
-- AUTOINCREMENT: no id is given twice, so that a reader who resumes behind one misses nothing.
CREATE TABLE events (
        id            INTEGER PRIMARY KEY AUTOINCREMENT,
        at            INTEGER NOT NULL,
        topic         TEXT    NOT NULL,            -- "job", "space", ...
        subject       TEXT    NOT NULL,            -- "acme/65f0"
        before        TEXT    NOT NULL,            -- '' if it was not known
        state         TEXT    NOT NULL,
        data          TEXT    NOT NULL             -- a JSON object, or ''
);
CREATE INDEX events_at ON events (at);

-- How far the receiver of each webhook has come.
CREATE TABLE event_cursors (
        name          TEXT    NOT NULL PRIMARY KEY,
        event_id      INTEGER NOT NULL
) WITHOUT ROWID;

-- The last known status of what is polled.  The documents that said so are not here: they hold
-- the environment of jobs.
CREATE TABLE statuses (
        id            INTEGER PRIMARY KEY,
        topic         TEXT    NOT NULL,
        subject       TEXT    NOT NULL,
        state         TEXT    NOT NULL,            -- '' if it is not known
        message       TEXT    NOT NULL,
        mark          TEXT    NOT NULL,            -- what else counts as a change
        at            INTEGER NOT NULL,            -- when upstream last said so
        watched       INTEGER NOT NULL,            -- 1: polled until an operator says otherwise
        pool          TEXT    NOT NULL,            -- whose tokens then; '' any
        UNIQUE (topic, subject)
);
CREATE INDEX statuses_at ON statuses (at);

-- @version 3

-- Which blob goes first when there is no room: the one of the lowest rank, which is when it was
-- last used, plus what it would cost to have it again compared with what it frees.  A file of up to
-- 64 KiB counts as used a week later than it was, one of 1 MiB ten hours, one of 1 GiB half a minute.
-- What is pinned has the highest rank there is, and never goes.
ALTER TABLE blobs ADD COLUMN rank INTEGER NOT NULL DEFAULT 0;
UPDATE blobs SET rank = accessed_at + min(604800000, 39636172800000 / max(size, 1));
CREATE INDEX blobs_by_rank ON blobs (rank);

-- When an unfinished blob was last worked on.
ALTER TABLE partials ADD COLUMN touched_at INTEGER NOT NULL DEFAULT 0;
CREATE INDEX partials_by_touch ON partials (touched_at);

-- What an operator wants to be kept: all files of a commit.
CREATE TABLE pins (
        id            INTEGER PRIMARY KEY,
        repo_id       INTEGER NOT NULL,
        commit_id     INTEGER NOT NULL,
        at            INTEGER NOT NULL,
        UNIQUE (repo_id, commit_id)
);
CREATE TABLE pinned (
        digest        BLOB    NOT NULL,
        pin_id        INTEGER NOT NULL,
        PRIMARY KEY (digest, pin_id)
) WITHOUT ROWID;
CREATE INDEX pinned_of_pin ON pinned (pin_id);

-- Where long work stands, so that a restart does not begin it anew: the scrubber's last digest.
CREATE TABLE marks (
        name          TEXT    NOT NULL PRIMARY KEY,
        value         BLOB    NOT NULL
) WITHOUT ROWID;
