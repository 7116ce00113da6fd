//! Clips as files in folders of this machine.

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::path::Path;

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use futures_util::{Stream, stream};
use tokio::io::AsyncReadExt;

use crate::domain::{KeptClip, Location, SavedFile};
use crate::failpoint::fail_point;

use super::clip_folder::ClipFolder;
use super::disk::{find_damage, folder_of, if_there, remove_if_there, replace_file};
use super::disk_space::available_space;
use super::folder_places::{FolderPlaces, check_in_place};
use super::kept;
use super::partial_file::PartialFile;
use super::receive::{Chunks, receive};
use super::{
    ByteStream, CheckDepth, ClipDamage, ClipLocation, DownloadError, OutputError, OutputStore,
    SavedClip,
};

/// Number of bytes that are read at once.
const READ_CHUNK_BYTES: usize = 1 << 18;

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
        bytes: ByteStream,
        length: Option<u64>,
    ) -> Result<SavedClip, OutputError> {
        let location = location.clone();
        let place = location.folder.join(&location.file_name);
        let places = self.places.clone();
        receive(bytes, place, move |chunks| {
            write_clip(&places, &location, chunks, length)
        })
        .await
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

    async fn read(&self, location: &Location) -> Result<Option<ByteStream>, OutputError> {
        let opened = location.clone();
        let file = run(location, move || if_there(File::open(opened.on_disk()?))).await?;
        Ok(file.map(|file| Box::pin(chunks_of(file.into())) as ByteStream))
    }

    async fn write_note(&self, location: &Location, content: Vec<u8>) -> Result<(), OutputError> {
        let replaced = location.clone();
        run(location, move || {
            replace_file(replaced.on_disk()?, &content)
        })
        .await
    }

    async fn remove(&self, location: &Location) -> Result<(), OutputError> {
        let removed = location.clone();
        run(location, move || remove_if_there(removed.on_disk()?)).await
    }

    async fn write(&self, file: &SavedFile, bytes: ByteStream) -> Result<bool, OutputError> {
        let saved = file.clone();
        receive(bytes, file.location.clone(), move |chunks| {
            let written = write_as(&saved, chunks);
            written.map_err(|error| OutputError::Store {
                location: saved.location,
                error,
            })
        })
        .await
    }

    async fn list(&self, folder: &Location) -> Result<Vec<Location>, OutputError> {
        let listed = folder.clone();
        run(folder, move || list(listed.on_disk()?)).await
    }

    async fn inspect(&self, location: &Location) -> Result<Result<SavedFile, String>, OutputError> {
        let inspected = location.clone();
        run(location, move || kept::inspect(inspected.on_disk()?)).await
    }

    async fn check(&self, saved: &SavedFile, _: CheckDepth) -> Option<ClipDamage> {
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
        let asked = folder.clone();
        run(folder, move || available_space(asked.on_disk()?)).await
    }
}

/// Does something with a disk, which may block.
async fn run<T: Send + 'static>(
    location: &Location,
    operation: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> Result<T, OutputError> {
    let result = tokio::task::spawn_blocking(operation).await;
    let result = result.map_err(io::Error::other).and_then(|result| result);
    result.map_err(|error| OutputError::Store {
        location: location.clone(),
        error,
    })
}

/// Lists the files of a folder that are not hidden: a clip that was being saved when the program ended is.
fn list(folder: &Path) -> io::Result<Vec<Location>> {
    let entries = match folder.read_dir() {
        Err(error) if is_no_folder(&error) => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut files = Vec::new();
    for entry in entries {
        let entry = entry?;
        let is_hidden = entry.file_name().as_encoded_bytes().starts_with(b".");
        if !is_hidden && entry.file_type()?.is_file() {
            files.push(entry.path().into());
        }
    }
    Ok(files)
}

fn is_no_folder(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
    )
}

/// Returns the content of a file.
fn chunks_of(file: tokio::fs::File) -> impl Stream<Item = Result<Bytes, DownloadError>> + Send {
    stream::unfold(Some(file), |file| async {
        let mut file = file?;
        let mut chunk = BytesMut::with_capacity(READ_CHUNK_BYTES);
        match file.read_buf(&mut chunk).await {
            Ok(0) => None,
            Ok(_) => Some((Ok(chunk.freeze()), Some(file))),
            Err(error) => Some((Err(DownloadError::Transient(error.to_string())), None)),
        }
    })
}

/// Writes a clip that exists already to its place, under a temporary name until it is complete. Returns `false` if
/// something else is there, or if the content is another.
fn write_as(saved: &SavedFile, chunks: Chunks) -> io::Result<bool> {
    let folder = ClipFolder::open(folder_of(saved.location.on_disk()?))?;
    let name = saved.location.file_name();
    let partial = PartialFile::create(&folder, name)?;
    chunks.write_to(partial.file())?;
    if !partial.is_whole(saved)? {
        return Ok(false);
    }
    match partial.commit_new(name) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => folder.has_whole(name, saved),
        committed => committed.map(|()| true),
    }
}

/// Writes to a temporary name, checks, syncs, renames, and syncs the folder, in this order.
fn write_clip(
    places: &FolderPlaces,
    location: &ClipLocation,
    chunks: Chunks,
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
    let (bytes, sha256) = chunks.write_to(partial.file()).map_err(store_error)?;
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
