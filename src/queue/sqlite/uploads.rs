//! Uploads of local images to the providers that take images as links.
//!
//! Queues the uploads that the next submissions need, claims due ones, records their outcomes, and
//! supplies the links that replace image placeholders in requests.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use rusqlite::{Connection, params};

use crate::domain::{ImageForm, Input, JobState, LocalImage, ProviderName};
use crate::queue::{QueueError, Result, UploadClaim, UploadLease, UploadOutcome};

use super::lanes::provider_orders;
use super::provider_capacity::ProviderCapacity;
use super::row::{self, execute, nullable_millis, query_value, select};
use super::submit_claims::SubmitClaims;

/// Number of queued jobs per provider slot whose images are uploaded ahead of their submissions.
const PREFETCH_PER_SLOT: u32 = 2;

/// Maximum number of queued jobs whose images are uploaded ahead, however many slots there are.
///
/// Applies to each lane of a batch.
const MAX_PREFETCH: u32 = 64;

/// Minimum remaining lifetime of a link at the time of the submission.
///
/// A provider may fetch the image long after it accepts the request.
const MIN_LINK_LIFETIME: SignedDuration = SignedDuration::from_hours(24);

/// Whether a provider has the local images of a job.
pub(super) enum UploadState {
    /// All are uploaded, or none needs to be: the link for each placeholder in the request.
    Ready(BTreeMap<String, String>),
    /// At least one is not uploaded yet, and no upload has failed.
    Pending,
    /// An upload failed and will be retried.
    Retrying {
        /// When the last of the failed uploads is due again, in milliseconds.
        retry_at: Option<i64>,
    },
    /// One cannot be uploaded, for this reason.
    Rejected(String),
}

