//! Starts attempts.

use super::connection::Values;
use super::row::values;
use crate::queue::storage::NewAttempt;

/// Inserts an attempt, and writes its job and its lease. Returns the number of the attempt.
pub(super) const START: &str = "
    WITH attempt AS (
        INSERT INTO attempts (job_id, batch_id, number, state, provider, wire_model, request,
                              request_digest, clip_s, client_token, estimate, submitted_at, fingerprint)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12,
                (SELECT fingerprint FROM rows WHERE job_id = $1))
        RETURNING attempt_id)
    UPDATE jobs SET state = $13, state_since = $12, due_at = NULL, attempt_id = attempt.attempt_id,
           submitted_at = $12, at_provider = $5, lease_token = $14, lease_pool = $15
    FROM attempt WHERE job_id = $1 RETURNING attempt.attempt_id";

/// Returns the values of [`START`].
pub(super) fn values_of_new(new: &NewAttempt<'_>) -> Values {
    let NewAttempt { job, attempt, .. } = new;
    values![
        new.lease.job_id.0,
        new.batch_id,
        i64::from(attempt.number),
        attempt.progress.state.as_str(),
        attempt.provider.as_str(),
        attempt.wire_model.clone(),
        new.request_text.to_owned(),
        new.request_digest,
        new.clip_s.map(i64::from),
        attempt.client_token.clone(),
        attempt.progress.estimate.micros(),
        attempt.submitted_at.as_millisecond(),
        job.state.as_str(),
        new.lease.token,
        new.pool.0.clone(),
    ]
}
