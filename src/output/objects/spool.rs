//! A clip in a temporary file without a name, until it is stored: a storage wants to know its length first.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;

use crate::media::{self, Media};
use crate::output::OutputError;
use crate::output::receive::Chunks;

/// A whole clip. The system removes the file when it is closed, also by a crash.
pub(super) struct Spool {
    /// Read by one thread at a time.
    file: Arc<Mutex<File>>,
    /// Its length, in bytes.
    pub(super) bytes: u64,
    /// SHA-256 of its content, in hexadecimal.
    pub(super) sha256: String,
    /// What it is.
    pub(super) media: Media,
}

impl Spool {
    /// Writes a clip and checks that it is whole. `announced` is its length, if the sender said it.
    ///
    /// # Errors
    /// Returns [`OutputError::Store`] with the folder of temporary files if it cannot be written there.
    pub(super) fn write(chunks: Chunks, announced: Option<u64>) -> Result<Self, OutputError> {
        let store_error = |error| OutputError::Store {
            location: folder().into(),
            error,
        };
        let mut file = tempfile::tempfile().map_err(store_error)?;
        let (bytes, sha256) = chunks.write_to(&mut file).map_err(store_error)?;
        if let Some(announced) = announced.filter(|announced| *announced != bytes) {
            return Err(OutputError::WrongLength {
                got: bytes,
                announced,
            });
        }
        let media = media::check(&mut file).map_err(store_error)??;
        Ok(Self {
            file: Arc::new(Mutex::new(file)),
            bytes,
            sha256,
            media,
        })
    }

    /// Reads a part.
    pub(super) async fn read(&self, offset: u64, length: u64) -> Result<Bytes, OutputError> {
        let file = Arc::clone(&self.file);
        let read = move || {
            let mut file = file.lock().unwrap_or_else(PoisonError::into_inner);
            file.seek(SeekFrom::Start(offset))?;
            let mut part = Vec::with_capacity(usize::try_from(length).unwrap_or(0));
            (&mut *file).take(length).read_to_end(&mut part)?;
            Ok(part.into())
        };
        let read = tokio::task::spawn_blocking(read).await;
        let part = read.unwrap_or_else(|error| Err(io::Error::other(error)));
        part.map_err(|error| OutputError::Store {
            location: folder().into(),
            error,
        })
    }
}

/// Returns the folder of temporary files.
pub(super) fn folder() -> PathBuf {
    std::env::temp_dir()
}
