//! A small file beside the queue and in each folder of clips: which queue has run there, and how often. A
//! queue that has run less often is a copy or a backup, and does not know what was paid for since.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::domain::{Location, ProviderName};

use super::disk::{if_there, replace_file, replace_file_fast};

/// What is appended to the name of the queue's file.
const QUEUE_SUFFIX: &str = "-run";

/// Which queue has run last.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Marker {
    /// The queue's id.
    pub queue: String,
    /// Where the queue is; `None` in a marker of an earlier version, or if the path is no text.
    #[serde(default)]
    pub path: Option<String>,
    /// The number of its runs, this one included.
    pub generation: u64,
    /// The number of the queue's last attempt.
    #[serde(default)]
    pub last_attempt: i64,
    /// When the queue was last seen at work, as it has noted itself.
    pub seen_at: Timestamp,
    /// The providers with whose keys it was run.
    #[serde(default)]
    pub providers: BTreeSet<ProviderName>,
}

impl Marker {
    /// Its name in a folder of clips.
    const FILE_NAME: &'static str = ".overnight.json";

    /// Returns where the marker of a folder of clips is.
    pub fn in_folder(folder: &Location) -> Location {
        folder.join(Self::FILE_NAME)
    }

    /// Returns where the marker of a queue's file is.
    pub fn beside(queue: &Path) -> PathBuf {
        let mut name = queue.file_name().unwrap_or_default().to_owned();
        name.push(QUEUE_SUFFIX);
        queue.with_file_name(name)
    }

    /// Returns where the queue of this marker is, if it is still there and has run since it was moved or
    /// made: it owns the clips in the folder of the marker.
    pub fn owner(&self) -> Option<PathBuf> {
        let path = PathBuf::from(self.path.as_ref()?);
        let beside = Self::read(&Self::beside(&path)).ok()??;
        (path.exists() && beside.queue == self.queue).then_some(path)
    }

    /// Reads a marker; `None` if there is none, or none that can be understood.
    ///
    /// # Errors
    /// Returns the error of the file system.
    pub fn read(path: &Path) -> io::Result<Option<Self>> {
        let text = if_there(fs::read(path))?;
        Ok(text.and_then(|text| Self::parse(&text)))
    }

    /// Returns the marker that a text is; `None` if it cannot be understood.
    pub fn parse(text: &[u8]) -> Option<Self> {
        serde_json::from_slice(text).ok()
    }

    /// Returns it as a text.
    pub fn to_text(&self) -> Vec<u8> {
        // A marker has nothing that JSON cannot express.
        serde_json::to_vec(self).unwrap_or_default()
    }

    /// Replaces a marker, whose folder must exist.
    ///
    /// # Errors
    /// Returns the error of the file system.
    pub fn write(&self, path: &Path) -> io::Result<()> {
        replace_file(path, &self.to_text())
    }

    /// As [`write`](Self::write), but a power loss may bring the earlier marker back.
    ///
    /// # Errors
    /// Returns the error of the file system.
    pub fn write_fast(&self, path: &Path) -> io::Result<()> {
        replace_file_fast(path, &self.to_text())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_marker_is_read_as_it_was_written_and_rubbish_is_none() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(Marker::FILE_NAME);
        assert_eq!(Marker::read(&path).unwrap(), None);
        let marker = Marker {
            queue: "0123456789ab".into(),
            path: Some("/a/overnight.db".into()),
            generation: 7,
            last_attempt: 9,
            seen_at: Timestamp::UNIX_EPOCH,
            providers: BTreeSet::from([ProviderName::Fal]),
        };
        marker.write(&path).unwrap();
        assert_eq!(Marker::read(&path).unwrap(), Some(marker));
        fs::write(&path, "rubbish").unwrap();
        assert_eq!(Marker::read(&path).unwrap(), None);
        let beside = Marker::beside(Path::new("/a/overnight.db"));
        assert_eq!(beside, Path::new("/a/overnight.db-run"));
    }
}
