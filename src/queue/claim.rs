//! What a worker asks of the queue, and what it gets.

use std::sync::Arc;

use jiff::Timestamp;

use crate::domain::{Attempt, Catalog, Job, Lease, Money, PoolId, ProviderName};

use super::UploadClaim;

/// Asks for steps to work on.
#[derive(Clone, Debug)]
pub struct ClaimRequest {
    /// Who asks.
    pub pool_id: PoolId,
    /// Now.
    pub now: Timestamp,
    /// Only this batch.
    pub batch: Option<String>,
    /// `spent + reserved` over the batches in question never passes this, on top of each batch's own budget.
    pub budget: Option<Money>,
    /// The most steps to claim, in all and of each kind.
    pub capacity: Capacity,
    /// The providers that can be called, with their limits. Each job has its own order of preference.
    pub providers: Vec<ProviderLimits>,
    /// Prices and spells what is claimed.
    pub catalog: Arc<Catalog>,
}

/// How many steps there is room for. Each kind has a bound of its own, so that none keeps the others from going on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capacity {
    /// In all.
    pub steps: usize,
    /// Looks at predictions and into histories.
    pub polls: usize,
    /// Creates.
    pub submits: usize,
    /// Downloads.
    pub downloads: usize,
    /// Uploads.
    pub uploads: usize,
}

impl Capacity {
    /// Room for so many steps of any kind.
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

/// What one provider key allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProviderLimits {
    /// Which provider.
    pub provider: ProviderName,
    /// The most attempts submitting, in doubt or running at once.
    pub in_flight: u32,
    /// The most creates in any 60 seconds.
    pub creates_per_minute: u32,
    /// Whether images on disk are uploaded to it before the create, where the route has it so.
    pub has_storage: bool,
}

/// A job, the right to write to it, and what to do.
#[derive(Clone, Debug, PartialEq)]
pub struct Claim {
    /// The right to write to it.
    pub lease: Lease,
    /// The job.
    pub job: Job,
    /// The attempt the step is about.
    pub attempt: Attempt,
    /// What to do.
    pub step: Step,
    /// Failed calls to its provider in a row; sets the backoff of its gate.
    pub provider_failures: u32,
    /// Why it must not be sent, where it must not: an image of it could not be uploaded to any of its providers.
    pub rejection: Option<String>,
}

/// One external call with its record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Step {
    /// Send the create call.
    Submit,
    /// Look for a lost submission in the provider's history.
    Reconcile,
    /// Look at the prediction.
    Poll,
    /// Fetch the clip.
    Download,
}

impl Step {
    /// Tells the word used in logs.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Submit => "submit",
            Self::Reconcile => "reconcile",
            Self::Poll => "poll",
            Self::Download => "download",
        }
    }
}

/// What a claim gave, and how things stand.
#[derive(Clone, Debug, Default)]
pub struct ClaimResponse {
    /// The steps to work on.
    pub claims: Vec<Claim>,
    /// The uploads to work on.
    pub uploads: Vec<UploadClaim>,
    /// How things stand after them; not told where they fill the room, because then a step's end comes next.
    pub backlog: Option<Backlog>,
}

/// What is left to do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Backlog {
    /// Jobs that wait for a create.
    pub queued: u64,
    /// Jobs between create and clip, not counting the held.
    pub in_progress: u64,
    /// Jobs in doubt that wait for a person.
    pub held: u64,
    /// Jobs and uploads leased, by this pool or another; of every batch while creates wait.
    pub leased: u64,
    /// The earliest time at which something can be claimed that cannot be now; `None` when only another step's end,
    /// or a person, can change that.
    pub next_due: Option<Timestamp>,
    /// The budgets that a create had to wait for: the request's own first.
    pub exceeded_budgets: Vec<BudgetLimit>,
    /// Queued jobs that no provider in question can take, by the catalogue as it is now: the first of them.
    pub unroutable: Option<String>,
}

/// A budget that the next create does not fit into.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BudgetLimit {
    /// The batch it is of; `None` is the request's own, over all batches in question.
    pub batch: Option<String>,
    /// The budget.
    pub budget: Money,
    /// What its batches have spent.
    pub spent: Money,
    /// What its batches have reserved.
    pub reserved: Money,
    /// Jobs of its batches that wait for a create.
    pub queued: u64,
}

impl Backlog {
    /// Tells whether nothing is left that could go on by itself, now or later.
    pub fn is_idle(&self) -> bool {
        self.leased == 0 && self.next_due.is_none()
    }
}
