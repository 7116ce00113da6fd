//! A lock that dies with its process, so that a dead pool is seen at once.

use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};

use crate::domain::PoolId;
use crate::queue::{QueueError, Result};

/// The locked file of one pool, beside the queue. The file goes when this is dropped.
#[derive(Debug)]
pub(super) struct PoolLock {
    path: PathBuf,
    /// Holds the lock; the system frees it when the process ends, however it ends.
    _file: File,
}

impl PoolLock {
    /// Makes and locks the file of a new pool.
    pub(super) fn take(queue: &Path, pool: &PoolId) -> Result<Self> {
        let path = lock_path(queue, pool);
        let lock = || -> io::Result<File> {
            let file = File::create_new(&path)?;
            file.lock()?;
            Ok(file)
        };
        match lock() {
            Ok(file) => Ok(Self { path, _file: file }),
            Err(error) => Err(QueueError::Unusable(format!(
                "cannot make {} beside the queue: {error}\nhint: may you write in that folder, and is there space?",
                path.display()
            ))),
        }
    }

    /// Tells whether a pool of this machine is alive, and changes nothing. Any number may ask at once: each would be taken
    /// for the pool itself by the others, were it to take the lock whole.
    pub(super) fn is_held(queue: &Path, pool: &PoolId) -> bool {
        match File::open(lock_path(queue, pool)) {
            Ok(file) => file.try_lock_shared().is_err(),
            Err(error) => error.kind() != io::ErrorKind::NotFound,
        }
    }

    /// Takes the lock of a pool of this machine if its process is dead.
    pub(super) fn of_dead(queue: &Path, pool: &PoolId) -> Option<Self> {
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
                // A lock that cannot be asked about is taken for held: the pool's expiry decides then.
                Err(TryLockError::WouldBlock | TryLockError::Error(_)) => None,
            },
            Err(_) => None,
        }
    }
}

impl Drop for PoolLock {
    fn drop(&mut self) {
        // What stays behind is found free, and removed, by the next pool that looks.
        let _ = fs::remove_file(&self.path);
    }
}

fn lock_path(queue: &Path, pool: &PoolId) -> PathBuf {
    let mut name = queue.as_os_str().to_owned();
    name.push(format!("-pool-{pool}"));
    PathBuf::from(name)
}
