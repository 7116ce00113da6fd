//! What a provider's history shows of submissions that are later than a lost one.

use std::time::Duration;

/// What a history shows of this queue's submissions from the same time as the lost one or later.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LaterSubmissions {
    /// None was accepted, so the history cannot show whether it is current.
    None,
    /// It lists at least one: it is current, and of this account.
    Listed,
    /// It lists none of them, the first of which was accepted this long ago.
    Unlisted {
        /// Time since that was submitted.
        since: Duration,
    },
}
