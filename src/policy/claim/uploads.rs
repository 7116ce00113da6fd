//! Which local images to upload, for the providers that take images as links, and whether a job's
//! images are there.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};

use crate::domain::{ImageForm, Input, ProviderName};
use crate::policy::upload::{Upload, UploadProgress};

use super::planner::Planner;
use super::view::{BatchView, ClaimView, Missing};

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
        /// When the last of the failed uploads is due again.
        retry_at: Option<Timestamp>,
    },
    /// One cannot be uploaded, for this reason.
    Rejected(String),
}

impl ClaimView {
    /// Returns the time after which a link must expire to be usable now.
    pub fn min_link_expiry(&self) -> Timestamp {
        self.now
            .saturating_add(MIN_LINK_LIFETIME)
            .unwrap_or(Timestamp::MAX)
    }
}

impl UploadProgress {
    fn expires_by(&self, time: Timestamp) -> bool {
        self.expires_at.is_some_and(|expires_at| expires_at <= time)
    }
}

impl Planner<'_> {
    /// Plans the uploads that the next jobs of each lane need, and up to `limit` that are due.
    pub(super) fn take_uploads(&mut self, limit: usize) -> Result<(), Missing> {
        if limit == 0 || !self.has_queued_local_images() {
            return Ok(());
        }
        let new_uploads = self.prefetched()?;
        let now = self.view.now;
        let accepts = |name: ProviderName| {
            self.plan.providers.iter().any(|provider| {
                provider.limits.provider == name
                    && provider.receives_uploads()
                    && provider.gate.accepts_polls(now)
            })
        };
        // In the order in which the uploads were queued, so that no provider waits until all
        // uploads to another are done.
        let due = self.view.due_uploads.iter().cloned();
        let uploads: Vec<Upload> = due
            .chain(new_uploads.iter().cloned())
            .filter(|upload| accepts(upload.provider))
            .take(limit)
            .collect();
        let is_leased = |upload: &Upload| uploads.contains(upload);
        let queued = new_uploads.into_iter().filter(|upload| !is_leased(upload));
        self.plan.new_uploads = queued.collect();
        self.plan.uploads = uploads;
        Ok(())
    }

    /// Returns whether a provider has the local images of a job.
    ///
    /// A provider that takes images inside the request needs no uploads and is always ready.
    pub(super) fn upload_state(
        &self,
        batch: usize,
        input: &Input,
        provider: ProviderName,
    ) -> UploadState {
        let mut links = BTreeMap::new();
        let batch = &self.view.batches[batch];
        if !batch.has_local_images || !self.requires_upload(batch, provider) {
            return UploadState::Ready(links);
        }
        let min_expiry = self.view.min_link_expiry();
        let mut is_pending = false;
        let mut failed_retry_at = None;
        for image in input.local_images() {
            let key = (provider, image.sha256().to_owned());
            let upload = self.view.uploads.get(&key);
            let Some(upload) = upload.filter(|upload| !upload.expires_by(min_expiry)) else {
                is_pending = true;
                continue;
            };
            if let Some(url) = &upload.url {
                links.insert(image.placeholder(), url.clone());
            } else if upload.due_at.is_none() {
                let reason = upload.error.clone();
                return UploadState::Rejected(
                    reason.unwrap_or_else(|| "no reason is known".into()),
                );
            } else if upload.failures > 0 {
                failed_retry_at = Some(upload.due_at.max(failed_retry_at.flatten()));
            } else {
                is_pending = true;
            }
        }
        match failed_retry_at {
            Some(retry_at) => UploadState::Retrying { retry_at },
            None if is_pending => UploadState::Pending,
            None => UploadState::Ready(links),
        }
    }

    /// Returns whether a queued job of the requested batches may name a local image, after the
    /// submissions that are planned.
    fn has_queued_local_images(&self) -> bool {
        let batches = self.view.batches.iter().zip(&self.plan.totals);
        batches
            .into_iter()
            .any(|(batch, totals)| batch.has_local_images && totals.has_queued_jobs())
    }

    /// Returns whether local images must be uploaded to a provider before a submission.
    fn requires_upload(&self, batch: &BatchView, provider: ProviderName) -> bool {
        let model = self.request.catalog.model(&batch.model);
        let route = model.and_then(|model| model.route(provider));
        route.is_some_and(|route| route.images.contains(&ImageForm::Upload))
            && self
                .plan
                .providers
                .iter()
                .any(|view| view.limits.provider == provider && view.limits.has_storage)
    }

    /// Lists the uploads that the next jobs of each lane need and that are not queued yet, or whose
    /// links expire too soon.
    fn prefetched(&self) -> Result<Vec<Upload>, Missing> {
        let min_expiry = self.view.min_link_expiry();
        let mut listed = BTreeSet::new();
        let mut uploads = Vec::new();
        for (index, batch) in self.view.batches.iter().enumerate() {
            if !batch.has_local_images || !batch.has_queued_jobs() {
                continue;
            }
            let lanes = batch.lanes.as_deref().ok_or(Missing::Lanes(index))?;
            for lane in lanes {
                let targets: Vec<ProviderName> = self
                    .plan
                    .providers
                    .iter()
                    .filter(|provider| provider.receives_uploads())
                    .map(|provider| provider.limits.provider)
                    .filter(|provider| lane.providers.contains(provider))
                    .filter(|provider| self.requires_upload(batch, *provider))
                    .collect();
                for image in lane.upcoming.iter().flat_map(Input::local_images) {
                    for provider in &targets {
                        let key = (*provider, image.sha256().to_owned());
                        let known = self.view.uploads.get(&key);
                        let is_wanted = known.is_none_or(|upload| upload.expires_by(min_expiry));
                        if is_wanted && listed.insert(key) {
                            let progress = UploadProgress {
                                due_at: Some(self.view.now),
                                failures: known.map_or(0, |upload| upload.failures),
                                ..UploadProgress::default()
                            };
                            uploads.push(Upload {
                                provider: *provider,
                                image: image.clone(),
                                progress,
                            });
                        }
                    }
                }
            }
        }
        Ok(uploads)
    }
}
