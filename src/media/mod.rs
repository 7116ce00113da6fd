//! What a downloaded file is, by its content, and whether it is complete: a provider may return
//! another kind of video than MP4, or a picture, whatever its link is called.

mod boxes;
mod container;
mod gif;
mod jpeg;
mod matroska;
mod movie;
mod png;
mod reader;
#[cfg(test)]
mod test_movie;
mod webp;

use std::io::{self, Read, Seek, SeekFrom};
use std::time::Duration;

use container::{QUICKTIME_FIRST_BOXES, check_boxes, display_bytes};

use reader::Reader;

/// Number of bytes by which every kind is recognised.
const SIGNATURE_BYTES: u64 = 12;

/// A kind of video or picture that is kept as a clip.
#[derive(Clone, Copy, Debug, PartialEq, Eq, strum::VariantArray)]
pub enum MediaKind {
    /// An MP4 video.
    Mp4,
    /// A QuickTime movie.
    Mov,
    /// A WebM video.
    Webm,
    /// A Matroska video that is not WebM.
    Matroska,
    /// A GIF, perhaps animated.
    Gif,
    /// A PNG picture.
    Png,
    /// A JPEG picture.
    Jpeg,
    /// A WebP picture, perhaps animated.
    Webp,
}

impl MediaKind {
    /// Every kind.
    pub const ALL: &'static [Self] = <Self as strum::VariantArray>::VARIANTS;

    /// Returns the ending of its file names, without the dot.
    pub const fn extension(self) -> &'static str {
        match self {
            Self::Mp4 => "mp4",
            Self::Mov => "mov",
            Self::Webm => "webm",
            Self::Matroska => "mkv",
            Self::Gif => "gif",
            Self::Png => "png",
            Self::Jpeg => "jpg",
            Self::Webp => "webp",
        }
    }

    /// Returns its media type.
    pub const fn content_type(self) -> &'static str {
        match self {
            Self::Mp4 => "video/mp4",
            Self::Mov => "video/quicktime",
            Self::Webm => "video/webm",
            Self::Matroska => "video/x-matroska",
            Self::Gif => "image/gif",
            Self::Png => "image/png",
            Self::Jpeg => "image/jpeg",
            Self::Webp => "image/webp",
        }
    }

    /// Returns the kind that a file starts like; `None` if it is none of them. WebM is recognised as
    /// Matroska, of which it is a part.
    fn of_signature(start: &[u8]) -> Option<Self> {
        let box_kind = start.get(4..8).unwrap_or_default();
        let brand = start.get(8..12).unwrap_or_default();
        match start {
            _ if box_kind == b"ftyp" && brand != b"qt  " => Some(Self::Mp4),
            _ if QUICKTIME_FIRST_BOXES.iter().any(|kind| kind == box_kind) => Some(Self::Mov),
            [0x1a, 0x45, 0xdf, 0xa3, ..] => Some(Self::Matroska),
            [b'G', b'I', b'F', b'8', b'7' | b'9', b'a', ..] => Some(Self::Gif),
            [0x89, b'P', b'N', b'G', b'\r', b'\n', 0x1a, b'\n', ..] => Some(Self::Png),
            [0xff, 0xd8, 0xff, ..] => Some(Self::Jpeg),
            [b'R', b'I', b'F', b'F', ..] if brand == b"WEBP" => Some(Self::Webp),
            _ => None,
        }
    }
}

/// A file that is kept as a clip.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Media {
    /// What it is.
    pub kind: MediaKind,
    /// How long it lasts; `None` for a picture, and where the file does not say so in one place.
    pub duration: Option<Duration>,
}

/// Why a file is not kept as a clip.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ContentError {
    /// It is no video and no picture, such as an error page.
    #[error("{0}")]
    Foreign(String),
    /// It is a part of a video or a picture, or a broken one.
    #[error("{0}")]
    Broken(String),
}

/// Returns what a file is, after a check that it is complete, as far as its structure shows that.
///
/// The outer error is a failure to read. The inner one says what is wrong with the content.
pub fn check(file: &mut (impl Read + Seek)) -> io::Result<Result<Media, ContentError>> {
    let mut start = Vec::new();
    file.seek(SeekFrom::Start(0))?;
    file.by_ref()
        .take(SIGNATURE_BYTES)
        .read_to_end(&mut start)?;
    let Some(kind) = MediaKind::of_signature(&start) else {
        return Ok(Err(ContentError::Foreign(match start.get(..8) {
            Some(first) => format!("it starts with {}", display_bytes(first)),
            None if start.is_empty() => "it is empty".into(),
            None => format!("it has only {} bytes", start.len()),
        })));
    };
    Ok(check_kind(file, kind)?.map_err(ContentError::Broken))
}

