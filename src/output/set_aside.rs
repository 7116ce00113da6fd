//! Files that stay when a job is rendered again.

use std::ffi::OsString;
use std::io;

use crate::domain::{KeptClip, Location, SavedFile};
use crate::failpoint::fail_point;

use super::clip_folder::ClipFolder;

/// Moves files aside that are in the place of a new clip, whatever their ending, and are not the same.
///
/// The move is found by the file's content, not recorded: a crash before or after it changes nothing.
pub(super) fn set_aside(folder: &ClipFolder, kept: &[KeptClip], new: &SavedFile) -> io::Result<()> {
    for clip in kept {
        let name = clip.file.location.file_name();
        let is_same = clip.file.sha256 == new.sha256;
        if !clip.file.has_place_of(new) || is_same || !folder.has_whole(name, &clip.file)? {
            continue;
        }
        let earlier = clip.earlier_location();
        let aside = folder.open_folder(&earlier_folder(&earlier))?;
        folder.rename(name, &aside, earlier.file_name())?;
        aside.sync()?;
        fail_point!("earlier clip moved");
    }
    let name = new.location.file_name();
    if folder.metadata(name)?.is_none() || folder.has_whole(name, new)? {
        return Ok(());
    }
    // Not a clip of ours, or one that was edited or damaged: the user may want it.
    let earlier = |number| {
        let file = new.clone();
        let found = KeptClip { number, file }.earlier_location();
        let name = found.file_name().to_string_lossy();
        found.folder().join(format!("found-{name}"))
    };
    let aside = folder.open_folder(&earlier_folder(&earlier(1)))?;
    for found in (1..).map(earlier) {
        if aside.metadata(found.file_name())?.is_some() {
            continue;
        }
        folder.rename(name, &aside, found.file_name())?;
        aside.sync()?;
        tracing::warn!(
            "a file that is not as this queue wrote it was in the place of a clip: {} is now {}",
            new.location,
            found
        );
        break;
    }
    Ok(())
}

/// Returns the name of the folder that an earlier clip is in, beside its place.
fn earlier_folder(location: &Location) -> OsString {
    location.folder().file_name().to_owned()
}
