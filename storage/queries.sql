-- Every statement of the index.  "-- @name" begins one; embed_sql.py makes SQL_NAME of it.
-- None may scan a table: a test asks EXPLAIN QUERY PLAN of each.

-- ---- repositories ----

-- @find_repo
SELECT id, name, upstream_id, visibility, visibility_at, 0
FROM repos WHERE kind = ?1 AND name = ?2;

-- @find_alias
SELECT r.id, r.name, r.upstream_id, r.visibility, r.visibility_at, a.checked_at
FROM aliases AS a JOIN repos AS r ON r.id = a.repo_id
WHERE a.kind = ?1 AND a.name = ?2;

-- @find_upstream_id
SELECT upstream_id FROM repos WHERE id = ?1;

-- @put_repo
INSERT INTO repos (kind, name) VALUES (?1, ?2) ON CONFLICT (kind, name) DO NOTHING;

-- @put_alias
INSERT INTO aliases (kind, name, repo_id, checked_at) VALUES (?1, ?2, ?3, ?4)
ON CONFLICT (kind, name) DO UPDATE
SET repo_id = excluded.repo_id, checked_at = excluded.checked_at;

-- An empty upstream_id leaves the one that is known.
-- @set_visibility
UPDATE repos SET visibility = ?2, visibility_at = ?3,
        upstream_id = CASE WHEN length(?4) = 0 THEN upstream_id ELSE ?4 END
WHERE id = ?1;

-- @forget_files
DELETE FROM files WHERE commit_id IN (SELECT id FROM commits WHERE repo_id = ?1);

-- @forget_commits
DELETE FROM commits WHERE repo_id = ?1;

-- @forget_refs
DELETE FROM refs WHERE repo_id = ?1;

-- @forget_docs
DELETE FROM docs WHERE repo_id = ?1;

-- ---- refs ----

-- @find_ref
SELECT sha, checked_at FROM refs WHERE repo_id = ?1 AND name = ?2;

-- @put_ref
INSERT INTO refs (repo_id, name, sha, checked_at) VALUES (?1, ?2, ?3, ?4)
ON CONFLICT (repo_id, name) DO UPDATE SET sha = excluded.sha, checked_at = excluded.checked_at;

-- @drop_ref
DELETE FROM refs WHERE repo_id = ?1 AND name = ?2;

-- ---- files of a commit ----

-- @find_commit
SELECT id, completeness FROM commits WHERE repo_id = ?1 AND sha = ?2;

-- @put_commit
INSERT INTO commits (repo_id, sha) VALUES (?1, ?2) ON CONFLICT (repo_id, sha) DO NOTHING;

-- Changes no row if the commit was forgotten meanwhile.
-- @raise_completeness
UPDATE commits SET completeness = max(completeness, ?2) WHERE id = ?1;

-- @find_file
SELECT path, type, oid, size, lfs, pointer_size, xet
FROM files WHERE commit_id = ?1 AND path = ?2;

-- A commit never changes: what is known stays, what was unknown is completed, and an absent path
-- that turns out to be there becomes present.
-- @put_file
INSERT INTO files (commit_id, path, type, oid, size, lfs, pointer_size, xet)
VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)
ON CONFLICT (commit_id, path) DO UPDATE SET
        type = CASE files.type WHEN 0 THEN excluded.type ELSE files.type END,
        oid = coalesce(files.oid, excluded.oid),
        size = coalesce(files.size, excluded.size),
        lfs = coalesce(files.lfs, excluded.lfs),
        pointer_size = coalesce(files.pointer_size, excluded.pointer_size),
        xet = coalesce(files.xet, excluded.xet)
WHERE excluded.type <> 0;

-- The caller stops by itself where the folder ends, and seeks again to jump over a subtree.
-- @list_files
SELECT path, type, oid, size, lfs, pointer_size, xet
FROM files WHERE commit_id = ?1 AND path >= ?2 ORDER BY path;

-- A scan of every file of the index; for what happens rarely.
-- @list_own_objects
SELECT f.lfs FROM commits c JOIN files f ON f.commit_id = c.id
WHERE c.repo_id = ?1 AND f.lfs IS NOT NULL
EXCEPT
SELECT f.lfs FROM commits c JOIN files f ON f.commit_id = c.id
WHERE c.repo_id <> ?1 AND f.lfs IS NOT NULL;

