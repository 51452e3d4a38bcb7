-- name: seq_of_event
-- The event of some id.
SELECT seq FROM events WHERE id = :id;

-- name: seqs_of_ids
-- Events by their whole ids; :ids is a JSON array.
SELECT e.id, e.seq FROM json_each(:ids) AS wanted CROSS JOIN events AS e ON e.id = wanted.value ORDER BY wanted.key;

-- name: count_equal_deliveries
-- How many deliveries of an event, beside the first, are like one that is offered.
SELECT count(*) AS deliveries FROM deliveries INDEXED BY deliveries_repeated
WHERE event = :event AND received_at = :received_at AND verdict <> 'accepted'
  AND verdict = :verdict AND via = :via AND bytes = :bytes
  AND headers = :headers AND body IS :body AND body_sha256 IS :body_sha256;

-- name: keep_video
-- The file of a linked video that came along with a copy.
INSERT INTO videos (event, sha256, bytes) VALUES (:event, :sha256, :bytes) ON CONFLICT (event) DO NOTHING;

-- name: copy_finding
-- What a provider said of an event elsewhere.
UPDATE events SET object = :object, refuted_at = :refuted_at WHERE seq = :event
RETURNING seq, identity, source, what, video_id;

-- name: newest_delivery
-- The highest number of a delivery.
SELECT coalesce(max(seq), 0) AS seq FROM deliveries;

-- name: given_deliveries
-- Deliveries of some events with all that is known of them, from a place on, up to a number, if that is not NULL;
-- :events is a JSON array of seq.
SELECT wanted.key AS place, d.seq, e.id AS event, e.source, e.kind, e.identity, e.what, e.type, e.video_id, e.status,
       e.progress, e.title, e.warnings, e.content, e.object, e.refuted_at, d.verdict, d.via, d.received_at, d.method, d.path, d.headers,
       d.bytes, d.body, d.body_sha256, d.body_removed_at, d.payload, v.sha256 AS video_sha256, v.bytes AS video_bytes
FROM json_each(:events) AS wanted
CROSS JOIN events AS e ON e.seq = wanted.value
CROSS JOIN deliveries AS d ON d.seq IN (
    -- Of each event no more than a page, from its place in the index on, however many there are.
    SELECT seq FROM deliveries WHERE event = e.seq AND seq > iif(wanted.key = :place, :seq, 0) ORDER BY seq LIMIT :limit
)
LEFT JOIN videos AS v ON v.event = e.seq
WHERE wanted.key >= :place AND (:through IS NULL OR d.seq <= :through)
ORDER BY wanted.key, d.seq LIMIT :limit;

-- name: carried_body
-- The body file that some delivery of an event came with.
SELECT body_sha256, body_removed_at FROM deliveries INDEXED BY deliveries_by_body
WHERE body_sha256 = :sha256 AND event = :event LIMIT 1;
