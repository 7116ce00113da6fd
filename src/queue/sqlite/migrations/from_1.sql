-- Copies everything but the batches from version 1 into tables of the current version. The old
-- tables have the suffix `_old`.

INSERT INTO pools (pool_id, host, pid, started_at, expires_at)
SELECT pool_id, host, pid, started_at, expires_at FROM pools_old;

INSERT INTO meta (key, value)
SELECT key, value FROM meta_old;

INSERT INTO attempts (
    attempt_id, job_id, batch_id, number, state, provider, wire_model, request, client_token, estimate, cost,
    cost_source, early_cost, prediction_id, prediction, output_url, processing_ms, error, submitted_at,
    answered_at, finished_at, clip_s)
SELECT
    attempt_id, job_id, batch_id, number, state, provider, wire_model, request, client_token, estimate, cost,
    cost_source, early_cost, prediction_id, prediction, output_url, processing_ms, error, submitted_at,
    answered_at, finished_at,
    (SELECT CAST(j.input ->> '$.duration' AS INTEGER) FROM jobs_old j WHERE j.job_id = attempts_old.job_id)
FROM attempts_old;

INSERT INTO jobs (
    job_id, batch_id, row_key, line, input, fingerprint, providers, estimate, file_name, file_name_key,
    state, state_since, due_at, lease_token, lease_pool, attempt_id, failures, attempts, refusals, polls,
    downloads, crashes, output, bytes, sha256, error, queued_at, submitted_at, finished_at, at_provider)
SELECT
    job_id, batch_id, row_key, line, input, substr(fingerprint, 1, 32), providers, estimate, file_name, file_name_key,
    state, state_since, due_at, lease_token, lease_pool, attempt_id, failures, attempts, refusals, polls,
    downloads, crashes, output, bytes, sha256, error, queued_at, submitted_at, finished_at,
    CASE WHEN state <> 'queued' AND finished_at IS NULL
        THEN (SELECT a.provider FROM attempts_old a WHERE a.attempt_id = jobs_old.attempt_id) END
FROM jobs_old;

-- The triggers have booked the copied attempts a second time: restore the stored values.
DELETE FROM providers;
INSERT INTO providers (provider, in_flight, creates_from, calls_from, failures, paused, refuses_looks)
SELECT provider, in_flight, creates_from, calls_from, failures, paused, refuses_looks FROM providers_old;
