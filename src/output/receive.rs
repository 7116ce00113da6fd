//! A clip as it arrives, for a thread that may wait for a disk.

use std::io::{self, Write};

use bytes::Bytes;
use futures_util::StreamExt;
use sha2::{Digest, Sha256};
use tokio::sync::mpsc;

use crate::domain::Location;

use super::{ByteStream, DownloadError, OutputError};

/// Maximum number of chunks that wait for the disk before the download has to wait.
const MAX_BUFFERED_CHUNKS: usize = 16;

/// The chunks of a stream. `None` marks its end; if they end without it, the stream has failed.
pub(super) struct Chunks(mpsc::Receiver<Option<Bytes>>);

/// Passes a stream to `write`, which may block. `place` is where the clip is to be saved, for errors.
///
/// # Errors
/// Returns the error of the stream, or else that of `write`.
pub(super) async fn receive<T: Send + 'static>(
    mut bytes: ByteStream,
    place: Location,
    write: impl FnOnce(Chunks) -> Result<T, OutputError> + Send + 'static,
) -> Result<T, OutputError> {
    let (sender, receiver) = mpsc::channel(MAX_BUFFERED_CHUNKS);
    let writer = tokio::task::spawn_blocking(move || write(Chunks(receiver)));
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

impl Chunks {
    /// Writes all chunks; returns the length in bytes and the SHA-256 in hexadecimal.
    pub(super) fn write_to(mut self, mut file: impl Write) -> io::Result<(u64, String)> {
        let mut length = 0;
        let mut hash = Sha256::new();
        loop {
            match self.0.blocking_recv() {
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
}
