//! What a poll finds out about a prediction.

use std::time::Duration;

use serde_json::Value;

use crate::domain::CostReport;

/// The state of a prediction, as of one poll.
#[derive(Clone, Debug, PartialEq)]
pub enum PollResult {
    /// The prediction is running, or waiting in a queue that the provider does not report.
    Running,
    /// The prediction waits in the provider's queue and has not started.
    Queued {
        /// Number of predictions ahead of it; `None` if the provider does not report it.
        position: Option<u64>,
    },
    /// The clip is finished.
    Done {
        /// The URL from which to download the clip. It may be signed, and may expire.
        output_url: String,
        /// The reported cost; `None` if the response does not report one.
        cost: Option<CostReport>,
        /// How long the provider worked on the clip; `None` if it does not report that.
        processing: Option<Duration>,
    },
    /// The prediction is done, but the response has no link from which its clip can be downloaded.
    /// Perhaps the provider publishes it a little later.
    DoneWithoutLink {
        /// The response, without the key, what it repeats of the request, and the queries of URLs.
        response: Value,
        /// The reported cost; `None` if the response does not report one.
        cost: Option<CostReport>,
        /// How long the provider worked on the clip; `None` if it does not report that.
        processing: Option<Duration>,
    },
    /// The prediction failed, or was cancelled.
    Failed {
        /// The provider's reason.
        reason: String,
        /// The amount billed in spite of the failure; `None` if it is not known, in which case the
        /// price rule applies.
        cost: Option<CostReport>,
        /// Whether the response indicates that the same input may succeed next time, because the
        /// fault was the provider's.
        retryable: bool,
    },
    /// The provider does not know this prediction id, either not yet or no longer.
    Missing {
        /// The provider's reason.
        reason: String,
    },
}
