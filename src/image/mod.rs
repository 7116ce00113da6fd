//! Local image files: identifying them by content, and reading them for a submission.

mod facts;
mod fix;
mod kinds;
mod probe;

use std::fs::File;
use std::io::{self, Cursor, Read};
use std::path::Path;

use async_trait::async_trait;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use sha2::{Digest, Sha256};

use crate::domain::LocalImage;
use crate::domain::printable::printable_excerpt;
use crate::media;

pub use facts::PictureFacts;
pub use fix::ImageFixes;
use kinds::HEADER_BYTES;
pub use probe::{PictureProbe, ProbeError};

/// Maximum size of an image file, in bytes: the limit that the hosts of Kling's models publish.
const MAX_IMAGE_BYTES: u64 = 10_000_000;

/// Maximum length of a path that a message shows in full, in bytes.
const MAX_PATH_BYTES: usize = 300;

/// The content of an image file, ready to be sent to a provider.
#[derive(Clone, Debug)]
pub struct ImageFile {
    /// File name, without its folder.
    pub name: String,
    /// Media type, detected from the content.
    pub content_type: &'static str,
    /// Content of the file.
    pub bytes: Bytes,
}

impl ImageFile {
    /// Returns the image as a base64 data URI (RFC 2397).
    pub fn to_data_uri(&self) -> String {
        format!(
            "data:{};base64,{}",
            self.content_type,
            STANDARD.encode(&self.bytes)
        )
    }
}

/// Why a local image cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct ImageError {
    /// What is wrong, including the path of the file.
    pub reason: String,
    /// Whether reading it again later may succeed: the disk failed, rather than the file being
    /// missing or wrong.
    pub transient: bool,
}

impl ImageError {
    fn permanent(reason: String) -> Self {
        Self {
            reason,
            transient: false,
        }
    }
}

/// A source of local images. Tests and rehearsals replace the file system.
#[async_trait]
pub trait ImageSource: Send + Sync {
    /// Reads an image for a submission.
    ///
    /// # Errors
    ///
    /// Returns an error if the image cannot be read or is not the one that was loaded.
    async fn read(&self, image: &LocalImage) -> Result<ImageFile, ImageError>;
}

/// The image source that reads files of this machine.
#[derive(Clone, Copy, Debug)]
pub struct LocalImages;

#[async_trait]
impl ImageSource for LocalImages {
    async fn read(&self, image: &LocalImage) -> Result<ImageFile, ImageError> {
        let path = display_path(image.path());
        let image = image.clone();
        let read = tokio::task::spawn_blocking(move || read_unchanged(&image));
        read.await.unwrap_or_else(|error| {
            Err(ImageError::permanent(format!(
                "cannot read {path}: {error}"
            )))
        })
    }
}

/// Checks that a file is a whole image that can be submitted, and hashes its content.
///
/// # Errors
///
/// Returns an error if the file cannot be read, is too large, is not a JPEG, PNG or WebP image, or only a
/// part of one.
pub fn identify(path: &Path) -> Result<(LocalImage, PictureFacts), ImageError> {
    let path = std::path::absolute(path).map_err(|error| cannot_read(path, &error))?;
    let failed = |error: io::Error| cannot_read(&path, &error);
    let (mut file, mut bytes) = open(&path)?;
    let media_type = detect_media_type(&path, &bytes)?;
    file.read_to_end(&mut bytes).map_err(failed)?;
    let broken = |reason: String| {
        ImageError::permanent(format!(
            "{} is damaged or only a part of a picture: {reason}; copy or download it again",
            display_path(&path)
        ))
    };
    let mut content = Cursor::new(&bytes);
    let checked = media::check(&mut content).map_err(failed)?;
    checked.map_err(|error| broken(error.to_string()))?;
    content.set_position(0);
    let facts = PictureFacts::read(content, media_type).map_err(broken)?;
    let sha256 = hex::encode(Sha256::digest(&bytes));
    let image = LocalImage::new(&path, &sha256).ok_or_else(|| {
        let path = display_path(&path);
        ImageError::permanent(format!("{path} is not an absolute path"))
    })?;
    Ok((image, facts))
}

