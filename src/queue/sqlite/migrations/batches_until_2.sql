-- Copies the batches of version 1 or 2, which counted their jobs in a table of its own.

INSERT INTO batches (
    batch_id, name, model, folder, budget, spent, reserved, at_risk, created_at,
    queued, submitting, in_doubt, running, downloading, succeeded, failed, cancelled)
SELECT
    b.batch_id, name, model, folder, budget, spent, reserved, at_risk, created_at,
    ifnull(sum(jobs) FILTER (WHERE state = 'queued'), 0),
    ifnull(sum(jobs) FILTER (WHERE state = 'submitting'), 0),
    ifnull(sum(jobs) FILTER (WHERE state = 'in_doubt'), 0),
    ifnull(sum(jobs) FILTER (WHERE state = 'running'), 0),
    ifnull(sum(jobs) FILTER (WHERE state = 'downloading'), 0),
    ifnull(sum(jobs) FILTER (WHERE state = 'succeeded'), 0),
    ifnull(sum(jobs) FILTER (WHERE state = 'failed'), 0),
    ifnull(sum(jobs) FILTER (WHERE state = 'cancelled'), 0)
FROM batches_old b LEFT JOIN job_counts_old USING (batch_id) GROUP BY batch_id;
