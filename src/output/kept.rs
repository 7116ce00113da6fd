//! Clips that are on disk already: those that are taken for another job, and files of others.

use std::fs::File;
use std::io;
use std::path::Path;

use crate::domain::{KeptClip, SavedFile};
use crate::failpoint::fail_point;
use crate::media;

use super::clip_folder::ClipFolder;
use super::disk::hash;
use super::folder_places::check_in_place;
use super::partial_file::PartialFile;
use super::{ClipLocation, OutputError};

/// Returns a file as a clip that was saved.
///
/// The outer error is a failure to read. The inner one says why the file is no complete clip.
pub fn inspect(path: &Path) -> io::Result<Result<SavedFile, String>> {
    let mut file = File::open(path)?;
    if let Err(reason) = media::check(&mut file)? {
        return Ok(Err(reason.to_string()));
    }
    let (bytes, sha256) = hash(&mut file)?;
    Ok(Ok(SavedFile {
        location: path.to_owned().into(),
        bytes,
        sha256,
    }))
}

/// Saves a clip that exists already under another name, by a link or, where the file systems differ,
/// by a copy.
pub(super) fn reuse(
    clip: &KeptClip,
    location: &ClipLocation,
    folder: &ClipFolder,
) -> Result<Option<SavedFile>, OutputError> {
    let place = location.folder.join(&location.file_name);
    let store_error = |error| OutputError::Store {
        location: place.clone(),
        error,
    };
    let extension = clip.file.location.extension();
    let saved = clip.file.at(place.with_extension(extension));
    let name = saved.location.file_name();
    // In this order, because the file of another job may be moved aside at any time.
    for from in [&clip.file.location, &clip.earlier_location()] {
        if *from == saved.location && folder.has_whole(name, &saved).map_err(store_error)? {
            return Ok(Some(saved));
        }
        let partial = from
            .on_disk()
            .and_then(|from| PartialFile::link_or_copy(from, folder, location.file_name.as_ref()));
        let Some(partial) = partial.map_err(store_error)? else {
            continue;
        };
        // Checked after the link: a path may lead to another file by then, a link does not.
        if partial.is_whole(&clip.file).map_err(store_error)? {
            partial
                .commit(&saved, &location.kept)
                .map_err(store_error)?;
            check_in_place(folder)?;
            fail_point!("clip reused");
            return Ok(Some(saved));
        }
    }
    Ok(None)
}
