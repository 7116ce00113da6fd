-- Copies the attempts and the gates of version 6.

INSERT INTO attempts (
    attempt_id, job_id, batch_id, number, state, provider, wire_model, request, request_digest, clip_s,
    fingerprint, reuses, output, bytes, sha256, client_token, estimate, cost, cost_source, early_cost,
    prediction_id, prediction, output_url, processing_ms, error, submitted_at, answered_at, finished_at)
SELECT
    attempt_id, job_id, batch_id, number, state, provider, wire_model, request, request_digest, clip_s,
    fingerprint, reuses, output, bytes, sha256, client_token, estimate, cost, cost_source, early_cost,
    prediction_id, prediction, output_url, processing_ms, error, submitted_at, answered_at, finished_at
FROM attempts_old;

INSERT INTO providers (
    provider, in_flight, creates_from, calls_from, failures, paused, refuses_looks, hold_reason, alone,
    alone_until, waits_below)
SELECT
    provider, in_flight, creates_from, calls_from, failures, paused, refuses_looks, hold_reason, alone,
    alone_until, waits_below
FROM providers_old;

INSERT INTO routes (
    provider, wire_model, held_until, alone_until, hold_reason, priced, billed, learned_at, price_accepted)
SELECT
    provider, wire_model, held_until, alone_until, hold_reason, priced, billed, learned_at, price_accepted
FROM routes_old;
