//! The download step: saves a finished clip. It costs nothing, so it may be repeated.

use std::time::Duration;

use jiff::Timestamp;

use crate::domain::Outcome;
use crate::domain::printable::printable;
use crate::failpoint::fail_point;
use crate::output::{ClipLocation, OutputError};
use crate::queue::Claim;

use super::completed_step::StepOutcome;
use super::download_failure::{FailedDownload, host_of};
use super::{PoolError, StepContext};

impl StepContext {
    /// Downloads the clip and saves it. `allow_loopback` allows a link to this machine, for a
    /// provider that runs on it.
    ///
    /// # Errors
    /// Returns [`PoolError::Output`] if no clip can be written.
    pub(super) async fn download(
        &self,
        claim: &Claim,
        allow_loopback: bool,
    ) -> Result<StepOutcome, PoolError> {
        let location = ClipLocation {
            folder: claim.job.folder.clone(),
            file_name: claim.job.file_name.clone(),
            kept: claim.clips.kept.clone(),
            client_token: claim.attempt.client_token.clone(),
        };
        let started_at = self.clock.now();
        let failed = |host, error| FailedDownload {
            context: self,
            claim,
            host,
            started_at,
            error,
        };
        if let Some(clip) = &claim.clips.reused {
            match self.files.output.reuse(clip, &location).await {
                Ok(Some(file)) => return Ok(Outcome::Saved { file }.into()),
                // The file is gone or damaged: the provider may still have the clip.
                Ok(None) => {}
                Err(error) => return failed(None, error).outcome().await,
            }
        }
        let Some(link) = &claim.attempt.progress.output_url else {
            return Ok(self.poll_for_link(claim));
        };
        let host = host_of(link);
        let storage = location.folder.bucket();
        for host in storage.iter().chain(&host) {
            if let Some(until) = self.host_gates.wait(host, started_at) {
                return Ok(self.wait_for_host(host, until));
            }
        }
        if claim.job.progress.downloads > 1 {
            match self.files.output.find_saved(&location).await {
                Ok(Some(file)) => return Ok(Outcome::Saved { file }.into()),
                Ok(None) => {}
                Err(error) => return failed(None, error).outcome().await,
            }
        }
        fail_point!("download unsent");
        let saved = match self.files.clips.get(link, allow_loopback).await {
            Ok(clip) => {
                let save = self.files.output.save(&location, clip.bytes, clip.length);
                save.await
            }
            Err(error) => Err(OutputError::from(error)),
        };
        match saved {
            Ok(clip) => {
                for host in storage.iter().chain(&host) {
                    self.host_gates.succeeded(host);
                }
                warn_of_duration(claim, clip.duration);
                Ok(Outcome::Saved { file: clip.file }.into())
            }
            Err(error) => failed(host, error).outcome().await,
        }
    }

    /// Returns the outcome of a download without a link: a poll may return one.
    fn poll_for_link(&self, claim: &Claim) -> StepOutcome {
        let provider = claim.attempt.provider;
        Outcome::LinkExpired {
            due_at: self.retry_at(claim, None),
            reason: format!("{provider} finished it without a usable link"),
            counts_as_failure: true,
        }
        .into()
    }

    fn wait_for_host(&self, host: &str, until: Timestamp) -> StepOutcome {
        Outcome::Postponed {
            due_at: until,
            reason: format!("waits for {host}, which is away"),
        }
        .into()
    }
}

/// Warns of a clip that lasts less than nine tenths of what was asked for, or more than one and a half of
/// it. The clip is kept: it is paid for, and may be what the user wants.
fn warn_of_duration(claim: &Claim, duration: Option<Duration>) {
    let (Some(lasts), Some(wanted)) = (duration, claim.job.input.duration()) else {
        return;
    };
    let lasts = lasts.as_secs_f64();
    let wanted = f64::from(wanted);
    if !(wanted * 0.9..=wanted * 1.5).contains(&lasts) {
        tracing::warn!(
            job.id = claim.job.job_id.0,
            "the clip of {} lasts {lasts:.1} s, {wanted} s were asked for",
            printable(&claim.job.row_key)
        );
    }
}