-- ---- documents ----

-- @find_doc
SELECT status, fetched_at, content_type, link, body FROM docs WHERE key = ?1;

-- @put_doc
INSERT INTO docs (key, repo_id, status, fetched_at, content_type, link, body)
VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)
ON CONFLICT (key) DO UPDATE SET repo_id = excluded.repo_id, status = excluded.status,
        fetched_at = excluded.fetched_at, content_type = excluded.content_type,
        link = excluded.link, body = excluded.body;

-- @drop_docs_between
DELETE FROM docs WHERE repo_id = ?1 AND key >= ?2 AND key < ?3;

-- ---- blobs ----

-- @find_blob
SELECT b.size, b.created_at, b.accessed_at, b.verified_at, s.sums
FROM blobs AS b LEFT JOIN blob_sums AS s ON s.digest = b.digest
WHERE b.digest = ?1;

-- @find_blob_size
SELECT size FROM blobs WHERE digest = ?1;

-- @put_blob
INSERT INTO blobs (digest, size, created_at, accessed_at, verified_at, rank)
VALUES (?1, ?2, ?3, ?4, ?5,
        CASE WHEN EXISTS (SELECT 1 FROM pinned WHERE digest = ?1) THEN 9223372036854775807
             ELSE ?4 + min(604800000, 39636172800000 / max(?2, 1)) END)
ON CONFLICT (digest) DO UPDATE SET size = excluded.size, created_at = excluded.created_at,
        accessed_at = excluded.accessed_at, verified_at = excluded.verified_at,
        rank = excluded.rank;

-- @put_blob_sums
INSERT INTO blob_sums (digest, sums) VALUES (?1, ?2)
ON CONFLICT (digest) DO UPDATE SET sums = excluded.sums;

-- @drop_blob
DELETE FROM blobs WHERE digest = ?1;

-- @drop_blob_sums
DELETE FROM blob_sums WHERE digest = ?1;

-- @touch_blob
UPDATE blobs SET accessed_at = ?2,
        rank = CASE rank WHEN 9223372036854775807 THEN rank
                ELSE ?2 + min(604800000, 39636172800000 / max(size, 1)) END
WHERE digest = ?1;

-- @add_totals
UPDATE totals SET blobs = blobs + ?1, bytes = bytes + ?2 WHERE id = 1;

-- @find_totals
SELECT blobs, bytes FROM totals WHERE id = 1;

-- ---- unfinished blobs ----

-- @find_partial
SELECT size, spans, sums FROM partials WHERE digest = ?1;

-- @put_partial
INSERT INTO partials (digest, size, spans, sums, touched_at) VALUES (?1, ?2, ?3, ?4, ?5)
ON CONFLICT (digest) DO UPDATE SET size = excluded.size, spans = excluded.spans,
        sums = excluded.sums, touched_at = excluded.touched_at;

-- @drop_partial
DELETE FROM partials WHERE digest = ?1;

-- @list_partials
SELECT digest FROM partials WHERE digest > ?1 ORDER BY digest LIMIT ?2;

-- @list_old_partials
SELECT digest FROM partials WHERE touched_at < ?1 ORDER BY touched_at LIMIT ?2;

-- ---- space ----

-- @list_by_rank
SELECT digest, size, rank FROM blobs
WHERE (rank, digest) > (?1, ?2) AND rank < 9223372036854775807
ORDER BY rank, digest LIMIT ?3;

-- @list_blobs
SELECT digest, size FROM blobs WHERE digest > ?1 ORDER BY digest LIMIT ?2;

-- @set_verified
UPDATE blobs SET verified_at = ?2 WHERE digest = ?1;

-- @find_mark
SELECT value FROM marks WHERE name = ?1;

-- @put_mark
INSERT INTO marks (name, value) VALUES (?1, ?2)
ON CONFLICT (name) DO UPDATE SET value = excluded.value;

-- @put_pin
INSERT INTO pins (repo_id, commit_id, at) VALUES (?1, ?2, ?3)
ON CONFLICT (repo_id, commit_id) DO UPDATE SET at = excluded.at RETURNING id;

-- @put_pinned
INSERT INTO pinned (digest, pin_id) VALUES (?1, ?2) ON CONFLICT (digest, pin_id) DO NOTHING;

