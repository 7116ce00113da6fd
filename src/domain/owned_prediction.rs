//! What a queue knows of a prediction that belongs to one of its jobs.

use jiff::Timestamp;

/// A prediction that belongs to a job of the queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OwnedPrediction {
    /// When the intent to submit it was committed, by this machine's clock.
    pub submitted_at: Timestamp,
    /// The digest of the request that was sent; `None` if it is not known any more.
    pub request_digest: Option<i64>,
}
