//! Starts attempts.

use super::posted::Values;
use super::row::values;
use crate::queue::storage::NewAttempt;

/// Inserts attempts, and writes their jobs and leases.
pub(super) const START: &str = "
    WITH new AS (
        SELECT * FROM unnest($1::BIGINT[], $2::BIGINT[], $3::BIGINT[], $4::BIGINT[], $5::TEXT[], $6::TEXT[],
                $7::TEXT[], $8::TEXT[], $9::BIGINT[], $10::BIGINT[], $11::TEXT[], $12::BIGINT[], $13::BIGINT[],
                $14::TEXT[], $15::BIGINT[], $16::TEXT[])
            AS new (attempt_id, job_id, batch_id, number, state, provider, wire_model, request, request_digest,
                    clip_s, client_token, estimate, submitted_at, job_state, token, pool)
    ), inserted AS (
        INSERT INTO attempts (attempt_id, job_id, batch_id, number, state, provider, wire_model, request,
                              request_digest, clip_s, client_token, estimate, submitted_at, fingerprint)
        SELECT attempt_id, job_id, batch_id, number, state, provider, wire_model, request, request_digest,
               clip_s, client_token, estimate, submitted_at,
               (SELECT fingerprint FROM rows WHERE rows.job_id = new.job_id)
        FROM new)
    UPDATE jobs SET state = new.job_state, state_since = new.submitted_at, due_at = NULL,
           attempt_id = new.attempt_id, submitted_at = new.submitted_at, at_provider = new.provider,
           lease_token = new.token, lease_pool = new.pool
    FROM new WHERE jobs.job_id = new.job_id";

/// Returns the values of [`START`]. The attempts are numbered from `first` on.
pub(super) fn values_of_new(new: &[NewAttempt<'_>], first: i64) -> Values {
    fn column<T>(new: &[NewAttempt<'_>], value: impl Fn(&NewAttempt<'_>) -> T) -> Vec<T> {
        new.iter().map(value).collect()
    }
    values![
        (first..).take(new.len()).collect::<Vec<i64>>(),
        column(new, |new| new.lease.job_id.0),
        column(new, |new| new.batch_id),
        column(new, |new| i64::from(new.attempt.number)),
        column(new, |new| new.attempt.progress.state.as_str()),
        column(new, |new| new.attempt.provider.as_str()),
        column(new, |new| new.attempt.wire_model.clone()),
        column(new, |new| new.request_text.to_owned()),
        column(new, |new| new.request_digest),
        column(new, |new| new.clip_s.map(i64::from)),
        column(new, |new| new.attempt.client_token.clone()),
        column(new, |new| new.attempt.progress.estimate.micros()),
        column(new, |new| new.attempt.submitted_at.as_millisecond()),
        column(new, |new| new.job.state.as_str()),
        column(new, |new| new.lease.token),
        column(new, |new| new.pool.0.clone()),
    ]
}
