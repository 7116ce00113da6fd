//! Reads the uploads that a claim is planned from.

use std::collections::HashSet;

use rusqlite::{Connection, params};

use crate::domain::{Input, LocalImage, ProviderName};
use crate::policy::claim::{ClaimView, DueUpload, UploadView};
use crate::queue::{QueueError, Result};

use super::row::{select, sql_limit};

/// Reads the uploads of the images that the jobs of a batch name.
pub(super) fn read_uploads(tx: &Connection, view: &mut ClaimView, batch: usize) -> Result<()> {
    let lanes = view.batches[batch].lanes.iter().flatten();
    let inputs = lanes.flat_map(|lane| {
        let due = lane.rows.iter().map(|row| &row.input);
        due.chain(&lane.upcoming)
    });
    let images: HashSet<String> = inputs
        .flat_map(Input::local_images)
        .map(|image| image.sha256().to_owned())
        .collect();
    let stores = view.providers.iter().filter(|view| view.limits.has_storage);
    let stores: Vec<ProviderName> = stores.map(|view| view.limits.provider).collect();
    for sha256 in images {
        for provider in &stores {
            let key = (*provider, sha256.clone());
            if view.uploads.contains_key(&key) {
                continue;
            }
            let upload = select(
                tx,
                "SELECT url, expires_at, due_at, failures, error FROM uploads
                 WHERE provider = ?1 AND sha256 = ?2",
                params![provider.as_str(), sha256],
                |columns| {
                    Ok(UploadView {
                        url: columns.get("url")?,
                        expires_at: columns.optional_time("expires_at")?,
                        due_at: columns.optional_time("due_at")?,
                        failures: columns.get("failures")?,
                        error: columns.get("error")?,
                    })
                },
            )?;
            view.uploads
                .extend(upload.into_iter().map(|upload| (key.clone(), upload)));
        }
    }
    Ok(())
}

/// Reads the unleased uploads that are due, at most `limit` to each provider.
pub(super) fn read_due_uploads(tx: &Connection, view: &mut ClaimView, limit: usize) -> Result<()> {
    let mut due: Vec<(i64, DueUpload)> = Vec::new();
    for provider in view.providers.iter().filter(|view| view.receives_uploads()) {
        let provider = provider.limits.provider;
        due.extend(select(
            tx,
            "SELECT upload_id, file, failures FROM uploads
             WHERE provider = ?1 AND due_at <= ?2 AND lease_token IS NULL
             ORDER BY due_at, upload_id LIMIT ?3",
            params![
                provider.as_str(),
                view.now.as_millisecond(),
                sql_limit(limit)
            ],
            |columns| {
                let upload_id = columns.get("upload_id")?;
                let file: String = columns.get("file")?;
                let image = LocalImage::parse(&file)
                    .ok_or_else(|| QueueError::corrupt(format!("upload {upload_id} of {file}")))?;
                let failures = columns.get("failures")?;
                let upload = DueUpload {
                    provider,
                    image,
                    failures,
                };
                Ok((upload_id, upload))
            },
        )?);
    }
    due.sort_by_key(|(upload_id, _)| *upload_id);
    view.due_uploads = due.into_iter().map(|(_, upload)| upload).collect();
    Ok(())
}
