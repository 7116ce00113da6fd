//! The sums over jobs and attempts: written once a transaction, computed from the rows, and compared with
//! them.

use super::connection::Connection;
use super::row::{params, values};
use crate::policy::tally::Tally;
use crate::queue::{CounterMismatch, Result};

/// Adds a tally to the connection's part of the sums. It must be the last write of a transaction: rows that
/// others may wait for are held no longer than they must.
pub(super) fn write(tx: &Connection, tally: &Tally) -> Result<()> {
    for (name, batch) in &tally.batches {
        let [
            queued,
            submitting,
            in_doubt,
            running,
            downloading,
            succeeded,
            failed,
            cancelled,
        ] = batch.jobs;
        tx.post(
            "INSERT INTO tallies AS t (batch_id, shard, spent, reserved, at_risk, queued, submitting,
                                       in_doubt, running, downloading, succeeded, failed, cancelled)
             SELECT batch_id, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13
             FROM batches WHERE name = $1
             ON CONFLICT (batch_id, shard) DO UPDATE SET
                spent = t.spent + $3, reserved = t.reserved + $4, at_risk = t.at_risk + $5,
                queued = t.queued + $6, submitting = t.submitting + $7,
                in_doubt = t.in_doubt + $8, running = t.running + $9,
                downloading = t.downloading + $10, succeeded = t.succeeded + $11,
                failed = t.failed + $12, cancelled = t.cancelled + $13",
            values![
                name.clone(),
                tx.shard(),
                batch.spent,
                batch.reserved,
                batch.at_risk,
                queued,
                submitting,
                in_doubt,
                running,
                downloading,
                succeeded,
                failed,
                cancelled
            ],
        )?;
    }
    // As many attempts are often opened as closed; then there is nothing to write.
    for (provider, in_flight) in tally.in_flight.iter().filter(|(_, moved)| **moved != 0) {
        tx.post(
            "INSERT INTO slots AS s (provider, shard, in_flight) VALUES ($1, $2, $3)
             ON CONFLICT (provider, shard) DO UPDATE SET in_flight = s.in_flight + $3",
            values![provider.as_str(), tx.shard(), *in_flight],
        )?;
        tx.post(
            "INSERT INTO providers (provider) VALUES ($1) ON CONFLICT DO NOTHING",
            values![provider.as_str()],
        )?;
    }
    Ok(())
}

/// What the sums must be, one row a sum: its batch, or NULL, its name, and its value.
const ACTUAL: &str = "
    SELECT batch_id, 'spent' AS counter, sum(cost)::BIGINT AS actual
        FROM attempts WHERE cost > 0 GROUP BY batch_id
    UNION ALL
    SELECT batch_id, 'reserved', sum(estimate)::BIGINT FROM attempts
        WHERE finished_at IS NULL OR state = 'presumed_absent' GROUP BY batch_id
    UNION ALL
    SELECT batch_id, 'at risk', sum(estimate)::BIGINT FROM attempts
        WHERE state IN ('in_doubt', 'presumed_absent') GROUP BY batch_id
    UNION ALL
    SELECT batch_id, state || ' jobs', count(*) FROM jobs GROUP BY batch_id, state
    UNION ALL
    SELECT NULL, 'slots at ' || provider, count(*) FROM attempts
        WHERE finished_at IS NULL GROUP BY provider";

/// What the sums are.
const STORED: &str = "
    SELECT t.batch_id, c.counter, sum(c.stored)::BIGINT AS stored FROM tallies t, LATERAL (VALUES
        ('spent', spent), ('reserved', reserved), ('at risk', at_risk),
        ('queued jobs', queued), ('submitting jobs', submitting), ('in_doubt jobs', in_doubt),
        ('running jobs', running), ('downloading jobs', downloading),
        ('succeeded jobs', succeeded), ('failed jobs', failed), ('cancelled jobs', cancelled)
    ) AS c (counter, stored) GROUP BY t.batch_id, c.counter
    UNION ALL
    SELECT NULL, 'slots at ' || provider, sum(in_flight)::BIGINT FROM slots GROUP BY provider";

/// Returns the sums that differ from the rows.
pub(super) fn find_mismatches(tx: &Connection) -> Result<Vec<CounterMismatch>> {
    let sql = format!(
        "SELECT coalesce(b.name || ': ', '') || counter AS counter, sum(stored)::BIGINT AS stored,
                sum(actual)::BIGINT AS actual
         FROM (SELECT batch_id, counter, stored, 0 AS actual FROM ({STORED}) AS s
               UNION ALL
               SELECT batch_id, counter, 0, actual FROM ({ACTUAL}) AS a) AS both_sides
              LEFT JOIN batches b USING (batch_id)
         GROUP BY batch_id, b.name, counter HAVING sum(stored) <> sum(actual)
         ORDER BY batch_id NULLS LAST, counter"
    );
    tx.select(&sql, &[], |columns| {
        Ok(CounterMismatch {
            counter: columns.get("counter")?,
            stored: columns.get("stored")?,
            actual: columns.get("actual")?,
        })
    })
}

/// Computes every sum from the rows, as the part of this connection alone.
pub(super) fn correct(tx: &Connection) -> Result<()> {
    tx.batch("DELETE FROM tallies; DELETE FROM slots")?;
    tx.execute(
        "INSERT INTO tallies (batch_id, shard, queued, submitting, in_doubt, running, downloading,
                              succeeded, failed, cancelled, spent, reserved, at_risk)
         SELECT b.batch_id, $1, j.queued, j.submitting, j.in_doubt, j.running, j.downloading,
                j.succeeded, j.failed, j.cancelled, a.spent, a.reserved, a.at_risk
         FROM batches b, LATERAL (
                SELECT count(*) FILTER (WHERE state = 'queued') AS queued,
                    count(*) FILTER (WHERE state = 'submitting') AS submitting,
                    count(*) FILTER (WHERE state = 'in_doubt') AS in_doubt,
                    count(*) FILTER (WHERE state = 'running') AS running,
                    count(*) FILTER (WHERE state = 'downloading') AS downloading,
                    count(*) FILTER (WHERE state = 'succeeded') AS succeeded,
                    count(*) FILTER (WHERE state = 'failed') AS failed,
                    count(*) FILTER (WHERE state = 'cancelled') AS cancelled
                FROM jobs WHERE jobs.batch_id = b.batch_id) AS j, LATERAL (
                SELECT coalesce(sum(cost), 0)::BIGINT AS spent,
                    coalesce(sum(estimate) FILTER (
                        WHERE finished_at IS NULL OR state = 'presumed_absent'), 0)::BIGINT AS reserved,
                    coalesce(sum(estimate) FILTER (
                        WHERE state IN ('in_doubt', 'presumed_absent')), 0)::BIGINT AS at_risk
                FROM attempts WHERE attempts.batch_id = b.batch_id) AS a",
        params![tx.shard()],
    )?;
    tx.execute(
        "INSERT INTO slots (provider, shard, in_flight)
         SELECT provider, $1, count(*) FROM attempts WHERE finished_at IS NULL GROUP BY provider",
        params![tx.shard()],
    )?;
    Ok(())
}
