//! Named points at which a test can abort the program, as a power failure would.
//!
//! `OVERNIGHT_FAILPOINT='Accept committed'` aborts the process when it first reaches that point,
//! `'Accept committed#3'` when it reaches it for the third time. Failpoints exist only in builds
//! with debug assertions; a release build contains nothing of them.

use std::fmt;

/// Aborts the process, without any cleanup, if `OVERNIGHT_FAILPOINT` selects this pass of this
/// point.
#[cfg(debug_assertions)]
pub(crate) fn reach(point: fmt::Arguments<'_>) {
    use std::sync::LazyLock;
    use std::sync::atomic::{AtomicU32, Ordering};

    /// The selected point, and how many passes of it are still to be ignored.
    static SELECTED: LazyLock<Option<(String, AtomicU32)>> = LazyLock::new(|| {
        let value = std::env::var("OVERNIGHT_FAILPOINT").ok()?;
        let (point, pass) = value.split_once('#').unwrap_or((&value, "1"));
        let pass: u32 = pass
            .parse()
            .expect("OVERNIGHT_FAILPOINT is `point` or `point#number`");
        Some((point.to_owned(), AtomicU32::new(pass - 1)))
    });

    let Some((selected, ignored_passes)) = &*SELECTED else {
        return;
    };
    if *selected != point.to_string() {
        return;
    }
    let ignored = ignored_passes.fetch_update(Ordering::AcqRel, Ordering::Acquire, |passes| {
        passes.checked_sub(1)
    });
    if ignored.is_err() {
        std::process::abort();
    }
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
