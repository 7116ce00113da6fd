//! The download step: saves a finished clip. It costs nothing, so it may be repeated;
//! `RetryPolicy::max_downloads` limits how many downloads of a job may fail in a row.

use crate::domain::Outcome;
use crate::failpoint::fail_point;
use crate::output::{ClipLocation, DownloadError, OutputError};
use crate::queue::Claim;

use super::completed_step::StepOutcome;
use super::{PoolError, StepContext};

impl StepContext {
    /// Downloads the clip and saves it. `allow_loopback` allows a link to this machine, for a
    /// provider that runs on it.
    ///
    /// # Errors
    /// Returns [`PoolError::Output`] if the output folder cannot be written.
    pub(super) async fn download(
        &self,
        claim: &Claim,
        allow_loopback: bool,
    ) -> Result<StepOutcome, PoolError> {
        let location = ClipLocation {
            folder: claim.job.folder.clone(),
            file_name: claim.job.file_name.clone(),
            kept: claim.clips.kept.clone(),
        };
        if let Some(clip) = &claim.clips.reused {
            match self.files.output.reuse(clip, &location).await {
                Ok(Some(file)) => return Ok(Outcome::Saved { file }.into()),
                // The file is gone or damaged: the provider may still have the clip.
                Ok(None) => {}
                Err(error) => return Err(PoolError::Output(error)),
            }
        }
        let Some(link) = &claim.attempt.progress.output_url else {
            let due_at = self.retry_at(claim, None);
            let provider = claim.attempt.provider;
            let reason = format!("{provider} finished it without a usable link");
            return Ok(Outcome::LinkExpired { due_at, reason }.into());
        };
        fail_point!("download unsent");
        let saved = match self.files.clips.get(link, allow_loopback).await {
            Ok(clip) => {
                self.files
                    .output
                    .save(&location, clip.bytes, clip.length)
                    .await
            }
            Err(error) => Err(error.into()),
        };
        let error = match saved {
            Ok(file) => return Ok(Outcome::Saved { file }.into()),
            // A full disk fails every download: stop the run rather than use up the retries of
            // every job.
            Err(error @ OutputError::Store { .. }) => return Err(PoolError::Output(error)),
            Err(error) => error,
        };
        Ok(self.download_failed(claim, &error))
    }

    fn download_failed(&self, claim: &Claim, error: &OutputError) -> StepOutcome {
        let reason = error.to_string();
        let max_downloads = self.policy.max_downloads;
        let is_last_try = claim.job.progress.failures + 1 >= max_downloads;
        let outcome = match error {
            OutputError::Download(DownloadError::UrlNotAllowed(_) | DownloadError::TooLarge) => {
                Outcome::GaveUp { reason }
            }
            _ if is_last_try => Outcome::GaveUp {
                reason: format!("{reason}, {max_downloads} times in a row"),
            },
            // Something that is not a whole clip may be the link's fault, and a fresh link is free.
            OutputError::Download(DownloadError::Expired(_)) | OutputError::NotAClip(_) => {
                Outcome::LinkExpired {
                    due_at: self.retry_at(claim, None),
                    reason,
                }
            }
            _ => {
                let due_at = Some(self.retry_at(claim, None));
                Outcome::Wait {
                    due_at,
                    failure: Some(reason),
                }
            }
        };
        outcome.into()
    }
}
