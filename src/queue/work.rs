//! The port that a pool works through: it joins, takes turns, and leaves.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;

use crate::domain::{JobState, Outcome, PoolId, ProviderName, ProviderSignal};
use crate::policy::claim::ClaimRequest;

use super::{
    Claim, ClaimResponse, Gates, HistoryFinding, PoolLookups, Result, UploadClaim, UploadOutcome,
};

/// How long the leases of a pool last after it joined or sent a heartbeat. A hung pool's jobs are
/// free within a minute.
pub const LEASE_DURATION: Duration = Duration::from_secs(45);

/// A durable queue as a pool sees it. Any number of pools, in any number of processes, may work on
/// one queue.
///
/// A write applies completely or not at all, and when it returns `Ok`, its effects survive power
/// loss. Time is the queue's own: one clock decides what is due, expired or over a rate. Any method
/// may fail because the store does; the `# Errors` sections list only other errors.
#[async_trait]
pub trait WorkQueue: PoolLookups {
    /// Registers a pool, which may take turns from then on. Its leases last for [`LEASE_DURATION`]
    /// unless a [`heartbeat`](Self::heartbeat) renews them, and end at once when its process dies.
    ///
    /// Clears all live settings if no other pool is active.
    async fn join(&self, pool: PoolId) -> Result<()>;

    /// Renews all leases of a pool for [`LEASE_DURATION`].
    ///
    /// # Errors
    ///
    /// [`QueueError::PoolLost`](super::QueueError::PoolLost) if the pool was removed.
    async fn heartbeat(&self, pool: PoolId) -> Result<()>;

    /// Takes a turn, in one transaction: records the completed steps, then claims what is due.
    ///
    /// The claim sees what the records free. Due time, slots, rates and budgets are checked and
    /// reserved in the same transaction, so pools together stay within the limits; and the intent
    /// to submit is durable before the caller sends the request.
    ///
    /// # Errors
    ///
    /// Nothing is written on an error, and the same turn may be taken again.
    ///
    /// - [`QueueError::PoolLost`](super::QueueError::PoolLost) if a claim is asked for and the pool
    ///   was removed.
    /// - [`QueueError::IllegalTransition`](super::QueueError::IllegalTransition) if a job's state
    ///   does not allow its outcome.
    async fn turn(&self, turn: Arc<Turn>) -> Result<TurnResult>;

    /// Removes a pool that stops. Record every step before this: a job that the pool still has
    /// leased is released as after a crash; see [`take_over`](Self::take_over).
    async fn leave(&self, pool: PoolId) -> Result<()>;

    /// Removes the pools that are dead or have expired, each in a transaction of its own, and
    /// returns how many jobs it released; see [`policy::takeover`](crate::policy::takeover).
    ///
    /// A pool whose process is known to have ended is removed at once. One that has expired but may
    /// only be slow is removed by the next call through this handle that finds it still expired, so
    /// the time between two calls is the time it has to renew its leases.
    async fn take_over(&self) -> Result<usize>;

    /// Records what a history has shown beside the searches, and returns how much of it was news.
    ///
    /// # Errors
    ///
    /// [`QueueError::PoolLost`](super::QueueError::PoolLost) if the pool was removed.
    async fn record_findings(&self, pool: PoolId, findings: Vec<HistoryFinding>) -> Result<usize>;

    /// Records that this machine's clock was changed, forward or back, and brings stored times that
    /// are now too far in the future to at most a minute from now.
    async fn record_clock_change(&self) -> Result<()>;
}

/// What a pool does in one transaction.
#[derive(Clone, Debug)]
pub struct Turn {
    /// The pool; it must have joined.
    pub pool_id: PoolId,
    /// The steps that have ended, in any order.
    pub completed: Vec<Completed>,
    /// The providers at which the pool holds the leases of its running jobs and polls them from
    /// memory.
    pub holds_leases_at: Vec<ProviderName>,
    /// What to claim after they are recorded; `None` claims nothing.
    pub claim: Option<ClaimRequest>,
}

/// A claimed step or upload that has ended. A signal is what the call revealed about its provider; it
/// is recorded even if the lease was lost meanwhile.
#[derive(Clone, Debug)]
pub enum Completed {
    /// The step has an outcome.
    Step {
        /// The claim, as a turn returned it.
        claim: Arc<Claim>,
        /// Number of polls since then that found nothing.
        unrecorded_polls: u32,
        /// What became of the step.
        outcome: Outcome,
        /// What it revealed about the provider.
        signal: Option<ProviderSignal>,
    },
    /// The step was not started, or was aborted and may be repeated at no cost; it is due again at
    /// once. A submission must not have been sent: its slot and its reservation are free again.
    NotStarted {
        /// The claim, as a turn returned it.
        claim: Arc<Claim>,
    },
    /// The step panicked: a fault of the program, which may come again for the same job. A submission
    /// may have been sent.
    Panicked {
        /// The claim, as a turn returned it.
        claim: Arc<Claim>,
        /// What the panic said.
        message: String,
    },
    /// The pool gives up a lease that it holds. The job's next poll is due at the given time.
    Released {
        /// The claim, as a turn returned it.
        claim: Arc<Claim>,
        /// Number of polls since then that found nothing.
        unrecorded_polls: u32,
        /// When the next poll is due.
        due_at: Timestamp,
    },
    /// The upload has an outcome. If its lease was lost, that is dropped, because a repeated upload
    /// costs nothing.
    Upload {
        /// The claim, as a turn returned it.
        claim: UploadClaim,
        /// What became of the upload.
        outcome: UploadOutcome,
        /// What it revealed about the provider.
        signal: Option<ProviderSignal>,
    },
}

/// The result of a turn.
#[derive(Clone, Debug)]
pub struct TurnResult {
    /// The queue's time at the turn.
    pub now: Timestamp,
    /// What became of each completed step, in the turn's order.
    pub recorded: Vec<Recorded>,
    /// What was claimed; nothing if the turn did not ask.
    pub claimed: ClaimResponse,
    /// The gates of the providers after the turn's signals; none if it had none.
    pub gates: Gates,
}

/// What became of a completed step.
#[derive(Clone, Debug, PartialEq)]
pub enum Recorded {
    /// Its outcome was recorded.
    Job {
        /// The job's new state.
        state: JobState,
        /// The outcome that was recorded in place of the turn's, because its prediction belongs to
        /// another attempt, which keeps it; `None` if the turn's was recorded.
        instead: Option<Outcome>,
        /// The claim to poll the job with, if the turn [holds leases](Turn::holds_leases_at) at its
        /// provider and the job is running.
        held: Option<Arc<Claim>>,
    },
    /// Nothing was recorded, because another pool or the user changed the job in the meantime.
    /// An accepted submission is recorded even then; see [`policy::stray`](crate::policy::stray).
    LeaseLost,
    /// An upload's outcome was recorded or dropped.
    Upload,
}
