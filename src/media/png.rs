//! PNG (ISO/IEC 15948): chunks, up to `IEND`.

use std::io::{self, Read, Seek};

use super::reader::{Reader, truncated};

/// Length of the signature.
const SIGNATURE_BYTES: u64 = 8;

/// Length of the checksum after each chunk.
const CHECKSUM_BYTES: u64 = 4;

/// Checks that every chunk up to the last one is there. What follows that is ignored, as decoders
/// do.
pub(super) fn check<F: Read + Seek>(file: &mut Reader<'_, F>) -> io::Result<Result<(), String>> {
    file.skip(SIGNATURE_BYTES)?;
    let mut is_first = true;
    loop {
        let Some([l0, l1, l2, l3, kind @ ..]) = file.read::<8>()? else {
            return truncated("it has no `IEND` chunk");
        };
        if is_first && kind != *b"IHDR" {
            return Ok(Err("it has no header".into()));
        }
        is_first = false;
        let length = u64::from(u32::from_be_bytes([l0, l1, l2, l3]));
        if file.skip(length + CHECKSUM_BYTES)?.is_none() {
            return truncated("a chunk ends after the file");
        }
        if kind == *b"IEND" {
            return Ok(Ok(()));
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    /// Returns a picture of one pixel.
    pub(in super::super) fn sample() -> Vec<u8> {
        let chunk = |kind: &[u8; 4], content: &[u8]| {
            let length = u32::try_from(content.len()).unwrap();
            [&length.to_be_bytes()[..], kind, content, &[0; 4]].concat()
        };
        [
            &b"\x89PNG\r\n\x1a\n"[..],
            &chunk(b"IHDR", &[1; 13]),
            &chunk(b"IDAT", &[7; 20]),
            &chunk(b"IEND", b""),
        ]
        .concat()
    }
}
