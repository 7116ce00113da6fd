//! Files and folders on the disks of this machine.

use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;

use sha2::{Digest, Sha256};

use crate::domain::SavedFile;

use super::clip_damage::ClipDamage;

/// Number of bytes read at once to check a file. A check needs this much memory, whatever the
/// length of the file.
const CHECK_CHUNK_BYTES: usize = 1 << 20;

/// Compares a file with what was saved: the length first, because that needs no reading.
pub(super) fn find_damage(saved: &SavedFile) -> io::Result<Option<ClipDamage>> {
    let mut file = File::open(&saved.path)?;
    let bytes = file.metadata()?.len();
    if bytes != saved.bytes {
        return Ok(Some(ClipDamage::Length {
            bytes,
            saved: saved.bytes,
        }));
    }
    let (_, sha256) = hash(&mut file)?;
    Ok((sha256 != saved.sha256).then_some(ClipDamage::Content))
}

/// Returns whether a file exists and is as it was saved.
pub(super) fn is_whole(file: &SavedFile) -> io::Result<bool> {
    match find_damage(file) {
        Ok(damage) => Ok(damage.is_none()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// Returns the length of a file in bytes, and its SHA-256 in hexadecimal.
pub(super) fn hash(file: &mut File) -> io::Result<(u64, String)> {
    file.seek(SeekFrom::Start(0))?;
    let mut hash = Sha256::new();
    let mut bytes = 0;
    let mut chunk = vec![0; CHECK_CHUNK_BYTES];
    loop {
        match file.read(&mut chunk)? {
            0 => return Ok((bytes, hex::encode(hash.finalize()))),
            read => {
                bytes += read as u64;
                hash.update(&chunk[..read]);
            }
        }
    }
}

/// Creates a folder and its missing parents, and syncs each parent. A synced file in a folder that
/// was not synced can be lost in a crash.
pub fn create_folder(folder: &Path) -> io::Result<()> {
    if folder.is_dir() {
        return Ok(());
    }
    if let Some(parent) = folder
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty())
    {
        create_folder(parent)?;
        match fs::create_dir(folder) {
            // Another step or another process created it first.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            created => created?,
        }
        sync_folder(parent)?;
    }
    Ok(())
}

/// Removes a file, if there is one.
pub fn remove_if_there(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Syncs a folder where the system supports it. Windows does not, and journals its file names.
pub(super) fn sync_folder(folder: &Path) -> io::Result<()> {
    if cfg!(unix) {
        File::open(folder)?.sync_all()
    } else {
        Ok(())
    }
}
