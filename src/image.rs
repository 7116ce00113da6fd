//! Images on disk: what they are, by their content, and their bytes.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use async_trait::async_trait;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use imagesize::ImageType;
use sha2::{Digest, Sha256};

use crate::domain::LocalImage;
use crate::domain::printable::shown;

/// The largest image file that is taken, in bytes: what hosts of Kling's models publish as their limit.
pub const MAX_BYTES: u64 = 10_000_000;

/// How much of a file tells what it is.
const BEGINNING: usize = 64;

/// A longer path is told in part.
const LONGEST_TOLD: usize = 300;

/// How much of a file is read at once.
const CHUNK: usize = 64 << 10;

/// An image file as it is sent.
#[derive(Clone, Debug)]
pub struct ImageFile {
    /// The file's own name.
    pub name: String,
    /// Its media type.
    pub content_type: &'static str,
    /// Its bytes.
    pub bytes: Bytes,
}

impl ImageFile {
    /// Writes it as a data URI (RFC 2397).
    pub fn to_data_uri(&self) -> String {
        format!(
            "data:{};base64,{}",
            self.content_type,
            STANDARD.encode(&self.bytes)
        )
    }
}

/// Why an image on disk cannot be had.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct ImageError {
    /// What is wrong, with the file it is wrong with.
    pub reason: String,
    /// Whether it may be had later: a disk has trouble, not the file.
    pub transient: bool,
}

impl ImageError {
    fn for_good(reason: String) -> Self {
        Self {
            reason,
            transient: false,
        }
    }
}

/// Where images on disk come from when they are sent.
#[async_trait]
pub trait ImageSource: Send + Sync {
    /// Reads an image as it was when its row was loaded.
    async fn read(&self, image: &LocalImage) -> Result<ImageFile, ImageError>;
}

/// This machine's files.
#[derive(Clone, Copy, Debug)]
pub struct LocalImages;

#[async_trait]
impl ImageSource for LocalImages {
    async fn read(&self, image: &LocalImage) -> Result<ImageFile, ImageError> {
        let image = image.clone();
        let read = tokio::task::spawn_blocking(move || read_as_loaded(&image));
        read.await.unwrap_or_else(|error| {
            Err(ImageError::for_good(format!(
                "an image was not read: {error}"
            )))
        })
    }
}

/// Finds out whether a file can be sent as an image, and which it is.
pub fn identify(path: &Path) -> Result<LocalImage, ImageError> {
    let path = std::path::absolute(path).map_err(|error| cannot_read(path, &error))?;
    let (mut file, beginning) = open(&path)?;
    media_type(&path, &beginning)?;
    let mut hash = Sha256::new();
    hash.update(&beginning);
    let mut chunk = vec![0; CHUNK];
    loop {
        match file
            .read(&mut chunk)
            .map_err(|error| cannot_read(&path, &error))?
        {
            0 => break,
            length => hash.update(&chunk[..length]),
        }
    }
    let sha256 = hex::encode(hash.finalize());
    LocalImage::new(&path, &sha256)
        .ok_or_else(|| ImageError::for_good(format!("{} is no path", display_path(&path))))
}

fn read_as_loaded(image: &LocalImage) -> Result<ImageFile, ImageError> {
    let path = image.path();
    let (mut file, mut bytes) = open(path)?;
    let content_type = media_type(path, &bytes)?;
    file.read_to_end(&mut bytes)
        .map_err(|error| cannot_read(path, &error))?;
    if hex::encode(Sha256::digest(&bytes)) != image.sha256() {
        let reason = format!(
            "{} has changed since it was loaded; load its manifest again",
            display_path(path)
        );
        return Err(ImageError::for_good(reason));
    }
    let name = path
        .file_name()
        .map_or_else(String::new, |name| name.to_string_lossy().into_owned());
    Ok(ImageFile {
        name,
        content_type,
        bytes: bytes.into(),
    })
}

