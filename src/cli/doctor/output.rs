//! Checks of the output folders: whether clips can be written there, and whether they fit.

use std::collections::BTreeSet;

use crate::cli::error_text::output_hint;
use crate::cli::render::{self, format_size};
use crate::cli::setup::Setup;
use crate::domain::Location;
use crate::queue::Status;

use super::check::Check;

/// Size of a clip of 5 to 10 seconds, rounded up, in bytes.
const CLIP_BYTES: u64 = 10_000_000;

/// Size of a long clip of high resolution, in bytes.
const SPOOLED_BYTES: u64 = 64 << 20;

/// Checks the configured folder, and the folder of each batch that has unfinished jobs.
pub(super) async fn check(setup: &Setup, status: Option<&Status>) -> Vec<Check> {
    let unfinished: Vec<_> = status
        .into_iter()
        .flat_map(|status| &status.batches)
        .filter(|batch| batch.unfinished_jobs() > 0)
        .collect();
    let clips = unfinished.iter().map(|batch| batch.unfinished_jobs()).sum();
    let mut folders = BTreeSet::from([setup.app.config.out.clone()]);
    let in_use = unfinished.iter().map(|batch| batch.folder.as_str().into());
    folders.extend(in_use);
    let output = setup.app.output();
    let mut checks = Vec::new();
    // The folders may be on several disks; the fullest one counts.
    let mut free = None::<u64>;
    let mut free_for_storage = None;
    for folder in &folders {
        match (output.space(folder).await, folder) {
            (Ok(space), Location::Path(_)) => free = free.into_iter().chain(space).min(),
            (Ok(space), Location::Object(_)) => free_for_storage = space,
            (Err(error), Location::Path(_)) => checks.push(Check::problem(
                "output",
                error.to_string(),
                "make the folder writable, or choose another with `out` in the config or \
                 `load --out`",
            )),
            (Err(error), Location::Object(_)) => checks.push(Check::problem(
                "output",
                error.to_string(),
                output_hint(&error),
            )),
        }
    }
    if checks.is_empty() {
        let out = &setup.app.config.out;
        let conditions = match output.has_conditions(out).await {
            Ok(Some(true)) => ", which replaces nothing unasked",
            Ok(Some(false)) => ", which ignores conditions",
            Ok(None) | Err(_) => "",
        };
        let written = format!("clips can be written to {out}{conditions}");
        checks.push(Check::ok("output", written));
    }
    checks.extend(free.map(|free| check_space(free, clips)));
    checks.extend(free_for_storage.map(|free| check_spool(free, setup.app.config.workers)));
    checks
}

/// Compares the free bytes for clips on their way to object storage with what as many clips as workers may need.
fn check_spool(free: u64, workers: usize) -> Check {
    let needed = SPOOLED_BYTES.saturating_mul(workers as u64);
    let folder = std::env::temp_dir();
    let message = format!(
        "{} free in {} for clips on their way to storage, {} may need {}",
        format_size(free),
        folder.display(),
        render::format_count(workers as u64, "worker"),
        format_size(needed)
    );
    if needed > free {
        let hint = "free some space, or set `TMPDIR` to a folder with more";
        return Check::warning("spool", message, hint);
    }
    Check::ok("spool", message)
}

/// Compares the free bytes with what the unfinished clips may need.
fn check_space(free: u64, clips: u64) -> Check {
    let needed = clips.saturating_mul(CLIP_BYTES);
    if clips == 0 {
        return Check::ok("disk", format!("{} free", format_size(free)));
    }
    let message = format!(
        "{} free, {} may need {}",
        format_size(free),
        render::format_count(clips, "unfinished clip"),
        format_size(needed)
    );
    if needed > free {
        return Check::warning(
            "disk",
            message,
            "free some space: a run stops when the disk is full, and a new run continues",
        );
    }
    Check::ok("disk", message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_with_less_space_than_the_unfinished_clips_may_need_is_a_warning() {
        assert_eq!(
            check_space(15_000_000, 2).to_string().lines().next(),
            Some("warning  disk              15 MB free, 2 unfinished clips may need 20 MB")
        );
        assert!(check_space(20_000_000, 2).to_string().starts_with("ok"));
        assert!(
            check_space(1_290_000_000, 0)
                .to_string()
                .ends_with("1.2 GB free")
        );
    }
}
