-- What is removed in time: body files before their rows, attempts beyond the last hundred of a job.

-- The class of the exception that ended an attempt, when one did.
ALTER TABLE attempts ADD COLUMN error_class TEXT;

-- When the body file was removed, in unix milliseconds; the rest of the delivery is kept longer.
ALTER TABLE deliveries ADD COLUMN body_removed_at INTEGER;
CREATE INDEX deliveries_with_file ON deliveries (received_at)
    WHERE body_sha256 IS NOT NULL AND body_removed_at IS NULL;

-- An attempt that was lost costs nothing, so their number has no other bound.
CREATE TRIGGER attempts_are_bounded AFTER INSERT ON attempts WHEN new.claim > 100
BEGIN
    DELETE FROM attempts WHERE job = new.job AND claim <= new.claim - 100;
END;
