//! WebP: a RIFF file, whose header has its length.

use std::io::{self, Read, Seek};

use super::reader::{Reader, truncated};

/// Length of the RIFF header in front of what its length counts.
const RIFF_HEADER_BYTES: u64 = 8;

/// Checks that the file is as long as its header says, and starts with an image. What follows is
/// ignored, as decoders do.
pub(super) fn check<F: Read + Seek>(file: &mut Reader<'_, F>) -> io::Result<Result<(), String>> {
    let length = file.left();
    let Some([_, _, _, _, size @ ..]) = file.read::<8>()? else {
        return truncated("it ends in its header");
    };
    if length < u64::from(u32::from_le_bytes(size)) + RIFF_HEADER_BYTES {
        return truncated("its header announces more bytes");
    }
    let Some([_, _, _, _, kind @ .., _, _, _, _]) = file.read::<12>()? else {
        return truncated("it has no image");
    };
    if !matches!(&kind, b"VP8 " | b"VP8L" | b"VP8X") {
        return Ok(Err("it has no image".into()));
    }
    Ok(Ok(()))
}

#[cfg(test)]
pub(super) mod tests {
    /// Returns a picture of a few bytes.
    pub(in super::super) fn sample() -> Vec<u8> {
        let image = [&b"WEBPVP8 \x08\0\0\0"[..], &[7; 8]].concat();
        let size = u32::try_from(image.len()).unwrap();
        [&b"RIFF"[..], &size.to_le_bytes(), &image].concat()
    }
}
