//! The ports to where clips come from and where they are kept, and an adapter of each.
//!
//! The rule of this folder: a clip that was reported as saved is whole, is a video, and survives power loss.

pub mod container;
mod disk_space;
pub mod download;
pub mod local;

use std::io;
use std::path::{Path, PathBuf};
use std::pin::Pin;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::Stream;

use crate::domain::SavedFile;

pub use download::{ClipStream, DownloadError, Downloader};
pub use local::LocalStore;

/// The bytes of a clip as they come in.
pub type ByteStream = Pin<Box<dyn Stream<Item = Result<Bytes, DownloadError>> + Send>>;

/// Where clips come from.
#[async_trait]
pub trait ClipSource: Send + Sync {
    /// Begins to fetch a clip. `may_be_local` is for a provider that is itself on this machine.
    async fn get(&self, link: &str, may_be_local: bool) -> Result<ClipStream, DownloadError>;
}

/// Where clips are kept.
#[async_trait]
pub trait OutputStore: Send + Sync {
    /// Saves a stream as a file, whole or not at all. `length` is what the sender announced, if it did.
    async fn save(
        &self,
        place: &ClipLocation,
        bytes: ByteStream,
        length: Option<u64>,
    ) -> Result<SavedFile, OutputError>;

    /// Tells what has become of a file that was saved; `None` when it is as it was.
    async fn check(&self, saved: &SavedFile) -> Option<ClipDamage>;

    /// Tells how many bytes of clips a folder has space for, if it takes any; `None` where nobody can tell. Nothing is
    /// left behind, and a folder that is not there is not made.
    async fn space(&self, folder: &Path) -> Result<Option<u64>, OutputError>;
}

/// Where a clip belongs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClipLocation {
    /// The batch's folder.
    pub folder: PathBuf,
    /// The file's name in it, safe on every system.
    pub file_name: String,
}

/// What has become of a clip since it was saved.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ClipDamage {
    /// It is not there.
    #[error("missing")]
    Missing,
    /// It is shorter or longer.
    #[error("is {bytes} bytes, {saved} were saved")]
    Length {
        /// Bytes there are.
        bytes: u64,
        /// Bytes that were saved.
        saved: u64,
    },
    /// Its content is another.
    #[error("has another SHA-256")]
    Content,
    /// Nobody can tell.
    #[error("cannot be read: {0}")]
    Unreadable(String),
}

/// Why a clip was not saved.
#[derive(Debug, thiserror::Error)]
pub enum OutputError {
    /// The stream failed.
    #[error(transparent)]
    Download(#[from] DownloadError),
    /// Fewer or more bytes came than were announced.
    #[error("got {got} bytes where {announced} were announced")]
    WrongLength {
        /// Bytes that came.
        got: u64,
        /// Bytes that were announced.
        announced: u64,
    },
    /// What came is not a whole video.
    #[error("what was downloaded is not a whole MP4 video: {0}")]
    NotAVideo(String),
    /// The store cannot take it: a full disk, a read-only folder. Nothing else will fare better.
    #[error("cannot write {}: {error}", path.display())]
    Store {
        /// Where.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
}
