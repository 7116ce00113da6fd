//! What a file that is taken for a picture is, by its content.

use imagesize::ImageType;

use crate::domain::printable::printable_excerpt;

/// Number of bytes at the start of a file by which it is recognised.
pub(super) const HEADER_BYTES: usize = 64;

/// Returns the media type of a picture that every provider takes, by its first bytes.
///
/// # Errors
/// Returns what it is, if it is not one, and what to do.
pub(super) fn media_type(header: &[u8]) -> Result<&'static str, String> {
    match imagesize::image_type(header) {
        Ok(ImageType::Jpeg) => Ok("image/jpeg"),
        Ok(ImageType::Png) => Ok("image/png"),
        Ok(ImageType::Webp) => Ok("image/webp"),
        _ => Err(format!(
            "is not a JPEG, PNG or WebP image but {}",
            describe(header)
        )),
    }
}

/// Returns what a file is that is no such picture, and what to do.
fn describe(header: &[u8]) -> String {
    let text = String::from_utf8_lossy(header);
    let text = text.trim_start().to_lowercase();
    let is_svg = text.starts_with("<svg") || (text.starts_with("<?xml") && text.contains("<svg"));
    let what = match (header, header.get(4..12)) {
        ([], _) => return "empty; copy or download it again".into(),
        _ if is_svg => "an SVG drawing",
        _ if text.starts_with("<!doctype html") || text.starts_with("<html") => {
            return "a web page; download the picture that it shows".into();
        }
        ([b'G', b'I', b'F', b'8', ..], _) => "a GIF",
        ([b'I', b'I', b'*', 0, ..] | [b'M', b'M', 0, b'*', ..], _) => "a TIFF picture",
        ([b'B', b'M', ..], _) => "a BMP picture",
        ([b'%', b'P', b'D', b'F', ..], _) => "a PDF document",
        ([b'8', b'B', b'P', b'S', ..], _) => "a Photoshop document",
        (_, Some(b"ftypheic" | b"ftypheix" | b"ftypmif1" | b"ftyphevc" | b"ftypmsf1")) => {
            "an HEIC picture, as phones take them"
        }
        (_, Some(b"ftypavif" | b"ftypavis")) => "an AVIF picture",
        (_, Some([b'f', b't', b'y', b'p', ..])) => return "a video".into(),
        _ => {
            let first = String::from_utf8_lossy(header.get(..8).unwrap_or(header));
            return format!("something that starts with `{}`", printable_excerpt(&first));
        }
    };
    format!("{what}; save it as JPEG or PNG")
}
