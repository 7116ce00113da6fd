//! Verifies the stored sums and counts against the rows that they sum up: spent and reserved
//! money, slots in use, jobs in each state.
//!
//! This runs whenever a run starts, because a wrong sum costs money: a tool may have edited
//! the file or restored a part of it. It takes milliseconds: the indexes contain only
//! the rows that are summed, and the queued jobs, which may be a million, are only checked through
//! the total number of jobs.

use rusqlite::Connection;

use crate::queue::{CounterMismatch, Result};

use super::row::select;

/// Selects the mismatches. Every counter has two entries under one name, its stored value and its
/// actual one, whose sums must be equal.
///
/// `INDEXED BY` is needed where SQLite would otherwise read every job, batch by batch.
const MISMATCHES: &str = "
    SELECT ifnull(name || ': ', '') || counter AS counter,
        sum(stored) AS stored, sum(actual) AS actual
    FROM (
        SELECT batch_id, 'spent' AS counter, spent AS stored, 0 AS actual FROM batches
        UNION ALL
        SELECT batch_id, 'spent', 0, sum(cost) FROM attempts WHERE cost > 0 GROUP BY batch_id
        UNION ALL
        SELECT batch_id, 'reserved', reserved, 0 FROM batches
        UNION ALL
        SELECT batch_id, 'reserved', 0, sum(estimate) FROM attempts
            WHERE finished_at IS NULL GROUP BY batch_id
        UNION ALL
        SELECT batch_id, 'reserved', 0, sum(estimate) FROM attempts
            WHERE state IN ('presumed_absent', 'absent') AND state = 'presumed_absent'
            GROUP BY batch_id
        UNION ALL
        SELECT batch_id, 'at risk', at_risk, 0 FROM batches
        UNION ALL
        SELECT batch_id, 'at risk', 0, sum(estimate * (state = 'in_doubt')) FROM attempts
            WHERE finished_at IS NULL GROUP BY batch_id
        UNION ALL
        SELECT batch_id, 'at risk', 0, sum(estimate) FROM attempts
            WHERE state IN ('presumed_absent', 'absent') AND state = 'presumed_absent'
            GROUP BY batch_id
        UNION ALL
        SELECT NULL, 'jobs',
            sum(queued + submitting + in_doubt + running
                + downloading + succeeded + failed + cancelled), 0 FROM batches
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
    GROUP BY batch_id, counter HAVING sum(stored) <> sum(actual)";

/// Recomputes every counter from the rows.
const RECOMPUTE: &str = "
    UPDATE batches SET
        spent = (
            SELECT ifnull(sum(cost), 0) FROM attempts a
            WHERE a.batch_id = batches.batch_id AND cost > 0),
        (reserved, at_risk) = (
            SELECT ifnull(sum(estimate), 0), ifnull(sum(estimate * (state = 'in_doubt')), 0)
            FROM attempts a
            WHERE a.batch_id = batches.batch_id AND finished_at IS NULL);
    UPDATE batches SET reserved = reserved + p.estimate, at_risk = at_risk + p.estimate
        FROM (SELECT batch_id, sum(estimate) AS estimate FROM attempts
              WHERE state IN ('presumed_absent', 'absent') AND state = 'presumed_absent'
            GROUP BY batch_id) AS p
        WHERE p.batch_id = batches.batch_id;
    INSERT INTO providers (provider)
        SELECT DISTINCT provider FROM attempts WHERE finished_at IS NULL
        ON CONFLICT DO NOTHING;
    UPDATE providers SET in_flight = (
        SELECT count(*) FROM attempts a
        WHERE a.provider = providers.provider AND finished_at IS NULL);
    UPDATE batches SET (
        queued, submitting, in_doubt, running, downloading, succeeded, failed, cancelled
    ) = (
        SELECT count(*) FILTER (WHERE state = 'queued'),
            count(*) FILTER (WHERE state = 'submitting'),
            count(*) FILTER (WHERE state = 'in_doubt'),
            count(*) FILTER (WHERE state = 'running'),
            count(*) FILTER (WHERE state = 'downloading'),
            count(*) FILTER (WHERE state = 'succeeded'),
            count(*) FILTER (WHERE state = 'failed'),
            count(*) FILTER (WHERE state = 'cancelled')
        FROM jobs j WHERE j.batch_id = batches.batch_id);";

/// Returns the counters that differ from the rows.
pub(super) fn find_mismatches(connection: &Connection) -> Result<Vec<CounterMismatch>> {
    select(connection, MISMATCHES, [], |columns| {
        Ok(CounterMismatch {
            counter: columns.get("counter")?,
            stored: columns.get("stored")?,
            actual: columns.get("actual")?,
        })
    })
}

/// Computes every counter from the rows.
pub(super) fn correct(tx: &Connection) -> Result<()> {
    Ok(tx.execute_batch(RECOMPUTE)?)
}
