-- Events, their deliveries, jobs and attempts; the bounded list of rejections.
-- Times are unix milliseconds, UTC. `seq` follows the order of commits.

CREATE TABLE meta (
    key TEXT PRIMARY KEY,
    value TEXT NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE events (
    seq INTEGER PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    source TEXT NOT NULL,
    kind TEXT NOT NULL,
    identity TEXT NOT NULL,
    what TEXT NOT NULL,
    type TEXT NOT NULL,
    video_id TEXT NOT NULL,
    status TEXT,
    progress REAL,
    title TEXT,
    received_at INTEGER NOT NULL,
    bytes INTEGER NOT NULL,
    duplicates INTEGER NOT NULL DEFAULT 0,
    conflict INTEGER NOT NULL DEFAULT 0 CHECK (conflict IN (0, 1)),
    warnings TEXT NOT NULL DEFAULT '[]',
    content TEXT,
    delivery INTEGER NOT NULL
) STRICT;

-- The way from a video to its events, by a hash of its id: for deduplication, and for looking. Behind the
-- events by those that the store has in memory (meta.indexed_through). That there is one event of each key is
-- seen to by the only process that writes, and looked at in a full check.
CREATE TABLE events_of_videos (
    hash INTEGER NOT NULL,
    event INTEGER NOT NULL REFERENCES events (seq),
    PRIMARY KEY (hash, event)
) STRICT, WITHOUT ROWID;

CREATE TABLE deliveries (
    seq INTEGER PRIMARY KEY,
    event INTEGER NOT NULL REFERENCES events (seq),
    verdict TEXT NOT NULL CHECK (verdict IN ('accepted', 'duplicate', 'conflict')),
    via TEXT NOT NULL CHECK (via IN ('callback', 'poll', 'import')),
    received_at INTEGER NOT NULL,
    method TEXT NOT NULL,
    path TEXT NOT NULL,
    headers TEXT NOT NULL,
    bytes INTEGER NOT NULL,
    body TEXT,
    body_sha256 TEXT,
    payload TEXT,
    strings TEXT,
    CHECK ((body IS NULL) <> (body_sha256 IS NULL)),
    CHECK ((body_sha256 IS NULL) = (payload IS NULL))
) STRICT;

CREATE INDEX deliveries_by_event ON deliveries (event);
CREATE INDEX deliveries_by_body ON deliveries (body_sha256) WHERE body_sha256 IS NOT NULL;

CREATE TABLE jobs (
    seq INTEGER PRIMARY KEY,
    event INTEGER NOT NULL REFERENCES events (seq),
    handler TEXT NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('waiting', 'ready', 'running', 'done', 'dead', 'cancelled')),
    waits_for TEXT,
    attempts INTEGER NOT NULL DEFAULT 0,
    run_at INTEGER,
    claim INTEGER NOT NULL DEFAULT 0,
    worker TEXT,
    started_at INTEGER,
    ended_at INTEGER,
    last_error TEXT,
    result TEXT,
    replay TEXT
) STRICT;

CREATE INDEX jobs_by_event ON jobs (event);
CREATE INDEX jobs_ready ON jobs (handler, run_at) WHERE state = 'ready';
CREATE INDEX jobs_running ON jobs (worker) WHERE state = 'running';
CREATE INDEX jobs_dead ON jobs (event) WHERE state = 'dead';

CREATE TABLE attempts (
    job INTEGER NOT NULL REFERENCES jobs (seq),
    claim INTEGER NOT NULL,
    number INTEGER NOT NULL,
    worker TEXT NOT NULL,
    started_at INTEGER NOT NULL,
    ended_at INTEGER NOT NULL,
    outcome TEXT NOT NULL CHECK (outcome IN ('done', 'retry', 'fail', 'cancel', 'lost')),
    error TEXT,
    PRIMARY KEY (job, claim)
) STRICT, WITHOUT ROWID;

CREATE TABLE rejections (
    seq INTEGER PRIMARY KEY,
    at INTEGER NOT NULL,
    source TEXT NOT NULL,
    status INTEGER NOT NULL,
    reason TEXT NOT NULL,
    peer TEXT NOT NULL,
    repeated INTEGER NOT NULL
) STRICT;
