-- Copies the attempts and the gates of a queue of version 5 or older. Says for which input the last
-- attempt of each job was made, which these versions did not store.

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

UPDATE attempts SET fingerprint = (SELECT j.fingerprint FROM jobs j WHERE j.job_id = attempts.job_id)
WHERE attempt_id IN (SELECT attempt_id FROM jobs WHERE attempt_id IS NOT NULL);
