-- What providers say of events that are recorded already.

-- The provider's own object of the video, as JSON; the body of the event stays what came.
ALTER TABLE events ADD COLUMN object TEXT;
-- When the provider denied what the event says, in unix milliseconds: it stands in the way of no other event.
ALTER TABLE events ADD COLUMN refuted_at INTEGER;