fn check_kind(file: &mut (impl Read + Seek), kind: MediaKind) -> io::Result<Result<Media, String>> {
    let without_duration = |checked: Result<(), String>| checked.map(|()| (kind, None));
    let checked = match kind {
        MediaKind::Mp4 => check_boxes(file, &[*b"ftyp"])?.map(|movie| (kind, movie.duration)),
        MediaKind::Mov => {
            check_boxes(file, &QUICKTIME_FIRST_BOXES)?.map(|movie| (kind, movie.duration))
        }
        MediaKind::Webm | MediaKind::Matroska => {
            let is_webm = matroska::check(&mut Reader::new(file)?)?;
            is_webm.map(|is_webm| {
                let kind = if is_webm {
                    MediaKind::Webm
                } else {
                    MediaKind::Matroska
                };
                (kind, None)
            })
        }
        MediaKind::Gif => without_duration(gif::check(&mut Reader::new(file)?)?),
        MediaKind::Png => without_duration(png::check(&mut Reader::new(file)?)?),
        MediaKind::Jpeg => without_duration(jpeg::check(&mut Reader::new(file)?)?),
        MediaKind::Webp => without_duration(webp::check(&mut Reader::new(file)?)?),
    };
    Ok(checked.map(|(kind, duration)| Media { kind, duration }))
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use super::*;

    fn check_bytes(bytes: &[u8]) -> Result<MediaKind, ContentError> {
        let media = check(&mut Cursor::new(bytes)).unwrap();
        media.map(|media| media.kind)
    }

    /// Returns a complete file of each kind.
    fn samples() -> Vec<(MediaKind, Vec<u8>)> {
        vec![
            (MediaKind::Mp4, test_movie::make_movie(b"isom")),
            (MediaKind::Mov, test_movie::make_movie(b"qt  ")),
            (MediaKind::Mov, test_movie::make_old_movie()),
            (MediaKind::Webm, matroska::tests::sample("webm", true)),
            (
                MediaKind::Matroska,
                matroska::tests::sample("matroska", true),
            ),
            (MediaKind::Gif, gif::tests::sample()),
            (MediaKind::Png, png::tests::sample()),
            (MediaKind::Jpeg, jpeg::tests::sample()),
            (MediaKind::Webp, webp::tests::sample()),
        ]
    }

    #[test]
    fn every_kind_is_recognised_by_its_content() {
        for (kind, bytes) in samples() {
            assert_eq!(check_bytes(&bytes), Ok(kind));
        }
    }

    #[test]
    fn a_file_of_any_kind_truncated_at_any_byte_is_rejected() {
        for (kind, bytes) in samples() {
            for length in 0..bytes.len() {
                assert!(
                    check_bytes(&bytes[..length]).is_err(),
                    "{length} of {} bytes of {kind:?} passed",
                    bytes.len()
                );
            }
        }
    }

    #[test]
    fn what_is_no_clip_is_rejected_and_quoted() {
        for (bytes, reason) in [
            (&b""[..], "it is empty"),
            (b"GIF", "it has only 3 bytes"),
            (
                b"<html><body>404</body></html>",
                "it starts with `<html><b`",
            ),
            (b"{\"error\": \"gone\"}", "it starts with `{\"error\"`"),
            (b"RIFF\x10\0\0\0WAVEfmt ", "it starts with 5249464610000000"),
        ] {
            let foreign = ContentError::Foreign(reason.into());
            assert_eq!(check_bytes(bytes), Err(foreign));
        }
    }

    #[test]
    fn changed_bytes_do_not_panic_and_take_no_time() {
        for seed in 0..2_000 {
            let mut rng = fastrand::Rng::with_seed(seed);
            for (_, mut bytes) in samples() {
                for _ in 0..rng.usize(1..4) {
                    let position = rng.usize(..bytes.len());
                    bytes[position] = rng.u8(..);
                }
                let _ = check_bytes(&bytes);
            }
        }
    }
}
