//! Folders whose clips seem to have been moved by hand.

use std::path::{Path, PathBuf};

use crate::domain::{JobState, Location};
use crate::queue::{BatchStatus, Queue};

use super::setup::Setup;

/// Returns an error if the folder of a batch is gone and its clips seem to be in the project, which was
/// moved when its queue still had the paths of an older version. Otherwise the folder would be created
/// anew, and every clip would be taken for missing.
pub(super) async fn ensure_not_moved(
    setup: &Setup,
    queue: &dyn Queue,
    batch: Option<&str>,
) -> anyhow::Result<()> {
    let status = queue.status(batch.map(str::to_owned)).await?;
    let project = setup.app.project()?;
    for batch in &status.batches {
        if let Some(folder) = moved_to(batch, &project) {
            let record = setup
                .suggest("move")
                .arg(&batch.batch)
                .arg(&folder.to_string_lossy());
            anyhow::bail!(
                "the clips of batch `{}` were in {}, which is gone, and seem to be in {} now\n\
                 hint: `{record}` checks them and records their folder",
                batch.batch,
                batch.folder,
                folder.display()
            );
        }
    }
    Ok(())
}

/// Returns the folder in the project that the folder of a batch seems to be now: the one with the longest
/// end of its path. `None` if it is where it was, or if none is similar.
fn moved_to(batch: &BatchStatus, project: &Path) -> Option<PathBuf> {
    let location = Location::from(batch.folder.as_str());
    let folder = location.path()?;
    if folder.exists() || batch.count(JobState::Succeeded) == 0 {
        return None;
    }
    let mut ends = folder.components();
    while ends.next().is_some() {
        let end = ends.as_path();
        let now = project.join(end);
        if !end.as_os_str().is_empty() && now != folder && now.is_dir() {
            return Some(now);
        }
    }
    None
}
