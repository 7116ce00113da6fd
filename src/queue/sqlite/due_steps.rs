//! Finds the jobs whose next poll, reconciliation or download is due.

use rusqlite::{Connection, params};

use crate::domain::JobId;
use crate::policy::claim::{DueQuery, DueStep, Step};
use crate::queue::Result;
use crate::queue::stored_row::StoredRow;

use super::row::{select, sql_limit};

/// Returns the jobs that a query finds, earliest first.
pub(super) fn find_due(tx: &Connection, query: &DueQuery<'_>) -> Result<Vec<DueStep>> {
    macro_rules! select_due {
        ($state:literal) => {
            concat!(
                "SELECT due_at, job_id FROM jobs
                 WHERE state = '",
                $state,
                "' AND at_provider = ?1 AND lease_token IS NULL AND due_at BETWEEN ?2 AND ?3
                   AND (?4 IS NULL OR batch_id = (SELECT batch_id FROM batches WHERE name = ?4))
                 ORDER BY due_at LIMIT ?5"
            )
        };
    }
    // SQLite matches a partial index against the literals of a statement, never against bound
    // values, so the state is written out.
    let sql = match query.step {
        Step::Poll => select_due!("running"),
        Step::Reconcile => select_due!("in_doubt"),
        Step::Download => select_due!("downloading"),
        Step::Submit => return Ok(Vec::new()),
    };
    select(
        tx,
        sql,
        params![
            query.provider.as_str(),
            query.after.as_millisecond() + 1,
            query.until.as_millisecond(),
            query.batch,
            sql_limit(query.limit)
        ],
        |columns| {
            let due_at = columns.time("due_at")?;
            Ok(query.found(JobId(columns.get("job_id")?), due_at))
        },
    )
}