-- @rank_pinned
UPDATE blobs SET rank = 9223372036854775807 WHERE digest = ?1;

-- @find_pin
SELECT id FROM pins WHERE repo_id = ?1 AND commit_id = ?2;

-- @find_pin_of_repo
SELECT id FROM pins WHERE repo_id = ?1 LIMIT 1;

-- @list_pinned
SELECT digest FROM pinned WHERE pin_id = ?1;

-- @drop_pinned
DELETE FROM pinned WHERE pin_id = ?1;

-- @drop_pin
DELETE FROM pins WHERE id = ?1;

-- What no other pin than ?2 wants kept is ranked by its use again.
-- @rank_unpinned
UPDATE blobs SET rank = accessed_at + min(604800000, 39636172800000 / max(size, 1))
WHERE digest = ?1 AND NOT EXISTS (SELECT 1 FROM pinned WHERE digest = ?1 AND pin_id <> ?2);

-- ---- inventory: for people, who ask seldom; these read much of the index ----

-- @list_repos
SELECT id, kind, name, visibility, visibility_at FROM repos WHERE id > ?1 ORDER BY id LIMIT ?2;

-- @inventory_commits
SELECT count(*), coalesce(sum(completeness > 0), 0),
        (SELECT count(*) FROM pins WHERE repo_id = ?1)
FROM commits WHERE repo_id = ?1;

-- @inventory_blobs
SELECT count(*), coalesce(sum(size), 0), coalesce(max(accessed_at), 0)
FROM blobs WHERE digest IN (
        SELECT CAST(x'01' || f.lfs AS BLOB) FROM commits AS c JOIN files AS f ON f.commit_id = c.id
        WHERE c.repo_id = ?1 AND f.lfs IS NOT NULL
        UNION
        SELECT CAST(x'02' || f.oid AS BLOB) FROM commits AS c JOIN files AS f ON f.commit_id = c.id
        WHERE c.repo_id = ?1 AND f.lfs IS NULL AND f.oid IS NOT NULL
);

-- What the commits of this repository name and those of no other do.
-- @inventory_own
SELECT digest FROM blobs WHERE digest IN (
        SELECT CAST(x'01' || f.lfs AS BLOB) FROM commits AS c JOIN files AS f ON f.commit_id = c.id
        WHERE c.repo_id = ?1 AND f.lfs IS NOT NULL
        UNION
        SELECT CAST(x'02' || f.oid AS BLOB) FROM commits AS c JOIN files AS f ON f.commit_id = c.id
        WHERE c.repo_id = ?1 AND f.lfs IS NULL AND f.oid IS NOT NULL
) AND digest NOT IN (
        SELECT CAST(x'01' || f.lfs AS BLOB) FROM commits AS c JOIN files AS f ON f.commit_id = c.id
        WHERE c.repo_id <> ?1 AND f.lfs IS NOT NULL
        UNION
        SELECT CAST(x'02' || f.oid AS BLOB) FROM commits AS c JOIN files AS f ON f.commit_id = c.id
        WHERE c.repo_id <> ?1 AND f.lfs IS NULL AND f.oid IS NOT NULL
);

-- What no commit that is known names.
-- @inventory_unnamed
SELECT digest FROM blobs WHERE rank < 9223372036854775807 AND digest NOT IN (
        SELECT CAST(x'01' || f.lfs AS BLOB) FROM commits AS c JOIN files AS f ON f.commit_id = c.id
        WHERE c.repo_id > ?1 AND f.lfs IS NOT NULL
        UNION
        SELECT CAST(x'02' || f.oid AS BLOB) FROM commits AS c JOIN files AS f ON f.commit_id = c.id
        WHERE c.repo_id > ?1 AND f.lfs IS NULL AND f.oid IS NOT NULL
);

-- @find_pinned
SELECT 1 FROM pinned WHERE digest = ?1 LIMIT 1;

-- @list_pins
SELECT r.kind, r.name, c.sha, p.at,
        (SELECT count(*) FROM pinned WHERE pin_id = p.id),
        (SELECT count(*) FROM pinned AS d JOIN blobs AS b ON b.digest = d.digest WHERE d.pin_id = p.id)
FROM pins AS p JOIN repos AS r ON r.id = p.repo_id JOIN commits AS c ON c.id = p.commit_id
WHERE p.id > ?1 ORDER BY p.id;

