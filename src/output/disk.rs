//! Files and folders on the disks of this machine.

use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::Path;

use sha2::{Digest, Sha256};

use crate::domain::SavedFile;

use super::clip_damage::ClipDamage;

/// Number of bytes read at once to check a file. A check needs this much memory, whatever the
/// length of the file.
const CHECK_CHUNK_BYTES: usize = 1 << 20;

/// Compares a file with what was saved: the length first, because that needs no reading.
pub(super) fn find_damage(saved: &SavedFile) -> io::Result<Option<ClipDamage>> {
    let mut file = File::open(saved.location.on_disk()?)?;
    let bytes = file.metadata()?.len();
    find_damage_in(&mut file, bytes, saved)
}

/// Compares an open file, of a length in bytes, with what was saved.
pub(super) fn find_damage_in(
    file: &mut (impl Read + Seek),
    bytes: u64,
    saved: &SavedFile,
) -> io::Result<Option<ClipDamage>> {
    if bytes != saved.bytes {
        return Ok(Some(ClipDamage::Length {
            bytes,
            saved: saved.bytes,
        }));
    }
    let (_, sha256) = hash(file)?;
    Ok((sha256 != saved.sha256).then_some(ClipDamage::Content))
}

/// Returns whether a file exists and is as it was saved.
pub(super) fn is_whole(file: &SavedFile) -> io::Result<bool> {
    let damage = if_there(find_damage(file))?;
    Ok(damage.is_some_and(|damage| damage.is_none()))
}

/// Returns the length of a file in bytes, and its SHA-256 in hexadecimal.
pub(super) fn hash(file: &mut (impl Read + Seek)) -> io::Result<(u64, String)> {
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

/// Replaces a file, whose folder must exist. It has its old or its new content after a power loss.
pub(super) fn replace_file(path: &Path, content: &[u8]) -> io::Result<()> {
    // Synced before it has its name: a power loss must not leave an empty file.
    replace(path, content, File::sync_all)?;
    sync_folder(folder_of(path))
}

/// As [`replace_file`], but a power loss may bring the earlier content back.
pub(super) fn replace_file_fast(path: &Path, content: &[u8]) -> io::Result<()> {
    replace(path, content, |_| Ok(()))
}

fn replace(
    path: &Path,
    content: &[u8],
    sync: impl FnOnce(&File) -> io::Result<()>,
) -> io::Result<()> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".part");
    let partial = path.with_file_name(name);
    // It may be a link to a file that is none of ours.
    remove_if_there(&partial)?;
    let mut file = File::create_new(&partial)?;
    file.write_all(content)?;
    sync(&file)?;
    fs::rename(&partial, path)
}

/// Removes a file, if there is one.
pub(super) fn remove_if_there(path: &Path) -> io::Result<()> {
    if_there(fs::remove_file(path)).map(|_| ())
}

/// Returns what was done with a file; `None` if there is no such file.
pub(super) fn if_there<T>(done: io::Result<T>) -> io::Result<Option<T>> {
    match done {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        done => done.map(Some),
    }
}

/// Returns the folder that a file is in.
pub(super) fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
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
