//! How many files and connections this process may have open. A run takes on only as much as that carries,
//! because what it has submitted is paid for, and must be polled and saved.

use std::sync::LazyLock;

/// What a run has open beside its steps: the queue, its log and locks, the terminal, the runtime.
const BASE: usize = 40;

/// What a step may have open at once: a connection, a file and its folder.
const PER_STEP: usize = 3;

/// Maximum number of idle connections to one host that are kept for the next request.
const MAX_IDLE: usize = 32;

/// How many files this process may have open; `None` if that is not known or not limited. It stays the
/// same, and each HTTP client asks for it.
static LIMIT: LazyLock<Option<usize>> = LazyLock::new(|| {
    let limits = std::fs::read_to_string("/proc/self/limits").ok()?;
    read_limit(&limits)
});

/// Reads the soft limit: `Max open files            1024                 1048576              files`.
fn read_limit(limits: &str) -> Option<usize> {
    let line = limits
        .lines()
        .find_map(|line| line.strip_prefix("Max open files"))?;
    line.split_whitespace().next()?.parse().ok()
}

/// Returns how many steps may be in progress at once, at least one.
pub(crate) fn max_steps() -> usize {
    LIMIT.map_or(usize::MAX, steps_within)
}

fn steps_within(limit: usize) -> usize {
    (limit.saturating_sub(BASE) / PER_STEP).max(1)
}

/// Returns how many idle connections to one host may be kept.
pub(crate) fn max_idle_connections() -> usize {
    LIMIT.map_or(MAX_IDLE, |limit| (limit / 64).clamp(1, MAX_IDLE))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_is_read_and_leaves_room_for_what_is_open_anyway() {
        let limits = "Limit                     Soft Limit           Hard Limit           Units     \n\
                      Max open files            64                   1048576              files     \n";
        assert_eq!(read_limit(limits), Some(64));
        assert_eq!(
            read_limit("Max open files   unlimited  unlimited files"),
            None
        );
        assert_eq!(read_limit(""), None);
        assert_eq!(steps_within(64), 8);
        assert_eq!(steps_within(20), 1);
        assert!(steps_within(1024) > 256);
    }
}
