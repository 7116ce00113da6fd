//! What a pool asks for, and what is left after it.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use crate::domain::{Catalog, JobState, Money, ProviderName};

/// A request for steps to work on.
#[derive(Clone, Debug)]
pub struct ClaimRequest {
    /// The batch to work on; `None` works on every batch. While submissions of this batch wait, the
    /// predictions of other batches are polled too, because they may occupy the slots it needs.
    pub batch: Option<String>,
    /// The upper limit for everything that the requested batches have ever spent or reserved,
    /// including in earlier runs; `None` means no limit. Each batch's own budget applies as well.
    /// A submission whose estimate would exceed either is not claimed.
    pub budget: Option<Money>,
    /// The maximum number of steps to claim, in total and of each kind.
    pub capacity: Capacity,
    /// The providers that can be called, with their limits, in any order: each job has its own
    /// order of preference. Only downloads are claimed for other providers as well.
    pub providers: Vec<ProviderLimits>,
    /// The catalogue that prices submissions and builds their requests.
    pub catalog: Arc<Catalog>,
}

/// The maximum number of steps to claim. Each kind has a limit of its own, so that no kind of step
/// can block the others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capacity {
    /// Maximum number of steps and uploads in total.
    pub steps: usize,
    /// Maximum number of polls and reconciliations together.
    pub polls: usize,
    /// Maximum number of submissions.
    pub submits: usize,
    /// Maximum number of downloads.
    pub downloads: usize,
    /// Maximum number of image uploads.
    pub uploads: usize,
}

impl Capacity {
    /// Returns a capacity of `steps` in total that does not limit any kind further.
    pub const fn uniform(steps: usize) -> Self {
        Self {
            steps,
            polls: steps,
            submits: steps,
            downloads: steps,
            uploads: steps,
        }
    }
}

/// The limits of one provider key. They hold across all processes that use the queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProviderLimits {
    /// The provider that the limits apply to.
    pub provider: ProviderName,
    /// Maximum number of open attempts (submitting, in doubt or accepted) at one time. Each
    /// occupies a slot.
    pub in_flight: u32,
    /// Maximum number of submissions in any 60 seconds.
    pub creates_per_minute: u32,
    /// How long after the end of a submit call the provider's history may list it.
    pub history_delay: Duration,
    /// Whether local images can be uploaded to the provider before a submission, for routes that
    /// take images as uploaded links.
    pub has_storage: bool,
}

/// A kind of step: a claim, one call of a port, and the transaction that records its outcome.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Step {
    /// Submit the request. The only step that can cost money.
    Submit,
    /// Search the provider's history for a submission whose response was lost.
    Reconcile,
    /// Poll the prediction.
    Poll,
    /// Download the finished clip.
    Download,
}

impl Step {
    /// Returns the state of the jobs that wait for the step.
    pub const fn state(self) -> JobState {
        match self {
            Self::Submit => JobState::Queued,
            Self::Reconcile => JobState::InDoubt,
            Self::Poll => JobState::Running,
            Self::Download => JobState::Downloading,
        }
    }

    /// Returns the name used in logs.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Submit => "submit",
            Self::Reconcile => "reconcile",
            Self::Poll => "poll",
            Self::Download => "download",
        }
    }
}

/// The work that remains in the requested batches after a claim.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Backlog {
    /// Number of jobs that wait to be submitted.
    pub queued: u64,
    /// Number of jobs that are submitting, in doubt, running or downloading, without those in
    /// `held`.
    pub in_progress: u64,
    /// Number of jobs in doubt that wait for the user's decision.
    pub held: u64,
    /// Whether jobs or uploads are leased, by this pool or another. Includes the jobs of other
    /// batches while submissions of the requested batches wait.
    pub has_leased: bool,
    /// The earliest time at which something can be claimed that cannot be claimed now. `None` if
    /// only the end of a leased step or the user can change that.
    pub next_due: Option<Timestamp>,
    /// The budgets whose remainder was too small for a submission, the request's own first.
    pub exceeded_budgets: Vec<BudgetLimit>,
    /// A queued job that at least one of its providers cannot take according to the current
    /// catalogue, as text for messages: `job 7 (kling-v1-standard) on fal`. The first one found;
    /// `None` if there is none.
    pub unroutable: Option<String>,
}

/// A budget that blocks the next submission, because what is left of it is less than the estimate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BudgetLimit {
    /// The batch whose budget it is; `None` is the request's own budget for all requested batches.
    pub batch: Option<String>,
    /// The budget.
    pub budget: Money,
    /// The amount spent by the batches it covers.
    pub spent: Money,
    /// The amount reserved by the batches it covers.
    pub reserved: Money,
    /// Number of jobs of these batches that wait to be submitted.
    pub queued: u64,
}

impl Backlog {
    /// Returns whether no step is leased and none will become due without the user.
    pub fn is_idle(&self) -> bool {
        !self.has_leased && self.next_due.is_none()
    }
}
