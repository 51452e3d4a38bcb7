-- Replays and copies: a replay is a record of its own; what was recorded elsewhere says when it was copied here.

CREATE TABLE replays (
    seq INTEGER PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    made_by TEXT NOT NULL,
    wanted TEXT NOT NULL,
    target TEXT,
    status TEXT NOT NULL CHECK (status IN ('open', 'finished', 'stopped')),
    began_at INTEGER NOT NULL,
    last_at INTEGER NOT NULL,
    ended_at INTEGER,
    selected INTEGER NOT NULL,
    events INTEGER NOT NULL DEFAULT 0,
    jobs INTEGER NOT NULL DEFAULT 0,
    failed INTEGER NOT NULL DEFAULT 0
) STRICT;

-- Of a replayed job that runs without the one that it comes after: whose result it goes on with.
ALTER TABLE jobs ADD COLUMN follows INTEGER REFERENCES jobs (seq);
CREATE INDEX jobs_of_replays ON jobs (replay, state) WHERE replay IS NOT NULL;

-- When a delivery was copied from another receiver, in unix milliseconds; its other times are those of the original.
ALTER TABLE deliveries ADD COLUMN copied_at INTEGER;

-- Videos that came along with a copied event and lie among the body files: their links may be dead by now.
CREATE TABLE videos (
    event INTEGER PRIMARY KEY REFERENCES events (seq),
    sha256 TEXT NOT NULL,
    bytes INTEGER NOT NULL
) STRICT;
CREATE INDEX videos_by_file ON videos (sha256);
