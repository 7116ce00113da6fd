-- Gives the tables of version 1 the columns that version 2 added, and shortens the fingerprints.

ALTER TABLE jobs_old ADD COLUMN at_provider TEXT;
UPDATE jobs_old SET
    fingerprint = substr(fingerprint, 1, 32),
    at_provider = CASE WHEN state <> 'queued' AND finished_at IS NULL
        THEN (SELECT a.provider FROM attempts_old a WHERE a.attempt_id = jobs_old.attempt_id) END;

ALTER TABLE attempts_old ADD COLUMN request_digest INTEGER NOT NULL DEFAULT 0;
ALTER TABLE attempts_old ADD COLUMN clip_s INTEGER;
UPDATE attempts_old SET clip_s =
    (SELECT CAST(j.input ->> '$.duration' AS INTEGER) FROM jobs_old j WHERE j.job_id = attempts_old.job_id);
