-- name: insert_replay
-- A replay that begins.
INSERT INTO replays (id, made_by, wanted, target, status, began_at, last_at, selected)
VALUES (:id, :made_by, :wanted, :target, 'open', :began_at, :began_at, :selected);

-- name: trim_replays
-- Keep their list bounded.
DELETE FROM replays WHERE seq <= (SELECT max(seq) FROM replays) - :kept;

-- name: count_in_replay
-- How far a replay that goes on has come; only from where it is said to stand, if that is not NULL.
UPDATE replays SET last_at = :now, events = events + :events, jobs = jobs + :jobs, failed = failed + :failed
WHERE id = :id AND status = 'open' AND (:at_events IS NULL OR (events = :at_events AND jobs = :at_jobs));

-- name: end_replay
-- A replay is through, or was stopped.
UPDATE replays SET status = :status, ended_at = :now, last_at = :now WHERE id = :id AND status = 'open';

-- name: last_replays
-- The newest replays; those whose id begins with some text.
SELECT id, made_by, wanted, target, status, began_at, last_at, ended_at, selected, events, jobs, failed
FROM replays WHERE id >= :prefix AND id < :prefix || '~' ORDER BY seq DESC LIMIT :limit;

-- name: states_of_replay
-- What became of the jobs of a replay.
SELECT state, count(*) AS jobs FROM jobs INDEXED BY jobs_of_replays WHERE replay = :replay GROUP BY state;

-- name: events_to_replay
-- Some events, in the order of :events, a JSON array of seq.
SELECT e.seq, e.id, e.source, e.kind, e.type, e.video_id, e.title, e.received_at, d.via,
       e.object IS NOT NULL AS has_object
FROM json_each(:events) AS wanted
CROSS JOIN events AS e ON e.seq = wanted.value
CROSS JOIN deliveries AS d ON d.seq = e.delivery
ORDER BY wanted.key;

-- name: jobs_had
-- The jobs that some events have had, in their order; :events is a JSON array of seq.
SELECT j.event, j.seq, j.handler, j.state, j.expires_at
FROM json_each(:events) AS wanted CROSS JOIN jobs AS j ON j.event = wanted.value
ORDER BY j.event, j.seq;

-- name: insert_replayed_job
-- One more job of a stored event.
INSERT INTO jobs (handler, run_at, ended_at, state, waits_for, last_error, replay, event, expires_at, follows)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?);
