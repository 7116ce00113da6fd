-- Copies the jobs of a version in which each job listed its providers itself.

INSERT INTO lanes (batch_id, providers)
SELECT DISTINCT batch_id, providers FROM jobs_old ORDER BY batch_id, providers;

INSERT INTO jobs (
    job_id, batch_id, row_key, line, input, fingerprint, lane_id, estimate, file_stem, file_key,
    state, state_since, due_at, at_provider, lease_token, lease_pool, attempt_id, failures, attempts,
    refusals, polls, downloads, crashes, output, bytes, sha256, error, queued_at, submitted_at,
    finished_at)
SELECT
    job_id, batch_id, row_key, line, input, unhex(fingerprint), lane_id, estimate,
    nullif(substr(file_name, 1, length(file_name) - length('.mp4')), row_key),
    nullif(substr(file_name_key, 1, length(file_name_key) - length('.mp4')), lower(row_key)),
    state, CASE WHEN state <> 'queued' OR state_since <> queued_at THEN state_since END, due_at,
    at_provider, lease_token, lease_pool, attempt_id, failures, attempts, refusals, polls, downloads,
    crashes, output, bytes, sha256, error, queued_at, submitted_at, finished_at
FROM jobs_old JOIN lanes USING (batch_id, providers) ORDER BY job_id;
