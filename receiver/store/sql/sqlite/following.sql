-- name: seqs_in_range_ascending
-- The next events, looked for in every one between two seqs; each filter is off when it is NULL.
SELECT e.seq FROM events AS e
WHERE e.seq BETWEEN :lowest AND :highest
  AND (:source IS NULL OR e.source = :source)
  AND (:type IS NULL OR e.type = :type)
  AND (:since IS NULL OR e.received_at >= :since)
  AND (:until IS NULL OR e.received_at < :until)
  AND (:state IS NULL OR EXISTS (SELECT 1 FROM jobs AS j WHERE j.event = e.seq AND j.state = :state))
ORDER BY e.seq LIMIT :limit;

-- name: seqs_of_video_ascending
-- The same for one video, found by the hash of its id, or among the newest, which have no hash there yet.
SELECT e.seq FROM events AS e
WHERE e.seq IN (
    SELECT v.event FROM events_of_videos AS v WHERE v.hash = :hash
    UNION
    SELECT n.seq FROM events AS n
    WHERE n.video_id = :video
      AND n.seq > coalesce((SELECT CAST(value AS INTEGER) FROM meta WHERE key = 'indexed_through'), 0)
  )
  AND e.video_id = :video
  AND e.seq BETWEEN :lowest AND :highest
  AND (:source IS NULL OR e.source = :source)
  AND (:type IS NULL OR e.type = :type)
  AND (:since IS NULL OR e.received_at >= :since)
  AND (:until IS NULL OR e.received_at < :until)
  AND (:state IS NULL OR EXISTS (SELECT 1 FROM jobs AS j WHERE j.event = e.seq AND j.state = :state))
ORDER BY e.seq LIMIT :limit;

-- name: seqs_of_kinds_ascending
-- The same for some kinds, a page of each; :kinds is a JSON array of [source, type].
SELECT found.seq FROM json_each(:kinds) AS kind CROSS JOIN events AS found ON found.seq IN (
    SELECT e.seq FROM events AS e INDEXED BY events_by_kind
    WHERE e.source = kind.value ->> 0 AND e.type = kind.value ->> 1
      AND e.seq BETWEEN :lowest AND :highest
      AND (:since IS NULL OR e.received_at >= :since)
      AND (:until IS NULL OR e.received_at < :until)
      AND (:state IS NULL OR EXISTS (SELECT 1 FROM jobs AS j WHERE j.event = e.seq AND j.state = :state))
    ORDER BY e.seq LIMIT :limit
)
ORDER BY found.seq LIMIT :limit;

-- name: seqs_in_state_ascending
-- The same for a state that the index of states has.
SELECT DISTINCT j.event AS seq FROM jobs AS j INDEXED BY jobs_by_state CROSS JOIN events AS e ON e.seq = j.event
WHERE j.state = :state AND j.state NOT IN ('ready', 'running')
  AND j.event BETWEEN :lowest AND :highest
  AND (:source IS NULL OR e.source = :source)
  AND (:type IS NULL OR e.type = :type)
  AND (:since IS NULL OR e.received_at >= :since)
  AND (:until IS NULL OR e.received_at < :until)
ORDER BY j.event LIMIT :limit;

-- name: seqs_ready_ascending
-- The same for jobs that are ready.
SELECT DISTINCT j.event AS seq FROM jobs AS j INDEXED BY jobs_ready CROSS JOIN events AS e ON e.seq = j.event
WHERE j.state = 'ready'
  AND j.event BETWEEN :lowest AND :highest
  AND (:source IS NULL OR e.source = :source)
  AND (:type IS NULL OR e.type = :type)
  AND (:since IS NULL OR e.received_at >= :since)
  AND (:until IS NULL OR e.received_at < :until)
ORDER BY j.event LIMIT :limit;

-- name: seqs_running_ascending
-- The same for jobs that are running: never many.
SELECT DISTINCT j.event AS seq FROM jobs AS j INDEXED BY jobs_running CROSS JOIN events AS e ON e.seq = j.event
WHERE j.state = 'running'
  AND j.event BETWEEN :lowest AND :highest
  AND (:source IS NULL OR e.source = :source)
  AND (:type IS NULL OR e.type = :type)
  AND (:since IS NULL OR e.received_at >= :since)
  AND (:until IS NULL OR e.received_at < :until)
ORDER BY j.event LIMIT :limit;

-- name: oldest_ready
-- The lowest event with a job that is ready.
SELECT event AS seq FROM jobs INDEXED BY jobs_ready WHERE state = 'ready' AND event >= :lowest ORDER BY event LIMIT 1;

-- name: id_of_seq
-- Which event has a number.
SELECT id FROM events WHERE seq = :seq;
