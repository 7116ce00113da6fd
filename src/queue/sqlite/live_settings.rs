//! Settings that the user changes while runs are in progress, in the table `controls`.

use jiff::Timestamp;
use rusqlite::{Connection, params};

use crate::domain::Money;
use crate::queue::{LiveSetting, QueueError, Result, SettingChange};

use super::commands::set_budget;
use super::row::{execute, query_value, select};

/// Lists the current value of every changed setting, in order of change.
pub(super) fn list(connection: &Connection) -> Result<Vec<SettingChange>> {
    select(
        connection,
        "SELECT name, value, was, set_by, set_at FROM controls ORDER BY set_at, name",
        [],
        |columns| {
            let name: String = columns.get("name")?;
            let parse =
                |value: String| LiveSetting::parse(&name, &value).map_err(QueueError::corrupt);
            Ok(SettingChange {
                setting: parse(columns.get("value")?)?,
                previous: columns
                    .get::<Option<String>>("was")?
                    .map(parse)
                    .transpose()?,
                set_by: columns.get("set_by")?,
                set_at: columns.time("set_at")?,
            })
        },
    )
}

/// Stores a changed setting; a batch budget is written to its batch as well.
pub(super) fn set(
    tx: &Connection,
    setting: &LiveSetting,
    set_by: &str,
    now: Timestamp,
) -> Result<()> {
    let name = setting.name();
    let previous = if let LiveSetting::BatchBudget(batch, budget) = setting {
        let previous =
            query_value::<i64>(tx, "SELECT budget FROM batches WHERE name = ?1", [batch])?;
        set_budget(tx, batch, *budget)?;
        let previous = previous.map(Money::from_micros);
        Some(LiveSetting::BatchBudget(batch.clone(), previous).value())
    } else {
        query_value(tx, "SELECT value FROM controls WHERE name = ?1", [&name])?
    };
    execute(
        tx,
        "INSERT OR REPLACE INTO controls (name, value, was, set_by, set_at)
         VALUES (?1, ?2, ?3, ?4, ?5)",
        params![
            name,
            setting.value(),
            previous,
            set_by,
            now.as_millisecond()
        ],
    )?;
    Ok(())
}

/// Deletes every changed setting. Batch budgets stay as they are.
pub(super) fn clear(tx: &Connection) -> Result<()> {
    execute(tx, "DELETE FROM controls", [])?;
    Ok(())
}