/// Opens an image file, and reads its beginning.
fn open(path: &Path) -> Result<(io::Take<File>, Vec<u8>), ImageError> {
    let cannot_read = |error: io::Error| cannot_read(path, &error);
    let metadata = path.metadata().map_err(cannot_read)?;
    if !metadata.is_file() {
        return Err(ImageError::for_good(format!(
            "{} is no file",
            display_path(path)
        )));
    }
    if metadata.len() > MAX_BYTES {
        let (megabytes, most) = (metadata.len().div_ceil(1_000_000), MAX_BYTES / 1_000_000);
        let reason = format!(
            "{} has {megabytes} MB, the most are {most} MB",
            display_path(path)
        );
        return Err(ImageError::for_good(reason));
    }
    // Nobody sends what a file has grown by since.
    let mut file = File::open(path).map_err(cannot_read)?.take(MAX_BYTES);
    let mut beginning = Vec::new();
    file.by_ref()
        .take(BEGINNING as u64)
        .read_to_end(&mut beginning)
        .map_err(cannot_read)?;
    Ok((file, beginning))
}

/// A path as a message shows it: whole, unless it is none, and without what would move a terminal's cursor.
pub fn display_path(path: &Path) -> String {
    let text = path.to_string_lossy();
    if text.len() > LONGEST_TOLD {
        shown(&text)
    } else {
        text.replace(char::is_control, " ")
    }
}

fn cannot_read(path: &Path, error: &io::Error) -> ImageError {
    use io::ErrorKind::{NotADirectory, NotFound, PermissionDenied};
    let path = display_path(path);
    match error.kind() {
        NotFound | NotADirectory => ImageError::for_good(format!("there is no file {path}")),
        kind => {
            let reason = format!("{path} cannot be read: {error}");
            ImageError {
                reason,
                transient: kind != PermissionDenied,
            }
        }
    }
}

fn media_type(path: &Path, beginning: &[u8]) -> Result<&'static str, ImageError> {
    match imagesize::image_type(beginning) {
        Ok(ImageType::Jpeg) => Ok("image/jpeg"),
        Ok(ImageType::Png) => Ok("image/png"),
        Ok(ImageType::Webp) => Ok("image/webp"),
        _ => Err(ImageError::for_good(format!(
            "{} is no JPEG, PNG or WebP image",
            display_path(path)
        ))),
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    const PNG: &[u8] = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\x02\0\0\0\x02\0\x08\x06\0\0\0";

    fn folder_with(name: &str, bytes: &[u8]) -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        (folder, path)
    }

    #[test]
    fn an_image_is_known_by_its_content_not_by_its_name() {
        for (bytes, media_type) in [
            (PNG, "image/png"),
            (
                b"\xff\xd8\xff\xe0\0\x10JFIF\0\x01\x01\0\0\x01\0\x01\0\0",
                "image/jpeg",
            ),
            (
                b"RIFF\x24\0\0\0WEBPVP8 \x18\0\0\0\x30\x01\0\x9d",
                "image/webp",
            ),
        ] {
            let (_folder, path) = folder_with("cup.gif", bytes);
            let image = identify(&path).unwrap();
            assert_eq!(read_as_loaded(&image).unwrap().content_type, media_type);
        }
    }

    #[test]
    fn what_is_no_image_says_so() {
        for (bytes, problem) in [
            (&b"GIF89a\x01\0\x01\0"[..], "is no JPEG, PNG or WebP image"),
            (b"<html>not found</html>", "is no JPEG, PNG or WebP image"),
            (b"", "is no JPEG, PNG or WebP image"),
        ] {
            let (_folder, path) = folder_with("cup.jpg", bytes);
            let display_path = identify(&path).unwrap_err().reason;
            assert!(
                display_path.contains(problem) && display_path.contains("cup.jpg"),
                "{display_path}"
            );
        }
        let (folder, path) = folder_with("cup.jpg", PNG);
        assert!(
            identify(folder.path())
                .unwrap_err()
                .reason
                .contains("is no file")
        );
        assert!(
            identify(&folder.path().join("mug.jpg"))
                .unwrap_err()
                .reason
                .contains("there is no file")
        );
        File::options()
            .write(true)
            .open(&path)
            .unwrap()
            .set_len(MAX_BYTES + 1)
            .unwrap();
        assert!(
            identify(&path)
                .unwrap_err()
                .reason
                .contains("has 11 MB, the most are 10 MB")
        );
    }

    #[test]
    fn an_image_that_has_changed_since_is_not_sent() {
        let (_folder, path) = folder_with("cup.png", PNG);
        let image = identify(&path).unwrap();
        std::fs::write(&path, [PNG, b"more"].concat()).unwrap();
        assert!(
            read_as_loaded(&image)
                .unwrap_err()
                .reason
                .contains("has changed since it was loaded")
        );
    }
}
