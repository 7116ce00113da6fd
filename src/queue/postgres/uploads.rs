//! Uploads of local images to the providers that take images as links.

use std::collections::{BTreeMap, BTreeSet};

use super::connection::Connection;
use super::row::{bigint, nullable_millis, params};
use crate::domain::{LocalImage, PoolId, ProviderName};
use crate::policy::upload::{Upload, UploadKey, UploadProgress};
use crate::queue::stored_row::StoredRow;
use crate::queue::stored_values::read_upload_progress;
use crate::queue::{QueueError, Result, UploadLease};

/// Writes a new upload, or replaces a known one, with its lease. Returns its number.
pub(super) fn put(tx: &Connection, upload: &Upload, lease: Option<(&PoolId, i64)>) -> Result<i64> {
    let progress = &upload.progress;
    let upload_id = tx.value(
        "INSERT INTO uploads (provider, sha256, file, url, expires_at, due_at, failures, error,
                              lease_token, lease_pool)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)
         ON CONFLICT (provider, sha256) DO UPDATE SET
            file = excluded.file, url = excluded.url, expires_at = excluded.expires_at,
            due_at = excluded.due_at, failures = excluded.failures, error = excluded.error,
            lease_token = excluded.lease_token, lease_pool = excluded.lease_pool
         RETURNING upload_id",
        params![
            upload.provider.as_str(),
            upload.image.sha256(),
            upload.image.to_string(),
            progress.url,
            nullable_millis(progress.expires_at),
            nullable_millis(progress.due_at),
            i64::from(progress.failures),
            progress.error,
            lease.map(|(_, token)| token),
            lease.map(|(pool, _)| pool.0.as_str()),
        ],
    )?;
    upload_id.ok_or_else(|| QueueError::corrupt(format!("upload of {}", upload.image)))
}

/// Ends the lease of an upload and writes what has changed; does nothing if the lease has passed on. A late
/// link is dropped, since uploading again costs nothing.
pub(super) fn record(
    tx: &Connection,
    lease: UploadLease,
    new: Option<&UploadProgress>,
) -> Result<()> {
    let UploadLease { upload_id, token } = lease;
    match new {
        Some(new) => tx.execute(
            "UPDATE uploads SET url = $3, expires_at = $4, due_at = $5, failures = $6, error = $7,
                    lease_token = NULL, lease_pool = NULL
             WHERE upload_id = $1 AND lease_token = $2",
            params![
                upload_id,
                token,
                new.url,
                nullable_millis(new.expires_at),
                nullable_millis(new.due_at),
                i64::from(new.failures),
                new.error
            ],
        )?,
        None => tx.execute(
            "UPDATE uploads SET lease_token = NULL, lease_pool = NULL
             WHERE upload_id = $1 AND lease_token = $2",
            params![upload_id, token],
        )?,
    };
    Ok(())
}

/// Deletes the rejected uploads, so that they are queued again if a job needs them.
pub(super) fn clear_rejected(tx: &Connection) -> Result<()> {
    let sql = "DELETE FROM uploads WHERE url IS NULL AND due_at IS NULL AND lease_token IS NULL";
    tx.execute(sql, &[]).map(drop)
}

/// Returns the uploads with these keys, as far as there are any.
pub(super) fn find(
    tx: &Connection,
    keys: &BTreeSet<UploadKey>,
) -> Result<BTreeMap<UploadKey, UploadProgress>> {
    let providers: Vec<&str> = keys.iter().map(|(provider, _)| provider.as_str()).collect();
    let hashes: Vec<&str> = keys.iter().map(|(_, sha256)| sha256.as_str()).collect();
    let uploads = tx.select(
        "SELECT provider, sha256, url, expires_at, due_at, failures, error FROM uploads
         JOIN unnest($1::TEXT[], $2::TEXT[]) AS wanted (provider, sha256) USING (provider, sha256)",
        params![providers, hashes],
        |columns| {
            let key = (columns.parse("provider")?, columns.get("sha256")?);
            Ok((key, read_upload_progress(columns)?))
        },
    )?;
    Ok(uploads.into_iter().collect())
}

/// Returns the unleased uploads to a provider that wait for their due time, earliest first, each with its
/// number.
pub(super) fn list_waiting(
    tx: &Connection,
    provider: ProviderName,
    limit: usize,
) -> Result<Vec<(i64, Upload)>> {
    tx.select(
        "SELECT upload_id, file, url, expires_at, due_at, failures, error FROM uploads
         WHERE provider = $1 AND due_at IS NOT NULL AND lease_token IS NULL
         ORDER BY due_at, upload_id LIMIT $2",
        params![provider.as_str(), bigint(limit)],
        |columns| {
            let upload_id = columns.get("upload_id")?;
            let file: &str = columns.get("file")?;
            let image = LocalImage::parse(file)
                .ok_or_else(|| QueueError::corrupt(format!("upload {upload_id} of {file}")))?;
            let upload = Upload {
                provider,
                image,
                progress: read_upload_progress(columns)?,
            };
            Ok((upload_id, upload))
        },
    )
}
