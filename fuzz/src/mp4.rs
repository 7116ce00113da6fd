//! Any bytes as a video.

use std::io::Cursor;
use std::ops::Range;

use overnight::output::container;

/// Checks that what passes is made of whole boxes with a movie among them, and that a cut inside one is seen.
pub fn check(bytes: &[u8]) {
    if let Err(reason) = verdict(bytes) {
        assert!(
            !reason.chars().any(char::is_control) && reason.len() < 200,
            "{reason:?}"
        );
        return;
    }
    assert_eq!(bytes.get(4..8), Some(&b"ftyp"[..]));
    let boxes = sized_boxes(bytes);
    for Range { start, end } in boxes.clone() {
        for cut in [start + 8, (start + end) / 2, end - 1] {
            let inside = start + 8 <= cut && cut < end;
            assert!(
                !inside || verdict(&bytes[..cut]).is_err(),
                "{cut} of {} bytes passed",
                bytes.len()
            );
        }
    }
    let movie = bytes
        .windows(4)
        .position(|kind| kind == b"moov")
        .expect("a movie box");
    assert!(
        verdict(&bytes[..movie + 3]).is_err(),
        "a file without its movie passed"
    );
}

fn verdict(bytes: &[u8]) -> Result<(), String> {
    container::check(&mut Cursor::new(bytes)).expect("memory can be read")
}

/// The outermost boxes that say where they end.
fn sized_boxes(bytes: &[u8]) -> Vec<Range<usize>> {
    let mut boxes = Vec::new();
    let mut at = 0;
    while let Some(header) = bytes[at..].first_chunk::<8>() {
        let size = match header[..4] {
            [0, 0, 0, 0] => break,
            [0, 0, 0, 1] => bytes[at + 8..]
                .first_chunk::<8>()
                .map(|long| u64::from_be_bytes(*long)),
            [a, b, c, d] => Some(u32::from_be_bytes([a, b, c, d]).into()),
            _ => None,
        };
        let size = size
            .and_then(|size| usize::try_from(size).ok())
            .expect("a size in memory");
        boxes.push(at..at + size);
        at += size;
    }
    boxes
}
