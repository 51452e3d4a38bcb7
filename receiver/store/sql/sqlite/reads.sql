-- name: listed_events
-- What a page shows of its events, newest first, and what an open watch has seen of their videos; :seqs is a
-- JSON array.
SELECT e.seq, e.id, e.source, e.type, e.identity, e.what, e.video_id, e.status, e.title, e.received_at,
       e.duplicates, e.conflict, e.warnings, e.bytes, e.progress, e.kind,
       w.status AS watch_status, w.progress AS watch_progress
FROM json_each(:seqs) AS wanted CROSS JOIN events AS e ON e.seq = wanted.value
LEFT JOIN watches AS w
    ON w.source = e.source AND w.video_id = e.video_id AND w.identity = e.identity AND w.ended_at IS NULL
ORDER BY e.seq DESC;

-- name: jobs_of_events
-- The jobs of some events; :events is a JSON array of seq.
SELECT j.event, j.seq AS id, j.handler, j.state, j.attempts, j.run_at, j.last_error, j.waits_for,
       j.started_at, j.ended_at, j.result, j.worker, j.replay, j.crashes, j.expires_at
FROM json_each(:events) AS wanted CROSS JOIN jobs AS j ON j.event = wanted.value
ORDER BY j.seq;

-- name: find_event
-- Events whose id begins with some text; two rows mean that it is ambiguous.
SELECT seq, id FROM events WHERE id >= :prefix AND id < :prefix || '~' ORDER BY id LIMIT :limit;

-- name: event_by_seq
-- One event, with the delivery that reported it first.
SELECT e.seq, e.id, e.source, e.type, e.identity, e.what, e.video_id, e.status, e.title, e.received_at,
       e.duplicates, e.conflict, e.warnings, e.bytes, e.progress, e.kind, e.object,
       d.body, d.body_sha256, d.payload, d.strings, d.body_removed_at, d.copied_at
FROM events AS e JOIN deliveries AS d ON d.seq = e.delivery
WHERE e.seq = :seq;

-- name: deliveries_of_event
-- The first arrival of an event and its newest few, in order, and how many there are in all.
SELECT seq, verdict, via, received_at, method, path, headers, bytes, body_sha256, body_removed_at,
       (SELECT count(*) FROM deliveries WHERE event = :seq) AS arrivals
FROM deliveries
WHERE seq IN (SELECT seq FROM (SELECT seq FROM deliveries WHERE event = :seq ORDER BY seq DESC LIMIT :newest)
              UNION SELECT delivery FROM events WHERE seq = :seq)
ORDER BY seq;

-- name: attempts_of_event
-- Every attempt at the jobs of an event, in order.
SELECT a.job, a.claim, a.number, a.worker, a.started_at, a.ended_at, a.outcome, a.error,
       a.error_class
FROM jobs AS j JOIN attempts AS a ON a.job = j.seq
WHERE j.event = :seq ORDER BY a.job, a.claim;

-- name: last_rejections
-- The newest rejections.
SELECT at, source, status, reason, peer, repeated FROM rejections ORDER BY seq DESC LIMIT :limit;

-- name: figures
-- How many jobs there are, and in each state but `done`: the partial indexes are short, and the number of
-- all is read off the pages of an index. And when the first of those that are ready was due.
WITH RECURSIVE handlers (name) AS (
    SELECT min(handler) FROM jobs WHERE state = 'ready'
    UNION ALL
    SELECT (SELECT min(handler) FROM jobs WHERE state = 'ready' AND handler > name) FROM handlers
    WHERE name IS NOT NULL
)
SELECT (SELECT count(*) FROM jobs) AS jobs,
       (SELECT count(*) FROM jobs INDEXED BY jobs_by_state
        WHERE state = 'waiting' AND state NOT IN ('ready', 'running')) AS waiting,
       (SELECT count(*) FROM jobs INDEXED BY jobs_ready WHERE state = 'ready') AS ready,
       (SELECT count(*) FROM jobs INDEXED BY jobs_running WHERE state = 'running') AS running,
       (SELECT count(*) FROM jobs INDEXED BY jobs_by_state
        WHERE state = 'dead' AND state NOT IN ('ready', 'running')) AS dead,
       (SELECT count(*) FROM jobs INDEXED BY jobs_by_state
        WHERE state = 'cancelled' AND state NOT IN ('ready', 'running')) AS cancelled,
       (SELECT min((SELECT min(run_at) FROM jobs WHERE state = 'ready' AND handler = name))
        FROM handlers) AS oldest_ready_at;
