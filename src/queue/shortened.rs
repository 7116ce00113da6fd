//! Waits that tests shorten.

use std::time::Duration;

/// Returns a duration, or that which a test has set in its place: in debug builds, by an environment variable, in
/// milliseconds.
pub(super) fn unless_shortened(duration: Duration, variable: &str) -> Duration {
    let from_env = || std::env::var(variable).ok()?.parse().ok();
    let millis = if cfg!(debug_assertions) {
        from_env()
    } else {
        None
    };
    millis.map_or(duration, Duration::from_millis)
}
