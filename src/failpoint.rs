//! Named points at which a test can abort the program, as a power failure would.
//!
//! `OVERNIGHT_FAILPOINT='Accept committed'` aborts the process when it first reaches that point,
//! `'Accept committed#3'` when it reaches it for the third time. `OVERNIGHT_FAILPOINT='submit unsent:stop'` stops it
//! there instead, as a machine that falls asleep, until it gets the signal CONT. Failpoints exist only in builds
//! with debug assertions; a release build contains nothing of them.

use std::fmt;

/// Aborts the process, without any cleanup, if `OVERNIGHT_FAILPOINT` selects this pass of this
/// point.
#[cfg(debug_assertions)]
pub(crate) fn reach(point: fmt::Arguments<'_>) {
    use std::sync::LazyLock;
    use std::sync::atomic::{AtomicU32, Ordering};

    struct Selected {
        point: String,
        /// How many passes of it are still to be ignored.
        ignored_passes: AtomicU32,
        /// Whether the process is stopped there, and not aborted.
        stops: bool,
    }

    static SELECTED: LazyLock<Option<Selected>> = LazyLock::new(|| {
        let value = std::env::var("OVERNIGHT_FAILPOINT").ok()?;
        let stops = value.ends_with(":stop");
        let value = value.trim_end_matches(":stop");
        let (point, pass) = value.split_once('#').unwrap_or((value, "1"));
        let pass: u32 = pass
            .parse()
            .expect("OVERNIGHT_FAILPOINT is `point` or `point#number`");
        Some(Selected {
            point: point.to_owned(),
            ignored_passes: AtomicU32::new(pass - 1),
            stops,
        })
    });

    let Some(selected) = &*SELECTED else {
        return;
    };
    if selected.point != point.to_string() {
        return;
    }
    let passes = &selected.ignored_passes;
    let ignored = passes.fetch_update(Ordering::AcqRel, Ordering::Acquire, |passes| {
        passes.checked_sub(1)
    });
    if ignored.is_ok() {
        return;
    }
    if !selected.stops {
        std::process::abort();
    }
    // Once: what is reached again later passes.
    passes.store(u32::MAX, Ordering::Release);
    let pid = std::process::id().to_string();
    let stopped = std::process::Command::new("kill")
        .args(["-STOP", &pid])
        .status();
    stopped.expect("`kill` stops the process");
}

/// Compiles to nothing in release builds.
#[cfg(not(debug_assertions))]
#[inline(always)]
pub(crate) fn reach(_: fmt::Arguments<'_>) {}

/// Marks a failpoint. Its name may be formatted: `fail_point!("{event:?} committed")`.
macro_rules! fail_point {
    ($($point:tt)*) => { $crate::failpoint::reach(format_args!($($point)*)) };
}
pub(crate) use fail_point;
