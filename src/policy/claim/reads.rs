//! How much of the queue is read to plan a claim.

use crate::domain::JobState;

use super::request::ClaimRequest;
use super::view::ClaimView;

/// Number of queued jobs per provider slot whose images are uploaded ahead of their submissions.
const PREFETCH_PER_SLOT: u32 = 2;

/// Maximum number of queued jobs of each lane whose images are uploaded ahead, however many slots
/// there are.
const MAX_PREFETCH: u32 = 64;

/// How much of the queue a view needs, beside its batches and providers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reads {
    /// Maximum number of due polls, at each of the request's providers.
    pub polls: usize,
    /// Maximum number of due reconciliations, at each of the request's providers.
    pub reconciles: usize,
    /// Maximum number of due downloads, at each provider there is.
    pub downloads: usize,
    /// Maximum number of due jobs of each lane.
    pub rows: usize,
    /// Maximum number of inputs of each lane for uploads ahead of their submissions, and of due
    /// uploads to each provider.
    pub upcoming: usize,
    /// Maximum number of due uploads to each provider.
    pub uploads: usize,
}

impl ClaimView {
    /// Returns what has to be read into the view for a request.
    pub fn reads(&self, request: &ClaimRequest) -> Reads {
        let capacity = request.capacity;
        let up_to = |state: JobState, limit: usize| {
            if self.total_jobs.count(state) == 0 {
                0
            } else {
                limit.min(capacity.steps)
            }
        };
        let uploads = if self.has_queued_local_images() {
            capacity.uploads.min(capacity.steps)
        } else {
            0
        };
        let available: usize = self
            .providers
            .iter()
            .map(|provider| provider.available_submits(self.now) as usize)
            .sum();
        Reads {
            polls: up_to(JobState::Running, capacity.polls),
            reconciles: up_to(JobState::InDoubt, capacity.polls),
            downloads: up_to(JobState::Downloading, capacity.downloads),
            rows: available.min(capacity.submits).min(capacity.steps),
            upcoming: if uploads > 0 {
                self.prefetch_limit()
            } else {
                0
            },
            uploads,
        }
    }

    /// Returns how many jobs of each lane have their images uploaded ahead of their submissions.
    fn prefetch_limit(&self) -> usize {
        let slots = self
            .providers
            .iter()
            .filter(|provider| provider.receives_uploads())
            .map(|provider| provider.limits.in_flight)
            .fold(0, u32::saturating_add);
        slots.saturating_mul(PREFETCH_PER_SLOT).min(MAX_PREFETCH) as usize
    }
}
