//! Clips as files in folders of this machine.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::StreamExt;
use sha2::{Digest, Sha256};
use tokio::sync::mpsc;

use crate::domain::{KeptClip, SavedFile};
use crate::failpoint::fail_point;

use super::disk::{create_folder, find_damage, sync_folder};
use super::disk_space::available_space;
use super::kept::{self, set_aside};
use super::media::MediaKind;
use super::{ByteStream, ClipDamage, ClipLocation, DownloadError, OutputError, OutputStore, media};

/// Maximum number of chunks that wait for the disk before the download has to wait.
const MAX_BUFFERED_CHUNKS: usize = 16;

/// A store that saves clips as files in folders of this machine.
#[derive(Clone, Copy, Debug, Default)]
pub struct LocalStore;

#[async_trait]
impl OutputStore for LocalStore {
    async fn save(
        &self,
        location: &ClipLocation,
        mut bytes: ByteStream,
        length: Option<u64>,
    ) -> Result<SavedFile, OutputError> {
        let (sender, receiver) = mpsc::channel(MAX_BUFFERED_CHUNKS);
        let location = location.clone();
        let path = location.folder.join(&location.file_name);
        let writer = tokio::task::spawn_blocking(move || write_clip(&location, receiver, length));
        let mut stream_error: Option<DownloadError> = None;
        while let Some(next) = bytes.next().await {
            match next {
                Ok(chunk) => {
                    // The receiver is closed if writing failed; the writer returns the reason.
                    if sender.send(Some(chunk)).await.is_err() {
                        break;
                    }
                }
                Err(error) => {
                    stream_error = Some(error);
                    break;
                }
            }
        }
        if stream_error.is_none() {
            let _ = sender.send(None).await;
        }
        drop(sender);
        let written = writer.await.map_err(|error| OutputError::Store {
            path,
            error: io::Error::other(error),
        })?;
        stream_error.map_or(written, |error| Err(error.into()))
    }

    async fn reuse(
        &self,
        clip: &KeptClip,
        location: &ClipLocation,
    ) -> Result<Option<SavedFile>, OutputError> {
        let path = location.folder.join(&location.file_name);
        let clip = clip.clone();
        let location = location.clone();
        let reused = tokio::task::spawn_blocking(move || kept::reuse(&clip, &location)).await;
        let reused = reused.map_err(io::Error::other).and_then(|reused| reused);
        reused.map_err(|error| OutputError::Store { path, error })
    }

    async fn check(&self, saved: &SavedFile) -> Option<ClipDamage> {
        let saved = saved.clone();
        let result = tokio::task::spawn_blocking(move || find_damage(&saved))
            .await
            .map_err(io::Error::other);
        match result.and_then(|result| result) {
            Ok(damage) => damage,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Some(ClipDamage::Missing),
            Err(error) => Some(ClipDamage::Unreadable(error.to_string())),
        }
    }

    async fn space(&self, folder: &Path) -> Result<Option<u64>, OutputError> {
        let path = folder.to_owned();
        let folder = folder.to_owned();
        let result = tokio::task::spawn_blocking(move || available_space(&folder))
            .await
            .map_err(io::Error::other);
        result
            .and_then(|result| result)
            .map_err(|error| OutputError::Store { path, error })
    }
}

/// Writes to a temporary name, checks, syncs, renames, and syncs the folder, in this order.
///
/// A `None` marks the end of the stream. If the channel closes without it, the stream failed.
fn write_clip(
    location: &ClipLocation,
    chunks: mpsc::Receiver<Option<Bytes>>,
    announced: Option<u64>,
) -> Result<SavedFile, OutputError> {
    let video_path = location.folder.join(&location.file_name);
    let store_error = |error| OutputError::Store {
        path: video_path.clone(),
        error,
    };
    create_folder(&location.folder).map_err(store_error)?;
    let partial =
        PartialFile::create(&location.folder, &location.file_name).map_err(store_error)?;
    fail_point!("file started");
    let (bytes, sha256) = partial.write(chunks).map_err(store_error)?;
    if let Some(announced) = announced.filter(|announced| *announced != bytes) {
        return Err(OutputError::WrongLength {
            got: bytes,
            announced,
        });
    }
    fail_point!("file written");
    let kind = partial
        .check()
        .map_err(store_error)?
        .map_err(OutputError::NotAClip)?;
    let saved = SavedFile {
        path: video_path.with_extension(kind.extension()),
        bytes,
        sha256,
    };
    partial.commit(&saved, location).map_err(store_error)?;
    Ok(saved)
}

/// A file under a temporary name, which is removed unless it is committed.
struct PartialFile {
    path: PathBuf,
    file: File,
}

impl PartialFile {
    fn create(folder: &Path, file_name: &str) -> io::Result<Self> {
        // The name is fixed per job, so the next download overwrites what a crash left behind. Only
        // the holder of the job's lease writes it.
        let path = folder.join(format!(".{file_name}.part"));
        let file = File::options()
            .read(true)
            .write(true)
            .create(true)
            .truncate(true)
            .open(&path)?;
        Ok(Self { path, file })
    }

    /// Writes all chunks; returns the length in bytes and the SHA-256 in hexadecimal.
    fn write(&self, mut chunks: mpsc::Receiver<Option<Bytes>>) -> io::Result<(u64, String)> {
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

    fn check(&self) -> io::Result<Result<MediaKind, String>> {
        media::check(&mut &self.file)
    }

    fn commit(self, saved: &SavedFile, location: &ClipLocation) -> io::Result<()> {
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
        // After `commit` the temporary name no longer exists.
        let _ = fs::remove_file(&self.path);
    }
}
