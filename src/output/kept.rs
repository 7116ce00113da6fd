//! Files that are on disk already: clips that stay when their job is rendered again, clips that are
//! taken for another job, and files of others.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use crate::domain::{KeptClip, SavedFile};
use crate::failpoint::fail_point;

use super::disk::{create_folder, hash, is_whole, sync_folder};
use super::{ClipLocation, media};

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

/// Returns a file as a clip that was saved.
///
/// The outer error is a failure to read. The inner one says why the file is no complete clip.
pub fn inspect(path: &Path) -> io::Result<Result<SavedFile, String>> {
    let mut file = File::open(path)?;
    if let Err(reason) = media::check(&mut file)? {
        return Ok(Err(reason));
    }
    let (bytes, sha256) = hash(&mut file)?;
    Ok(Ok(SavedFile {
        path: path.to_owned(),
        bytes,
        sha256,
    }))
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
    let path = location.folder.join(&location.file_name);
    let saved = SavedFile {
        path: path.with_extension(clip.file.path.extension().unwrap_or_default()),
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
    set_aside(location, &saved)?;
    fs::rename(&partial, &saved.path)?;
    // A rename onto another link of the same file changes nothing and leaves both names.
    remove_if_there(&partial)?;
    fail_point!("clip reused");
    sync_folder(&location.folder)?;
    Ok(Some(saved))
}

fn remove_if_there(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}
