//! Clips that stay when their job is rendered again, and clips that are taken for another job.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use crate::domain::{KeptClip, SavedFile};
use crate::failpoint::fail_point;

use super::ClipLocation;
use super::disk::{create_folder, find_damage, sync_folder};

/// Moves clips aside that are in the place of a new one and are not the same.
///
/// The move is found by the file's content, not recorded: a crash before or after it changes nothing.
pub(super) fn set_aside(kept: &[KeptClip], new: &SavedFile) -> io::Result<()> {
    for clip in kept {
        let is_same = clip.file.path == new.path && clip.file.sha256 == new.sha256;
        if is_same || !has_same_name(&clip.file.path, &new.path) || !is_whole(&clip.file)? {
            continue;
        }
        let earlier = clip.earlier_path();
        let folder = earlier.parent().unwrap_or(Path::new(""));
        create_folder(folder)?;
        fs::rename(&clip.file.path, &earlier)?;
        fail_point!("earlier clip moved");
        sync_folder(folder)?;
    }
    Ok(())
}

/// Returns where a kept clip is: where it was saved, or where it was moved; `None` if neither has it.
pub(super) fn find(clip: &KeptClip) -> io::Result<Option<PathBuf>> {
    let earlier = SavedFile {
        path: clip.earlier_path(),
        ..clip.file.clone()
    };
    for file in [&clip.file, &earlier] {
        if is_whole(file)? {
            return Ok(Some(file.path.clone()));
        }
    }
    Ok(None)
}

/// Saves a clip that exists already under another name, by a link or, where the file systems differ,
/// by a copy.
pub(super) fn reuse(clip: &KeptClip, location: &ClipLocation) -> io::Result<Option<SavedFile>> {
    let Some(from) = find(clip)? else {
        return Ok(None);
    };
    let mut path = location.folder.join(&location.file_name);
    if let Some(extension) = from.extension() {
        path.set_extension(extension);
    }
    let saved = SavedFile {
        path,
        ..clip.file.clone()
    };
    if from == saved.path {
        return Ok(Some(saved));
    }
    create_folder(&location.folder)?;
    let partial = location
        .folder
        .join(format!(".{}.part", location.file_name));
    remove_if_there(&partial)?;
    if fs::hard_link(&from, &partial).is_err() {
        fs::copy(&from, &partial)?;
        File::open(&partial)?.sync_all()?;
    }
    set_aside(&location.kept, &saved)?;
    fs::rename(&partial, &saved.path)?;
    // A rename onto another link of the same file changes nothing and leaves both names.
    remove_if_there(&partial)?;
    fail_point!("clip reused");
    sync_folder(&location.folder)?;
    Ok(Some(saved))
}

/// Returns whether two paths are the same but for their endings.
fn has_same_name(path: &Path, other: &Path) -> bool {
    path.parent() == other.parent() && path.file_stem() == other.file_stem()
}

fn is_whole(file: &SavedFile) -> io::Result<bool> {
    match find_damage(file) {
        Ok(damage) => Ok(damage.is_none()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

fn remove_if_there(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}