impl SubmitClaims<'_> {
    /// Claims up to `limit` due uploads for the jobs that are submitted next.
    pub(super) fn claim_uploads(&self, limit: usize) -> Result<Vec<UploadClaim>> {
        let mut claims = Vec::new();
        if limit == 0 || !self.has_queued_local_images() {
            return Ok(claims);
        }
        self.prefetch()?;
        for capacity in self
            .upload_providers()
            .filter(|capacity| capacity.accepts_polls(self.request.now))
        {
            claims.extend(self.due_uploads(capacity.limits.provider, limit)?);
        }
        // In the order in which the uploads were queued, so that no provider waits until all
        // uploads to another are done.
        claims.sort_by_key(|claim| claim.lease.upload_id);
        claims.truncate(limit);
        claims
            .iter()
            .try_for_each(|claim| self.lease_upload(claim.lease))?;
        Ok(claims)
    }

    /// Returns when the next upload that is not due yet becomes due.
    pub(super) fn next_upload(&self) -> Result<Option<Timestamp>> {
        let mut next: Option<Timestamp> = None;
        // Uploads that no affordable job waits for must not keep a run from ending.
        if !self.awaits_upload {
            return Ok(next);
        }
        let now = self.request.now;
        for capacity in self
            .upload_providers()
            .filter(|capacity| !capacity.refuses_polls)
        {
            let due: Option<i64> = query_value(
                self.tx,
                "SELECT min(due_at) FROM uploads
                 WHERE provider = ?1 AND due_at IS NOT NULL AND lease_token IS NULL",
                [capacity.limits.provider.as_str()],
            )?;
            let at = due
                .map(row::timestamp_from_millis)
                .transpose()?
                .map(|due| due.max(capacity.calls_held_until));
            // An upload that is due already waits for a free step; the pool claims again as soon as
            // a step completes.
            next = at.filter(|at| *at > now).into_iter().chain(next).min();
        }
        Ok(next)
    }

    /// Counts the uploads that are leased, by any process.
    pub(super) fn leased_uploads(&self) -> Result<u64> {
        if !self.has_queued_local_images() {
            return Ok(0);
        }
        let leased = query_value(
            self.tx,
            "SELECT count(*) FROM uploads WHERE lease_pool IS NOT NULL",
            [],
        )?;
        Ok(leased.unwrap_or(0))
    }

    /// Returns whether a provider has the local images of a job.
    ///
    /// A provider that takes images inside the request needs no uploads and is always ready.
    pub(super) fn upload_state(
        &self,
        batch: usize,
        input: &Input,
        provider: ProviderName,
    ) -> Result<UploadState> {
        let mut links = BTreeMap::new();
        if !self.batches[batch].has_local_images || !self.requires_upload(batch, provider) {
            return Ok(UploadState::Ready(links));
        }
        let mut is_pending = false;
        let mut failed_retry_at = None;
        for image in input.local_images() {
            let upload = select(
                self.tx,
                "SELECT url, due_at, failures, error FROM uploads
                 WHERE provider = ?1 AND sha256 = ?2
                   AND (expires_at IS NULL OR expires_at > ?3)",
                params![provider.as_str(), image.sha256(), self.min_link_expiry_ms()],
                |columns| {
                    Ok((
                        columns.get::<Option<String>>("url")?,
                        columns.get::<Option<i64>>("due_at")?,
                        columns.get::<u32>("failures")?,
                        columns.get::<Option<String>>("error")?,
                    ))
                },
            )?;
            match upload.into_iter().next() {
                Some((Some(url), ..)) => {
                    links.insert(image.placeholder(), url);
                }
                Some((None, None, _, error)) => {
                    return Ok(UploadState::Rejected(
                        error.unwrap_or_else(|| "no reason is known".into()),
                    ));
                }
                Some((None, retry_at, failures, _)) if failures > 0 => {
                    failed_retry_at = Some(retry_at.max(failed_retry_at.flatten()))
                }
                Some(_) | None => is_pending = true,
            }
        }
        Ok(match failed_retry_at {
            Some(retry_at) => UploadState::Retrying { retry_at },
            None if is_pending => UploadState::Pending,
            None => UploadState::Ready(links),
        })
    }

    /// Returns whether a queued job of the requested batches may name a local image.
    fn has_queued_local_images(&self) -> bool {
        self.batches
            .iter()
            .any(|batch| batch.has_local_images && batch.jobs.count(JobState::Queued) > 0)
    }

    /// Lists the providers that store uploads and may receive submissions.
    fn upload_providers(&self) -> impl Iterator<Item = &ProviderCapacity> {
        self.capacities.iter().filter(|capacity| {
            capacity.limits.has_storage && capacity.limits.in_flight > 0 && !capacity.is_suspended
        })
    }

    /// Returns whether local images must be uploaded to a provider before a submission.
    fn requires_upload(&self, batch: usize, provider: ProviderName) -> bool {
        let model = self.request.catalog.model(&self.batches[batch].model);
        let route = model.and_then(|model| model.route(provider));
        route.is_some_and(|route| route.images.contains(&ImageForm::Upload))
            && self
                .capacities
                .iter()
                .any(|capacity| capacity.limits.provider == provider && capacity.limits.has_storage)
    }

    /// Returns the time, in milliseconds, after which a link must expire to be usable now.
    fn min_link_expiry_ms(&self) -> i64 {
        self.request
            .now
            .saturating_add(MIN_LINK_LIFETIME)
            .unwrap_or(Timestamp::MAX)
            .as_millisecond()
    }

    /// Queues the uploads that the next jobs of each lane need.
    fn prefetch(&self) -> Result<()> {
        let slots = self
            .upload_providers()
            .map(|capacity| capacity.limits.in_flight)
            .fold(0, u32::saturating_add);
        let limit = slots.saturating_mul(PREFETCH_PER_SLOT).min(MAX_PREFETCH);
        for (index, batch) in self
            .batches
            .iter()
            .enumerate()
            .filter(|(_, batch)| batch.has_local_images)
        {
            for providers in provider_orders(self.tx, batch.batch_id)? {
                let targets: Vec<ProviderName> = self
                    .upload_providers()
                    .map(|capacity| capacity.limits.provider)
                    .filter(|provider| providers.split(',').any(|name| name == provider.as_str()))
                    .filter(|provider| self.requires_upload(index, *provider))
                    .collect();
                if targets.is_empty() {
                    continue;
                }
                let inputs = select(
                    self.tx,
                    "SELECT input FROM jobs
                     WHERE state = 'queued' AND batch_id = ?1 AND providers = ?2
                     ORDER BY due_at, job_id LIMIT ?3",
                    params![batch.batch_id, providers, limit],
                    |columns| columns.json::<Input>("input"),
                )?;
                for image in inputs.iter().flat_map(Input::local_images) {
                    targets
                        .iter()
                        .try_for_each(|provider| self.queue_upload(*provider, &image))?;
                }
            }
        }
        Ok(())
    }

    /// Queues an upload. One that exists is queued again only if its link expires too soon.
    fn queue_upload(&self, provider: ProviderName, image: &LocalImage) -> Result<()> {
        execute(
            self.tx,
            "INSERT INTO uploads (provider, sha256, file, due_at) VALUES (?1, ?2, ?3, ?4)
             ON CONFLICT (provider, sha256) DO UPDATE
                SET file = excluded.file, url = NULL, expires_at = NULL, due_at = excluded.due_at
                WHERE expires_at <= ?5",
            params![
                provider.as_str(),
                image.sha256(),
                image.to_string(),
                self.request.now.as_millisecond(),
                self.min_link_expiry_ms(),
            ],
        )?;
        Ok(())
    }

    /// Finds up to `limit` due uploads to a provider, each with a new lease that is not stored yet.
    fn due_uploads(&self, provider: ProviderName, limit: usize) -> Result<Vec<UploadClaim>> {
        select(
            self.tx,
            "SELECT upload_id, file, failures FROM uploads
             WHERE provider = ?1 AND due_at <= ?2 AND lease_token IS NULL
             ORDER BY due_at, upload_id LIMIT ?3",
            params![
                provider.as_str(),
                self.request.now.as_millisecond(),
                i64::try_from(limit).unwrap_or(i64::MAX)
            ],
            |columns| {
                let upload_id = columns.get("upload_id")?;
                let file: String = columns.get("file")?;
                let image = LocalImage::parse(&file)
                    .ok_or_else(|| QueueError::Corrupt(format!("upload {upload_id} of {file}")))?;
                let lease = UploadLease {
                    upload_id,
                    token: fastrand::i64(1..),
                };
                Ok(UploadClaim {
                    lease,
                    provider,
                    image,
                    failures: columns.get("failures")?,
                })
            },
        )
    }

    fn lease_upload(&self, lease: UploadLease) -> Result<()> {
        execute(
            self.tx,
            "UPDATE uploads SET lease_token = ?2, lease_pool = ?3 WHERE upload_id = ?1",
            params![lease.upload_id, lease.token, self.request.pool_id.0],
        )?;
        Ok(())
    }
}

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
