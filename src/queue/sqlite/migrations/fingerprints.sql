-- Says for which input the last attempt of each job was made, which version 5 did not store.

UPDATE attempts SET fingerprint = (SELECT j.fingerprint FROM jobs j WHERE j.job_id = attempts.job_id)
WHERE attempt_id IN (SELECT attempt_id FROM jobs WHERE attempt_id IS NOT NULL);
