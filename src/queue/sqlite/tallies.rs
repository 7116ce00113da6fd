//! Writes what a transaction has changed in the sums over jobs and attempts.

use rusqlite::{Connection, params};

use crate::policy::tally::Tally;
use crate::queue::Result;

use super::row::execute;

/// Adds a tally to the stored sums.
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
        execute(
            tx,
            "UPDATE batches SET
                spent = spent + ?2, reserved = reserved + ?3, at_risk = at_risk + ?4,
                queued = queued + ?5, submitting = submitting + ?6, in_doubt = in_doubt + ?7,
                running = running + ?8, downloading = downloading + ?9,
                succeeded = succeeded + ?10, failed = failed + ?11, cancelled = cancelled + ?12
             WHERE name = ?1",
            params![
                name,
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
        execute(
            tx,
            "INSERT INTO providers (provider, in_flight) VALUES (?1, ?2)
             ON CONFLICT (provider) DO UPDATE SET in_flight = in_flight + ?2",
            params![provider.as_str(), in_flight],
        )?;
    }
    Ok(())
}
