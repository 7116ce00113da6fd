//! Moving the clips of a batch to another folder.

use std::collections::HashSet;
use std::ffi::OsStr;
use std::fs;
use std::io;
use std::path::Path;

use crate::domain::{KeptClip, Location, SavedFile};
use crate::failpoint::fail_point;

use super::clip_folder::ClipFolder;
use super::disk::{folder_of, is_whole, sync_folder};
use super::partial_file::PartialFile;

/// What became of the clips of a batch.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Relocation {
    /// Number of clips that were moved.
    pub moved: usize,
    /// Number of clips that were in the new folder already.
    pub found: usize,
    /// Where the clips should have been that are in neither folder, or damaged in both.
    pub lost: Vec<Location>,
}

/// Why clips were not moved.
#[derive(Debug, thiserror::Error)]
pub enum RelocationError {
    /// Another file is in the place of a clip. Nothing was moved.
    #[error("{0} is another file")]
    Occupied(Location),
    /// A clip cannot be read or moved. Those before it were moved; repeating continues with the rest.
    #[error("cannot move {location}: {error}")]
    Failed {
        /// The clip.
        location: Location,
        /// The reason.
        error: io::Error,
    },
}

/// A clip and its place in the new folder.
struct Move {
    from: SavedFile,
    to: SavedFile,
}

/// Moves the clips that are in a folder to another one, which is created if it does not exist. Clips
/// that are there already, with their size and SHA-256, stay. No file is overwritten.
///
/// It may be stopped at any point and repeated: a clip is always in one of the two folders, or in both.
///
/// # Errors
///
/// [`RelocationError`]; nothing is lost.
pub fn relocate(clips: &[KeptClip], from: &Path, to: &Path) -> Result<Relocation, RelocationError> {
    let mut relocation = Relocation::default();
    let mut moves: Vec<Move> = Vec::new();
    // A clip may be that of a job and of an earlier input at once.
    let mut seen = HashSet::new();
    for clip in clips {
        match find(clip, from, to)? {
            Some((place, _)) if !seen.insert(place.to.location.clone()) => {}
            Some((place, is_there)) => {
                if is_there {
                    relocation.found += 1;
                } else {
                    relocation.moved += 1;
                }
                moves.push(place);
            }
            None => relocation.lost.push(clip.file.location.clone()),
        }
    }
    for Move { from, to } in &moves {
        move_file(from, to).map_err(|error| failed(from, error))?;
    }
    fail_point!("clips moved");
    if !moves.is_empty() {
        // What is left in the old folder was not written by the queue.
        let _ = fs::remove_dir(from.join("earlier"));
        let _ = fs::remove_dir(from);
    }
    Ok(relocation)
}

/// Finds a clip in the folders, and returns its move and whether it is in the new folder already. `None`
/// if it is in neither.
fn find(clip: &KeptClip, from: &Path, to: &Path) -> Result<Option<(Move, bool)>, RelocationError> {
    let is_whole = |file: &SavedFile| is_whole(file).map_err(|error| failed(file, error));
    // A clip of an earlier input is where it was saved, or was moved aside.
    for location in [clip.file.location.clone(), clip.earlier_location()] {
        let on_disk = location.on_disk();
        let path = on_disk.map_err(|error| failed(&clip.file, error))?;
        let Ok(name) = path.strip_prefix(from) else {
            continue;
        };
        let place = Move {
            to: clip.file.at(to.join(name)),
            from: clip.file.at(location.clone()),
        };
        if is_whole(&place.to)? {
            return Ok(Some((place, true)));
        }
        if is_whole(&place.from)? {
            if to.join(name).symlink_metadata().is_ok() {
                return Err(RelocationError::Occupied(place.to.location));
            }
            return Ok(Some((place, false)));
        }
    }
    Ok(None)
}

fn failed(file: &SavedFile, error: io::Error) -> RelocationError {
    RelocationError::Failed {
        location: file.location.clone(),
        error,
    }
}

/// Moves a file to a place that has no file, or the same one.
fn move_file(from: &SavedFile, to: &SavedFile) -> io::Result<()> {
    let (from_path, to_path) = (from.location.on_disk()?, to.location.on_disk()?);
    let folder = ClipFolder::open(folder_of(to_path))?;
    let name = to.location.file_name();
    if folder.metadata(name)?.is_none() {
        // Unlike a rename, a link never replaces a file.
        match folder.link(from_path, name) {
            Ok(()) => folder.sync()?,
            Err(_) => copy(from, &folder, name)?,
        }
    } else if !folder.has_whole(name, to)? {
        return Err(io::ErrorKind::AlreadyExists.into());
    }
    fail_point!("clip at its new place");
    if !is_same_place(from_path, to_path) && is_whole(from)? {
        fs::remove_file(from_path)?;
        sync_folder(folder_of(from_path))?;
    }
    fail_point!("clip moved");
    Ok(())
}

/// Returns whether two paths are one name of one file, such as by way of a symbolic link to its folder.
pub fn is_same_place(one: &Path, other: &Path) -> bool {
    match (one.canonicalize(), other.canonicalize()) {
        (Ok(one), Ok(other)) => one == other,
        _ => one == other,
    }
}

/// Copies a file to another file system, under a temporary name until it is complete.
fn copy(from: &SavedFile, folder: &ClipFolder, name: &OsStr) -> io::Result<()> {
    let partial = PartialFile::copy(from.location.on_disk()?, folder, name)?;
    if !partial.is_whole(from)? {
        return Err(io::Error::other("the copy differs"));
    }
    partial.commit_new(name)
}
