//! Clips as files in folders of this machine.

use std::ffi::OsStr;
use std::io;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::StreamExt;
use tokio::sync::mpsc;

use crate::domain::{KeptClip, Location, SavedFile};
use crate::failpoint::fail_point;

use super::disk::find_damage;
use super::disk_space::available_space;
use super::folder_places::{FolderPlaces, check_in_place};
use super::kept;
use super::partial_file::PartialFile;
use super::{
    ByteStream, ClipDamage, ClipLocation, DownloadError, OutputError, OutputStore, SavedClip,
};

/// Maximum number of chunks that wait for the disk before the download has to wait.
const MAX_BUFFERED_CHUNKS: usize = 16;

/// A store that saves clips as files in folders of this machine.
#[derive(Clone, Debug, Default)]
pub struct LocalStore {
    places: FolderPlaces,
}

#[async_trait]
impl OutputStore for LocalStore {
    async fn save(
        &self,
        location: &ClipLocation,
        mut bytes: ByteStream,
        length: Option<u64>,
    ) -> Result<SavedClip, OutputError> {
        let (sender, receiver) = mpsc::channel(MAX_BUFFERED_CHUNKS);
        let location = location.clone();
        let place = location.folder.join(&location.file_name);
        let places = self.places.clone();
        let writer =
            tokio::task::spawn_blocking(move || write_clip(&places, &location, receiver, length));
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
            location: place,
            error: io::Error::other(error),
        })?;
        stream_error.map_or(written, |error| Err(error.into()))
    }

    async fn reuse(
        &self,
        clip: &KeptClip,
        location: &ClipLocation,
    ) -> Result<Option<SavedFile>, OutputError> {
        let place = location.folder.join(&location.file_name);
        let clip = clip.clone();
        let location = location.clone();
        let places = self.places.clone();
        let reuse = move || {
            let folder = places.open(&location)?;
            kept::reuse(&clip, &location, &folder)
        };
        tokio::task::spawn_blocking(reuse)
            .await
            .map_err(|error| OutputError::Store {
                location: place,
                error: io::Error::other(error),
            })?
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

    async fn space(&self, folder: &Location) -> Result<Option<u64>, OutputError> {
        let location = folder.clone();
        let folder = folder.clone();
        let result = tokio::task::spawn_blocking(move || available_space(folder.on_disk()?))
            .await
            .map_err(io::Error::other);
        result
            .and_then(|result| result)
            .map_err(|error| OutputError::Store { location, error })
    }
}

/// Writes to a temporary name, checks, syncs, renames, and syncs the folder, in this order.
///
/// A `None` marks the end of the stream. If the channel closes without it, the stream failed.
fn write_clip(
    places: &FolderPlaces,
    location: &ClipLocation,
    chunks: mpsc::Receiver<Option<Bytes>>,
    announced: Option<u64>,
) -> Result<SavedClip, OutputError> {
    let video = location.folder.join(&location.file_name);
    let store_error = |error| OutputError::Store {
        location: video.clone(),
        error,
    };
    let folder = places.open(location)?;
    let name = OsStr::new(&location.file_name);
    let partial = PartialFile::create(&folder, name).map_err(store_error)?;
    fail_point!("file started");
    let (bytes, sha256) = partial.write(chunks).map_err(store_error)?;
    if let Some(announced) = announced.filter(|announced| *announced != bytes) {
        return Err(OutputError::WrongLength {
            got: bytes,
            announced,
        });
    }
    fail_point!("file written");
    if !partial.is_in_place() {
        return Err(OutputError::TakenOver);
    }
    check_in_place(&folder)?;
    let media = partial.check().map_err(store_error)??;
    let saved = SavedFile {
        location: video.with_extension(media.kind.extension()),
        bytes,
        sha256,
    };
    partial
        .commit(&saved, &location.kept)
        .map_err(store_error)?;
    // Recorded is the path: it must lead to where the clip was written.
    check_in_place(&folder)?;
    Ok(SavedClip {
        file: saved,
        duration: media.duration,
    })
}
