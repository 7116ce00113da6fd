//! What a person changes of the runs that are going on.

use jiff::Timestamp;
use rusqlite::{Connection, params};

use crate::domain::Money;
use crate::queue::{Control, QueueError, Result, Setting};

use super::decide::set_budget;
use super::row::{execute, select, value};

pub(super) fn all(connection: &Connection) -> Result<Vec<Control>> {
    select(
        connection,
        "SELECT name, value, was, set_by, set_at FROM controls ORDER BY set_at, name",
        [],
        |columns| {
            let name: String = columns.get("name")?;
            let read = |value: String| Setting::read(&name, &value).map_err(QueueError::Corrupt);
            Ok(Control {
                setting: read(columns.get("value")?)?,
                was: columns.get::<Option<String>>("was")?.map(read).transpose()?,
                set_by: columns.get("set_by")?,
                set_at: columns.time("set_at")?,
            })
        },
    )
}

/// Keeps a change; a batch's budget is changed as well.
pub(super) fn set(tx: &Connection, setting: &Setting, set_by: &str, now: Timestamp) -> Result<()> {
    let name = setting.name();
    let was = if let Setting::BatchBudget(batch, budget) = setting {
        let was = value::<i64>(tx, "SELECT budget FROM batches WHERE name = ?1", [batch])?;
        set_budget(tx, batch, *budget)?;
        let was = was.map(Money::from_micros);
        Some(Setting::BatchBudget(batch.clone(), was).value())
    } else {
        value(tx, "SELECT value FROM controls WHERE name = ?1", [&name])?
    };
    execute(
        tx,
        "INSERT OR REPLACE INTO controls (name, value, was, set_by, set_at) VALUES (?1, ?2, ?3, ?4, ?5)",
        params![name, setting.value(), was, set_by, now.as_millisecond()],
    )?;
    Ok(())
}

/// Forgets every change.
pub(super) fn clear(tx: &Connection) -> Result<()> {
    execute(tx, "DELETE FROM controls", [])?;
    Ok(())
}
