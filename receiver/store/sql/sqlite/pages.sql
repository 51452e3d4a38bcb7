-- name: seq_bounds
-- The lowest and the highest seq.
SELECT (SELECT min(seq) FROM events) AS lowest, (SELECT max(seq) FROM events) AS highest;

-- name: removed_through
-- The highest seq that retention has removed.
SELECT CAST(value AS INTEGER) AS seq FROM meta WHERE key = 'removed_through';

-- name: count_between
-- How many events there still are after one seq, up to another.
SELECT count(*) AS events FROM events WHERE seq > :after AND seq <= :through;

-- name: last_before
-- The last event before some time, by the clock.
SELECT seq FROM events INDEXED BY events_by_arrival WHERE received_at < :until ORDER BY received_at DESC, seq DESC LIMIT 1;

-- name: count_since_above
-- How many above some seq are not before a time, and up to which seq that is true.
SELECT count(*) AS events, (SELECT max(seq) FROM events) AS highest
FROM events INDEXED BY events_by_arrival WHERE received_at >= :until AND seq > :seq;

-- name: highest_before
-- The highest seq above another one that is before a time all the same: the clock was set back.
SELECT seq FROM events INDEXED BY events_by_arrival WHERE received_at < :until AND seq > :seq ORDER BY seq DESC LIMIT 1;

-- name: first_since
-- The first event from some time on, by the clock.
SELECT seq FROM events INDEXED BY events_by_arrival WHERE received_at >= :since ORDER BY received_at, seq LIMIT 1;

-- name: count_before_below
-- How many below some seq are before a time.
SELECT count(*) AS events FROM events INDEXED BY events_by_arrival WHERE received_at < :since AND seq < :seq;

-- name: lowest_since
-- The lowest seq below another one that is not before a time all the same.
SELECT seq FROM events INDEXED BY events_by_arrival WHERE received_at >= :since AND seq < :seq ORDER BY seq LIMIT 1;

-- name: kinds
-- Which sources have events of which types: one step through the index for each.
WITH RECURSIVE kinds (source, type) AS (
    SELECT * FROM (SELECT source, type FROM events ORDER BY source, type LIMIT 1)
    UNION ALL
    SELECT e.source, e.type FROM kinds AS k CROSS JOIN events AS e ON e.seq = coalesce(
        (SELECT n.seq FROM events AS n INDEXED BY events_by_kind
         WHERE n.source = k.source AND n.type > k.type ORDER BY n.type LIMIT 1),
        (SELECT n.seq FROM events AS n INDEXED BY events_by_kind
         WHERE n.source > k.source ORDER BY n.source, n.type LIMIT 1)
    )
)
SELECT source, type FROM kinds;

-- name: count_of_kinds
-- How many events of some kinds lie between two seqs, counted up to a limit; :kinds is a JSON array of [source, type].
SELECT count(*) AS events FROM (
    SELECT 1 FROM json_each(:kinds) AS kind
    CROSS JOIN events AS e INDEXED BY events_by_kind ON e.source = kind.value ->> 0 AND e.type = kind.value ->> 1
    WHERE e.seq BETWEEN :lowest AND :highest LIMIT :most
);

-- name: count_in_state
-- How many jobs in some state belong to events between two seqs, counted up to a limit.
SELECT count(*) AS events FROM (
    SELECT 1 FROM jobs AS j INDEXED BY jobs_by_state
    WHERE j.state = :state AND j.state NOT IN ('ready', 'running') AND j.event BETWEEN :lowest AND :highest
    UNION ALL
    SELECT 1 FROM jobs AS j INDEXED BY jobs_ready
    WHERE j.state = 'ready' AND :state = 'ready' AND j.event BETWEEN :lowest AND :highest
    UNION ALL
    SELECT 1 FROM jobs AS j INDEXED BY jobs_running
    WHERE j.state = 'running' AND :state = 'running' AND j.event BETWEEN :lowest AND :highest
    LIMIT :most
);

-- name: seqs_in_range
-- A page, looked for in every event between two seqs; each filter is off when it is NULL.
SELECT e.seq FROM events AS e
WHERE e.seq BETWEEN :lowest AND :highest
  AND (:source IS NULL OR e.source = :source)
  AND (:type IS NULL OR e.type = :type)
  AND (:since IS NULL OR e.received_at >= :since)
  AND (:until IS NULL OR e.received_at < :until)
  AND (:state IS NULL OR EXISTS (SELECT 1 FROM jobs AS j WHERE j.event = e.seq AND j.state = :state))
ORDER BY e.seq DESC LIMIT :limit;

-- name: seqs_of_video
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
ORDER BY e.seq DESC LIMIT :limit;

-- name: seqs_of_kinds
-- The same for some kinds, a page of each; :kinds is a JSON array of [source, type].
SELECT found.seq FROM json_each(:kinds) AS kind CROSS JOIN events AS found ON found.seq IN (
    SELECT e.seq FROM events AS e INDEXED BY events_by_kind
    WHERE e.source = kind.value ->> 0 AND e.type = kind.value ->> 1
      AND e.seq BETWEEN :lowest AND :highest
      AND (:since IS NULL OR e.received_at >= :since)
      AND (:until IS NULL OR e.received_at < :until)
      AND (:state IS NULL OR EXISTS (SELECT 1 FROM jobs AS j WHERE j.event = e.seq AND j.state = :state))
    ORDER BY e.seq DESC LIMIT :limit
)
ORDER BY found.seq DESC LIMIT :limit;

-- name: seqs_in_state
-- The same for a state that the index of states has.
SELECT DISTINCT j.event AS seq FROM jobs AS j INDEXED BY jobs_by_state CROSS JOIN events AS e ON e.seq = j.event
WHERE j.state = :state AND j.state NOT IN ('ready', 'running')
  AND j.event BETWEEN :lowest AND :highest
  AND (:source IS NULL OR e.source = :source)
  AND (:type IS NULL OR e.type = :type)
  AND (:since IS NULL OR e.received_at >= :since)
  AND (:until IS NULL OR e.received_at < :until)
ORDER BY j.event DESC LIMIT :limit;

-- name: seqs_ready
-- The same for jobs that are ready.
SELECT DISTINCT j.event AS seq FROM jobs AS j INDEXED BY jobs_ready CROSS JOIN events AS e ON e.seq = j.event
WHERE j.state = 'ready'
  AND j.event BETWEEN :lowest AND :highest
  AND (:source IS NULL OR e.source = :source)
  AND (:type IS NULL OR e.type = :type)
  AND (:since IS NULL OR e.received_at >= :since)
  AND (:until IS NULL OR e.received_at < :until)
ORDER BY j.event DESC LIMIT :limit;

-- name: seqs_running
-- The same for jobs that are running: never many.
SELECT DISTINCT j.event AS seq FROM jobs AS j INDEXED BY jobs_running CROSS JOIN events AS e ON e.seq = j.event
WHERE j.state = 'running'
  AND j.event BETWEEN :lowest AND :highest
  AND (:source IS NULL OR e.source = :source)
  AND (:type IS NULL OR e.type = :type)
  AND (:since IS NULL OR e.received_at >= :since)
  AND (:until IS NULL OR e.received_at < :until)
ORDER BY j.event DESC LIMIT :limit;

-- name: newest_ready
-- The highest event with a job that is ready.
SELECT event AS seq FROM jobs INDEXED BY jobs_ready WHERE state = 'ready' AND event <= :highest ORDER BY event DESC LIMIT 1;
