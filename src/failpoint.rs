//! Named points at which a test can cut the program off, as a power failure would.
//!
//! `OVERNIGHT_FAILPOINT='Accept committed'` aborts the process there, `'Accept committed#3'` when it comes by for the third
//! time. Only builds with debug assertions listen: a release build holds nothing of it.

use std::fmt;

/// Ends the process here, without any cleaning up, if this is where it was told to.
#[cfg(debug_assertions)]
pub(crate) fn at(point: fmt::Arguments<'_>) {
    use std::sync::LazyLock;
    use std::sync::atomic::{AtomicU32, Ordering};

    /// Where, and how many times that is passed before.
    static PLAN: LazyLock<Option<(String, AtomicU32)>> = LazyLock::new(|| {
        let plan = std::env::var("OVERNIGHT_FAILPOINT").ok()?;
        let (point, time) = plan.split_once('#').unwrap_or((&plan, "1"));
        let time: u32 = time
            .parse()
            .expect("OVERNIGHT_FAILPOINT is a point, or a point#number");
        Some((point.to_owned(), AtomicU32::new(time - 1)))
    });

    let Some((planned, passes)) = &*PLAN else {
        return;
    };
    if *planned == point.to_string()
        && passes
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, |left| {
                left.checked_sub(1)
            })
            .is_err()
    {
        std::process::abort();
    }
}

/// Does nothing.
#[cfg(not(debug_assertions))]
#[inline(always)]
pub(crate) fn at(_: fmt::Arguments<'_>) {}

/// Names a point. `fail_point!("file synced")`, or `fail_point!("{event:?} committed")`.
macro_rules! fail_point {
    ($($point:tt)*) => { $crate::failpoint::at(format_args!($($point)*)) };
}
pub(crate) use fail_point;
