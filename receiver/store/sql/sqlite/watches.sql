-- name: open_watches
-- Which videos are watched.
SELECT identity, source, seq FROM watches WHERE ended_at IS NULL;

-- name: former_watch
-- The watch that a video had or has.
SELECT seq FROM watches WHERE source = :source AND video_id = :video_id AND identity = :identity;

-- name: status_of_event
-- What a provider, or a watch that expired, said last in an event.
SELECT status FROM events WHERE seq = :seq;

-- name: remove_former_watch
-- Make room for a new watch of the same video.
DELETE FROM watches WHERE source = :source AND video_id = :video_id AND identity = :identity;

-- name: insert_watch
-- One new watch.
INSERT INTO watches (source, kind, identity, video_id, next_at, deadline_at, opened_at)
VALUES (?, ?, ?, ?, ?, ?, ?);

-- name: hasten_watch
-- Somebody wants to know sooner, or for longer.
UPDATE watches SET next_at = min(next_at, :first_at), deadline_at = max(deadline_at, :deadline_at)
WHERE seq = :seq;

-- name: due_watches
-- The open watches of one source that are due, the longest waiting first; :busy is a JSON array.
SELECT seq, source, kind, identity, video_id, opened_at, next_at, deadline_at, asked, unanswered,
       status, progress, seen_at, last_error, event, ended_at, ending
FROM watches INDEXED BY watches_due
WHERE ended_at IS NULL AND source = :source AND next_at <= :now
  AND seq NOT IN (SELECT value FROM json_each(:busy))
ORDER BY next_at LIMIT :count;

-- name: next_due_watch
-- When the next open watch of one source is due, those that are busy aside.
SELECT min(next_at) AS due FROM watches INDEXED BY watches_due
WHERE ended_at IS NULL AND source = :source AND seq NOT IN (SELECT value FROM json_each(:busy));

-- name: see_progress
-- A video that is watched is still being made, as its provider has told us unasked, or for the first time.
UPDATE watches SET status = ?, progress = coalesce(?, progress), seen_at = ?, event = ?, next_at = max(next_at, ?)
WHERE seq = ?;

-- name: note_watch
-- What asking has shown, unless the watch has ended meanwhile.
UPDATE watches SET next_at = :next_at, asked = asked + 1,
                   unanswered = CASE WHEN :is_answered THEN 0 ELSE unanswered + 1 END,
                   status = coalesce(:status, status), progress = coalesce(:progress, progress),
                   seen_at = CASE WHEN :status IS NULL THEN seen_at ELSE :at END, last_error = :error
WHERE seq = :seq AND ended_at IS NULL
RETURNING event;

-- name: note_progress
-- The last seen status of the event that says that a video is being made.
UPDATE events SET status = coalesce(:status, status), progress = coalesce(:progress, progress)
WHERE seq = :seq AND what = 'progress';

-- name: end_watch
-- Nothing more is asked; an end that a provider has told leaves no error behind.
UPDATE watches SET ended_at = :at, ending = :ending, asked = asked + :asked, status = coalesce(:status, status),
                   progress = coalesce(:progress, progress),
                   seen_at = CASE WHEN :status IS NULL THEN seen_at ELSE :at END,
                   last_error = CASE WHEN :ending IN ('completed', 'failed') THEN NULL ELSE last_error END
WHERE seq = :seq AND ended_at IS NULL
RETURNING identity, source;

-- name: reopen_watch
-- What had ended a watch turned out to be untrue.
UPDATE watches SET ended_at = NULL, ending = NULL
WHERE source = :source AND video_id = :video_id AND identity = :identity AND ending = :ending
RETURNING seq;

-- name: listed_watches
-- Watches, the newest first; of one source, and those that have ended only when they are wanted.
SELECT seq, source, kind, identity, video_id, opened_at, next_at, deadline_at, asked, unanswered,
       status, progress, seen_at, last_error, event, ended_at, ending
FROM watches
WHERE (:source IS NULL OR source = :source) AND (:ended OR ended_at IS NULL)
ORDER BY seq DESC LIMIT :limit;

-- name: watch_of_video
-- The watch of one video, by the id that its provider gave it, or by its identity, too.
SELECT seq, source, kind, identity, video_id, opened_at, next_at, deadline_at, asked, unanswered,
       status, progress, seen_at, last_error, event, ended_at, ending
FROM watches
WHERE source = :source AND video_id = :video_id AND (:identity IS NULL OR identity = :identity)
ORDER BY seq DESC LIMIT 1;

-- name: old_watches
-- Watches that were over before a time, by the clock, a few after another one.
SELECT seq, coalesce(ended_at, deadline_at) AS received_at FROM watches INDEXED BY watches_over
WHERE coalesce(ended_at, deadline_at) < :before AND (coalesce(ended_at, deadline_at), seq) > (:after_at, :after)
ORDER BY coalesce(ended_at, deadline_at), seq LIMIT :count;

-- name: remove_watches
-- Some watches, those that are still old enough; :watches is a JSON array.
DELETE FROM watches
WHERE seq IN (SELECT value FROM json_each(:watches)) AND coalesce(ended_at, deadline_at) < :before
RETURNING identity, source;
