//! The bill: attempts summed by SQLite, so that any number of them takes the memory of the lines.

use rusqlite::Connection;

use crate::queue::{BillBy, BillLine, BillSums, Result};

use super::query::check_batch;
use super::row::{Columns, select};

/// The sums, as the triggers of the schema book them: an attempt reserves its estimate until it is finished, and whatever
/// its state is, its cost is spent.
const SUMS: &str = "
    count(a.state) FILTER (WHERE a.state <> 'refused' AND a.state <> 'absent') AS attempts,
    count(a.state) FILTER (WHERE a.state = 'refused' OR a.state = 'absent') AS refused,
    ifnull(sum(a.estimate) FILTER (WHERE a.cost_source IS NOT NULL), 0) AS estimate,
    ifnull(sum(a.cost), 0) AS cost,
    count(a.state) FILTER (WHERE a.cost_source IS NOT NULL AND a.cost = 0) AS refunds,
    ifnull(sum(a.estimate) FILTER (WHERE a.cost_source IS NOT NULL AND a.cost = 0), 0) AS refunded,
    ifnull(sum(a.estimate) FILTER (WHERE a.state IS NOT NULL AND a.finished_at IS NULL), 0) AS reserved,
    ifnull(sum(a.estimate) FILTER (WHERE a.state = 'in_doubt'), 0) AS at_risk,
    min(a.submitted_at) AS first_from,
    max(a.finished_at) AS last_until";

/// Sums the attempts of a batch, or of all.
pub(super) fn bill(
    connection: &Connection,
    by: BillBy,
    batch: Option<&str>,
) -> Result<Vec<BillLine>> {
    check_batch(connection, batch)?;
    // A batch has a line before its first attempt as well; there is no day, model or route before it.
    let (name, join, order) = match by {
        BillBy::Batch => ("b.name", "LEFT JOIN", "b.batch_id"),
        BillBy::Day => ("date(a.submitted_at / 1000, 'unixepoch')", "JOIN", "line"),
        BillBy::Model => ("b.model", "JOIN", "line"),
        BillBy::Route => ("a.provider || '/' || a.wire_model", "JOIN", "line"),
    };
    let sql = format!(
        "SELECT {name} AS line, {SUMS} FROM batches b {join} attempts a USING (batch_id)
         WHERE ?1 IS NULL OR b.name = ?1 GROUP BY line ORDER BY {order}"
    );
    select(connection, &sql, [batch], line)
}

fn line(columns: &Columns<'_, '_>) -> Result<BillLine> {
    let name = columns.get("line")?;
    let sums = BillSums {
        attempts: columns.get("attempts")?,
        refused: columns.get("refused")?,
        estimate_usd: columns.money("estimate")?,
        cost_usd: columns.money("cost")?,
        refunds: columns.get("refunds")?,
        refunded_usd: columns.money("refunded")?,
        reserved_usd: columns.money("reserved")?,
        at_risk_usd: columns.money("at_risk")?,
        from: columns.time_or_null("first_from")?,
        until: columns.time_or_null("last_until")?,
    };
    Ok(BillLine { name, sums })
}
