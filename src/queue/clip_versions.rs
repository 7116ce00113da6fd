//! The clips of a job: its current one, and those of its earlier inputs.

use serde::Serialize;

use crate::domain::{KeptClip, SavedFile};

/// A clip of a job, on disk.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ClipVersion {
    /// The number of the attempt that made it or took it; `None` for a file that the user had.
    pub attempt: Option<u32>,
    /// Where it is.
    pub output: String,
    /// Its size, in bytes.
    pub bytes: u64,
    /// Its SHA-256, in hexadecimal.
    pub sha256: String,
    /// Whether it is the job's current clip.
    pub current: bool,
}

impl ClipVersion {
    /// Lists the clips of a job, oldest first.
    ///
    /// `current` is the job's clip, and `attempt` the attempt that made it if the job has succeeded at
    /// its present input; `kept` are those of earlier inputs.
    pub fn list(current: Option<&SavedFile>, attempt: Option<u32>, kept: &[KeptClip]) -> Vec<Self> {
        let mut versions: Vec<Self> = Vec::new();
        let mut add = |attempt, file: SavedFile| {
            let is_current = current.is_some_and(|current| *current == file);
            let version = Self {
                attempt,
                output: file.location.to_string(),
                bytes: file.bytes,
                sha256: file.sha256,
                current: is_current,
            };
            // An edit that was undone has its clip back.
            versions.retain(|known| known.output != version.output);
            versions.push(version);
        };
        for clip in kept {
            add(
                Some(clip.number),
                clip.file.at(clip.location_beside(current)),
            );
        }
        if let Some(current) = current {
            let is_kept = kept.iter().any(|clip| clip.file == *current);
            if !is_kept || attempt.is_some() {
                add(attempt, current.clone());
            }
        }
        versions
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(path: &str, sha256: &str) -> SavedFile {
        SavedFile {
            location: path.into(),
            bytes: 1,
            sha256: sha256.into(),
        }
    }

    fn kept(number: u32, sha256: &str) -> KeptClip {
        KeptClip {
            number,
            file: file("/r/a.mp4", sha256),
        }
    }

    fn list(
        current: Option<&SavedFile>,
        attempt: Option<u32>,
        kept: &[KeptClip],
    ) -> Vec<(Option<u32>, String, bool)> {
        let versions = ClipVersion::list(current, attempt, kept).into_iter();
        versions
            .map(|version| (version.attempt, version.output, version.current))
            .collect()
    }

    #[test]
    fn earlier_clips_are_where_the_current_one_has_moved_them() {
        let current = file("/r/a.mp4", "2");
        let version = |attempt, path: &str, current| (Some(attempt), path.to_owned(), current);
        assert_eq!(
            list(Some(&current), Some(2), &[kept(1, "1")]),
            [
                version(1, "/r/earlier/a.1.mp4", false),
                version(2, "/r/a.mp4", true)
            ]
        );
        // Rendered anew, and failed: the earlier one is current.
        assert_eq!(
            list(Some(&file("/r/a.mp4", "1")), None, &[kept(1, "1")]),
            [version(1, "/r/a.mp4", true)]
        );
        // An edit that was undone.
        assert_eq!(
            list(
                Some(&file("/r/a.mp4", "1")),
                Some(3),
                &[kept(1, "1"), kept(2, "2")]
            ),
            [
                version(2, "/r/earlier/a.2.mp4", false),
                version(3, "/r/a.mp4", true)
            ]
        );
        assert_eq!(list(None, None, &[]), []);
    }
}
