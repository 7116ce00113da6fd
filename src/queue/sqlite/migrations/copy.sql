-- Copies the tables that have the same columns in every version, once the scripts for older versions
-- have run. The old tables have the suffix `_old`.

INSERT INTO batches (
    batch_id, name, model, folder, budget, has_files, spent, reserved, at_risk, created_at,
    queued, submitting, in_doubt, running, downloading, succeeded, failed, cancelled)
SELECT
    batch_id, name, model, folder, budget, has_files, spent, reserved, at_risk, created_at,
    queued, submitting, in_doubt, running, downloading, succeeded, failed, cancelled
FROM batches_old;

INSERT INTO pools (pool_id, host, pid, started_at, expires_at)
SELECT pool_id, host, pid, started_at, expires_at FROM pools_old;

INSERT INTO meta (key, value) SELECT key, value FROM meta_old;
