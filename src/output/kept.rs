//! Files that are on disk already: clips that stay when their job is rendered again, clips that are
//! taken for another job, and files of others.

use std::fs::{self, File};
use std::io;
use std::path::Path;

use crate::domain::{KeptClip, SavedFile};
use crate::failpoint::fail_point;

use super::disk::{create_folder, hash, is_whole, sync_folder};
use super::partial_file::PartialFile;
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

/// Saves a clip that exists already under another name, by a link or, where the file systems differ,
/// by a copy.
pub(super) fn reuse(clip: &KeptClip, location: &ClipLocation) -> io::Result<Option<SavedFile>> {
    let path = location.folder.join(&location.file_name);
    let saved = SavedFile {
        path: path.with_extension(clip.file.path.extension().unwrap_or_default()),
        ..clip.file.clone()
    };
    create_folder(&location.folder)?;
    // In this order, because the file of another job may be moved aside at any time.
    for from in [&clip.file.path, &clip.earlier_path()] {
        if *from == saved.path && is_whole(&saved)? {
            return Ok(Some(saved));
        }
        let Some(partial) = PartialFile::link_or_copy(from, location)? else {
            continue;
        };
        // Checked after the link: a path may lead to another file by then, a link does not.
        if is_whole(&clip.file.at(partial.path().to_owned()))? {
            partial.commit(&saved, location)?;
            fail_point!("clip reused");
            return Ok(Some(saved));
        }
    }
    Ok(None)
}
