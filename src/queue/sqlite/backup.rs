//! Writes a whole copy of a queue, also while runs work on it.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::failpoint::fail_point;
use crate::queue::{QueueError, Result, StoreError, StoreErrorKind};

use super::{health, open, paths};

/// Copies the queue at `path` as it is at one instant to a new file, which is complete, checked and
/// synced before it has its name.
///
/// The copy is one file: it needs no `-wal` beside it.
pub(super) fn back_up(path: &Path, to: &Path) -> Result<()> {
    open::ensure_exists(path)?;
    open::ensure_utf8(to)?;
    if to.exists() {
        return Err(QueueError::FileExists(to.to_owned()));
    }
    let partial = partial_path(to);
    // A crash may have left one behind, which SQLite would not write to.
    remove_if_there(&partial).map_err(|error| cannot_write(to, error))?;
    let written = write(path, &partial).and_then(|()| publish(&partial, to));
    if written.is_err() {
        let _ = remove_if_there(&partial);
    }
    written
}

/// Writes a copy to a new file, checks it and syncs it.
fn write(path: &Path, partial: &Path) -> Result<()> {
    let connection = open::open_read_only(path)?;
    // The copy is what is written, by the same connection.
    connection.pragma_update(None, "query_only", false)?;
    let copied = connection.execute("VACUUM INTO ?1", [partial.to_string_lossy()]);
    copied.map_err(|error| StoreError::from(error).at(partial))?;
    fail_point!("backup written");
    health::check(&open::open_read_only(partial)?, partial)?;
    let file = File::options().write(true).open(partial);
    let synced = file.and_then(|file| file.sync_all());
    synced.map_err(|error| cannot_write(partial, error))
}

/// Gives the copy its name, unless a file has that by now.
fn publish(partial: &Path, to: &Path) -> Result<()> {
    let publish = || {
        // Unlike a rename, a link never replaces a file. Not every file system has links.
        match fs::hard_link(partial, to) {
            Ok(()) => fs::remove_file(partial)?,
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Err(error),
            Err(_) => fs::rename(partial, to)?,
        }
        fail_point!("backup renamed");
        if cfg!(unix) {
            File::open(paths::folder_of(to))?.sync_all()?;
        }
        Ok(())
    };
    publish().map_err(|error| match error.kind() {
        io::ErrorKind::AlreadyExists => QueueError::FileExists(to.to_owned()),
        _ => cannot_write(to, error),
    })
}

fn partial_path(to: &Path) -> PathBuf {
    let name = to.file_name().unwrap_or_default().to_string_lossy();
    to.with_file_name(format!(".{name}.part"))
}

fn remove_if_there(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn cannot_write(path: &Path, error: io::Error) -> QueueError {
    let kind = match error.kind() {
        io::ErrorKind::StorageFull => StoreErrorKind::DiskFull,
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
            StoreErrorKind::ReadOnly
        }
        _ => StoreErrorKind::CannotOpen,
    };
    StoreError {
        path: path.to_owned(),
        kind,
        source: Some(Arc::new(error)),
    }
    .into()
}
