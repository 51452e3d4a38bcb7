-- Jobs whose link expires go first; jobs whose worker died while it had them run by themselves.

-- When what the job needs stops being there, in unix milliseconds.
ALTER TABLE jobs ADD COLUMN expires_at INTEGER;
-- How often the process died in which the job ran, since it last ended in any other way.
ALTER TABLE jobs ADD COLUMN crashes INTEGER NOT NULL DEFAULT 0;

CREATE INDEX jobs_expiring ON jobs (handler, expires_at) WHERE state = 'ready' AND expires_at IS NOT NULL;
CREATE INDEX jobs_suspect ON jobs (run_at) WHERE state = 'ready' AND crashes > 0;
