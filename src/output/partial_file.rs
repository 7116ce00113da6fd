//! A clip under a temporary name, until it is whole.

use std::fs::{self, File, Metadata};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use sha2::{Digest, Sha256};
use tokio::sync::mpsc;

use crate::domain::SavedFile;
use crate::failpoint::fail_point;

use super::disk::{remove_if_there, sync_folder};
use super::media::{ContentError, Media};
use super::set_aside::set_aside;
use super::{ClipLocation, media};

/// A file under a temporary name, which is removed unless it is committed.
pub(super) struct PartialFile {
    path: PathBuf,
    file: File,
}

impl PartialFile {
    /// Creates an empty file. The name is fixed per job, so what a crash left behind is replaced.
    pub(super) fn create(location: &ClipLocation) -> io::Result<Self> {
        let path = free_path(location)?;
        let mut options = File::options();
        let file = options.read(true).write(true).create_new(true);
        let file = file.open(&path)?;
        Ok(Self { path, file })
    }

    /// Creates a link to a file or, where the file systems differ, a copy of it. `None` if there is no
    /// such file.
    pub(super) fn link_or_copy(from: &Path, location: &ClipLocation) -> io::Result<Option<Self>> {
        let path = free_path(location)?;
        // A link to a symbolic link would not be the clip.
        let is_linkable = from.symlink_metadata().is_ok_and(|file| file.is_file());
        if !is_linkable || fs::hard_link(from, &path).is_err() {
            match fs::copy(from, &path) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
                copied => copied?,
            };
        }
        let file = File::open(&path)?;
        Ok(Some(Self { path, file }))
    }

    /// Returns where the file is.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Writes all chunks; returns the length in bytes and the SHA-256 in hexadecimal.
    pub(super) fn write(
        &self,
        mut chunks: mpsc::Receiver<Option<Bytes>>,
    ) -> io::Result<(u64, String)> {
        let mut length = 0;
        let mut hash = Sha256::new();
        let mut file = &self.file;
        loop {
            match chunks.blocking_recv() {
                Some(Some(chunk)) => {
                    hash.update(&chunk);
                    file.write_all(&chunk)?;
                    length += chunk.len() as u64;
                }
                Some(None) => return Ok((length, hex::encode(hash.finalize()))),
                None => {
                    return Err(io::Error::new(
                        io::ErrorKind::UnexpectedEof,
                        "the download failed",
                    ));
                }
            }
        }
    }

    pub(super) fn check(&self) -> io::Result<Result<Media, ContentError>> {
        media::check(&mut &self.file)
    }

    /// Returns whether the temporary name still leads to this file. A process that was stopped for so
    /// long that its lease was lost finds the file of another one there.
    pub(super) fn is_in_place(&self) -> bool {
        let (Ok(named), Ok(own)) = (self.path.symlink_metadata(), self.file.metadata()) else {
            return false;
        };
        is_same_file(&named, &own)
    }

    /// Gives the file its name, so that it survives a power loss.
    pub(super) fn commit(self, saved: &SavedFile, location: &ClipLocation) -> io::Result<()> {
        let path = &saved.path;
        self.file.sync_all()?;
        fail_point!("file synced");
        set_aside(location, saved)?;
        fs::rename(&self.path, path)?;
        fail_point!("file renamed");
        path.parent().map_or(Ok(()), sync_folder)?;
        fail_point!("folder synced");
        Ok(())
    }
}

impl Drop for PartialFile {
    fn drop(&mut self) {
        // After a commit the temporary name is gone, unless it was a link to a file that had the
        // name already: renaming one link to another changes nothing.
        if self.is_in_place() {
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Returns the temporary name of a clip, which is removed first: it may be a link that a crash left,
/// to a file that has other names.
fn free_path(location: &ClipLocation) -> io::Result<PathBuf> {
    let path = location
        .folder
        .join(format!(".{}.part", location.file_name));
    remove_if_there(&path)?;
    Ok(path)
}

#[cfg(unix)]
fn is_same_file(one: &Metadata, other: &Metadata) -> bool {
    use std::os::unix::fs::MetadataExt;
    (one.dev(), one.ino()) == (other.dev(), other.ino())
}

/// Other systems do not replace a file that is open.
#[cfg(not(unix))]
fn is_same_file(_: &Metadata, _: &Metadata) -> bool {
    true
}
