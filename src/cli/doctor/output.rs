//! Where clips go: whether their folders can be written in, and have the space.

use std::collections::BTreeSet;
use std::path::PathBuf;

use crate::cli::render;
use crate::cli::setup::Setup;
use crate::queue::Status;

use super::check::Check;

/// What a clip takes on disk, rounded up: 5 to 10 seconds of video.
const CLIP: u64 = 10_000_000;

/// Checks the configured folder, and that of each batch that waits for clips.
pub(super) async fn look(setup: &Setup, status: Option<&Status>) -> Vec<Check> {
    let open: Vec<_> = status
        .into_iter()
        .flat_map(|status| &status.batches)
        .filter(|batch| batch.unfinished() > 0)
        .collect();
    let waiting = open.iter().map(|batch| batch.unfinished()).sum();
    let mut folders = BTreeSet::from([setup.config.out.clone()]);
    folders.extend(open.iter().map(|batch| PathBuf::from(&batch.folder)));
    let (output, mut checks, mut least) = (setup.output(), Vec::new(), None::<u64>);
    for folder in &folders {
        match output.space(folder).await {
            Ok(free) => least = least.into_iter().chain(free).min(),
            Err(error) => checks.push(Check::problem(
                "output",
                error.to_string(),
                "make the folder writable, or name another with `out` in the config or `load --out`",
            )),
        }
    }
    if checks.is_empty() {
        checks.push(Check::ok(
            "output",
            format!("clips can be written to {}", setup.config.out.display()),
        ));
    }
    checks.extend(least.map(|free| space(free, waiting)));
    checks
}

/// Folders may be on several disks; the one with the least space has to do.
fn space(free: u64, waiting: u64) -> Check {
    let (clips, need) = (
        render::count(waiting, "waiting clip"),
        waiting.saturating_mul(CLIP),
    );
    let message = format!("{} free, {clips} may take {}", size(free), size(need));
    if need > free {
        return Check::warning(
            "disk",
            message,
            "free some space: a run stops at a full disk, and goes on after it",
        );
    }
    Check::ok(
        "disk",
        if waiting == 0 {
            format!("{} free", size(free))
        } else {
            message
        },
    )
}

/// `740 MB`, `1.2 GB`.
fn size(bytes: u64) -> String {
    let mb = bytes / 1_000_000;
    if mb < 1000 {
        format!("{mb} MB")
    } else {
        format!("{}.{} GB", mb / 1000, mb % 1000 / 100)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn space_is_short_when_the_waiting_clips_may_take_more() {
        assert_eq!(
            space(15_000_000, 2).to_string().lines().next(),
            Some("warning  disk              15 MB free, 2 waiting clips may take 20 MB")
        );
        assert!(space(20_000_000, 2).to_string().starts_with("ok"));
        assert!(space(1_290_000_000, 0).to_string().ends_with("1.2 GB free"));
    }
}
