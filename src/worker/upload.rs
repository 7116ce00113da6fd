//! The upload task: stores a local image at a provider. It costs nothing, so it may be repeated. It
//! is not a step of a job: every job with the same image uses the same upload.

use std::collections::BTreeMap;

use tracing::Instrument;

use crate::domain::local_image::fill_placeholders;
use crate::domain::{Failure, ProviderSignal};
use crate::failpoint::fail_point;
use crate::image::{ImageError, display_path};
use crate::provider::{Provider, Submission};
use crate::queue::{Claim, Completed, UploadClaim, UploadOutcome};

use super::completed_step::{CompletedStep, StepOutcome};
use super::fault::catch_panic;
use super::options::stopped;
use super::{StepContext, StopSignal};

/// Number of failures in a row after which an upload with an unreadable response is given up.
const MAX_UNREADABLE_RESPONSES: u32 = 6;

/// Runs one claimed upload to its end. The result is not recorded yet.
pub(super) async fn run(
    context: &StepContext,
    claim: UploadClaim,
    mut stop: StopSignal,
) -> CompletedStep {
    let span = tracing::error_span!(
        "upload",
        upload.id = claim.lease.upload_id,
        provider = %claim.provider,
    );
    let result = match context.providers.get(&claim.provider) {
        Some(provider) => {
            let upload = context.upload(&claim, provider.as_ref()).instrument(span);
            tokio::select! {
                result = catch_panic(upload) => {
                    result.unwrap_or_else(|message| context.upload_panicked(&claim, &message))
                }
                // An upload may take minutes, and repeating it costs nothing.
                () = stopped(&mut stop) => UploadOutcome::NotStarted.into(),
            }
        }
        // The queue only hands out uploads to the providers that the pool named.
        None => UploadOutcome::NotStarted.into(),
    };
    CompletedStep {
        completed: Completed::Upload {
            claim,
            outcome: result.outcome,
            signal: result.signal,
        },
        fatal: None,
    }
}

impl StepContext {
    /// Reads the image from disk and uploads it.
    pub(super) async fn upload(
        &self,
        claim: &UploadClaim,
        provider: &dyn Provider,
    ) -> StepOutcome<UploadOutcome> {
        let failures = claim.failures + 1;
        let file = match self.files.images.read(&claim.image).await {
            Ok(file) => file,
            Err(ImageError {
                reason,
                transient: true,
            }) => {
                let due_at = self.retry_after_failures(failures, None);
                return UploadOutcome::Failed {
                    reason,
                    due_at,
                    counts_as_failure: true,
                }
                .into();
            }
            Err(ImageError { reason, .. }) => return UploadOutcome::Rejected { reason }.into(),
        };
        fail_point!("upload unsent");
        let response = provider.upload(&file).await;
        fail_point!("upload read");
        match response {
            Ok(image) => {
                let expires_at = image.retention.map(|retention| self.after(retention));
                UploadOutcome::Stored {
                    link: image.public_url,
                    expires_at,
                }
                .into()
            }
            Err(failure) => self.upload_failed(claim, failure),
        }
    }

    /// Returns the outcome of an upload that panicked, which is given up if it happens again and again.
    fn upload_panicked(&self, claim: &UploadClaim, message: &str) -> StepOutcome<UploadOutcome> {
        let reason = format!("a fault of the program: {message}");
        self.upload_failed(claim, Failure::Unknown { reason })
    }

    /// Interprets a failed upload. Whether the image arrived does not matter, because another
    /// upload is free.
    fn upload_failed(&self, claim: &UploadClaim, failure: Failure) -> StepOutcome<UploadOutcome> {
        let failures = claim.failures + 1;
        let cannot_upload = |reason: String| {
            let path = display_path(claim.image.path());
            UploadOutcome::Rejected {
                reason: format!("{path} cannot be uploaded: {reason}"),
            }
            .into()
        };
        match failure {
            Failure::Transient {
                reason,
                retry_after,
            } => {
                let due_at = self.retry_after_failures(failures, retry_after);
                UploadOutcome::Failed {
                    reason,
                    due_at,
                    counts_as_failure: true,
                }
                .into()
            }
            // A server that has repeatedly not answered like this API will hardly do so in an hour.
            Failure::Unknown { reason } if failures >= MAX_UNREADABLE_RESPONSES => {
                cannot_upload(reason)
            }
            Failure::Unknown { reason } => {
                let due_at = self.retry_after_failures(failures, None);
                UploadOutcome::Failed {
                    reason,
                    due_at,
                    counts_as_failure: true,
                }
                .into()
            }
            Failure::RateLimited {
                reason,
                retry_after,
            } => {
                let until = self.retry_after_failures(failures, retry_after);
                let signal = ProviderSignal::HoldAll { until };
                let failed = UploadOutcome::Failed {
                    reason,
                    due_at: until,
                    counts_as_failure: true,
                };
                StepOutcome::from(failed).with_signal(signal)
            }
            Failure::Locked { reason } => {
                let due_at = self.after(self.policy.locked_route);
                UploadOutcome::Failed {
                    reason,
                    due_at,
                    counts_as_failure: false,
                }
                .into()
            }
            Failure::AccessDenied { reason } | Failure::BalanceInUse { reason } => {
                let due_at = self.clock.now();
                let signal = ProviderSignal::Suspend {
                    reason: reason.clone(),
                    polls_too: false,
                };
                let failed = UploadOutcome::Failed {
                    reason,
                    due_at,
                    counts_as_failure: false,
                };
                StepOutcome::from(failed).with_signal(signal)
            }
            Failure::Rejected { reason } => cannot_upload(reason),
        }
    }

    /// Builds the request of a submission. Local images that were not uploaded are sent inside it,
    /// as data URIs.
    ///
    /// # Errors
    /// Returns an error if such an image cannot be read.
    pub(super) async fn build_submission(&self, claim: &Claim) -> Result<Submission, ImageError> {
        let mut submission = Submission::from(&claim.attempt);
        let mut data_uris = BTreeMap::new();
        for image in claim.job.input.local_images() {
            if image.has_placeholder_in(&submission.request) {
                let file = self.files.images.read(&image).await?;
                data_uris.insert(image.placeholder(), file.to_data_uri());
            }
        }
        fill_placeholders(&mut submission.request, &data_uris);
        Ok(submission)
    }
}
