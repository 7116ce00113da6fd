//! The step that gives a provider an image on disk. It can be repeated for ever without paying.

use std::collections::BTreeMap;

use crate::domain::local_image::fill_placeholders;
use crate::domain::{Failure, ProviderName, ProviderSignal};
use crate::failpoint::fail_point;
use crate::image::{ImageError, display_path};
use crate::provider::{Provider, Submission};
use crate::queue::{Claim, UploadClaim, UploadLease, UploadOutcome};

use super::{PoolError, PoolEvent, StepContext};

/// So many failures in a row, the last of them an answer that cannot be read, end an upload.
const MOST_UNREADABLE: u32 = 6;

/// What an upload came to, and what it means for the provider.
pub(super) struct UploadStepOutcome {
    pub(super) outcome: UploadOutcome,
    pub(super) provider_signal: Option<(ProviderName, ProviderSignal)>,
}

impl From<UploadOutcome> for UploadStepOutcome {
    fn from(outcome: UploadOutcome) -> Self {
        Self {
            outcome,
            provider_signal: None,
        }
    }
}

impl StepContext {
    /// Reads the image, and uploads it.
    pub(super) async fn upload(
        &self,
        claim: &UploadClaim,
        provider: &dyn Provider,
    ) -> UploadStepOutcome {
        let retry_at = |retry_after| {
            let failures = claim.failures + 1;
            self.policy
                .retry_at(self.clock.now(), failures, retry_after, fastrand::f64())
        };
        let file = match self.images.read(&claim.image).await {
            Ok(file) => file,
            Err(ImageError {
                reason,
                transient: true,
            }) => {
                return UploadOutcome::Failed {
                    reason,
                    due_at: retry_at(None),
                    counted: true,
                }
                .into();
            }
            Err(ImageError { reason, .. }) => return UploadOutcome::Refused { reason }.into(),
        };
        fail_point!("upload unsent");
        let uploaded = provider.upload(&file).await;
        fail_point!("upload read");
        let (path, name) = (display_path(claim.image.path()), claim.provider);
        match uploaded {
            Ok(upload) => {
                let expires_at = upload.retention.map(|kept| self.after(kept));
                UploadOutcome::Stored {
                    link: upload.public_url,
                    expires_at,
                }
                .into()
            }
            // Whether an upload arrived does not matter: another costs nothing.
            Err(Failure::Transient {
                reason,
                retry_after,
            }) => UploadOutcome::Failed {
                reason,
                due_at: retry_at(retry_after),
                counted: true,
            }
            .into(),
            // An answer that is none of this API's will hardly be one in an hour.
            Err(Failure::Unknown { reason }) if claim.failures + 1 >= MOST_UNREADABLE => {
                UploadOutcome::Refused {
                    reason: format!("{path} cannot be uploaded: {reason}"),
                }
                .into()
            }
            Err(Failure::Unknown { reason }) => UploadOutcome::Failed {
                reason,
                due_at: retry_at(None),
                counted: true,
            }
            .into(),
            Err(Failure::RateLimited {
                reason,
                retry_after,
            }) => {
                let until = retry_at(retry_after);
                let outcome = UploadOutcome::Failed {
                    reason,
                    due_at: until,
                    counted: true,
                };
                UploadStepOutcome {
                    outcome,
                    provider_signal: Some((name, ProviderSignal::HoldAll { until })),
                }
            }
            Err(Failure::AccessDenied { reason }) => {
                let outcome = UploadOutcome::Failed {
                    reason: reason.clone(),
                    due_at: self.clock.now(),
                    counted: false,
                };
                UploadStepOutcome {
                    outcome,
                    provider_signal: Some((
                        name,
                        ProviderSignal::Suspend {
                            reason,
                            polls_too: false,
                        },
                    )),
                }
            }
            Err(Failure::Rejected { reason }) => UploadOutcome::Refused {
                reason: format!("{path} cannot be uploaded: {reason}"),
            }
            .into(),
        }
    }

    /// Records what an upload came to, and tells the log and the observer.
    pub(super) async fn record_upload(
        &self,
        lease: UploadLease,
        finding: UploadStepOutcome,
    ) -> Result<(), PoolError> {
        let UploadStepOutcome {
            outcome,
            provider_signal,
        } = finding;
        if let UploadOutcome::Failed { reason, .. } | UploadOutcome::Refused { reason } = &outcome {
            tracing::info!(upload.id = lease.upload_id, "{reason}");
            (self.observer)(PoolEvent::UploadFailed {
                reason: reason.clone(),
            });
        }
        self.queue
            .record_upload(lease, outcome, provider_signal.clone())
            .await?;
        if let Some((provider, ProviderSignal::Suspend { reason, .. })) = provider_signal {
            self.tell_pause(provider, reason);
        }
        Ok(())
    }

    /// Puts together what is sent: images on disk that were not uploaded go as data URIs.
    pub(super) async fn submission(&self, claim: &Claim) -> Result<Submission, ImageError> {
        let mut submission = Submission::from(&claim.attempt);
        let mut data = BTreeMap::new();
        for image in claim.job.input.local_images() {
            if image.is_placeholder_in(&submission.request) {
                data.insert(
                    image.placeholder(),
                    self.images.read(&image).await?.to_data_uri(),
                );
            }
        }
        fill_placeholders(&mut submission.request, &data);
        Ok(submission)
    }
}
