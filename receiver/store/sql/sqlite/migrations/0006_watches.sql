-- Videos whose provider is asked how they stand until their end is recorded. At most one watch of each: a new
-- one takes the place of one that has ended.

CREATE TABLE watches (
    seq INTEGER PRIMARY KEY,
    source TEXT NOT NULL,
    kind TEXT NOT NULL,
    identity TEXT NOT NULL,
    video_id TEXT NOT NULL,
    opened_at INTEGER NOT NULL,
    next_at INTEGER NOT NULL,
    deadline_at INTEGER NOT NULL,
    asked INTEGER NOT NULL DEFAULT 0,
    unanswered INTEGER NOT NULL DEFAULT 0,
    status TEXT,
    progress REAL,
    seen_at INTEGER,
    last_error TEXT,
    event INTEGER,
    ended_at INTEGER,
    ending TEXT CHECK (ending IN ('completed', 'failed', 'expired', 'stopped')),
    CHECK ((ended_at IS NULL) = (ending IS NULL))
) STRICT;

CREATE UNIQUE INDEX watches_by_video ON watches (source, video_id, identity);
CREATE INDEX watches_due ON watches (source, next_at) WHERE ended_at IS NULL;
-- For what is removed in time: what has ended, and what nobody asks about any more.
CREATE INDEX watches_over ON watches (coalesce(ended_at, deadline_at));
