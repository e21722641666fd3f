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
INSERT INTO blobs (digest, size, created_at, accessed_at, verified_at) VALUES (?1, ?2, ?3, ?4, ?5)
ON CONFLICT (digest) DO UPDATE SET size = excluded.size, created_at = excluded.created_at,
        accessed_at = excluded.accessed_at, verified_at = excluded.verified_at;

-- @put_blob_sums
INSERT INTO blob_sums (digest, sums) VALUES (?1, ?2)
ON CONFLICT (digest) DO UPDATE SET sums = excluded.sums;

-- @drop_blob
DELETE FROM blobs WHERE digest = ?1;

-- @drop_blob_sums
DELETE FROM blob_sums WHERE digest = ?1;

-- @touch_blob
UPDATE blobs SET accessed_at = ?2 WHERE digest = ?1;

-- @add_totals
UPDATE totals SET blobs = blobs + ?1, bytes = bytes + ?2 WHERE id = 1;

-- @find_totals
SELECT blobs, bytes FROM totals WHERE id = 1;

-- ---- unfinished blobs ----

-- @find_partial
SELECT size, spans, sums FROM partials WHERE digest = ?1;

-- @put_partial
INSERT INTO partials (digest, size, spans, sums) VALUES (?1, ?2, ?3, ?4)
ON CONFLICT (digest) DO UPDATE SET size = excluded.size, spans = excluded.spans,
        sums = excluded.sums;

-- @drop_partial
DELETE FROM partials WHERE digest = ?1;

-- @list_partials
SELECT digest FROM partials WHERE digest > ?1 ORDER BY digest LIMIT ?2;

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
