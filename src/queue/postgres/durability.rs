//! Whether the server keeps what it has committed.

use super::connection::Connection;
use crate::queue::{Result, UnsafePlace};

/// Returns why the server may forget what it has committed; `None` if nothing is known against it.
///
/// Who sends the changes on to whom is shown to some users only, so what is asked for is what everybody may see:
/// whether there are receivers, and whether a commit waits for any.
pub(super) fn find_unsafe_place(tx: &Connection) -> Result<Option<UnsafePlace>> {
    let found = tx.select(
        "SELECT current_setting('fsync')::BOOLEAN AS is_synced,
                current_setting('synchronous_standby_names') <> '' AS waits,
                EXISTS (SELECT 1 FROM pg_stat_replication WHERE state IS DISTINCT FROM 'backup')
                    AS has_standby",
        &[],
        |columns| {
            let is_synced: bool = columns.get("is_synced")?;
            let waits: bool = columns.get("waits")?;
            let has_standby: bool = columns.get("has_standby")?;
            Ok(if !is_synced {
                Some(UnsafePlace::NoSync)
            } else if has_standby && !waits {
                Some(UnsafePlace::AsynchronousStandby)
            } else {
                None
            })
        },
    )?;
    Ok(found.into_iter().next().flatten())
}
