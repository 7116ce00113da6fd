-- Copies the tables that have the same columns in every version, once the scripts for older versions
-- have run. The old tables have the suffix `_old`.

INSERT INTO batches (
    batch_id, name, model, folder, budget, has_files, spent, reserved, at_risk, created_at,
    queued, submitting, in_doubt, running, downloading, succeeded, failed, cancelled)
SELECT
    batch_id, name, model, folder, budget, has_files, spent, reserved, at_risk, created_at,
    queued, submitting, in_doubt, running, downloading, succeeded, failed, cancelled
FROM batches_old;

INSERT INTO attempts (
    attempt_id, job_id, batch_id, number, state, provider, wire_model, request, request_digest, clip_s,
    client_token, estimate, cost, cost_source, early_cost, prediction_id, prediction, output_url,
    processing_ms, error, submitted_at, answered_at, finished_at)
SELECT
    attempt_id, job_id, batch_id, number, state, provider, wire_model, request, request_digest, clip_s,
    client_token, estimate, cost, cost_source, early_cost, prediction_id, prediction, output_url,
    processing_ms, error, submitted_at, answered_at, finished_at
FROM attempts_old;

INSERT INTO providers (provider, in_flight, creates_from, calls_from, failures, paused, refuses_looks)
SELECT provider, in_flight, creates_from, calls_from, failures, paused, refuses_looks FROM providers_old;

INSERT INTO pools (pool_id, host, pid, started_at, expires_at)
SELECT pool_id, host, pid, started_at, expires_at FROM pools_old;

INSERT INTO meta (key, value) SELECT key, value FROM meta_old;
