//! A clip on disk.

use std::path::PathBuf;

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
