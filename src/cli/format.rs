//! The form of counts and durations in messages.

/// Formats a count with its noun: `1 job`, `2 jobs`.
pub(super) fn format_count(number: u64, singular: &str) -> String {
    if number == 1 {
        format!("1 {singular}")
    } else {
        format!("{number} {singular}s")
    }
}

/// Formats a duration: `80 s`, `4 min`, `2 h 10 min`.
pub(super) fn format_duration(seconds: u64) -> String {
    match seconds {
        0..90 => format!("{seconds} s"),
        90..5400 => format!("{} min", seconds.div_ceil(60)),
        _ => format!("{} h {} min", seconds / 3600, seconds % 3600 / 60),
    }
}

/// Formats a number of bytes, such as `740 MB` or `1.2 GB`, rounded down.
pub(super) fn format_size(bytes: u64) -> String {
    let mb = bytes / 1_000_000;
    if mb < 1000 {
        format!("{mb} MB")
    } else {
        format!("{}.{} GB", mb / 1000, mb % 1000 / 100)
    }
}
