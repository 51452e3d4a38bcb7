-- What was asked of providers, recorded before the paid request: a crash in between is seen, and nothing is paid
-- for twice unnoticed. A row without an outcome is under way, or its program ended before an answer came.

CREATE TABLE submissions (
    seq INTEGER PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    source TEXT NOT NULL,
    kind TEXT NOT NULL,
    -- Of the order, without what changes each time; two orders of one digest are the same.
    digest TEXT NOT NULL,
    -- What was asked for, as it may be shown: no credential, no long text.
    request TEXT NOT NULL,
    intended_at INTEGER NOT NULL,
    settled_at INTEGER,
    outcome TEXT CHECK (outcome IN ('accepted', 'refused', 'unknown')),
    video_id TEXT,
    error TEXT,
    CHECK ((settled_at IS NULL) = (outcome IS NULL)),
    CHECK ((video_id IS NOT NULL) = (outcome IS 'accepted'))
) STRICT;

CREATE INDEX submissions_by_digest ON submissions (source, digest);
-- Those of which nobody knows whether they were paid for: never many.
CREATE INDEX submissions_unclear ON submissions (intended_at) WHERE outcome IS NULL OR outcome = 'unknown';
-- For what is removed in time.
CREATE INDEX submissions_over ON submissions (coalesce(settled_at, intended_at));
