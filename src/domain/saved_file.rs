//! Clips that were saved.

use std::ffi::OsString;

use super::Location;

/// The folder of a batch's earlier clips, in the folder of the batch.
const EARLIER_FOLDER: &str = "earlier";

/// A clip that was downloaded and saved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SavedFile {
    /// Where the clip is.
    pub location: Location,
    /// Length of the clip, in bytes.
    pub bytes: u64,
    /// SHA-256 of the content, in hexadecimal.
    pub sha256: String,
}

impl SavedFile {
    /// Returns a file with the same content elsewhere.
    pub fn at(&self, location: impl Into<Location>) -> Self {
        Self {
            location: location.into(),
            ..self.clone()
        }
    }
}

impl SavedFile {
    /// Returns whether two files are in the same place but for their endings. The names of a batch differ
    /// without their endings, so only clips of one job do.
    pub fn has_place_of(&self, other: &Self) -> bool {
        let (own, other) = (&self.location, &other.location);
        own.folder() == other.folder() && own.file_stem() == other.file_stem()
    }
}

/// A clip that was paid for and stays when its job is rendered again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeptClip {
    /// The number of its attempt within its job.
    pub number: u32,
    /// The file as it was saved.
    pub file: SavedFile,
}

impl KeptClip {
    /// Returns where the file is moved when another clip of its job takes its name:
    /// `earlier/{name}.{number}.mp4` beside it.
    pub fn earlier_location(&self) -> Location {
        let location = &self.file.location;
        let mut name = OsString::from(location.file_stem());
        name.push(format!(".{}", self.number));
        if !location.extension().is_empty() {
            name.push(".");
            name.push(location.extension());
        }
        location.folder().join(EARLIER_FOLDER).join(name)
    }

    /// Returns where the file is while `current` is the clip of its job: moved aside if that has its
    /// place.
    pub fn location_beside(&self, current: Option<&SavedFile>) -> Location {
        match current {
            Some(current)
                if self.file.has_place_of(current) && self.file.sha256 != current.sha256 =>
            {
                self.earlier_location()
            }
            _ => self.file.location.clone(),
        }
    }
}

/// The clips that a download may find on disk.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct JobClips {
    /// The clips of the job's earlier inputs.
    pub kept: Vec<KeptClip>,
    /// The clip that the attempt takes for nothing; `None` if it was submitted itself.
    pub reused: Option<KeptClip>,
}
