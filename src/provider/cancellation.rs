//! What a provider says to the request to cancel a prediction.

/// The acknowledgement of a cancellation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cancellation {
    /// The prediction was still queued and was removed: it has not run and will not be billed.
    NeverRan,
    /// The prediction may have run, and may still finish and be billed.
    Requested,
}