-- @drop_aliases_of
DELETE FROM aliases WHERE repo_id = ?1;

-- ---- bundles: what is carried to another index, and taken over from one ----

-- @bundle_refs
SELECT name, sha, checked_at FROM refs WHERE repo_id = ?1 AND name > ?2 ORDER BY name;

-- @bundle_aliases
SELECT name, checked_at FROM aliases WHERE kind = ?1 AND name > ?2 AND repo_id = ?3 ORDER BY name;

-- @bundle_commits
SELECT id, sha, completeness FROM commits WHERE repo_id = ?1 AND sha > ?2 ORDER BY sha;

-- @bundle_docs
SELECT key, status, fetched_at, content_type, link, body
FROM docs WHERE repo_id = ?1 AND key > ?2 ORDER BY key;

-- A moment here that lies in the future says nothing (?5 is now).
-- @adopt_ref
INSERT INTO refs (repo_id, name, sha, checked_at) VALUES (?1, ?2, ?3, ?4)
ON CONFLICT (repo_id, name) DO UPDATE SET sha = excluded.sha, checked_at = excluded.checked_at
WHERE refs.checked_at < excluded.checked_at OR refs.checked_at > ?5;

-- @adopt_alias
INSERT INTO aliases (kind, name, repo_id, checked_at) VALUES (?1, ?2, ?3, ?4)
ON CONFLICT (kind, name) DO UPDATE
SET repo_id = excluded.repo_id, checked_at = excluded.checked_at
WHERE aliases.checked_at < excluded.checked_at OR aliases.checked_at > ?5;

-- @adopt_doc
INSERT INTO docs (key, repo_id, status, fetched_at, content_type, link, body)
VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)
ON CONFLICT (key) DO UPDATE SET status = excluded.status, fetched_at = excluded.fetched_at,
        content_type = excluded.content_type, link = excluded.link, body = excluded.body
WHERE docs.repo_id = excluded.repo_id
        AND (docs.fetched_at < excluded.fetched_at OR docs.fetched_at > ?8);

-- Visibility 0 is unknown, 1 public; all others are closed.
-- @adopt_visibility
UPDATE repos SET visibility = ?2, visibility_at = ?3,
        upstream_id = CASE WHEN length(?4) = 0 THEN upstream_id ELSE ?4 END
WHERE id = ?1 AND (upstream_id = '' OR ?4 = '' OR upstream_id = ?4)
        AND (visibility = 0 OR visibility_at < ?3 OR visibility_at > ?5)
        AND (visibility <= 1 OR ?2 <> 1 OR ?6);

-- ---- taints ----

-- @put_taint
INSERT INTO taints (digest, until) VALUES (?1, ?2)
ON CONFLICT (digest) DO UPDATE SET until = max(until, excluded.until);

-- @find_taint
SELECT until FROM taints WHERE digest = ?1;

-- @list_taints
SELECT digest, until FROM taints WHERE until > ?1;

-- @drop_old_taints
DELETE FROM taints WHERE until <= ?1;

-- ---- watched folders ----

-- @list_folders
SELECT id, name, origin, definition, target, paused, repo_known, squash_due, rounds, last
FROM folders WHERE id > ?1 ORDER BY id LIMIT 1;

-- @find_folder
SELECT id, target FROM folders WHERE name = ?1;

-- @put_folder
INSERT INTO folders (name, origin, definition, target, paused, repo_known, squash_due, rounds, last)
VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)
ON CONFLICT (name) DO UPDATE SET origin = excluded.origin, definition = excluded.definition,
        target = excluded.target, paused = excluded.paused, repo_known = excluded.repo_known,
        squash_due = excluded.squash_due, rounds = excluded.rounds, last = excluded.last;

-- @drop_folder
DELETE FROM folders WHERE id = ?1;

-- @list_folder_files
SELECT path, size, mtime_ns, ctime_ns, inode, digest
FROM folder_files WHERE folder = ?1 ORDER BY path;

-- @put_folder_file
INSERT INTO folder_files (folder, path, size, mtime_ns, ctime_ns, inode, digest)
VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)
ON CONFLICT (folder, path) DO UPDATE SET size = excluded.size, mtime_ns = excluded.mtime_ns,
        ctime_ns = excluded.ctime_ns, inode = excluded.inode, digest = excluded.digest;

