//! Rebuilds the sums and counts that the triggers keep from the rows they stand for: reserved and spent money, slots in
//! use, jobs in each state.
//!
//! At each start of a run: whoever trusts a wrong sum pays with it, and a tool that edits the file or restores a part of
//! it may know no trigger. The indexes hold just what is summed, and of the waiting jobs, which may be a million, only the
//! number of all jobs is looked at: a run begins in milliseconds.

use rusqlite::Connection;

use crate::queue::{CounterMismatch, Result};

use super::row::select;

/// Each sum as it is kept and as the rows have it: two entries under one name that have to agree.
///
/// Indexes are named where SQLite would rather read every job in the order of its batch.
const MISCOUNTS: &str = "
    SELECT ifnull(name || ': ', '') || what AS what, sum(kept) AS kept, sum(counted) AS counted FROM (
        SELECT batch_id, 'spent' AS what, spent AS kept, 0 AS counted FROM batches
        UNION ALL
        SELECT batch_id, 'spent', 0, sum(cost) FROM attempts WHERE cost > 0 GROUP BY batch_id
        UNION ALL
        SELECT batch_id, 'reserved', reserved, 0 FROM batches
        UNION ALL
        SELECT batch_id, 'reserved', 0, sum(estimate) FROM attempts
            WHERE finished_at IS NULL GROUP BY batch_id
        UNION ALL
        SELECT batch_id, 'at risk', at_risk, 0 FROM batches
        UNION ALL
        SELECT batch_id, 'at risk', 0, sum(estimate * (state = 'in_doubt')) FROM attempts
            WHERE finished_at IS NULL GROUP BY batch_id
        UNION ALL
        SELECT NULL, 'jobs',
            sum(queued + submitting + in_doubt + running + downloading + succeeded + failed + cancelled), 0 FROM batches
        UNION ALL
        SELECT NULL, 'jobs', 0, (SELECT count(*) FROM jobs)
        UNION ALL
        SELECT batch_id, 'submitting jobs', submitting, 0 FROM batches
        UNION ALL
        SELECT batch_id, 'in_doubt jobs', in_doubt, 0 FROM batches
        UNION ALL
        SELECT batch_id, 'running jobs', running, 0 FROM batches
        UNION ALL
        SELECT batch_id, 'downloading jobs', downloading, 0 FROM batches
        UNION ALL
        SELECT batch_id, 'succeeded jobs', succeeded, 0 FROM batches
        UNION ALL
        SELECT batch_id, 'failed jobs', failed, 0 FROM batches
        UNION ALL
        SELECT batch_id, 'cancelled jobs', cancelled, 0 FROM batches
        UNION ALL
        SELECT batch_id, state || ' jobs', 0, count(*) FROM jobs INDEXED BY jobs_moving
            WHERE at_provider IS NOT NULL AND lease_token IS NULL GROUP BY batch_id, state
        UNION ALL
        SELECT batch_id, state || ' jobs', 0, count(*) FROM jobs INDEXED BY jobs_leased
            WHERE lease_pool IS NOT NULL GROUP BY batch_id, state
        UNION ALL
        SELECT batch_id, state || ' jobs', 0, count(*) FROM jobs INDEXED BY jobs_ended
            WHERE finished_at IS NOT NULL GROUP BY batch_id, state
        UNION ALL
        SELECT NULL, 'slots at ' || provider, in_flight, 0 FROM providers
        UNION ALL
        SELECT NULL, 'slots at ' || provider, 0, count(*) FROM attempts
            WHERE finished_at IS NULL GROUP BY provider
    ) LEFT JOIN batches USING (batch_id)
    GROUP BY batch_id, what HAVING sum(kept) <> sum(counted)";

/// Takes each from the rows anew.
const CORRECT: &str = "
    UPDATE batches SET
        spent = (SELECT ifnull(sum(cost), 0) FROM attempts a WHERE a.batch_id = batches.batch_id AND cost > 0),
        (reserved, at_risk) = (
            SELECT ifnull(sum(estimate), 0), ifnull(sum(estimate * (state = 'in_doubt')), 0) FROM attempts a
            WHERE a.batch_id = batches.batch_id AND finished_at IS NULL);
    INSERT INTO providers (provider) SELECT DISTINCT provider FROM attempts WHERE finished_at IS NULL
        ON CONFLICT DO NOTHING;
    UPDATE providers SET in_flight = (
        SELECT count(*) FROM attempts a
        WHERE a.provider = providers.provider AND finished_at IS NULL);
    UPDATE batches SET (queued, submitting, in_doubt, running, downloading, succeeded, failed, cancelled) = (
        SELECT count(*) FILTER (WHERE state = 'queued'),
            count(*) FILTER (WHERE state = 'submitting'),
            count(*) FILTER (WHERE state = 'in_doubt'),
            count(*) FILTER (WHERE state = 'running'),
            count(*) FILTER (WHERE state = 'downloading'),
            count(*) FILTER (WHERE state = 'succeeded'),
            count(*) FILTER (WHERE state = 'failed'),
            count(*) FILTER (WHERE state = 'cancelled')
        FROM jobs j WHERE j.batch_id = batches.batch_id);";

/// Finds what does not agree.
pub(super) fn counter_mismatches(connection: &Connection) -> Result<Vec<CounterMismatch>> {
    select(connection, MISCOUNTS, [], |columns| {
        let (stored, actual) = (columns.get("kept")?, columns.get("counted")?);
        Ok(CounterMismatch {
            counter: columns.get("what")?,
            stored,
            actual,
        })
    })
}

/// Corrects what does not agree.
pub(super) fn verify_counters(tx: &Connection) -> Result<Vec<CounterMismatch>> {
    let wrong = counter_mismatches(tx)?;
    if !wrong.is_empty() {
        tx.execute_batch(CORRECT)?;
    }
    Ok(wrong)
}
