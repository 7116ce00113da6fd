//! Reads uploads.

use std::collections::{BTreeMap, BTreeSet};

use rusqlite::{Connection, params};

use crate::domain::ProviderName;
use crate::policy::upload::{Upload, UploadKey, UploadProgress};
use crate::queue::stored_values::read_upload_progress;
use crate::queue::{QueueError, Result};

use super::paths;
use super::row::{select, sql_limit};

/// Returns the uploads with these keys, as far as there are any.
pub(super) fn find(
    tx: &Connection,
    keys: &BTreeSet<UploadKey>,
) -> Result<BTreeMap<UploadKey, UploadProgress>> {
    let mut uploads = BTreeMap::new();
    for key in keys {
        let (provider, sha256) = key;
        let upload = select(
            tx,
            "SELECT url, expires_at, due_at, failures, error FROM uploads
             WHERE provider = ?1 AND sha256 = ?2",
            params![provider.as_str(), sha256],
            |columns| read_upload_progress(columns),
        )?;
        uploads.extend(upload.into_iter().map(|upload| (key.clone(), upload)));
    }
    Ok(uploads)
}

/// Returns the unleased uploads to a provider that wait for their due time, earliest first, each with
/// its number.
pub(super) fn list_waiting(
    tx: &Connection,
    provider: ProviderName,
    limit: usize,
) -> Result<Vec<(i64, Upload)>> {
    select(
        tx,
        "SELECT upload_id, file, url, expires_at, due_at, failures, error FROM uploads
         WHERE provider = ?1 AND due_at IS NOT NULL AND lease_token IS NULL
         ORDER BY due_at, upload_id LIMIT ?2",
        params![provider.as_str(), sql_limit(limit)],
        |columns| {
            let upload_id = columns.get("upload_id")?;
            let file: String = columns.get("file")?;
            let image = paths::upload_from_stored(tx, &file)
                .ok_or_else(|| QueueError::corrupt(format!("upload {upload_id} of {file}")))?;
            let progress = read_upload_progress(columns)?;
            let upload = Upload {
                provider,
                image,
                progress,
            };
            Ok((upload_id, upload))
        },
    )
}
