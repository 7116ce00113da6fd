//! Writes uploads of local images to the providers that take images as links.

use rusqlite::{Connection, params};

use crate::domain::PoolId;
use crate::policy::upload::{Upload, UploadProgress};
use crate::queue::{QueueError, Result, UploadLease};

use super::paths;
use super::row::{execute, nullable_millis, query_value};

/// Writes a new upload, or replaces a known one, with its lease. Returns its number.
pub(super) fn put(tx: &Connection, upload: &Upload, lease: Option<(&PoolId, i64)>) -> Result<i64> {
    let upload_id = query_value(
        tx,
        "INSERT INTO uploads (provider, sha256, file, url, expires_at, due_at, failures, error,
                              lease_token, lease_pool)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)
         ON CONFLICT (provider, sha256) DO UPDATE SET
            file = excluded.file, url = excluded.url, expires_at = excluded.expires_at,
            due_at = excluded.due_at, failures = excluded.failures, error = excluded.error,
            lease_token = excluded.lease_token, lease_pool = excluded.lease_pool
         RETURNING upload_id",
        params![
            upload.provider.as_str(),
            upload.image.sha256(),
            paths::upload_to_stored(tx, &upload.image),
            upload.progress.url,
            nullable_millis(upload.progress.expires_at),
            nullable_millis(upload.progress.due_at),
            upload.progress.failures,
            upload.progress.error,
            lease.map(|(_, token)| token),
            lease.map(|(pool, _)| &pool.0),
        ],
    )?;
    upload_id.ok_or_else(|| QueueError::corrupt(format!("upload of {}", upload.image)))
}

/// Ends the lease of an upload and writes what has changed; does nothing if the lease has passed on.
///
/// The token is checked because the id may belong to another image by now: SQLite may reuse the id
/// of a deleted row. A late link is dropped, since uploading again costs nothing.
pub(super) fn record(
    tx: &Connection,
    lease: UploadLease,
    new: Option<&UploadProgress>,
) -> Result<()> {
    let UploadLease { upload_id, token } = lease;
    match new {
        Some(new) => execute(
            tx,
            "UPDATE uploads SET url = ?3, expires_at = ?4, due_at = ?5, failures = ?6, error = ?7,
                    lease_token = NULL, lease_pool = NULL
             WHERE upload_id = ?1 AND lease_token = ?2",
            params![
                upload_id,
                token,
                new.url,
                nullable_millis(new.expires_at),
                nullable_millis(new.due_at),
                new.failures,
                new.error
            ],
        )?,
        None => execute(
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
