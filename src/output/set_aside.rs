//! Files that stay when a job is rendered again.

use std::fs;
use std::io;
use std::path::Path;

use crate::domain::{KeptClip, SavedFile};
use crate::failpoint::fail_point;

use super::ClipLocation;
use super::disk::{create_folder, is_whole, sync_folder};

/// Moves files aside that are in the place of a new clip, whatever their ending, and are not the same.
///
/// The move is found by the file's content, not recorded: a crash before or after it changes nothing.
pub(super) fn set_aside(location: &ClipLocation, new: &SavedFile) -> io::Result<()> {
    for clip in &location.kept {
        let is_same = clip.file.sha256 == new.sha256;
        if !clip.file.has_place_of(new) || is_same || !is_whole(&clip.file)? {
            continue;
        }
        move_to(&clip.file.path, &clip.earlier_path())?;
        fail_point!("earlier clip moved");
    }
    if !new.path.exists() || is_whole(new)? {
        return Ok(());
    }
    // Not a clip of ours, or one that was edited or damaged: the user may want it.
    let earlier = |number| {
        let file = new.clone();
        let found = KeptClip { number, file }.earlier_path();
        let name = found.file_name().unwrap_or_default().to_string_lossy();
        found.with_file_name(format!("found-{name}"))
    };
    let mut names = (1..).map(earlier);
    let Some(name) = names.find(|name| !name.exists()) else {
        return Ok(());
    };
    move_to(&new.path, &name)?;
    tracing::warn!(
        "a file that is not as this queue wrote it was in the place of a clip: {} is now {}",
        new.path.display(),
        name.display()
    );
    Ok(())
}

fn move_to(from: &Path, to: &Path) -> io::Result<()> {
    let folder = to.parent().unwrap_or(Path::new(""));
    create_folder(folder)?;
    fs::rename(from, to)?;
    sync_folder(folder)
}