-- @drop_folder_files
DELETE FROM folder_files WHERE folder = ?1;

-- @put_folder_commit
INSERT INTO folder_commits (folder, round, state, mark, parent, operations, begun_at, files, bytes)
VALUES (?1, ?2, 0, ?3, ?4, ?5, ?6, ?7, ?8);

-- @end_folder_commit
UPDATE folder_commits SET state = ?2, sha = ?3, error = ?4, ended_at = ?5 WHERE id = ?1;

-- @find_open_folder_commit
SELECT id, round, state, mark, parent, operations, sha, begun_at, ended_at, files, bytes, error
FROM folder_commits WHERE folder = ?1 AND state = 0 ORDER BY id LIMIT 1;

-- The latest first, without the operations.
-- @list_folder_commits
SELECT id, round, state, mark, parent, '', sha, begun_at, ended_at, files, bytes, error
FROM folder_commits WHERE folder = ?1 ORDER BY id DESC LIMIT ?2;

-- All but the latest so many.
-- @trim_folder_commits
DELETE FROM folder_commits WHERE folder = ?1 AND state <> 0 AND id <= (
        SELECT id FROM folder_commits WHERE folder = ?1 ORDER BY id DESC LIMIT 1 OFFSET ?2);

-- @drop_folder_commits
DELETE FROM folder_commits WHERE folder = ?1;

-- ---- events and statuses ----

-- @put_event
INSERT INTO events (at, topic, subject, before, state, data) VALUES (?1, ?2, ?3, ?4, ?5, ?6)
RETURNING id;

-- @list_events
SELECT id, at, topic, subject, before, state, data FROM events WHERE id > ?1 ORDER BY id LIMIT ?2;

-- @find_last_event
SELECT id FROM events WHERE id > 0 ORDER BY id DESC LIMIT 1;

-- The newest stays: the ids that follow go on from it.
-- @drop_old_events
DELETE FROM events WHERE at < ?1 AND id < ?2;

-- @drop_events_before
DELETE FROM events WHERE id < ?1;

-- @find_event_cursor
SELECT event_id FROM event_cursors WHERE name = ?1;

-- @put_event_cursor
INSERT INTO event_cursors (name, event_id) VALUES (?1, ?2)
ON CONFLICT (name) DO UPDATE SET event_id = excluded.event_id;

-- @list_statuses
SELECT id, topic, subject, state, message, mark, at, watched, pool FROM statuses
WHERE id > ?1 ORDER BY id LIMIT ?2;

-- @put_status
INSERT INTO statuses (topic, subject, state, message, mark, at, watched, pool)
VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)
ON CONFLICT (topic, subject) DO UPDATE SET state = excluded.state, message = excluded.message,
        mark = excluded.mark, at = excluded.at, watched = excluded.watched, pool = excluded.pool;

-- With the event that tells it, so that nobody is told twice.
-- @note_status
INSERT INTO statuses (topic, subject, state, message, mark, at, watched, pool)
VALUES (?1, ?2, ?3, ?4, ?5, ?6, 0, '')
ON CONFLICT (topic, subject) DO UPDATE SET state = excluded.state, message = excluded.message,
        mark = excluded.mark, at = excluded.at;

-- @drop_old_statuses
DELETE FROM statuses WHERE at < ?1 AND watched = 0;

-- ---- prefetches ----

-- @add_prefetch
INSERT INTO prefetches (identity, rule, wants, state, why, sha, files, files_done, bytes,
        bytes_done, created_at, started_at, finished_at, next_run_at)
VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14);

-- Changes no row if it was dropped meanwhile.
-- @set_prefetch
UPDATE prefetches SET identity = ?1, rule = ?2, wants = ?3, state = ?4, why = ?5, sha = ?6,
        files = ?7, files_done = ?8, bytes = ?9, bytes_done = ?10, created_at = ?11,
        started_at = ?12, finished_at = ?13, next_run_at = ?14
WHERE id = ?15;

-- @drop_prefetch
DELETE FROM prefetches WHERE id = ?1;

-- @list_prefetches
SELECT id, identity, rule, wants, state, why, sha, files, files_done, bytes, bytes_done,
        created_at, started_at, finished_at, next_run_at
FROM prefetches WHERE id > ?1 ORDER BY id;
