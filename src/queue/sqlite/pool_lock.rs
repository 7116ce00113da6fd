//! File locks that end with their process, so that a dead pool is detected at once.

use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::domain::PoolId;
use crate::queue::{QueueError, Result, StoreError, StoreErrorKind};

/// The locked file of one pool, beside the queue. Dropping it removes the file.
#[derive(Debug)]
pub(super) struct FileLock {
    path: PathBuf,
    /// Holds the lock. The operating system releases it when the process ends, however it ends.
    _file: File,
}

impl FileLock {
    /// Creates and locks the file of a new pool.
    pub(super) fn acquire(queue: &Path, pool: &PoolId) -> Result<Self> {
        let path = lock_path(queue, pool);
        let create_locked = || -> io::Result<File> {
            let file = File::create_new(&path)?;
            file.lock()?;
            Ok(file)
        };
        match create_locked() {
            Ok(file) => Ok(Self { path, _file: file }),
            Err(error) => Err(QueueError::Store(StoreError {
                path,
                kind: StoreErrorKind::CannotLock,
                source: Some(Arc::new(error)),
            })),
        }
    }

    /// Returns whether the process of a pool on this machine is alive; changes nothing.
    ///
    /// Tries only a shared lock, so any number of processes may check at once: one that took an
    /// exclusive lock would look like the living pool to the others.
    pub(super) fn is_held(queue: &Path, pool: &PoolId) -> bool {
        match File::open(lock_path(queue, pool)) {
            Ok(file) => file.try_lock_shared().is_err(),
            Err(error) => error.kind() != io::ErrorKind::NotFound,
        }
    }

    /// Acquires the lock of a pool on this machine if its process is dead.
    pub(super) fn acquire_if_dead(queue: &Path, pool: &PoolId) -> Option<Self> {
        let path = lock_path(queue, pool);
        match File::options()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
        {
            Ok(file) => match file.try_lock() {
                Ok(()) => Some(Self { path, _file: file }),
                // If the lock cannot be checked, assume that it is held and let the pool expire.
                Err(TryLockError::WouldBlock | TryLockError::Error(_)) => None,
            },
            Err(_) => None,
        }
    }
}

impl Drop for FileLock {
    fn drop(&mut self) {
        // The next pool that checks for dead pools removes a file that stays behind.
        let _ = fs::remove_file(&self.path);
    }
}

fn lock_path(queue: &Path, pool: &PoolId) -> PathBuf {
    let mut name = queue.as_os_str().to_owned();
    name.push(format!("-pool-{pool}"));
    PathBuf::from(name)
}
