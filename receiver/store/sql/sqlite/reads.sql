-- name: list_events
-- A page of events, newest first; each filter is off when it is NULL.
SELECT e.seq, e.id, e.source, e.type, e.identity, e.what, e.video_id, e.status, e.title, e.received_at,
       e.duplicates, e.conflict, e.warnings, e.bytes, e.progress, e.kind
FROM events AS e
WHERE (:before IS NULL OR e.seq < :before)
  AND (:source IS NULL OR e.source = :source)
  AND (:type IS NULL OR e.type = :type)
  AND (:since IS NULL OR e.received_at >= :since)
  AND (:until IS NULL OR e.received_at < :until)
  AND (:state IS NULL OR EXISTS (SELECT 1 FROM jobs AS j WHERE j.event = e.seq AND j.state = :state))
ORDER BY e.seq DESC LIMIT :limit;

-- name: list_events_of_video
-- The same for one video, whose events the index of the event keys finds: an identity is its id, @ and a scope.
SELECT e.seq, e.id, e.source, e.type, e.identity, e.what, e.video_id, e.status, e.title, e.received_at,
       e.duplicates, e.conflict, e.warnings, e.bytes, e.progress, e.kind
FROM events AS e
WHERE (:before IS NULL OR e.seq < :before)
  AND (:source IS NULL OR e.source = :source)
  AND (:type IS NULL OR e.type = :type)
  AND e.identity >= :video || '@' AND e.identity < :video || 'A' AND e.video_id = :video
  AND (:since IS NULL OR e.received_at >= :since)
  AND (:until IS NULL OR e.received_at < :until)
  AND (:state IS NULL OR EXISTS (SELECT 1 FROM jobs AS j WHERE j.event = e.seq AND j.state = :state))
ORDER BY e.seq DESC LIMIT :limit;

-- name: jobs_of_events
-- The jobs of some events; :events is a JSON array of seq.
SELECT j.event, j.seq AS id, j.handler, j.state, j.attempts, j.run_at, j.last_error, j.waits_for,
       j.started_at, j.ended_at, j.result, j.worker, j.replay
FROM json_each(:events) AS wanted CROSS JOIN jobs AS j ON j.event = wanted.value
ORDER BY j.seq;

-- name: find_event
-- Events whose id begins with some text; two rows mean that it is ambiguous.
SELECT seq, id FROM events WHERE id >= :prefix AND id < :prefix || '~' ORDER BY id LIMIT 2;

-- name: event_by_seq
-- One event, with the delivery that reported it first.
SELECT e.seq, e.id, e.source, e.type, e.identity, e.what, e.video_id, e.status, e.title, e.received_at,
       e.duplicates, e.conflict, e.warnings, e.bytes, e.progress, e.kind,
       d.body, d.body_sha256, d.payload, d.strings
FROM events AS e JOIN deliveries AS d ON d.seq = e.delivery
WHERE e.seq = :seq;

-- name: deliveries_of_event
-- Every arrival of an event, in order.
SELECT seq, verdict, via, received_at, method, path, headers, bytes, body_sha256
FROM deliveries WHERE event = :seq ORDER BY seq;

-- name: attempts_of_event
-- Every attempt at the jobs of an event, in order.
SELECT a.job, a.claim, a.number, a.worker, a.started_at, a.ended_at, a.outcome, a.error
FROM jobs AS j JOIN attempts AS a ON a.job = j.seq
WHERE j.event = :seq ORDER BY a.job, a.claim;

-- name: last_rejections
-- The newest rejections.
SELECT at, source, status, reason, peer, repeated FROM rejections ORDER BY seq DESC LIMIT :limit;

-- name: counts
-- How many jobs are in each state.
SELECT state, count(*) AS jobs FROM jobs GROUP BY state;
