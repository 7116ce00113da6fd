//! The ports for where clips come from and where they are stored, with an adapter of each.
//!
//! The rule of this folder: a clip that is reported as saved is complete, is a video or a picture, and
//! survives a power loss.

mod clip_damage;
mod clip_folder;
mod clip_storage;
mod disk;
mod disk_space;
pub(crate) mod download;
mod folder_places;
mod kept;
pub(crate) mod local;
mod marker;
mod objects;
mod partial_file;
mod receive;
mod relocate;
mod set_aside;
mod store_scope;
mod transfer;

use std::io;
use std::path::PathBuf;
use std::pin::Pin;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::Stream;
use url::Url;

use crate::domain::{KeptClip, Location, SavedFile};

pub use clip_damage::ClipDamage;
pub use clip_storage::ClipStorage;
pub use disk::create_folder;
pub use download::{DownloadTimeouts, Downloader};
pub use kept::inspect as inspect_file;
pub use local::LocalStore;
pub use marker::Marker;
pub use objects::ObjectStorage;

pub use crate::media::ContentError;
pub use relocate::{Relocation, RelocationError, is_same_place, relocate};
pub use store_scope::StoreScope;
pub use transfer::transfer_clips;

/// Maximum length of a clip, in bytes. A clip of ten seconds has a few megabytes.
const MAX_CLIP_BYTES: u64 = 2 << 30;

/// The bytes of a clip as they arrive. The stream ends at its first error.
pub type ByteStream = Pin<Box<dyn Stream<Item = Result<Bytes, DownloadError>> + Send>>;

/// A source of finished clips.
#[async_trait]
pub trait ClipSource: Send + Sync {
    /// Starts the download of a clip; the bytes follow in the returned stream. Free, so it may be
    /// repeated.
    ///
    /// With `allow_loopback`, the URL may be on this machine, but not elsewhere in a private
    /// network. This is for a provider that is on this machine itself.
    async fn get(&self, url: &str, allow_loopback: bool) -> Result<ClipStream, DownloadError>;
}

/// A clip whose download has started.
pub struct ClipStream {
    /// The bytes, as they arrive.
    pub bytes: ByteStream,
    /// The announced length, in bytes; `None` if the server did not announce one.
    pub length: Option<u64>,
}

/// A clip that was saved just now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SavedClip {
    /// The file.
    pub file: SavedFile,
    /// How long it lasts; `None` if that is not known.
    pub duration: Option<Duration>,
}

/// A place where clips are stored.
#[async_trait]
pub trait OutputStore: Send + Sync {
    /// Saves a stream as a file, completely or not at all, and replaces a file of that name. A clip of
    /// the job's earlier inputs that has the name, or the name with another ending, is moved aside
    /// first, when the new one is whole.
    ///
    /// `length` is the length in bytes that the sender announced; a stream of another length is an
    /// error. `Ok` means that the file survives a power loss.
    async fn save(
        &self,
        location: &ClipLocation,
        bytes: ByteStream,
        length: Option<u64>,
    ) -> Result<SavedClip, OutputError>;

    /// Saves a clip that exists already, as a link or a copy, as [`save`](Self::save) does. Returns
    /// `None` if it is neither where it was saved nor where it was moved aside, or damaged.
    async fn reuse(
        &self,
        clip: &KeptClip,
        location: &ClipLocation,
    ) -> Result<Option<SavedFile>, OutputError>;

    /// Returns the clip that an earlier try at the same attempt has saved here, if it can tell: a crash may have
    /// come before the queue knew of it.
    async fn find_saved(&self, _location: &ClipLocation) -> Result<Option<SavedFile>, OutputError> {
        Ok(None)
    }

    /// Reads what is at a location; `None` if nothing is there.
    async fn read(&self, location: &Location) -> Result<Option<ByteStream>, OutputError>;

    /// Returns a link by which everybody can read what is at a location, for as long as it is valid; `None` if
    /// there are no links to this place.
    async fn link(
        &self,
        _location: &Location,
        _valid: Duration,
    ) -> Result<Option<Url>, OutputError> {
        Ok(None)
    }

    /// Replaces a small file that is no clip. Its folder must exist, where there are folders.
    async fn write_note(&self, location: &Location, content: Vec<u8>) -> Result<(), OutputError>;

    /// Removes what is at a location for good, if it is there.
    async fn remove(&self, location: &Location) -> Result<(), OutputError>;

    /// Writes a clip that exists already to where its file says. Returns `false`, and changes nothing, if something
    /// else is there.
    async fn write(&self, file: &SavedFile, bytes: ByteStream) -> Result<bool, OutputError>;

    /// Copies a clip. Returns `false`, and changes nothing, if it is gone, or if something else is in the new place.
    async fn copy(&self, from: &SavedFile, to: &Location) -> Result<bool, OutputError> {
        copy_through(self, from, to).await
    }

    /// Lists what is in a folder itself and is not hidden; nothing if there is no such folder.
    async fn list(&self, folder: &Location) -> Result<Vec<Location>, OutputError>;

