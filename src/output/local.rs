//! Clips as files in a folder of this machine.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::StreamExt;
use sha2::{Digest, Sha256};
use tokio::sync::mpsc;

use crate::domain::SavedFile;
use crate::failpoint::fail_point;

use super::{
    ByteStream, ClipDamage, ClipLocation, DownloadError, OutputError, OutputStore, container,
    disk_space,
};

/// Chunks that may wait for the disk, before the network has to.
const CHUNKS_AHEAD: usize = 16;

/// Bytes read at once to check a file: any file takes the memory of one chunk.
const CHUNK: usize = 1 << 20;

/// Keeps clips as files in folders of this machine.
#[derive(Clone, Copy, Debug, Default)]
pub struct LocalStore;

#[async_trait]
impl OutputStore for LocalStore {
    async fn save(
        &self,
        place: &ClipLocation,
        mut bytes: ByteStream,
        length: Option<u64>,
    ) -> Result<SavedFile, OutputError> {
        let (chunks, incoming) = mpsc::channel(CHUNKS_AHEAD);
        let place = place.clone();
        let path = place.folder.join(&place.file_name);
        let disk = tokio::task::spawn_blocking(move || write_and_keep(&place, incoming, length));
        let mut failed: Option<DownloadError> = None;
        while let Some(next) = bytes.next().await {
            match next {
                Ok(chunk) => {
                    // The disk's thread is gone when it failed; it says why below.
                    if chunks.send(Some(chunk)).await.is_err() {
                        break;
                    }
                }
                Err(error) => {
                    failed = Some(error);
                    break;
                }
            }
        }
        if failed.is_none() {
            let _ = chunks.send(None).await;
        }
        drop(chunks);
        let kept = disk.await.map_err(|error| OutputError::Store {
            path,
            error: io::Error::other(error),
        })?;
        failed.map_or(kept, |error| Err(error.into()))
    }

    async fn check(&self, saved: &SavedFile) -> Option<ClipDamage> {
        let saved = saved.clone();
        let found = tokio::task::spawn_blocking(move || damage(&saved))
            .await
            .map_err(io::Error::other);
        match found.and_then(|found| found) {
            Ok(damage) => damage,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Some(ClipDamage::Missing),
            Err(error) => Some(ClipDamage::Unreadable(error.to_string())),
        }
    }

    async fn space(&self, folder: &Path) -> Result<Option<u64>, OutputError> {
        let (folder, path) = (folder.to_owned(), folder.to_owned());
        let found = tokio::task::spawn_blocking(move || disk_space::of(&folder))
            .await
            .map_err(io::Error::other);
        found
            .and_then(|found| found)
            .map_err(|error| OutputError::Store { path, error })
    }
}

/// Compares a file with what was saved: its length first, which costs nothing.
fn damage(saved: &SavedFile) -> io::Result<Option<ClipDamage>> {
    let mut file = File::open(&saved.path)?;
    let bytes = file.metadata()?.len();
    if bytes != saved.bytes {
        return Ok(Some(ClipDamage::Length {
            bytes,
            saved: saved.bytes,
        }));
    }
    let (mut hash, mut chunk) = (Sha256::new(), vec![0; CHUNK]);
    loop {
        match file.read(&mut chunk)? {
            0 => break,
            read => hash.update(&chunk[..read]),
        }
    }
    Ok((hex::encode(hash.finalize()) != saved.sha256).then_some(ClipDamage::Content))
}

/// Writes to a temporary name, checks, syncs, renames, and syncs the folder: in that order. The end of the stream is
/// marked by `None`; a sender that goes away before it means that the stream failed.
fn write_and_keep(
    place: &ClipLocation,
    chunks: mpsc::Receiver<Option<Bytes>>,
    announced: Option<u64>,
) -> Result<SavedFile, OutputError> {
    let path = place.folder.join(&place.file_name);
    let store = |error| OutputError::Store {
        path: path.clone(),
        error,
    };
    make_folder(&place.folder).map_err(store)?;
    let part = Part::create(&place.folder, &place.file_name).map_err(store)?;
    fail_point!("file started");
    let (bytes, sha256) = part.fill(chunks).map_err(store)?;
    if let Some(announced) = announced.filter(|announced| *announced != bytes) {
        return Err(OutputError::WrongLength {
            got: bytes,
            announced,
        });
    }
    fail_point!("file written");
    part.check()
        .map_err(store)?
        .map_err(OutputError::NotAVideo)?;
    part.keep(&path).map_err(store)?;
    Ok(SavedFile {
        path,
        bytes,
        sha256,
    })
}

/// Makes the folder and its missing parents durable: a synced file in an unsynced folder can be gone after a crash.
fn make_folder(folder: &Path) -> io::Result<()> {
    if folder.is_dir() {
        return Ok(());
    }
    if let Some(parent) = folder
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty())
    {
        make_folder(parent)?;
        match fs::create_dir(folder) {
            // Another worker, or another process, was faster.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            made => made?,
        }
        sync_folder(parent)?;
    }
    Ok(())
}

/// Syncs a folder, where the system can: Windows has no such call, and keeps its names in a journal.
fn sync_folder(folder: &Path) -> io::Result<()> {
    if cfg!(unix) {
        File::open(folder)?.sync_all()
    } else {
        Ok(())
    }
}

/// A file under a temporary name, removed unless it is kept.
struct Part {
    path: PathBuf,
    file: File,
}

impl Part {
    fn create(folder: &Path, file_name: &str) -> io::Result<Self> {
        // One name a job: what a crash leaves behind is overwritten by the next try. Only a lease's holder writes it.
        let path = folder.join(format!(".{file_name}.part"));
        let file = File::options()
            .read(true)
            .write(true)
            .create(true)
            .truncate(true)
            .open(&path)?;
        Ok(Self { path, file })
    }

    fn fill(&self, mut chunks: mpsc::Receiver<Option<Bytes>>) -> io::Result<(u64, String)> {
        let (mut length, mut hash) = (0, Sha256::new());
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

    fn check(&self) -> io::Result<Result<(), String>> {
        container::check(&mut &self.file)
    }

    fn keep(self, path: &Path) -> io::Result<()> {
        self.file.sync_all()?;
        fail_point!("file synced");
        fs::rename(&self.path, path)?;
        fail_point!("file renamed");
        path.parent().map_or(Ok(()), sync_folder)?;
        fail_point!("folder synced");
        Ok(())
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        // After `keep` the name is gone already; before it the file is of no use to anybody.
        let _ = fs::remove_file(&self.path);
    }
}
