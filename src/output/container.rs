//! Checks that a file is a complete MP4 or QuickTime video, by its outermost boxes (ISO/IEC 14496-12,
//! section 4.2).

use std::io::{self, Read, Seek, SeekFrom};

/// Maximum number of outermost boxes. A real video has a handful, but a corrupt file could contain
/// millions.
const MAX_BOXES: usize = 10_000;

/// Kinds of the first box of a QuickTime movie: the oldest have no `ftyp`.
pub(super) const QUICKTIME_FIRST_BOXES: [[u8; 4]; 7] = [
    *b"ftyp", *b"moov", *b"mdat", *b"wide", *b"free", *b"skip", *b"pnot",
];

/// Checks the outermost boxes: `ftyp` comes first, there is a `moov`, and the last one ends where
/// the file ends.
///
/// The outer error is a failure to read. The inner one says what is wrong with the content.
pub fn check(file: &mut (impl Read + Seek)) -> io::Result<Result<(), String>> {
    check_boxes(file, &[*b"ftyp"])
}

/// Checks the same with a first box of any of these kinds.
pub(super) fn check_boxes(
    file: &mut (impl Read + Seek),
    first_boxes: &[[u8; 4]],
) -> io::Result<Result<(), String>> {
    let length = file.seek(SeekFrom::End(0))?;
    let mut position = 0;
    let mut has_moov = false;
    for index in 0..MAX_BOXES {
        if length - position < 8 {
            break;
        }
        file.seek(SeekFrom::Start(position))?;
        let mut header = [0; 8];
        file.read_exact(&mut header)?;
        let [s0, s1, s2, s3, kind @ ..] = header;
        if index == 0 && !first_boxes.contains(&kind) {
            return Ok(Err(format!(
                "it starts with {} instead of a file type box",
                display_bytes(&header)
            )));
        }
        if !kind
            .iter()
            .all(|byte| byte.is_ascii_graphic() || matches!(byte, b' ' | 0xa9))
        {
            return Ok(Err(format!("there is no box at byte {position}")));
        }
        has_moov |= kind == *b"moov";
        let size = match u32::from_be_bytes([s0, s1, s2, s3]) {
            // The box extends to the end of the file.
            0 => length - position,
            // The size follows in 64 bits.
            1 if length - position >= 16 => {
                let mut large_size = [0; 8];
                file.read_exact(&mut large_size)?;
                u64::from_be_bytes(large_size)
            }
            size => u64::from(size),
        };
        if size < 8 {
            return Ok(Err(format!(
                "the box at byte {position} has an invalid size"
            )));
        }
        if size > length - position {
            let kind = String::from_utf8_lossy(&kind).into_owned();
            return Ok(Err(format!(
                "it is truncated: its `{kind}` box ends {} bytes after the file",
                size - (length - position)
            )));
        }
        position += size;
    }
    if position == 0 {
        return Ok(Err("it is empty".into()));
    }
    if length - position >= 8 {
        return Ok(Err(format!("it has more than {MAX_BOXES} boxes")));
    }
    if !has_moov {
        return Ok(Err("it has no movie box, so no player can open it".into()));
    }
    Ok(Ok(()))
}

/// Formats the first bytes of a file: as text if they are text, so that an error page is
/// recognisable, and else in hexadecimal.
pub(super) fn display_bytes(bytes: &[u8]) -> String {
    if bytes
        .iter()
        .all(|byte| byte.is_ascii_graphic() || byte.is_ascii_whitespace())
    {
        // Line ends and tabs become spaces: the reason is a single line.
        let text = String::from_utf8_lossy(bytes);
        let words: Vec<_> = text.split_ascii_whitespace().collect();
        format!("`{}`", words.join(" "))
    } else {
        hex::encode(bytes)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use super::*;

    fn make_box(kind: &[u8; 4], content: &[u8]) -> Vec<u8> {
        let size = u32::try_from(content.len() + 8).unwrap();
        [&size.to_be_bytes()[..], kind, content].concat()
    }

    fn check_bytes(bytes: &[u8]) -> Result<(), String> {
        check(&mut Cursor::new(bytes)).unwrap()
    }

    #[test]
    fn a_complete_video_passes_wherever_its_movie_box_is() {
        let ftyp = make_box(b"ftyp", b"isom");
        let moov = make_box(b"moov", b"...");
        let mdat = make_box(b"mdat", &[0; 100]);
        let movie_first = [ftyp.clone(), moov.clone(), mdat.clone()].concat();
        assert_eq!(check_bytes(&movie_first), Ok(()));
        let movie_last = [ftyp.clone(), mdat, moov.clone()].concat();
        assert_eq!(check_bytes(&movie_last), Ok(()));
        let mut box_to_the_end = make_box(b"mdat", &[0; 100]);
        box_to_the_end[..4].fill(0);
        let movie_before_it = [ftyp, moov, box_to_the_end].concat();
        assert_eq!(check_bytes(&movie_before_it), Ok(()));
    }

    #[test]
    fn a_video_truncated_at_any_byte_is_rejected() {
        let complete = [
            make_box(b"ftyp", b"isom"),
            make_box(b"mdat", &[7; 40]),
            make_box(b"moov", &[9; 40]),
        ]
        .concat();
        for length in 0..complete.len() {
            assert!(
                check_bytes(&complete[..length]).is_err(),
                "{length} bytes passed"
            );
        }
        assert_eq!(check_bytes(&complete), Ok(()));
    }

    #[test]
    fn an_error_page_is_rejected_and_quoted() {
        let message = check_bytes(b"<html><body>404</body></html>").unwrap_err();
        assert!(message.contains("`<html><b`"), "{message}");
        let message = check_bytes(b"<p>\r\n</p></html>").unwrap_err();
        assert!(message.contains("`<p> </p`"), "{message}");
    }

    #[test]
    fn a_file_of_too_many_boxes_is_rejected() {
        let start = [make_box(b"ftyp", b"isom"), make_box(b"moov", b"...")].concat();
        let with_free_boxes = |count| {
            let free_boxes = make_box(b"free", b"").repeat(count);
            check_bytes(&[start.clone(), free_boxes].concat())
        };
        assert_eq!(with_free_boxes(MAX_BOXES - 2), Ok(()));
        assert_eq!(
            with_free_boxes(MAX_BOXES - 1),
            Err("it has more than 10000 boxes".into())
        );
    }

    #[test]
    fn random_bytes_do_not_panic() {
        for seed in 0..2_000 {
            let mut rng = fastrand::Rng::with_seed(seed);
            let mut bytes = make_box(b"ftyp", b"isom");
            bytes.extend((0..rng.usize(..64)).map(|_| rng.u8(..)));
            let _ = check_bytes(&bytes);
        }
    }
}
