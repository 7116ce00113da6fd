//! What a pool looks up beside its turns.

use std::collections::BTreeMap;
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;

use crate::domain::{Attempt, AttemptState, JobId, Lease, OwnedPrediction, PoolId, ProviderName};
use crate::policy::gate::ProviderGate;

use super::{Result, SettingChange};

/// The gate of each provider.
pub type Gates = BTreeMap<ProviderName, ProviderGate>;

/// An attempt that is presumed absent, or absent.
#[derive(Clone, Debug)]
pub struct AbsentAttempt {
    /// The job that it was for.
    pub job: JobId,
    /// The name of its batch.
    pub batch: String,
    /// The attempt.
    pub attempt: Attempt,
}

impl AbsentAttempt {
    /// Returns whether its absence is only presumed.
    pub fn is_presumed(&self) -> bool {
        self.attempt.progress.state == AttemptState::PresumedAbsent
    }
}

/// What a pool looks up beside its turns. Its methods change nothing, and fail only because the
/// store does.
#[async_trait]
pub trait PoolLookups: Send + Sync {
    /// Returns the leases of a pool's jobs, unless it has exactly `expected` of them. A pool that
    /// holds leases finds out with this which of its jobs the user has cancelled.
    async fn leases_unless(&self, pool: PoolId, expected: usize) -> Result<Option<Vec<Lease>>>;

    /// Returns once another process may have changed what a claim would find. It may never return, so the caller
    /// must also claim again after a while.
    async fn wait_for_change(&self);

    /// Returns the gates of the providers that have been called from this queue.
    async fn gates(&self) -> Result<Gates>;

    /// Returns when this machine's clock was last changed; `None` if no change was detected. Times
    /// stored before that are unreliable.
    async fn last_clock_change(&self) -> Result<Option<Timestamp>>;

    /// Returns when a provider's key was found to be another one than before; `None` if never. Its
    /// history proves nothing about what was submitted before that.
    async fn key_changed_at(&self, provider: ProviderName) -> Result<Option<Timestamp>>;

    /// Returns whether a key is the one that is used at a provider, or of the same account; `true` if none was
    /// used yet.
    async fn is_key_known(&self, provider: ProviderName, mark: String) -> Result<bool>;

    /// Returns the prediction ids of a route that became known at or after `since`, with when each was
    /// submitted, which may be earlier.
    async fn owned_predictions(
        &self,
        provider: ProviderName,
        wire_model: String,
        since: Timestamp,
    ) -> Result<BTreeMap<String, OwnedPrediction>>;

    /// Returns the attempts at a provider that are presumed absent, or absent, and were submitted at or
    /// after `since`, oldest first.
    async fn absent_attempts(
        &self,
        provider: ProviderName,
        since: Timestamp,
    ) -> Result<Vec<AbsentAttempt>>;

    /// Returns whether each of these jobs is in a final state or waits for the user's decision.
    async fn all_settled(&self, jobs: Vec<JobId>) -> Result<bool>;

    /// Returns the processing times of a route's latest finished predictions, of any clip length,
    /// newest first and at most `limit`. Each comes with the clip's length in seconds; `None` if
    /// that is not known.
    async fn processing_times(
        &self,
        provider: ProviderName,
        wire_model: String,
        limit: usize,
    ) -> Result<Vec<(Option<u32>, Duration)>>;

    /// Returns the changes made to the active runs, oldest first; none if no run is active.
    async fn live_settings(&self) -> Result<Vec<SettingChange>>;
}
