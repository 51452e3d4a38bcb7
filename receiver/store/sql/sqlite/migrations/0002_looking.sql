-- What pages of events and metrics ask for at a million events.
-- Events and jobs are added at the ends of these, so that recording hardly pays for them.

-- By time: `seq` follows it only as long as nobody sets the clock back.
CREATE INDEX events_by_arrival ON events (received_at);
CREATE INDEX events_by_kind ON events (source, type);

-- A job that was never in any of these states is in no index but jobs_ready and jobs_running.
DROP INDEX jobs_dead;
CREATE INDEX jobs_by_state ON jobs (state, event) WHERE state NOT IN ('ready', 'running');

-- With the event, so that those that are ready can be listed without looking at each job.
DROP INDEX jobs_ready;
CREATE INDEX jobs_ready ON jobs (handler, run_at, event) WHERE state = 'ready';
