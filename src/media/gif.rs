//! GIF (version 89a): blocks, up to the trailer.

use std::io::{self, Read, Seek};

use super::reader::{Reader, truncated};

const EXTENSION: u8 = 0x21;
const IMAGE: u8 = 0x2c;
const TRAILER: u8 = 0x3b;

/// Checks that every block up to the trailer is there. What follows that is ignored, as decoders
/// do.
pub(super) fn check<F: Read + Seek>(file: &mut Reader<'_, F>) -> io::Result<Result<(), String>> {
    let Some(header) = file.read::<13>()? else {
        return truncated("it has no screen descriptor");
    };
    if file.skip(color_table_bytes(header[10]))?.is_none() {
        return truncated("it ends in its colour table");
    }
    loop {
        let skipped = match file.read_byte()? {
            Some(TRAILER) => return Ok(Ok(())),
            Some(EXTENSION) => {
                file.skip(1)?;
                skip_sub_blocks(file)?
            }
            Some(IMAGE) => skip_image(file)?,
            Some(other) => return Ok(Err(format!("it has a block of the unknown kind {other}"))),
            None => None,
        };
        if skipped.is_none() {
            return truncated("it has no trailer");
        }
    }
}

/// Returns the length of the colour table that the flags of a descriptor announce.
fn color_table_bytes(flags: u8) -> u64 {
    if flags & 0x80 == 0 {
        0
    } else {
        3 << ((flags & 7) + 1)
    }
}

fn skip_image<F: Read + Seek>(file: &mut Reader<'_, F>) -> io::Result<Option<()>> {
    let Some(descriptor) = file.read::<9>()? else {
        return Ok(None);
    };
    // The colour table, and the code size of the compression.
    if file.skip(color_table_bytes(descriptor[8]) + 1)?.is_none() {
        return Ok(None);
    }
    skip_sub_blocks(file)
}

/// Skips sub-blocks, each with its length in front, up to the empty one.
fn skip_sub_blocks<F: Read + Seek>(file: &mut Reader<'_, F>) -> io::Result<Option<()>> {
    loop {
        match file.read_byte()? {
            Some(0) => return Ok(Some(())),
            Some(length) => {
                if file.skip(length.into())?.is_none() {
                    return Ok(None);
                }
            }
            None => return Ok(None),
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    /// Returns an animation of one frame, with both colour tables and a comment.
    pub(in super::super) fn sample() -> Vec<u8> {
        [
            &b"GIF89a\x01\0\x01\0\x80\0\0"[..],
            &[0; 6],
            b"\x21\xfe\x03;;;\0",
            b"\x2c\0\0\0\0\x01\0\x01\0\x81",
            &[0; 12],
            b"\x02\x02\x44;\0",
            b";",
        ]
        .concat()
    }
}
