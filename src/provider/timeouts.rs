//! How long the calls to a provider may take.

use std::time::Duration;

/// How long the calls to a provider may take. Those with a large body may take longer by the time
/// to send it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// Maximum time to establish a connection, including name resolution and TLS.
    pub connect: Duration,
    /// Maximum time for a whole submission.
    ///
    /// The APIs respond within seconds. A shorter timeout would put more jobs in doubt, each of
    /// which costs a search. It covers the whole response, so that a server that sends it byte by
    /// byte cannot delay the step for longer.
    pub submit: Duration,
    /// Maximum time for a poll, and for any other request that may be repeated.
    pub poll: Duration,
    /// Maximum time to upload a file.
    pub upload: Duration,
    /// Maximum time for a probe. The user is waiting for it.
    pub probe: Duration,
    /// Pause before a request of a search is tried again.
    pub retry_pause: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(10),
            submit: Duration::from_secs(60),
            poll: Duration::from_secs(30),
            upload: Duration::from_secs(30),
            probe: Duration::from_secs(5),
            retry_pause: Duration::from_millis(200),
        }
    }
}
