-- name: same_submission
-- The last one of the same order, unless it was refused: then nothing was paid.
SELECT id, source, kind, digest, request, intended_at, settled_at, outcome, video_id, error
FROM submissions INDEXED BY submissions_by_digest
WHERE source = :source AND digest = :digest AND outcome IS NOT 'refused'
ORDER BY seq DESC LIMIT 1;

-- name: insert_submission
-- One that is about to be sent.
INSERT INTO submissions (id, source, kind, digest, request, intended_at) VALUES (?, ?, ?, ?, ?, ?);

-- name: settle_submission
-- What came of it, once.
UPDATE submissions SET outcome = :outcome, video_id = :video_id, error = :error, settled_at = :at
WHERE id = :id AND outcome IS NULL
RETURNING seq;

-- name: submissions_named
-- Those whose id begins with some text; two rows mean that it is ambiguous.
SELECT id FROM submissions WHERE id >= :prefix AND id < :prefix || '~' ORDER BY id LIMIT 2;

-- name: forget_submission
-- One that somebody has looked into.
DELETE FROM submissions WHERE id = :id;

-- name: listed_submissions
-- Submissions, the newest first; of one source.
SELECT id, source, kind, digest, request, intended_at, settled_at, outcome, video_id, error
FROM submissions WHERE :source IS NULL OR source = :source
ORDER BY seq DESC LIMIT :limit;

-- name: unclear_submissions
-- Those of which nobody knows whether they were paid for, the newest first. What was intended after a time may
-- still be under way.
SELECT id, source, kind, digest, request, intended_at, settled_at, outcome, video_id, error
FROM submissions INDEXED BY submissions_unclear
WHERE (outcome IS NULL OR outcome = 'unknown') AND (outcome = 'unknown' OR intended_at < :before)
ORDER BY intended_at DESC LIMIT :limit;

-- name: old_submissions
-- Submissions that were over before a time, by the clock, a few after another one.
SELECT seq, coalesce(settled_at, intended_at) AS received_at FROM submissions INDEXED BY submissions_over
WHERE coalesce(settled_at, intended_at) < :before
  AND (coalesce(settled_at, intended_at), seq) > (:after_at, :after)
ORDER BY coalesce(settled_at, intended_at), seq LIMIT :count;

-- name: remove_submissions
-- Some submissions, those that are still old enough; :submissions is a JSON array.
DELETE FROM submissions
WHERE seq IN (SELECT value FROM json_each(:submissions)) AND coalesce(settled_at, intended_at) < :before
RETURNING seq;
