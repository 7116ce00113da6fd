//! Notices that the queue's files were deleted, renamed or replaced while they are open. SQLite goes on
//! writing to a file that has lost its name, and the next program would not see what was paid for.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use crate::queue::{StoreError, StoreErrorKind};

/// What SQLite appends to the name of the file for those that belong to it while it is open.
const COMPANIONS: [&str; 2] = ["-wal", "-shm"];

/// The identities of a queue's files when they were first seen.
#[derive(Debug)]
pub(super) struct FileGuard {
    files: Vec<GuardedFile>,
}

#[derive(Debug)]
struct GuardedFile {
    path: PathBuf,
    /// `None` until the file is seen for the first time: SQLite creates the companions when it needs
    /// them, and keeps them while a connection is open.
    identity: Mutex<Option<Identity>>,
}

/// Which file has a name: device and number.
type Identity = (u64, u64);

impl FileGuard {
    /// Remembers the files of a queue that was opened just now.
    pub(super) fn new(path: &Path) -> Self {
        let companions = COMPANIONS.iter().map(|suffix| {
            let mut name = path.as_os_str().to_owned();
            name.push(suffix);
            PathBuf::from(name)
        });
        let files = std::iter::once(path.to_owned()).chain(companions);
        let files = files.map(|path| GuardedFile {
            identity: Mutex::new(identity_of(&path)),
            path,
        });
        Self {
            files: files.collect(),
        }
    }

    /// Checks that each file that was seen still has its name.
    ///
    /// # Errors
    /// [`StoreErrorKind::Replaced`] if one has not.
    pub(super) fn check(&self) -> std::result::Result<(), StoreError> {
        let replaced = self.files.iter().find(|file| !file.is_in_place());
        replaced.map_or(Ok(()), |file| {
            Err(StoreError::new(&file.path, StoreErrorKind::Replaced))
        })
    }
}

impl GuardedFile {
    fn is_in_place(&self) -> bool {
        let now = identity_of(&self.path);
        let mut seen = self.identity.lock().unwrap_or_else(PoisonError::into_inner);
        match *seen {
            Some(identity) => now == Some(identity),
            None => {
                *seen = now;
                true
            }
        }
    }
}

#[cfg(unix)]
fn identity_of(path: &Path) -> Option<Identity> {
    use std::os::unix::fs::MetadataExt;
    let file = path.metadata().ok()?;
    Some((file.dev(), file.ino()))
}

/// Other systems neither delete nor rename a file that is open.
#[cfg(not(unix))]
fn identity_of(_: &Path) -> Option<Identity> {
    None
}

#[cfg(unix)]
#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_file_that_is_deleted_renamed_or_replaced_is_noticed() {
        for name in ["q.db", "q.db-wal", "q.db-shm"] {
            let folder = tempfile::tempdir().unwrap();
            let path = |name: &str| folder.path().join(name);
            for name in ["q.db", "q.db-wal", "q.db-shm"] {
                fs::write(path(name), "content").unwrap();
            }
            let guard = FileGuard::new(&path("q.db"));
            guard.check().unwrap();
            fs::rename(path(name), path("other")).unwrap();
            assert_eq!(guard.check().unwrap_err().path, path(name));
            fs::copy(path("other"), path(name)).unwrap();
            assert_eq!(guard.check().unwrap_err().kind, StoreErrorKind::Replaced);
            fs::rename(path("other"), path(name)).unwrap();
            guard.check().unwrap();
        }
    }

    #[test]
    fn companions_that_are_created_later_are_guarded_from_then_on() {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("q.db-wal");
        fs::write(folder.path().join("q.db"), "").unwrap();
        let guard = FileGuard::new(&folder.path().join("q.db"));
        guard.check().unwrap();
        fs::write(&log, "").unwrap();
        guard.check().unwrap();
        fs::remove_file(&log).unwrap();
        assert_eq!(guard.check().unwrap_err().path, log);
    }
}
