//! Where folders of clips lead: a folder that is replaced by a link during a run must not lead the clips of
//! the run to another place.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use super::clip_folder::ClipFolder;
use super::{ClipLocation, OutputError};

/// The places of the folders that were saved into, with every link resolved.
#[derive(Clone, Debug, Default)]
pub(super) struct FolderPlaces(Arc<Mutex<HashMap<PathBuf, PathBuf>>>);

impl FolderPlaces {
    /// Opens the folder of a clip, which is created if it does not exist, in the place where it was when
    /// it was opened first.
    ///
    /// # Errors
    /// [`OutputError::FolderReplaced`] if it is in another place, [`OutputError::Store`] if it cannot be
    /// opened.
    pub(super) fn open(&self, location: &ClipLocation) -> Result<ClipFolder, OutputError> {
        let opened = location.folder.on_disk().and_then(ClipFolder::open);
        let folder = opened.map_err(|error| OutputError::Store {
            location: location.folder.join(&location.file_name),
            error,
        })?;
        let path = folder.path();
        let mut places = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let known = places
            .entry(path.to_owned())
            .or_insert_with(|| folder.place().to_owned());
        if known != folder.place() {
            return Err(OutputError::FolderReplaced {
                folder: path.to_owned(),
                leads_to: folder.place().to_owned(),
            });
        }
        drop(places);
        // It may have been replaced while it was opened.
        check_in_place(&folder)?;
        Ok(folder)
    }
}

/// Checks that the path of an open folder still leads to it.
///
/// # Errors
/// [`OutputError::FolderReplaced`] if it does not, [`OutputError::Store`] if it leads nowhere.
pub(super) fn check_in_place(folder: &ClipFolder) -> Result<(), OutputError> {
    match folder.leads_elsewhere() {
        Ok(None) => Ok(()),
        Ok(Some(leads_to)) => Err(OutputError::FolderReplaced {
            folder: folder.path().to_owned(),
            leads_to,
        }),
        Err(error) => Err(OutputError::Store {
            location: folder.path().to_owned().into(),
            error,
        }),
    }
}
