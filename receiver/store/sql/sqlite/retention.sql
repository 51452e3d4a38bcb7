-- name: old_events
-- Events received before a time, by the clock, a few after another one.
SELECT seq, received_at FROM events INDEXED BY events_by_arrival
WHERE received_at < :before AND (received_at, seq) > (:after_at, :after)
ORDER BY received_at, seq LIMIT :count;

-- name: old_files
-- The same for deliveries whose body file, or whose event's kept video, is still there.
SELECT seq, received_at, event FROM deliveries INDEXED BY deliveries_with_file
WHERE body_sha256 IS NOT NULL AND body_removed_at IS NULL
  AND received_at < :before AND (received_at, seq) > (:after_at, :after)
UNION ALL
SELECT e.delivery, e.received_at, e.seq FROM videos AS v CROSS JOIN events AS e ON e.seq = v.event
WHERE e.received_at < :before AND (e.received_at, e.delivery) > (:after_at, :after)
ORDER BY received_at, seq LIMIT :count;

-- name: finished_events
-- Of some events those that are over and old enough: no job goes on, none has ended since a time, a dead one
-- since another time, and no news of it came or was copied since. :events is a JSON array of seq.
SELECT e.seq, e.identity, e.source, e.what, e.video_id
FROM json_each(:events) AS wanted CROSS JOIN events AS e ON e.seq = wanted.value
WHERE e.received_at < :before
  AND NOT EXISTS (
    SELECT 1 FROM jobs AS j WHERE j.event = e.seq AND (
        j.state NOT IN ('done', 'dead', 'cancelled')
        OR coalesce(j.ended_at, 0) >= :before
        OR (j.state = 'dead' AND coalesce(j.ended_at, 0) >= :dead_before)
    )
  )
  AND NOT EXISTS (
    SELECT 1 FROM deliveries AS d WHERE d.event = e.seq AND max(d.received_at, coalesce(d.copied_at, 0)) >= :before
  )
ORDER BY e.seq;

-- name: count_rows_of_events
-- How many rows some events have in each table; :events is a JSON array of seq.
SELECT (SELECT count(*) FROM json_each(:events)) AS events,
       (SELECT count(*) FROM json_each(:events) AS w CROSS JOIN deliveries AS d ON d.event = w.value) AS deliveries,
       (SELECT count(*) FROM json_each(:events) AS w CROSS JOIN jobs AS j ON j.event = w.value) AS jobs,
       (SELECT count(*) FROM json_each(:events) AS w CROSS JOIN jobs AS j ON j.event = w.value
        CROSS JOIN attempts AS a ON a.job = j.seq) AS attempts;

-- name: files_of_events
-- The body files and kept videos that some events name, and that nobody else does; :events is a JSON array of seq.
SELECT DISTINCT named.digest FROM (
    SELECT d.body_sha256 AS digest
    FROM json_each(:events) AS wanted CROSS JOIN deliveries AS d ON d.event = wanted.value
    WHERE d.body_sha256 IS NOT NULL AND d.body_removed_at IS NULL
    UNION ALL
    SELECT v.sha256 FROM json_each(:events) AS wanted CROSS JOIN videos AS v ON v.event = wanted.value
) AS named
WHERE NOT EXISTS (
    SELECT 1 FROM deliveries AS o
    WHERE o.body_sha256 = named.digest AND o.body_removed_at IS NULL
      AND o.event NOT IN (SELECT value FROM json_each(:events))
  )
  AND NOT EXISTS (
    SELECT 1 FROM videos AS o
    WHERE o.sha256 = named.digest AND o.event NOT IN (SELECT value FROM json_each(:events))
  );

-- name: remove_videos
-- The videos that were kept of some events; :events is a JSON array of seq.
DELETE FROM videos WHERE event IN (SELECT value FROM json_each(:events));

-- name: remove_attempts
-- What was tried for some events; :events is a JSON array of seq.
DELETE FROM attempts WHERE job IN (
    SELECT j.seq FROM json_each(:events) AS w CROSS JOIN jobs AS j ON j.event = w.value
);

-- name: remove_jobs
-- The jobs of some events; :events is a JSON array of seq.
DELETE FROM jobs WHERE event IN (SELECT value FROM json_each(:events));

-- name: remove_deliveries
-- The deliveries of some events; :events is a JSON array of seq.
DELETE FROM deliveries WHERE event IN (SELECT value FROM json_each(:events));

-- name: remove_events
-- Some events themselves; :events is a JSON array of seq.
DELETE FROM events WHERE seq IN (SELECT value FROM json_each(:events));

-- name: remove_known
-- The way from a video to an event that is not there any more.
DELETE FROM events_of_videos WHERE hash = ? AND event = ?;

-- name: mark_files_removed
-- The rest of the deliveries of some events is kept without their body files; :events is a JSON array of seq.
UPDATE deliveries SET body_removed_at = :now
WHERE event IN (SELECT value FROM json_each(:events)) AND body_sha256 IS NOT NULL AND body_removed_at IS NULL;
