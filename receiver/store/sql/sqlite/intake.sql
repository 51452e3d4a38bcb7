-- name: known_events
-- The events of some videos, for deciding what a new delivery means.
-- :videos is a JSON array of [hash of the id, identity, source].
SELECT e.identity, e.source, e.what, e.seq, e.id, e.content
FROM json_each(:videos) AS video
CROSS JOIN events_of_videos AS v ON v.hash = video.value ->> 0
CROSS JOIN events AS e
    ON e.seq = v.event AND e.identity = video.value ->> 1 AND e.source = video.value ->> 2
    AND e.refuted_at IS NULL;

-- name: events_after
-- The newest events, which events_of_videos does not hold yet.
SELECT video_id, identity, source, what, seq, id, content, refuted_at FROM events WHERE seq > :seq ORDER BY seq;

-- name: index_event
-- One event of a video; it may be there from before a crash.
INSERT OR IGNORE INTO events_of_videos (hash, event) VALUES (?, ?);

-- name: last_seqs
-- The highest numbers given so far; what had them may have been removed.
SELECT max(coalesce((SELECT max(seq) FROM events), 0),
           coalesce((SELECT CAST(value AS INTEGER) FROM meta WHERE key = 'last_event'), 0)) AS event,
       max(coalesce((SELECT max(seq) FROM deliveries), 0),
           coalesce((SELECT CAST(value AS INTEGER) FROM meta WHERE key = 'last_delivery'), 0)) AS delivery;

-- name: insert_event
-- One new event.
INSERT INTO events (seq, id, source, kind, identity, what, type, video_id, status, progress, title,
                    received_at, bytes, warnings, content, delivery)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?);

-- name: insert_delivery
-- One arrival, whatever its verdict.
INSERT INTO deliveries (seq, event, verdict, via, received_at, method, path, headers, bytes,
                        body, body_sha256, payload, strings, copied_at)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?);

-- name: insert_job
-- One job of a new event.
INSERT INTO jobs (event, handler, state, waits_for, run_at, ended_at, last_error, expires_at)
VALUES (?, ?, ?, ?, ?, ?, ?, ?);

-- name: count_repeat
-- A duplicate or a conflict of an event that is known.
UPDATE events SET duplicates = duplicates + 1, conflict = max(conflict, ?) WHERE seq = ?;

-- name: update_progress
-- The last seen status of a video that is still being made.
UPDATE events SET status = ?, progress = ? WHERE seq = ?;

-- name: insert_rejection
-- One entry of the bounded list.
INSERT INTO rejections (at, source, status, reason, peer, repeated) VALUES (?, ?, ?, ?, ?, ?);

-- name: trim_rejections
-- Keep the list bounded.
DELETE FROM rejections WHERE seq <= (SELECT max(seq) FROM rejections) - :kept;

-- name: set_meta
-- Remember one value.
INSERT INTO meta (key, value) VALUES (:key, :value) ON CONFLICT (key) DO UPDATE SET value = excluded.value;

-- name: get_meta
-- Recall one value.
SELECT value FROM meta WHERE key = :key;

-- name: bodies_in_use
-- Which of some files among the bodies have a row; :digests is a JSON array.
SELECT DISTINCT d.body_sha256 FROM json_each(:digests) AS wanted
CROSS JOIN deliveries AS d ON d.body_sha256 = wanted.value AND d.body_removed_at IS NULL
UNION
SELECT v.sha256 FROM json_each(:digests) AS wanted CROSS JOIN videos AS v ON v.sha256 = wanted.value;

-- name: all_bodies
-- Every file among the bodies that a row names and that was not removed in time.
SELECT DISTINCT body_sha256 FROM deliveries WHERE body_sha256 IS NOT NULL AND body_removed_at IS NULL
UNION
SELECT sha256 FROM videos;
