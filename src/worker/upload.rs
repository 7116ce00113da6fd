//! The step that gives a provider an image on disk. It can be repeated for ever without paying.

use std::collections::BTreeMap;

use crate::cut::cut;
use crate::domain::local_image::fill;
use crate::domain::{Failure, Gate, ProviderName};
use crate::image::{NoImage, told};
use crate::provider::{Provider, Submission};
use crate::queue::{Claim, UploadClaim, UploadLease, UploadOutcome};

use super::{Event, PoolError, Tools};

/// So many failures in a row, the last of them an answer that cannot be read, end an upload.
const MOST_UNREADABLE: u32 = 6;

/// What an upload came to, and what it means for the provider.
pub(super) struct UploadFinding {
    pub(super) outcome: UploadOutcome,
    pub(super) gate: Option<(ProviderName, Gate)>,
}

impl From<UploadOutcome> for UploadFinding {
    fn from(outcome: UploadOutcome) -> Self {
        Self { outcome, gate: None }
    }
}

impl Tools {
    /// Reads the image, and uploads it.
    pub(super) async fn upload(&self, claim: &UploadClaim, provider: &dyn Provider) -> UploadFinding {
        let again_at = |retry_after| {
            let failures = claim.failures + 1;
            self.policy.again_at(self.clock.now(), failures, retry_after, fastrand::f64())
        };
        let file = match self.images.read(&claim.image).await {
            Ok(file) => file,
            Err(NoImage { reason, may_pass: true }) => {
                return UploadOutcome::Failed { reason, due_at: again_at(None), counted: true }.into();
            }
            Err(NoImage { reason, .. }) => return UploadOutcome::Refused { reason }.into(),
        };
        cut!("upload unsent");
        let uploaded = provider.upload(&file).await;
        cut!("upload read");
        let (path, name) = (told(claim.image.path()), claim.provider);
        match uploaded {
            Ok(upload) => {
                let expires_at = upload.kept.map(|kept| self.after(kept));
                UploadOutcome::Stored { link: upload.link, expires_at }.into()
            }
            // Whether an upload arrived does not matter: another costs nothing.
            Err(Failure::Transient { reason, retry_after }) => {
                UploadOutcome::Failed { reason, due_at: again_at(retry_after), counted: true }.into()
            }
            // An answer that is none of this API's will hardly be one in an hour.
            Err(Failure::Unknown { reason }) if claim.failures + 1 >= MOST_UNREADABLE => {
                UploadOutcome::Refused { reason: format!("{path} cannot be uploaded: {reason}") }.into()
            }
            Err(Failure::Unknown { reason }) => {
                UploadOutcome::Failed { reason, due_at: again_at(None), counted: true }.into()
            }
            Err(Failure::RateLimited { reason, retry_after }) => {
                let until = again_at(retry_after);
                let outcome = UploadOutcome::Failed { reason, due_at: until, counted: true };
                UploadFinding { outcome, gate: Some((name, Gate::Calls { until })) }
            }
            Err(Failure::Closed { reason }) => {
                let outcome = UploadOutcome::Failed {
                    reason: reason.clone(),
                    due_at: self.clock.now(),
                    counted: false,
                };
                UploadFinding { outcome, gate: Some((name, Gate::Paused { reason, looks_too: false })) }
            }
            Err(Failure::Rejected { reason }) => {
                UploadOutcome::Refused { reason: format!("{path} cannot be uploaded: {reason}") }.into()
            }
        }
    }

    /// Records what an upload came to, and tells the log and the observer.
    pub(super) async fn record_upload(
        &self,
        lease: UploadLease,
        finding: UploadFinding,
    ) -> Result<(), PoolError> {
        let UploadFinding { outcome, gate } = finding;
        if let UploadOutcome::Failed { reason, .. } | UploadOutcome::Refused { reason } = &outcome {
            tracing::info!(upload.id = lease.upload_id, "{reason}");
            (self.observer)(Event::UploadFailed { reason: reason.clone() });
        }
        self.queue.record_upload(lease, outcome, gate.clone()).await?;
        if let Some((provider, Gate::Paused { reason, .. })) = gate {
            self.tell_pause(provider, reason);
        }
        Ok(())
    }

    /// Puts together what is sent: images on disk that were not uploaded go as data URIs.
    pub(super) async fn submission(&self, claim: &Claim) -> Result<Submission, NoImage> {
        let mut submission = Submission::from(&claim.attempt);
        let mut data = BTreeMap::new();
        for image in claim.job.input.local_images() {
            if image.stands_in(&submission.request) {
                data.insert(image.placeholder(), self.images.read(&image).await?.to_data_uri());
            }
        }
        fill(&mut submission.request, &data);
        Ok(submission)
    }
}