    /// Reads what is at a location as a clip. The inner error says why it is no complete one.
    async fn inspect(&self, location: &Location) -> Result<Result<SavedFile, String>, OutputError>;

    /// Compares a clip with what was saved; `None` if it is unchanged.
    async fn check(&self, saved: &SavedFile, depth: CheckDepth) -> Option<ClipDamage>;

    /// Returns whether the storage of a folder keeps what is in the place of a clip if it is asked to; `None` if it
    /// is no storage.
    async fn has_conditions(&self, _folder: &Location) -> Result<Option<bool>, OutputError> {
        Ok(None)
    }

    /// Returns the free space for clips of a folder, in bytes; `None` if it is not known. Of object storage, it is
    /// that for clips on their way there. Fails if the folder is not writable. Leaves nothing behind and does not
    /// create the folder.
    async fn space(&self, folder: &Location) -> Result<Option<u64>, OutputError>;
}

/// Copies a clip by reading and writing it, as [`OutputStore::copy`] does.
async fn copy_through<S: OutputStore + ?Sized>(
    store: &S,
    from: &SavedFile,
    to: &Location,
) -> Result<bool, OutputError> {
    match store.read(&from.location).await? {
        Some(bytes) => store.write(&from.at(to.clone()), bytes).await,
        None => Ok(false),
    }
}

/// How well a clip is checked. One on a disk is always read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CheckDepth {
    /// What its storage says of it is compared: its length, and the SHA-256 that was stored with it.
    Stored,
    /// It is read.
    Content,
}

/// Where a clip is to be saved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClipLocation {
    /// The folder of the batch. It is created if it does not exist.
    pub folder: Location,
    /// The name of an MP4 video in the folder, valid on Linux, macOS and Windows. Another kind of
    /// clip has its own ending in place of `.mp4`.
    pub file_name: String,
    /// The clips of the job's earlier inputs. One that has this name, or this name with another
    /// ending, is moved aside.
    pub kept: Vec<KeptClip>,
    /// The token of the attempt that it is for.
    pub client_token: String,
}

/// Why a clip was not downloaded. The messages do not contain the URL, which may be signed.
#[derive(Clone, Debug, thiserror::Error)]
pub enum DownloadError {
    /// The server returned 401, 403, 404 or 410. A poll of the prediction returns a fresh URL.
    #[error("the clip's URL returned {0}")]
    Expired(u16),
    /// The host cannot be reached, or fails: other links there fail likewise.
    #[error("{reason}")]
    Unavailable {
        /// What happened.
        reason: String,
        /// The delay that the host asked for, at most an hour.
        retry_after: Option<Duration>,
    },
    /// The host broke off in the middle.
    #[error("{0}")]
    Interrupted(String),
    /// A failure of this link that may pass.
    #[error("{0}")]
    Transient(String),
    /// The URL is not public HTTPS, so nothing was requested. This is not the HTTP status 403,
    /// which is `Expired`.
    #[error("the clip's URL {0}; only public HTTPS addresses are allowed")]
    UrlNotAllowed(String),
    /// The file is larger than any clip.
    #[error("the file is larger than {} MiB", MAX_CLIP_BYTES >> 20)]
    TooLarge,
}

/// Why a clip was not saved.
#[derive(Debug, thiserror::Error)]
pub enum OutputError {
    /// The stream failed.
    #[error(transparent)]
    Download(#[from] DownloadError),
    /// The stream has another length than the sender announced.
    #[error("got {got} bytes, but {announced} were announced")]
    WrongLength {
        /// Length of the stream, in bytes.
        got: u64,
        /// Length that was announced, in bytes.
        announced: u64,
    },
    /// The stream is complete but not a whole video or picture.
    #[error("the download is not a complete video or picture: {0}")]
    NotAClip(#[from] ContentError),
    /// The folder led to another place when this store saved into it first.
    #[error(
        "{} was replaced by another folder or a link, to {}",
        folder.display(),
        leads_to.display()
    )]
    FolderReplaced {
        /// The folder.
        folder: PathBuf,
        /// Where it leads now.
        leads_to: PathBuf,
    },
    /// Another process saves the same clip: this one was stopped until its lease was lost.
    #[error("another process saves this clip")]
    TakenOver,
    /// The storage refuses whatever is asked until the user has mended it: the credentials, their permissions or
    /// the bucket are wrong.
    #[error("the storage refuses {location}: {reason}")]
    Refused {
        /// The object that was asked for or to be written.
        location: Location,
        /// What the storage says.
        reason: String,
    },
    /// The storage does not answer, has failed, or asks to be asked later.
    #[error("the storage is not available for {location}: {reason}")]
    Unavailable {
        /// The object that was asked for or to be written.
        location: Location,
        /// What happened.
        reason: String,
    },
    /// The store cannot write, for example because the disk is full or another folder is in the place
    /// of the file. [`StoreScope`] says what else would fail.
    #[error("cannot write {location}: {error}")]
    Store {
        /// The file or folder that was to be written.
        location: Location,
        /// The reason.
        error: io::Error,
    },
}
