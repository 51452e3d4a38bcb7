-- name: ready_jobs
-- The jobs of one handler that are due, the longest waiting first; those under suspicion are not among them.
SELECT seq FROM jobs INDEXED BY jobs_ready
WHERE state = 'ready' AND handler = :handler AND run_at <= :now AND crashes = 0
ORDER BY run_at LIMIT :count;

-- name: expiring_jobs
-- The same for jobs whose link stops working, the next one to do so first. Of these the next thousand are looked
-- at, or very many that wait for another try would cost a scan with each claim. What has expired is in no hurry.
SELECT seq FROM (
    SELECT seq, run_at, crashes, expires_at FROM jobs INDEXED BY jobs_expiring
    WHERE state = 'ready' AND expires_at > :now AND handler = :handler
    ORDER BY expires_at LIMIT 1000
)
WHERE run_at <= :now AND crashes = 0 ORDER BY expires_at LIMIT :count;

-- name: suspect_jobs
-- Jobs that are due and whose worker died; :handlers is a JSON array.
SELECT seq FROM jobs INDEXED BY jobs_suspect
WHERE state = 'ready' AND crashes > 0 AND run_at <= :now
  AND handler IN (SELECT value FROM json_each(:handlers))
ORDER BY run_at LIMIT :count;

-- name: count_suspects
-- How many jobs of which handler have to run by themselves.
SELECT handler, count(*) FROM jobs INDEXED BY jobs_suspect WHERE state = 'ready' AND crashes > 0 GROUP BY handler;

-- name: next_due
-- When the next job of some handlers is due; :handlers is a JSON array.
SELECT min(due) AS due FROM (
    SELECT (SELECT min(run_at) FROM jobs WHERE state = 'ready' AND handler = wanted.value AND crashes = 0) AS due
    FROM json_each(:handlers) AS wanted
);

-- name: next_suspect_due
-- The same for jobs under suspicion.
SELECT min(run_at) AS due FROM jobs INDEXED BY jobs_suspect
WHERE state = 'ready' AND crashes > 0 AND handler IN (SELECT value FROM json_each(:handlers));

-- name: claim_jobs
-- CLAIM: the new claim number is the fencing token. :jobs is a JSON array.
UPDATE jobs SET state = 'running', claim = claim + 1, worker = :worker, started_at = :now
WHERE seq IN (SELECT value FROM json_each(:jobs)) AND state = 'ready';

-- name: claimed_jobs
-- What a worker needs to run jobs that it has just claimed; :jobs is a JSON array, and the order.
SELECT j.seq AS job, j.claim, j.handler, j.attempts, j.replay, j.waits_for, j.expires_at,
       e.seq AS event_seq, e.id, e.source, e.kind, e.type, e.identity, e.what, e.video_id, e.received_at, e.warnings,
       e.object, d.body, d.body_sha256, d.payload, d.strings, v.sha256 AS video_sha256
FROM json_each(:jobs) AS wanted
CROSS JOIN jobs AS j ON j.seq = wanted.value
CROSS JOIN events AS e ON e.seq = j.event
CROSS JOIN deliveries AS d ON d.seq = e.delivery
LEFT JOIN videos AS v ON v.event = e.seq
ORDER BY wanted.key;

-- name: results_for_job
-- What others returned for the event of a job: those of its own replay, and where a job of that began without the
-- one that it comes after, those of the replay that it goes on with. The nearest comes last; one that has not
-- ended, or not well, hides what it returned before.
WITH RECURSIVE lineage (steps, job) AS (
    SELECT 0, :job
    UNION ALL
    SELECT l.steps + 1, p.seq FROM lineage AS l CROSS JOIN jobs AS j ON j.seq = l.job
    CROSS JOIN jobs AS p ON p.seq = coalesce(
        j.follows,
        (SELECT b.seq FROM jobs AS b WHERE b.event = j.event AND b.replay IS j.replay AND b.handler = j.waits_for)
    )
)
SELECT j.handler, CASE j.state WHEN 'done' THEN coalesce(j.result, 'null') END AS result
FROM (
    SELECT a.event, a.replay, min(l.steps) AS steps
    FROM lineage AS l CROSS JOIN jobs AS a ON a.seq = l.job GROUP BY a.replay
) AS layer
CROSS JOIN jobs AS j ON j.event = layer.event AND j.replay IS layer.replay
ORDER BY layer.steps DESC, j.seq;

-- name: running_jobs
-- Of some jobs those that run, with what is needed to end them; :jobs is a JSON array.
SELECT j.seq, j.claim, j.event, j.handler, j.replay, j.attempts, j.started_at, j.crashes, j.worker
FROM json_each(:jobs) AS wanted CROSS JOIN jobs AS j ON j.seq = wanted.value
WHERE j.state = 'running';

-- name: settle_job
-- FINISH, RETRY, FAIL, CANCEL, CRASH: only while the claim is the one that was presented.
UPDATE jobs SET state = ?, attempts = ?, run_at = coalesce(?, run_at), worker = NULL,
                ended_at = ?, last_error = ?, result = ?, crashes = ?
WHERE seq = ? AND claim = ? AND state = 'running';

-- name: insert_attempt
-- The record of an attempt that has ended.
INSERT INTO attempts (job, claim, number, worker, started_at, ended_at, outcome, error, error_class)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?);

-- name: waited_for
-- Which handlers of which events others wait for; :events is a JSON array of seq.
SELECT DISTINCT j.event, j.waits_for, j.replay
FROM json_each(:events) AS wanted CROSS JOIN jobs AS j ON j.event = wanted.value
WHERE j.state = 'waiting';

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
UPDATE jobs SET state = 'ready', worker = NULL, crashes = :crashes, run_at = max(run_at, :run_at)
WHERE seq = :job AND worker = :worker AND state = 'running';
