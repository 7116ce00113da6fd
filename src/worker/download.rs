//! The step that brings a clip home. It can be repeated for ever without paying.

use crate::domain::Outcome;
use crate::failpoint::fail_point;
use crate::output::{ClipLocation, DownloadError, OutputError};
use crate::queue::Claim;

use super::step::StepOutcome;
use super::{PoolError, StepContext};

impl StepContext {
    /// Fetches the clip and keeps it.
    pub(super) async fn download(
        &self,
        claim: &Claim,
        may_be_local: bool,
    ) -> Result<StepOutcome, PoolError> {
        let Some(link) = &claim.attempt.output_url else {
            return Ok(Outcome::LinkExpired {
                due_at: self.clock.now(),
                reason: "the link is missing".into(),
            }
            .into());
        };
        let place = ClipLocation {
            folder: claim.job.folder.clone(),
            file_name: claim.job.file_name.clone(),
        };
        fail_point!("download unsent");
        let saved = match self.clips.get(link, may_be_local).await {
            Ok(fetch) => self.output.save(&place, fetch.bytes, fetch.length).await,
            Err(error) => Err(error.into()),
        };
        let error = match saved {
            Ok(file) => return Ok(Outcome::Saved { file }.into()),
            // A full disk fails every download: stop, rather than use up every job's tries.
            Err(error @ OutputError::Store { .. }) => return Err(PoolError::Output(error)),
            Err(error) => error,
        };
        let reason = error.to_string();
        let last = claim.job.failures + 1 >= self.policy.downloads;
        Ok(match error {
            OutputError::Download(DownloadError::Forbidden(_) | DownloadError::TooLarge) => {
                Outcome::GaveUp { reason }.into()
            }
            _ if last => {
                let reason = format!(
                    "{reason}, {} times in a row; `retry` goes on without paying",
                    self.policy.downloads
                );
                Outcome::GaveUp { reason }.into()
            }
            // What is not a whole video may be the link's fault: a fresh one costs nothing.
            OutputError::Download(DownloadError::Expired(_)) | OutputError::NotAVideo(_) => {
                Outcome::LinkExpired {
                    due_at: self.retry_at(claim, None),
                    reason,
                }
                .into()
            }
            _ => Outcome::Wait {
                due_at: Some(self.retry_at(claim, None)),
                failure: Some(reason),
            }
            .into(),
        })
    }
}
