//! Any bytes as a video.

use std::io::Cursor;
use std::ops::Range;

use overnight::media::{self, MediaKind};

/// Maximum length of the reason for a rejection, in bytes, exclusive.
const MAX_REASON_BYTES: usize = 200;

/// Checks that an accepted file starts with a file type box and has a movie box, and that it is
/// rejected when truncated inside of a box.
pub fn check(bytes: &[u8]) {
    if let Err(reason) = check_container(bytes) {
        assert!(
            !reason.chars().any(char::is_control) && reason.len() < MAX_REASON_BYTES,
            "{reason:?}"
        );
        return;
    }
    assert_eq!(bytes.get(4..8), Some(&b"ftyp"[..]));
    for Range { start, end } in sized_boxes(bytes) {
        for length in [start + 8, (start + end) / 2, end - 1] {
            let is_inside = start + 8 <= length && length < end;
            assert!(
                !is_inside || check_container(&bytes[..length]).is_err(),
                "{length} of {} bytes passed",
                bytes.len()
            );
        }
    }
    let movie = bytes
        .windows(4)
        .position(|kind| kind == b"moov")
        .expect("a movie box");
    assert!(
        check_container(&bytes[..movie + 3]).is_err(),
        "a file without its movie passed"
    );
}

fn check_container(bytes: &[u8]) -> Result<(), String> {
    match media::check(&mut Cursor::new(bytes)).expect("memory can be read") {
        Ok(media) if media.kind == MediaKind::Mp4 => Ok(()),
        Ok(media) => Err(format!("{:?}", media.kind)),
        Err(error) => Err(error.to_string()),
    }
}

/// Returns the ranges of the outermost boxes that have a size; the last one may extend to the end
/// of the file instead.
fn sized_boxes(bytes: &[u8]) -> Vec<Range<usize>> {
    let mut boxes = Vec::new();
    let mut start = 0;
    while let Some(header) = bytes[start..].first_chunk::<8>() {
        let size = match header[..4] {
            [0, 0, 0, 0] => break,
            [0, 0, 0, 1] => bytes[start + 8..]
                .first_chunk::<8>()
                .map(|large_size| u64::from_be_bytes(*large_size)),
            [a, b, c, d] => Some(u32::from_be_bytes([a, b, c, d]).into()),
            _ => None,
        };
        let size = size
            .and_then(|size| usize::try_from(size).ok())
            .expect("a size in memory");
        boxes.push(start..start + size);
        start += size;
    }
    boxes
}
