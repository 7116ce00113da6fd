-- What a queue of version 2 holds, into tables of the newest version. The old ones have `_old` behind their names.

INSERT INTO pools SELECT * FROM pools_old;
INSERT INTO meta SELECT * FROM meta_old;
INSERT INTO attempts SELECT * FROM attempts_old;
INSERT INTO jobs SELECT * FROM jobs_old;

-- The copied attempts have been booked a second time.
DELETE FROM providers;
INSERT INTO providers SELECT * FROM providers_old;

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
