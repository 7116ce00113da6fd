//! Records the outcomes of uploads of local images to the providers that take images as links.

use rusqlite::{Connection, params};

use crate::queue::{Result, UploadLease, UploadOutcome};

use super::row::{execute, nullable_millis};

/// Records the outcome of an upload and ends its lease; does nothing if the lease has passed on.
///
/// The token is checked because the id may belong to another image by now: SQLite may reuse the id
/// of a deleted row. A late link is dropped, since uploading again costs nothing.
pub(super) fn record_upload(
    tx: &Connection,
    lease: UploadLease,
    outcome: &UploadOutcome,
) -> Result<()> {
    let UploadLease { upload_id, token } = lease;
    match outcome {
        UploadOutcome::Stored { link, expires_at } => execute(
            tx,
            "UPDATE uploads SET url = ?2, expires_at = ?3, due_at = NULL, failures = 0,
                    error = NULL, lease_token = NULL, lease_pool = NULL
             WHERE upload_id = ?1 AND lease_token = ?4",
            params![upload_id, link, nullable_millis(*expires_at), token],
        )?,
        UploadOutcome::Failed {
            reason,
            due_at,
            counts_as_failure,
        } => execute(
            tx,
            "UPDATE uploads SET due_at = ?3, failures = failures + ?4, error = ?5,
                    lease_token = NULL, lease_pool = NULL
             WHERE upload_id = ?1 AND lease_token = ?2",
            params![
                upload_id,
                token,
                due_at.as_millisecond(),
                counts_as_failure,
                reason
            ],
        )?,
        UploadOutcome::Rejected { reason } => execute(
            tx,
            "UPDATE uploads SET due_at = NULL, error = ?3, lease_token = NULL, lease_pool = NULL
             WHERE upload_id = ?1 AND lease_token = ?2",
            params![upload_id, token, reason],
        )?,
        UploadOutcome::NotStarted => execute(
            tx,
            "UPDATE uploads SET lease_token = NULL, lease_pool = NULL
             WHERE upload_id = ?1 AND lease_token = ?2",
            params![upload_id, token],
        )?,
    };
    Ok(())
}

/// Releases every upload that a pool has leased.
pub(super) fn release_all(tx: &Connection, pool: &str) -> Result<()> {
    execute(
        tx,
        "UPDATE uploads SET lease_token = NULL, lease_pool = NULL WHERE lease_pool = ?1",
        [pool],
    )?;
    Ok(())
}

/// Deletes the rejected uploads, so that they are queued again if a job needs them.
///
/// The file may be back by now, or at another path.
pub(super) fn clear_rejected(tx: &Connection) -> Result<()> {
    execute(
        tx,
        "DELETE FROM uploads WHERE url IS NULL AND due_at IS NULL AND lease_token IS NULL",
        [],
    )?;
    Ok(())
}
