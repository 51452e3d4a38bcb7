-- name: ready_jobs
-- The jobs of one handler that are due, the longest waiting first.
SELECT seq FROM jobs
WHERE state = 'ready' AND handler = :handler AND run_at <= :now
ORDER BY run_at LIMIT :count;

-- name: next_due
-- When the next job of some handlers is due; :handlers is a JSON array.
SELECT min(due) AS due FROM (
    SELECT (SELECT min(run_at) FROM jobs WHERE state = 'ready' AND handler = wanted.value) AS due
    FROM json_each(:handlers) AS wanted
);

-- name: claim_job
-- CLAIM: the new claim number is the fencing token.
UPDATE jobs SET state = 'running', claim = claim + 1, worker = :worker, started_at = :now
WHERE seq = :job AND state = 'ready';

-- name: claimed_job
-- What a worker needs to run a job it has just claimed.
SELECT j.seq AS job, j.claim, j.handler, j.attempts, j.replay, j.waits_for,
       e.seq AS event_seq, e.id, e.source, e.kind, e.type, e.identity, e.what, e.video_id, e.received_at, e.warnings,
       d.body, d.body_sha256, d.payload, d.strings
FROM jobs AS j
JOIN events AS e ON e.seq = j.event
JOIN deliveries AS d ON d.seq = e.delivery
WHERE j.seq = :job;

-- name: results_of_event
-- What the finished jobs of an event returned, for those that come after them.
SELECT handler, result FROM jobs WHERE event = :event AND state = 'done' ORDER BY seq;

-- name: settle_job
-- FINISH, RETRY, FAIL, CANCEL: only by the worker that still owns the claim.
UPDATE jobs SET state = :state, attempts = attempts + 1, run_at = coalesce(:run_at, run_at), worker = NULL,
                ended_at = :ended_at, last_error = :error, result = :result
WHERE seq = :job AND claim = :claim AND state = 'running'
RETURNING event, handler, replay;

-- name: insert_attempt
-- The record of an attempt that has ended, read off its job.
INSERT INTO attempts (job, claim, number, worker, started_at, ended_at, outcome, error)
SELECT seq, claim, attempts + (:outcome = 'lost'), :worker, started_at, :ended_at, :outcome, :error
FROM jobs WHERE seq = :job;

-- name: unblock_jobs
-- UNBLOCK: what waited for a job that is done.
UPDATE jobs SET state = 'ready', run_at = :now
WHERE event = :event AND state = 'waiting' AND waits_for = :handler AND replay IS :replay;

-- name: abandon_jobs
-- ABANDON: what waited for a job that is dead or cancelled.
UPDATE jobs SET state = 'cancelled', ended_at = :now, last_error = :reason
WHERE event = :event AND state = 'waiting' AND waits_for = :handler AND replay IS :replay
RETURNING handler;

-- name: running_workers
-- Who holds leases.
SELECT DISTINCT worker FROM jobs WHERE state = 'running';

-- name: jobs_of_worker
-- What a worker holds.
SELECT seq FROM jobs WHERE state = 'running' AND worker = :worker;

-- name: lose_job
-- LOSE: nobody will report on this attempt; it costs nothing. Only what the worker still holds.
UPDATE jobs SET state = 'ready', worker = NULL, run_at = max(run_at, :run_at)
WHERE seq = :job AND worker = :worker AND state = 'running';

-- name: count_deaths
-- How many workers died while they ran a job.
SELECT count(*) FROM attempts WHERE job = :job AND outcome = 'lost' AND error = :reason;