/// Reads an image and checks that its content is still the one that was loaded.
fn read_unchanged(image: &LocalImage) -> Result<ImageFile, ImageError> {
    let path = image.path();
    let (mut file, mut bytes) = open(path)?;
    let content_type = detect_media_type(path, &bytes)?;
    file.read_to_end(&mut bytes)
        .map_err(|error| cannot_read(path, &error))?;
    if hex::encode(Sha256::digest(&bytes)) != image.sha256() {
        let reason = format!(
            "{} has changed since it was loaded; load its manifest again",
            display_path(path)
        );
        return Err(ImageError::permanent(reason));
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

/// Opens an image file and reads its first bytes. The returned reader continues after them.
fn open(path: &Path) -> Result<(io::Take<File>, Vec<u8>), ImageError> {
    let cannot_read = |error: io::Error| cannot_read(path, &error);
    let metadata = path.metadata().map_err(cannot_read)?;
    if !metadata.is_file() {
        return Err(ImageError::permanent(format!(
            "{} is not a file",
            display_path(path)
        )));
    }
    if metadata.len() > MAX_IMAGE_BYTES {
        let size_mb = metadata.len().div_ceil(1_000_000);
        let max_mb = MAX_IMAGE_BYTES / 1_000_000;
        let reason = format!(
            "{} is {size_mb} MB; the limit is {max_mb} MB",
            display_path(path)
        );
        return Err(ImageError::permanent(reason));
    }
    // The file may have grown since; the limit bounds what is read all the same.
    let mut file = File::open(path).map_err(cannot_read)?.take(MAX_IMAGE_BYTES);
    let mut header = Vec::new();
    file.by_ref()
        .take(HEADER_BYTES as u64)
        .read_to_end(&mut header)
        .map_err(cannot_read)?;
    Ok((file, header))
}

/// Formats a path for a message: in full unless it is implausibly long, and without control
/// characters, which could move the terminal's cursor.
pub fn display_path(path: &Path) -> String {
    let text = path.to_string_lossy();
    if text.len() > MAX_PATH_BYTES {
        printable_excerpt(&text)
    } else {
        text.replace(char::is_control, " ")
    }
}

fn cannot_read(path: &Path, error: &io::Error) -> ImageError {
    use io::ErrorKind::{NotADirectory, NotFound, PermissionDenied};
    let path = display_path(path);
    match error.kind() {
        NotFound | NotADirectory => ImageError::permanent(format!("there is no file {path}")),
        kind => {
            let reason = format!("cannot read {path}: {error}");
            ImageError {
                reason,
                transient: kind != PermissionDenied,
            }
        }
    }
}

/// Returns the media type of an image, detected from its first bytes.
fn detect_media_type(path: &Path, header: &[u8]) -> Result<&'static str, ImageError> {
    kinds::media_type(header)
        .map_err(|what| ImageError::permanent(format!("{} {what}", display_path(path))))
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use ::image::{ImageFormat, RgbImage, RgbaImage};

    use super::*;

    /// Returns a picture of 30 × 20 pixels.
    fn picture(format: ImageFormat) -> Vec<u8> {
        let mut bytes = Cursor::new(Vec::new());
        let picture = RgbImage::new(30, 20);
        picture.write_to(&mut bytes, format).unwrap();
        bytes.into_inner()
    }

    fn folder_with(name: &str, bytes: &[u8]) -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        (folder, path)
    }

    #[test]
    fn an_image_is_recognised_by_its_content_and_not_by_its_name() {
        for (format, media_type) in [
            (ImageFormat::Png, "image/png"),
            (ImageFormat::Jpeg, "image/jpeg"),
            (ImageFormat::WebP, "image/webp"),
        ] {
            let (_folder, path) = folder_with("cup.gif", &picture(format));
            let (image, facts) = identify(&path).unwrap();
            assert_eq!(read_unchanged(&image).unwrap().content_type, media_type);
            assert_eq!(
                (facts.width, facts.height, facts.is_turned),
                (30, 20, false)
            );
        }
    }

    #[test]
    fn a_part_of_a_picture_is_refused() {
        for format in [ImageFormat::Png, ImageFormat::Jpeg, ImageFormat::WebP] {
            let whole = picture(format);
            let (_folder, path) = folder_with("cup.jpg", &whole[..whole.len() - 3]);
            let reason = identify(&path).unwrap_err().reason;
            assert!(reason.contains("only a part of a picture"), "{reason}");
        }
    }

    #[test]
    fn a_picture_that_is_stored_turned_is_told() {
        // Orientation 6 in the metadata: to be turned by 90 degrees.
        let exif = b"\xff\xe1\x00\x22Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0";
        let plain = picture(ImageFormat::Jpeg);
        let turned = [&plain[..2], exif, &plain[2..]].concat();
        let (_folder, path) = folder_with("cup.jpg", &turned);
        let (_, facts) = identify(&path).unwrap();
        assert!(facts.is_turned);
        assert!(!facts.is_cmyk);
    }

    #[test]
    fn transparent_pictures_are_told() {
        let mut bytes = Cursor::new(Vec::new());
        let picture = RgbaImage::new(30, 20);
        picture.write_to(&mut bytes, ImageFormat::Png).unwrap();
        let (_folder, path) = folder_with("cup.png", &bytes.into_inner());
        assert!(identify(&path).unwrap().1.has_alpha);
    }

    #[test]
    fn files_that_are_not_images_are_refused_with_what_they_are() {
        for (bytes, what) in [
            (
                &b"GIF89a\x01\0\x01\0"[..],
                "but a GIF; save it as JPEG or PNG",
            ),
            (b"<html>not found</html>", "but a web page"),
            (b"", "but empty"),
            (b"\0\0\0\x18ftypheic\0\0\0\0", "but an HEIC picture"),
            (b"\0\0\0\x18ftypavif\0\0\0\0", "but an AVIF picture"),
            (b"MM\0*\0\0\0\x08", "but a TIFF picture"),
            (
                b"<?xml version=\"1.0\"?>\n<svg width=\"9\">",
                "but an SVG drawing",
            ),
            (b"hello", "but something that starts with `hello`"),
        ] {
            let (_folder, path) = folder_with("cup.jpg", bytes);
            let reason = identify(&path).unwrap_err().reason;
            let what = format!("cup.jpg is not a JPEG, PNG or WebP image {what}");
            assert!(reason.contains(&what), "{reason}");
        }
        let (folder, path) = folder_with("cup.jpg", b"");
        let reason = |path: &Path| identify(path).unwrap_err().reason;
        assert!(reason(folder.path()).contains("is not a file"));
        assert!(reason(&folder.path().join("mug.jpg")).contains("there is no file"));
        let file = File::options().write(true).open(&path).unwrap();
        file.set_len(MAX_IMAGE_BYTES + 1).unwrap();
        assert!(reason(&path).contains("is 11 MB; the limit is 10 MB"));
    }

    #[test]
    fn an_image_that_has_changed_since_it_was_loaded_is_refused() {
        let plain = picture(ImageFormat::Png);
        let (_folder, path) = folder_with("cup.png", &plain);
        let (image, _) = identify(&path).unwrap();
        std::fs::write(&path, [&plain[..], b"more"].concat()).unwrap();
        assert!(
            read_unchanged(&image)
                .unwrap_err()
                .reason
                .contains("has changed since it was loaded")
        );
    }
}
