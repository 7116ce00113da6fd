//! Where folders of clips lead: a folder that is replaced by a link during a run must not lead the clips of
//! the run to another place.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use super::OutputError;

/// The places of the folders that were saved into, with every link resolved.
#[derive(Clone, Debug, Default)]
pub(super) struct FolderPlaces(Arc<Mutex<HashMap<PathBuf, PathBuf>>>);

impl FolderPlaces {
    /// Checks that a folder, which exists, is in the place where it was when it was checked first.
    ///
    /// # Errors
    /// [`OutputError::FolderReplaced`] if it is not, [`OutputError::Store`] if it cannot be read.
    pub(super) fn check(&self, folder: &Path) -> Result<(), OutputError> {
        let place = folder.canonicalize().map_err(|error| OutputError::Store {
            path: folder.to_owned(),
            error,
        })?;
        let mut places = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let known = places
            .entry(folder.to_owned())
            .or_insert_with(|| place.clone());
        if *known == place {
            return Ok(());
        }
        Err(OutputError::FolderReplaced {
            folder: folder.to_owned(),
            leads_to: place,
        })
    }
}
