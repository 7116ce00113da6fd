//! Settings that the user changes while runs are in progress, in the table `controls`.

use rusqlite::{Connection, params};

use crate::queue::stored_values::read_setting;
use crate::queue::{LiveSetting, Result, SettingChange};

use super::row::{execute, select};

/// Lists the current value of every changed setting, in order of change.
pub(super) fn list(connection: &Connection) -> Result<Vec<SettingChange>> {
    select(
        connection,
        "SELECT name, value, was, set_by, set_at FROM controls ORDER BY set_at, name",
        [],
        |columns| read_setting(columns),
    )
}

/// Replaces the changed settings.
pub(super) fn replace(tx: &Connection, settings: &[SettingChange]) -> Result<()> {
    execute(tx, "DELETE FROM controls", [])?;
    settings.iter().try_for_each(|change| insert(tx, change))
}

/// Stores a changed setting.
fn insert(tx: &Connection, change: &SettingChange) -> Result<()> {
    execute(
        tx,
        "INSERT INTO controls (name, value, was, set_by, set_at)
         VALUES (?1, ?2, ?3, ?4, ?5)",
        params![
            change.setting.name(),
            change.setting.value(),
            change.previous.as_ref().map(LiveSetting::value),
            change.set_by,
            change.set_at.as_millisecond()
        ],
    )?;
    Ok(())
}
