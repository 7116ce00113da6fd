//! What a call reveals about its provider.

use jiff::Timestamp;

/// What the response to one call implies for other calls to the same provider.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProviderSignal {
    /// The provider works normally; its backoff is reset.
    Healthy,
    /// No submission before a given time. Polls continue, because they have their own backoff.
    HoldSubmits {
        /// Earliest time of the next submission.
        until: Timestamp,
    },
    /// The response to a submission was lost or cannot be used. As [`HoldSubmits`](Self::HoldSubmits);
    /// after several in a row, no submission until one of them is found.
    LostResponse {
        /// Earliest time of the next submission.
        until: Timestamp,
        /// When the call ended.
        at: Timestamp,
    },
    /// The provider's history lists a submission whose response was lost.
    SubmissionFound,
    /// No submission before a given time, because the provider limits them. Polls go on: the limit
    /// of submissions says nothing about what is paid for already.
    LimitSubmits {
        /// Earliest time of the next submission.
        until: Timestamp,
        /// What the provider reported.
        reason: String,
        /// Whether submissions were limited before, and none was accepted since. The next ones then
        /// go one at a time.
        is_repeated: bool,
    },
    /// No submission of this model before a given time, because the provider has locked the account
    /// for it. The submission after that goes alone. Other models of the provider may pass.
    HoldRoute {
        /// Earliest time of the next submission.
        until: Timestamp,
        /// What the provider reported.
        reason: String,
    },
    /// The balance does not cover one more prediction beside those in progress. No submission until
    /// one of them has ended; without any, as [`Suspend`](Self::Suspend).
    BalanceInUse {
        /// What the provider reported, and what the user can do about it.
        reason: String,
    },
    /// No submission, upload, poll or history search before a given time, because the limit applies
    /// to the whole key. Downloads continue, because they need no key.
    HoldAll {
        /// Earliest time of the next call.
        until: Timestamp,
    },
    /// No submission and no image upload until any run starts on this queue, because the provider
    /// denied access for the key or the balance.
    Suspend {
        /// What the provider reported, and what the user can do about it.
        reason: String,
        /// Whether polls and history searches are suspended as well. A wrong key denies them, an
        /// empty balance does not. Downloads continue, because they need no key.
        polls_too: bool,
    },
}
