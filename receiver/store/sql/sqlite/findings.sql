-- name: learn_object
-- What the provider says of the video of an event.
UPDATE events SET object = :object, title = coalesce(substr(:title, 1, 1000), title) WHERE id = :event;

-- name: learn_expiry
-- When the link of the video stops working, for the jobs that still need it.
UPDATE jobs SET expires_at = :expires_at
WHERE event = (SELECT seq FROM events WHERE id = :event) AND state NOT IN ('done', 'dead', 'cancelled');

-- name: refute_event
-- The provider denies what an event says; once.
UPDATE events SET refuted_at = :at, warnings = json_insert(warnings, '$[#]', 'refuted')
WHERE id = :event AND refuted_at IS NULL
RETURNING seq, identity, source, what, video_id;
