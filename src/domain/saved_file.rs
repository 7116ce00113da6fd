//! Clips on disk.

use std::path::PathBuf;

/// The folder of a batch's earlier clips, in the folder of the batch.
const EARLIER_FOLDER: &str = "earlier";

/// A clip that was downloaded and saved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SavedFile {
    /// Final path of the clip.
    pub path: PathBuf,
    /// Length of the clip, in bytes.
    pub bytes: u64,
    /// SHA-256 of the content, in hexadecimal.
    pub sha256: String,
}

impl SavedFile {
    /// Returns a file with the same content at another path.
    pub fn at(&self, path: PathBuf) -> Self {
        Self {
            path,
            ..self.clone()
        }
    }
}

impl SavedFile {
    /// Returns whether two files have the same path but for their endings. The names of a batch differ
    /// without their endings, so only clips of one job do.
    pub fn has_place_of(&self, other: &Self) -> bool {
        self.path.parent() == other.path.parent() && self.path.file_stem() == other.path.file_stem()
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
    pub fn earlier_path(&self) -> PathBuf {
        let path = &self.file.path;
        let stem = path.file_stem().unwrap_or_default().to_string_lossy();
        let mut name = format!("{stem}.{}", self.number);
        if let Some(extension) = path.extension() {
            name = format!("{name}.{}", extension.to_string_lossy());
        }
        path.with_file_name(EARLIER_FOLDER).join(name)
    }

    /// Returns where the file is while `current` is the clip of its job: moved aside if that has its
    /// place.
    pub fn path_beside(&self, current: Option<&SavedFile>) -> PathBuf {
        match current {
            Some(current)
                if self.file.has_place_of(current) && self.file.sha256 != current.sha256 =>
            {
                self.earlier_path()
            }
            _ => self.file.path.clone(),
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
