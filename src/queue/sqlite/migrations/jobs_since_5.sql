-- Copies the jobs of version 5, whose columns are those of the current version.

INSERT INTO lanes (lane_id, batch_id, providers) SELECT lane_id, batch_id, providers FROM lanes_old;

INSERT INTO jobs (
    job_id, batch_id, row_key, line, input, fingerprint, lane_id, estimate, file_stem, file_key,
    state, state_since, due_at, at_provider, lease_token, lease_pool, attempt_id, failures, attempts,
    refusals, polls, downloads, crashes, output, bytes, sha256, error, queued_at, submitted_at,
    finished_at)
SELECT
    job_id, batch_id, row_key, line, input, fingerprint, lane_id, estimate, file_stem, file_key,
    state, state_since, due_at, at_provider, lease_token, lease_pool, attempt_id, failures, attempts,
    refusals, polls, downloads, crashes, output, bytes, sha256, error, queued_at, submitted_at,
    finished_at
FROM jobs_old ORDER BY job_id;
