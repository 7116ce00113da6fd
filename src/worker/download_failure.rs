//! What follows from a failed download. A clip that is paid for is given up only if its link and its
//! prediction are gone, or if it is no clip: not because its host or this machine is in trouble.

use std::time::Duration;

use jiff::Timestamp;
use url::Url;

use crate::domain::Outcome;
use crate::output::{ContentError, DownloadError, OutputError, StoreScope};
use crate::queue::Claim;

use super::completed_step::StepOutcome;
use super::host_gates::{HostFailure, HostTrouble};
use super::timing::elapsed;
use super::{PoolError, StepContext};

/// How long a host that is away is waited for. One that has not served a clip for a day has another
/// problem than an outage.
const MAX_HOST_OUTAGE: Duration = Duration::from_secs(24 * 3600);

/// How long a download waits when this machine has run out of something.
const MACHINE_PAUSE: Duration = Duration::from_secs(5);

/// A failed download, and what is needed to judge it.
pub(super) struct FailedDownload<'a> {
    pub(super) context: &'a StepContext,
    pub(super) claim: &'a Claim,
    /// The host that was asked; `None` if none was.
    pub(super) host: Option<String>,
    /// When the download was started.
    pub(super) started_at: Timestamp,
    pub(super) error: OutputError,
}

/// Returns the host of a link, with its port if it names one; `None` if it is no link.
pub(super) fn host_of(link: &str) -> Option<String> {
    let url = Url::parse(link).ok()?;
    let host = url.host_str()?;
    Some(
        url.port()
            .map_or_else(|| host.to_owned(), |port| format!("{host}:{port}")),
    )
}

impl FailedDownload<'_> {
    /// Returns the outcome of the step.
    ///
    /// # Errors
    /// Returns [`PoolError::Output`] if no clip can be written.
    pub(super) async fn outcome(self) -> Result<StepOutcome, PoolError> {
        if let OutputError::Store { error, .. } = &self.error {
            let scope = StoreScope::from(error);
            return self.not_written(scope).await;
        }
        if let OutputError::FolderReplaced { .. } | OutputError::Refused { .. } = &self.error {
            return Err(PoolError::Output(self.error));
        }
        Ok(self.not_received().into())
    }

    async fn not_written(self, scope: StoreScope) -> Result<StepOutcome, PoolError> {
        let is_everybodys = match scope {
            StoreScope::Disk => true,
            StoreScope::File => {
                let folder = &self.claim.job.folder;
                self.context.files.output.space(folder).await.is_err()
            }
            StoreScope::Machine => false,
        };
        // Stop the run rather than use up the retries of every job.
        if is_everybodys {
            return Err(PoolError::Output(self.error));
        }
        let reason = self.error.to_string();
        Ok(match scope {
            StoreScope::Machine => Outcome::Postponed {
                due_at: self.context.after(MACHINE_PAUSE),
                reason,
            },
            _ => self.counted(reason, false),
        }
        .into())
    }

    fn not_received(&self) -> Outcome {
        let reason = self.error.to_string();
        match &self.error {
            OutputError::Download(DownloadError::UrlNotAllowed(_) | DownloadError::TooLarge) => {
                Outcome::GaveUp { reason }
            }
            OutputError::Download(DownloadError::Unavailable { retry_after, .. }) => {
                let retry_after = *retry_after;
                self.of_host(reason, HostTrouble::Certain { retry_after }, false)
            }
            OutputError::Unavailable { .. } => {
                let trouble = HostTrouble::Certain { retry_after: None };
                let storage = self.claim.job.folder.bucket();
                self.of(storage.as_deref(), reason, trouble, false)
            }
            OutputError::Download(DownloadError::Interrupted(_))
            | OutputError::WrongLength { .. } => self.of_host(reason, HostTrouble::Possible, false),
            // A host in trouble may say so of each link, or show a page in place of each clip. If it is
            // the link, a fresh one is free.
            OutputError::Download(DownloadError::Expired(_))
            | OutputError::NotAClip(ContentError::Foreign(_)) => {
                self.of_host(reason, HostTrouble::Possible, true)
            }
            OutputError::NotAClip(ContentError::Broken(_)) => self.counted(reason, true),
            _ => self.counted(reason, false),
        }
    }

    /// Returns the outcome of a failure that may be that of the clip's host.
    fn of_host(&self, reason: String, trouble: HostTrouble, wants_fresh_link: bool) -> Outcome {
        self.of(self.host.as_deref(), reason, trouble, wants_fresh_link)
    }

    /// Returns the outcome of a failure that may be that of a host, or of a storage.
    fn of(
        &self,
        host: Option<&str>,
        reason: String,
        trouble: HostTrouble,
        wants_fresh_link: bool,
    ) -> Outcome {
        let Some(host) = host else {
            return self.counted(reason, wants_fresh_link);
        };
        let now = self.context.clock.now();
        let job = self.claim.job.job_id;
        let gates = &self.context.host_gates;
        let failure = gates.failed(host, job, self.started_at, now, trouble, fastrand::f64());
        let is_waited_for = elapsed(failure.since, now) <= MAX_HOST_OUTAGE;
        if failure.is_away && is_waited_for {
            self.away(reason, failure, wants_fresh_link)
        } else {
            self.counted(reason, wants_fresh_link)
        }
    }

    /// Returns the outcome while the clip's host is away.
    fn away(&self, reason: String, failure: HostFailure, wants_fresh_link: bool) -> Outcome {
        let due_at = failure.until;
        if wants_fresh_link {
            Outcome::LinkExpired {
                due_at,
                reason,
                counts_as_failure: false,
            }
        } else {
            Outcome::Postponed { due_at, reason }
        }
    }

    /// Returns the outcome of a failure of this clip, which is given up after too many in a row.
    fn counted(&self, reason: String, wants_fresh_link: bool) -> Outcome {
        let max_downloads = self.context.policy.max_downloads;
        if self.claim.job.progress.failures + 1 >= max_downloads {
            return Outcome::GaveUp {
                reason: format!("{reason}, {max_downloads} times in a row"),
            };
        }
        let due_at = self.context.retry_at(self.claim, None);
        if wants_fresh_link {
            Outcome::LinkExpired {
                due_at,
                reason,
                counts_as_failure: true,
            }
        } else {
            Outcome::Wait {
                due_at: Some(due_at),
                failure: Some(reason),
            }
        }
    }
}
