//! Images on disk on their way to the providers that want links: which are wanted soon, which are claimed, what became
//! of them, and what stands for them in a request.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use rusqlite::{Connection, params};

use crate::domain::{ImageForm, Input, JobState, LocalImage, ProviderName};
use crate::queue::{QueueError, Result, UploadClaim, UploadLease, UploadOutcome};

use super::lanes::words;
use super::row::{self, execute, select, time_value, value};
use super::submit_claims::SubmitClaims;

/// How many of the jobs that come next have their images uploaded ahead of their creates: so many for each slot.
const AHEAD_PER_SLOT: u32 = 2;

/// The most, however many slots there are.
const MOST_AHEAD: u32 = 64;

/// A link that ends sooner is not used: the provider may fetch it late.
const LAST_USE: SignedDuration = SignedDuration::from_hours(24);

/// What a provider has of a job's images.
pub(super) enum UploadState {
    /// A link for each; by what stands for the image in a request.
    Ready(BTreeMap<String, String>),
    /// Not all yet, and nothing has gone wrong.
    Pending,
    /// Not all, because an upload failed.
    Retrying {
        /// When it is tried again.
        retry_at: Option<i64>,
    },
    /// One cannot be uploaded, for this reason.
    Rejected(String),
}

impl SubmitClaims<'_> {
    /// Claims the uploads that are due, for the jobs that come next.
    pub(super) fn claim_uploads(&self, most: usize) -> Result<Vec<UploadClaim>> {
        let mut claims = Vec::new();
        if most == 0 || !self.has_local_images() {
            return Ok(claims);
        }
        self.prefetch()?;
        for pace in self
            .storages()
            .filter(|pace| pace.accepts_polls(self.request.now))
        {
            claims.extend(self.due(pace.limits.provider, most)?);
        }
        // In the order in which they were wanted, so that no storage waits for the whole of another.
        claims.sort_by_key(|claim| claim.lease.upload_id);
        claims.truncate(most);
        claims
            .iter()
            .try_for_each(|claim| self.lease_upload(claim.lease))?;
        Ok(claims)
    }

    /// When the next upload is due that is not now.
    pub(super) fn next_upload(&self) -> Result<Option<Timestamp>> {
        let mut next: Option<Timestamp> = None;
        // What nothing that can be paid waits for keeps no run from ending.
        if !self.awaits_upload {
            return Ok(next);
        }
        let now = self.request.now;
        for pace in self.storages().filter(|pace| !pace.refuses_polls) {
            let due: Option<i64> = value(
                self.tx,
                "SELECT min(due_at) FROM uploads WHERE provider = ?1 AND due_at IS NOT NULL AND lease_token IS NULL",
                [pace.limits.provider.as_str()],
            )?;
            let at = due
                .map(row::time)
                .transpose()?
                .map(|due| due.max(pace.calls_from));
            // What is due already waits for a worker, and a step's end is followed by another claim.
            next = at.filter(|at| *at > now).into_iter().chain(next).min();
        }
        Ok(next)
    }

    /// How many uploads are under way, in any process.
    pub(super) fn uploads_leased(&self) -> Result<u64> {
        if !self.has_local_images() {
            return Ok(0);
        }
        let leased = value(
            self.tx,
            "SELECT count(*) FROM uploads WHERE lease_pool IS NOT NULL",
            [],
        )?;
        Ok(leased.unwrap_or(0))
    }

    /// Tells what a provider has of a job's images. Nothing is uploaded to one that takes them inside the create call.
    pub(super) fn links(
        &self,
        batch: usize,
        input: &Input,
        provider: ProviderName,
    ) -> Result<UploadState> {
        let mut links = BTreeMap::new();
        if !self.batches[batch].has_local_images || !self.is_uploaded_to(batch, provider) {
            return Ok(UploadState::Ready(links));
        }
        let (mut is_coming, mut failed) = (false, None);
        for image in input.local_images() {
            let upload = select(
                self.tx,
                "SELECT url, due_at, failures, error FROM uploads
                 WHERE provider = ?1 AND sha256 = ?2 AND (expires_at IS NULL OR expires_at > ?3)",
                params![provider.as_str(), image.sha256(), self.last_use()],
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
                    failed = Some(retry_at.max(failed.flatten()))
                }
                Some(_) | None => is_coming = true,
            }
        }
        Ok(match failed {
            Some(retry_at) => UploadState::Retrying { retry_at },
            None if is_coming => UploadState::Pending,
            None => UploadState::Ready(links),
        })
    }

    /// Tells whether any job that waits may name a file.
    fn has_local_images(&self) -> bool {
        self.batches
            .iter()
            .any(|batch| batch.has_local_images && batch.jobs.of(JobState::Queued) > 0)
    }

    /// The providers that files are uploaded to and that creates may go to.
    fn storages(&self) -> impl Iterator<Item = &super::provider_capacity::ProviderCapacity> {
        self.capacities
            .iter()
            .filter(|pace| pace.limits.has_storage && pace.limits.in_flight > 0 && !pace.paused)
    }

    fn is_uploaded_to(&self, batch: usize, provider: ProviderName) -> bool {
        let model = self.request.catalog.model(&self.batches[batch].model);
        let route = model.and_then(|model| model.route(provider));
        route.is_some_and(|route| route.images.contains(&ImageForm::Upload))
            && self
                .capacities
                .iter()
                .any(|pace| pace.limits.provider == provider && pace.limits.has_storage)
    }

    fn last_use(&self) -> i64 {
        self.request
            .now
            .saturating_add(LAST_USE)
            .unwrap_or(Timestamp::MAX)
            .as_millisecond()
    }

    /// Enters what the jobs that come next need uploaded.
    fn prefetch(&self) -> Result<()> {
        let slots = self
            .storages()
            .map(|pace| pace.limits.in_flight)
            .fold(0, u32::saturating_add);
        let ahead = slots.saturating_mul(AHEAD_PER_SLOT).min(MOST_AHEAD);
        for (index, batch) in self
            .batches
            .iter()
            .enumerate()
            .filter(|(_, batch)| batch.has_local_images)
        {
            for word in words(self.tx, batch.batch_id)? {
                let storages = self.storages().map(|pace| pace.limits.provider);
                let to: Vec<ProviderName> = storages
                    .filter(|provider| word.split(',').any(|word| word == provider.as_str()))
                    .filter(|provider| self.is_uploaded_to(index, *provider))
                    .collect();
                if to.is_empty() {
                    continue;
                }
                let next = select(
                    self.tx,
                    "SELECT input FROM jobs WHERE state = 'queued' AND batch_id = ?1 AND providers = ?2
                     ORDER BY due_at, job_id LIMIT ?3",
                    params![batch.batch_id, word, ahead],
                    |columns| columns.json::<Input>("input"),
                )?;
                for image in next.iter().flat_map(Input::local_images) {
                    to.iter()
                        .try_for_each(|provider| self.want(*provider, &image))?;
                }
            }
        }
        Ok(())
    }

    /// Enters an upload, unless it is there and its link lasts.
    fn want(&self, provider: ProviderName, image: &LocalImage) -> Result<()> {
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
                self.last_use(),
            ],
        )?;
        Ok(())
    }

    /// Finds the uploads to a provider that are due.
    fn due(&self, provider: ProviderName, most: usize) -> Result<Vec<UploadClaim>> {
        select(
            self.tx,
            "SELECT upload_id, file, failures FROM uploads
             WHERE provider = ?1 AND due_at <= ?2 AND lease_token IS NULL ORDER BY due_at, upload_id LIMIT ?3",
            params![
                provider.as_str(),
                self.request.now.as_millisecond(),
                i64::try_from(most).unwrap_or(i64::MAX)
            ],
            |columns| {
                let upload_id = columns.get("upload_id")?;
                let file: String = columns.get("file")?;
                let image = LocalImage::parse(&file)
                    .ok_or_else(|| QueueError::Corrupt(format!("upload {upload_id} of {file}")))?;
                let lease = UploadLease { upload_id, token: fastrand::i64(1..) };
                Ok(UploadClaim { lease, provider, image, failures: columns.get("failures")? })
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

/// Records what became of an upload, from the holder of its lease: by now the number may be another picture's. A link that
/// comes too late is dropped, and another upload costs nothing.
pub(super) fn record(tx: &Connection, lease: UploadLease, outcome: &UploadOutcome) -> Result<()> {
    let UploadLease { upload_id, token } = lease;
    match outcome {
        UploadOutcome::Stored { link, expires_at } => execute(
            tx,
            "UPDATE uploads SET url = ?2, expires_at = ?3, due_at = NULL, failures = 0, error = NULL,
                    lease_token = NULL, lease_pool = NULL
             WHERE upload_id = ?1 AND lease_token = ?4",
            params![upload_id, link, time_value(*expires_at), token],
        )?,
        UploadOutcome::Failed { reason, due_at, counted } => execute(
            tx,
            "UPDATE uploads SET due_at = ?3, failures = failures + ?4, error = ?5, lease_token = NULL, lease_pool = NULL
             WHERE upload_id = ?1 AND lease_token = ?2",
            params![upload_id, token, due_at.as_millisecond(), counted, reason],
        )?,
        UploadOutcome::Refused { reason } => execute(
            tx,
            "UPDATE uploads SET due_at = NULL, error = ?3, lease_token = NULL, lease_pool = NULL
             WHERE upload_id = ?1 AND lease_token = ?2",
            params![upload_id, token, reason],
        )?,
        UploadOutcome::NotStarted => execute(
            tx,
            "UPDATE uploads SET lease_token = NULL, lease_pool = NULL WHERE upload_id = ?1 AND lease_token = ?2",
            params![upload_id, token],
        )?,
    };
    Ok(())
}

/// Frees what a pool was uploading.
pub(super) fn free(tx: &Connection, pool: &str) -> Result<()> {
    execute(
        tx,
        "UPDATE uploads SET lease_token = NULL, lease_pool = NULL WHERE lease_pool = ?1",
        [pool],
    )?;
    Ok(())
}

/// Forgets what was refused: the file may be there again, or elsewhere.
pub(super) fn forget_refused(tx: &Connection) -> Result<()> {
    execute(
        tx,
        "DELETE FROM uploads WHERE url IS NULL AND due_at IS NULL AND lease_token IS NULL",
        [],
    )?;
    Ok(())
}
