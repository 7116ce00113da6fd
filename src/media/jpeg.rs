//! JPEG (ISO/IEC 10918-1, annex B): segments and scans, up to the end of the image.

use std::io::{self, Read, Seek};

use super::reader::{Reader, truncated};

const END_OF_IMAGE: u8 = 0xd9;
const START_OF_SCAN: u8 = 0xda;

/// Checks that every segment up to the end of the image is there. What follows that is ignored, as
/// decoders do. Thumbnails are inside of segments, so their ends do not count.
pub(super) fn check<F: Read + Seek>(file: &mut Reader<'_, F>) -> io::Result<Result<(), String>> {
    file.skip(2)?;
    let mut is_in_scan = false;
    let mut has_scan = false;
    loop {
        let marker = match next_marker(file, is_in_scan)? {
            Some(Ok(marker)) => marker,
            Some(Err(byte)) => return Ok(Err(format!("it has {byte:02x} in place of a marker"))),
            None => return truncated("it has no end of image"),
        };
        match marker {
            END_OF_IMAGE if has_scan => return Ok(Ok(())),
            END_OF_IMAGE => return Ok(Err("it has no image".into())),
            // Markers without a segment: restarts and a private one.
            0x01 | 0xd0..=0xd7 => continue,
            _ => {}
        }
        let Some(length) = file.read::<2>()? else {
            return truncated("it ends in a segment");
        };
        // The length includes itself.
        let length = u64::from(u16::from_be_bytes(length)).saturating_sub(2);
        if file.skip(length)?.is_none() {
            return truncated("it ends in a segment");
        }
        is_in_scan = marker == START_OF_SCAN;
        has_scan |= is_in_scan;
    }
}

/// Returns the next marker: at once, or after the compressed data of a scan. `None` at the end of
/// the file; an error with the byte that is there instead.
fn next_marker<F: Read + Seek>(
    file: &mut Reader<'_, F>,
    is_in_scan: bool,
) -> io::Result<Option<Result<u8, u8>>> {
    loop {
        match file.read_byte()? {
            Some(0xff) => {}
            Some(_) if is_in_scan => continue,
            Some(byte) => return Ok(Some(Err(byte))),
            None => return Ok(None),
        }
        // Any number of fill bytes may precede the marker.
        let marker = loop {
            match file.read_byte()? {
                Some(0xff) => {}
                Some(byte) => break byte,
                None => return Ok(None),
            }
        };
        // In a scan, ff is written as ff00, and restart markers are a part of the data.
        if !(is_in_scan && matches!(marker, 0 | 0xd0..=0xd7)) {
            return Ok(Some(Ok(marker)));
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    /// Returns a picture with a thumbnail, a restart marker and an escaped byte in its scan.
    pub(in super::super) fn sample() -> Vec<u8> {
        [
            &b"\xff\xd8"[..],
            b"\xff\xe1\0\x08\xff\xd8\xff\xd9\0\0",
            b"\xff\xda\0\x04\0\0",
            b"\x01\xff\0\x02\xff\xd0\x03",
            b"\xff\xff\xd9",
        ]
        .concat()
    }
}
