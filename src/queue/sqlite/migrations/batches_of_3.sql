-- Copies the batches of version 3.

INSERT INTO batches (
    batch_id, name, model, folder, budget, spent, reserved, at_risk, created_at,
    queued, submitting, in_doubt, running, downloading, succeeded, failed, cancelled)
SELECT
    batch_id, name, model, folder, budget, spent, reserved, at_risk, created_at,
    queued, submitting, in_doubt, running, downloading, succeeded, failed, cancelled
FROM batches_old;
