//! Computes bills. SQLite sums the attempts, so that memory use depends only on the number of
//! lines.

use rusqlite::Connection;

use crate::queue::stored_values::read_bill_line;
use crate::queue::{BillGrouping, BillLine, Result};

use super::row::select;

/// The summed columns. They count as `policy::tally` does: an attempt reserves its estimate until it
/// is finished or, if it is presumed absent, until that is proven, and its cost is spent in any state.
const SUMS: &str = "
    count(a.state) FILTER (WHERE a.state NOT IN ('refused', 'presumed_absent', 'absent')) AS attempts,
    count(a.state) FILTER (WHERE a.state IN ('refused', 'presumed_absent', 'absent')) AS refused,
    ifnull(sum(a.estimate) FILTER (WHERE a.cost_source IS NOT NULL), 0) AS estimate,
    ifnull(sum(a.cost), 0) AS cost,
    count(a.state) FILTER (WHERE a.cost_source IS NOT NULL AND a.cost = 0) AS refunds,
    ifnull(sum(a.estimate) FILTER (WHERE a.cost_source IS NOT NULL AND a.cost = 0), 0) AS refunded,
    ifnull(sum(a.estimate) FILTER (
        WHERE a.state IS NOT NULL AND (a.finished_at IS NULL OR a.state = 'presumed_absent')), 0)
        AS reserved,
    ifnull(sum(a.estimate) FILTER (WHERE a.state IN ('in_doubt', 'presumed_absent')), 0) AS at_risk,
    min(a.submitted_at) AS first_submitted_at,
    max(a.finished_at) AS last_finished_at";

/// Returns the cost of the attempts of one batch, or of every batch, grouped as requested.
pub(super) fn bill(
    connection: &Connection,
    by: BillGrouping,
    batch: Option<&str>,
) -> Result<Vec<BillLine>> {
    // A batch has a line even without attempts. Days, models and routes come from attempts.
    let (name, join, order) = match by {
        BillGrouping::Batch => ("b.name", "LEFT JOIN", "b.batch_id"),
        BillGrouping::Day => (
            "date(a.submitted_at / 1000, 'unixepoch')",
            "JOIN",
            "line_name",
        ),
        BillGrouping::Model => ("b.model", "JOIN", "line_name"),
        BillGrouping::Route => ("a.provider || '/' || a.wire_model", "JOIN", "line_name"),
    };
    let sql = format!(
        "SELECT {name} AS line_name, {SUMS} FROM batches b {join} attempts a
             ON a.batch_id = b.batch_id AND a.reuses IS NULL
         WHERE ?1 IS NULL OR b.name = ?1 GROUP BY line_name ORDER BY {order}"
    );
    select(connection, &sql, [batch], |columns| read_bill_line(columns))
}
