//! The clip of every prediction: a small file of the kind that the options say, made unique by the
//! prediction's id.

use strum::VariantArray;

/// A one-second test pattern, H.264 in MP4.
const CLIP: &[u8] = include_bytes!("clip.mp4");

/// Where the two time scales of [`CLIP`] are, in bytes: those of the movie and of its track.
const TIME_SCALES: [usize; 2] = [60, 312];

/// Size of an MP4 box header, in bytes: the length and the type of the box.
const BOX_HEADER_BYTES: usize = 8;

/// Start of an animated GIF of one pixel: header, screen descriptor and colour table.
const GIF_START: &[u8] = b"GIF89a\x01\0\x01\0\x80\0\0\0\0\0\xff\xff\xff";

/// The image of the GIF: descriptor, code size and compressed data.
const GIF_IMAGE: &[u8] = b"\x2c\0\0\0\0\x01\0\x01\0\0\x02\x02\x44\x01\0";

/// A PNG of one grey pixel, up to its last chunk.
const PNG_START: &[u8] = b"\x89PNG\r\n\x1a\n\
    \0\0\0\rIHDR\0\0\0\x01\0\0\0\x01\x08\0\0\0\0\x3a\x7e\x9b\x55\
    \0\0\0\nIDAT\x78\x9c\x63\xf8\x0f\0\x01\x01\x01\0\x1b\xb6\xee\x56";

/// The last chunk of a PNG.
const PNG_END: &[u8] = b"\0\0\0\0IEND\xae\x42\x60\x82";

/// The start of a WebM file: its header, and the tracks and one frame of a segment without a length.
const WEBM: &[u8] = b"\x1a\x45\xdf\xa3\x87\x42\x82\x84webm\
    \x18\x53\x80\x67\x01\xff\xff\xff\xff\xff\xff\xff\
    \x16\x54\xae\x6b\x88\xae\x86\xd7\x81\x01\x83\x81\x01\
    \x1f\x43\xb6\x75\x8c\xe7\x81\0\xa3\x87\x81\0\0\x80\x01\x02\x03";

/// A kind of file that a provider can return as a clip.
#[derive(Clone, Copy, Debug, PartialEq, Eq, VariantArray)]
pub enum ClipKind {
    /// A video that plays.
    Mp4,
    /// The same in a QuickTime file.
    Mov,
    /// A WebM file, complete but without a picture.
    Webm,
    /// A GIF.
    Gif,
    /// A PNG.
    Png,
    /// A JPEG, complete but without a picture.
    Jpeg,
    /// A WebP file, complete but without a picture.
    Webp,
    /// An error message as JSON, which is no clip.
    Json,
    /// An empty file, which is no clip.
    Empty,
}

impl ClipKind {
    /// Every kind.
    pub const ALL: [Self; Self::VARIANTS.len()] =
        *Self::VARIANTS.first_chunk().expect("all variants");

    /// Returns the media type that it is served with.
    pub fn content_type(self) -> &'static str {
        match self {
            Self::Mp4 => "video/mp4",
            Self::Mov => "video/quicktime",
            Self::Webm => "video/webm",
            Self::Gif => "image/gif",
            Self::Png => "image/png",
            Self::Jpeg => "image/jpeg",
            Self::Webp => "image/webp",
            Self::Json => "application/json",
            Self::Empty => "application/octet-stream",
        }
    }
}

/// Returns the clip of one prediction, of a kind. An MP4 has at least `min_bytes` bytes, and lasts as many
/// seconds as were asked for.
pub fn of_kind(kind: ClipKind, prediction_id: &str, min_bytes: usize, seconds: u32) -> Vec<u8> {
    let id = prediction_id.as_bytes();
    let length = u8::try_from(id.len()).unwrap_or(u8::MAX);
    match kind {
        ClipKind::Mp4 => for_prediction(prediction_id, min_bytes, seconds),
        ClipKind::Mov => {
            let mut clip = for_prediction(prediction_id, min_bytes, seconds);
            clip[8..12].copy_from_slice(b"qt  ");
            clip
        }
        // An element that players skip.
        ClipKind::Webm => [WEBM, &[0xec, 0x80 | length], id].concat(),
        // A comment.
        ClipKind::Gif => [
            GIF_START,
            b"\x21\xfe",
            &[length],
            id,
            b"\0",
            GIF_IMAGE,
            b";",
        ]
        .concat(),
        ClipKind::Png => {
            let text = [&[0, 0, 0, length + 3][..], b"tEXtID\0", id, &[0; 4]].concat();
            [PNG_START, &text, PNG_END].concat()
        }
        ClipKind::Jpeg => {
            let comment = [&b"\xff\xd8\xff\xfe\0"[..], &[length + 2], id].concat();
            [&comment, &b"\xff\xda\0\x04\0\0\x01\x02\xff\xd9"[..]].concat()
        }
        ClipKind::Webp => {
            let mut image = [&b"WEBPVP8 "[..], &[length, 0, 0, 0], id].concat();
            image.resize(image.len().next_multiple_of(2), 0);
            let size = u32::try_from(image.len()).unwrap_or(u32::MAX);
            [&b"RIFF"[..], &size.to_le_bytes(), &image].concat()
        }
        ClipKind::Json => [&b"{\"error\":\""[..], id, b"\"}"].concat(),
        ClipKind::Empty => Vec::new(),
    }
}

/// Returns the MP4 of one prediction: the common video, then a `free` box, which players skip,
/// that ends with the prediction's id. The box is padded so that the clip has at least `min_bytes`
/// bytes. The video is slowed down so that it lasts `seconds`.
pub fn for_prediction(prediction_id: &str, min_bytes: usize, seconds: u32) -> Vec<u8> {
    let id = prediction_id.as_bytes();
    let length = min_bytes.max(CLIP.len() + BOX_HEADER_BYTES + id.len());
    let mut clip = Vec::with_capacity(length);
    clip.extend_from_slice(CLIP);
    for position in TIME_SCALES {
        if let Some(scale) = clip[position..].first_chunk_mut() {
            *scale = (u32::from_be_bytes(*scale) / seconds.max(1)).to_be_bytes();
        }
    }
    clip.extend_from_slice(
        &u32::try_from(length - CLIP.len())
            .unwrap_or(u32::MAX)
            .to_be_bytes(),
    );
    clip.extend_from_slice(b"free");
    clip.resize(length - id.len(), 0);
    clip.extend_from_slice(id);
    clip
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clip_has_the_minimum_size_and_ends_with_its_id() {
        for (min_bytes, length) in [(0, 2932 + 8 + 4), (3000, 3000), (65_536, 65_536)] {
            let clip = for_prediction("p-17", min_bytes, 5);
            assert_eq!(clip.len(), length);
            assert!(clip.ends_with(b"p-17"));
        }
    }

    #[test]
    fn a_clip_of_any_kind_that_has_content_contains_its_id() {
        for kind in ClipKind::ALL {
            let clip = of_kind(kind, "p-17", 0, 5);
            let has_id = clip.windows(4).any(|part| part == b"p-17");
            assert_eq!(has_id, kind != ClipKind::Empty, "{kind:?}");
        }
    }
}
