-- Gives the batches the job counts, which were in a table of their own until version 2.

ALTER TABLE batches_old ADD COLUMN queued INTEGER;
ALTER TABLE batches_old ADD COLUMN submitting INTEGER;
ALTER TABLE batches_old ADD COLUMN in_doubt INTEGER;
ALTER TABLE batches_old ADD COLUMN running INTEGER;
ALTER TABLE batches_old ADD COLUMN downloading INTEGER;
ALTER TABLE batches_old ADD COLUMN succeeded INTEGER;
ALTER TABLE batches_old ADD COLUMN failed INTEGER;
ALTER TABLE batches_old ADD COLUMN cancelled INTEGER;
UPDATE batches_old SET (
    queued, submitting, in_doubt, running, downloading, succeeded, failed, cancelled
) = (
    SELECT
        ifnull(sum(jobs) FILTER (WHERE state = 'queued'), 0),
        ifnull(sum(jobs) FILTER (WHERE state = 'submitting'), 0),
        ifnull(sum(jobs) FILTER (WHERE state = 'in_doubt'), 0),
        ifnull(sum(jobs) FILTER (WHERE state = 'running'), 0),
        ifnull(sum(jobs) FILTER (WHERE state = 'downloading'), 0),
        ifnull(sum(jobs) FILTER (WHERE state = 'succeeded'), 0),
        ifnull(sum(jobs) FILTER (WHERE state = 'failed'), 0),
        ifnull(sum(jobs) FILTER (WHERE state = 'cancelled'), 0)
    FROM job_counts_old c WHERE c.batch_id = batches_old.batch_id);
