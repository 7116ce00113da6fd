//! Checks that a file is a complete MP4 or QuickTime video, by its outermost boxes (ISO/IEC 14496-12,
//! section 4.2) and by what its movie box says.

use std::io::{self, Read, Seek, SeekFrom};

use super::movie::{self, Movie};

/// Maximum number of outermost boxes. A real video has a handful, but a corrupt file could contain
/// millions.
const MAX_BOXES: usize = 10_000;

/// Maximum length of a movie box, in bytes. That of a clip of a minute has some kilobytes.
const MAX_MOOV_BYTES: u64 = 64 << 20;

/// Kinds of the first box of a QuickTime movie: the oldest have no `ftyp`.
pub(super) const QUICKTIME_FIRST_BOXES: [[u8; 4]; 7] = [
    *b"ftyp", *b"moov", *b"mdat", *b"wide", *b"free", *b"skip", *b"pnot",
];

/// Checks that a box of one of these kinds comes first, that there is a movie whose samples are in the
/// file, and that the last box ends where the file ends.
///
/// The outer error is a failure to read. The inner one says what is wrong with the content.
pub(super) fn check_boxes(
    file: &mut (impl Read + Seek),
    first_boxes: &[[u8; 4]],
) -> io::Result<Result<Movie, String>> {
    let length = file.seek(SeekFrom::End(0))?;
    let mut position = 0;
    let mut moov = None;
    let mut has_fragment = false;
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
        let mut header_bytes = 8;
        has_fragment |= kind == *b"moof";
        let size = match u32::from_be_bytes([s0, s1, s2, s3]) {
            // The box extends to the end of the file.
            0 => length - position,
            // The size follows in 64 bits.
            1 if length - position >= 16 => {
                let mut large_size = [0; 8];
                file.read_exact(&mut large_size)?;
                header_bytes = 16;
                u64::from_be_bytes(large_size)
            }
            size => u64::from(size),
        };
        if size < header_bytes {
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
        if kind == *b"moov" && moov.is_none() {
            moov = Some((position + header_bytes, size - header_bytes));
        }
        position += size;
    }
    if position == 0 {
        return Ok(Err("it is empty".into()));
    }
    if length - position >= 8 {
        return Ok(Err(format!("it has more than {MAX_BOXES} boxes")));
    }
    let Some((start, bytes)) = moov else {
        return Ok(Err("it has no movie box, so no player can open it".into()));
    };
    if bytes > MAX_MOOV_BYTES {
        return Ok(Err(format!("its movie box has {bytes} bytes")));
    }
    file.seek(SeekFrom::Start(start))?;
    let mut content = Vec::new();
    file.by_ref().take(bytes).read_to_end(&mut content)?;
    Ok(movie::check(&content, length).and_then(|movie| {
        if movie.is_fragmented && !has_fragment {
            return Err("it has none of the fragments that its movie box announces".into());
        }
        Ok(movie)
    }))
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
    use crate::media::test_movie::{make_box, make_moov, make_movie};

    fn check_bytes(bytes: &[u8]) -> Result<Movie, String> {
        check_boxes(&mut Cursor::new(bytes), &[*b"ftyp"]).unwrap()
    }

    #[test]
    fn a_complete_video_passes_wherever_its_movie_box_is() {
        let ftyp = make_box(b"ftyp", b"isom");
        let mdat = make_box(b"mdat", &[0; 100]);
        let after = |bytes: usize| u32::try_from(bytes + 8).unwrap();
        let moov_bytes = make_moov(b"vide", 0, &[40, 60]).len();
        let moov_first = make_moov(b"vide", after(ftyp.len() + moov_bytes), &[40, 60]);
        let moov_last = make_moov(b"vide", after(ftyp.len()), &[40, 60]);
        let mut mdat_to_the_end = mdat.clone();
        mdat_to_the_end[..4].fill(0);
        for movie in [
            [ftyp.clone(), moov_first.clone(), mdat.clone()].concat(),
            [ftyp.clone(), mdat, moov_last].concat(),
            [ftyp, moov_first, mdat_to_the_end].concat(),
        ] {
            let duration = check_bytes(&movie).unwrap().duration;
            assert_eq!(duration, Some(std::time::Duration::from_secs(5)));
        }
    }

    #[test]
    fn a_video_truncated_at_any_byte_is_rejected() {
        let complete = make_movie(b"isom");
        for length in 0..complete.len() {
            assert!(
                check_bytes(&complete[..length]).is_err(),
                "{length} bytes passed"
            );
        }
        check_bytes(&complete).unwrap();
    }

    #[test]
    fn what_only_looks_like_a_video_is_rejected() {
        let ftyp = make_box(b"ftyp", b"isom\0\0\0\0");
        let mdat = make_box(b"mdat", &[7; 40]);
        let with = |moov: &[u8]| [&ftyp[..], &mdat, moov].concat();
        let fragmented = make_box(
            b"moov",
            &[
                make_moov(b"vide", 0, &[])[8..].to_vec(),
                make_box(b"mvex", b""),
            ]
            .concat(),
        );
        for (file, problem) in [
            (make_box(b"ftyp", &[0; 16]), "no movie box"),
            (with(&make_box(b"moov", b"")), "is empty"),
            (with(&make_box(b"moov", &[0; 64])), "is empty"),
            (
                with(&make_box(b"moov", &make_box(b"trak", b""))),
                "lacks a part",
            ),
            (with(&make_moov(b"soun", 24, &[9])), "no video track"),
            (with(&make_moov(b"vide", 24, &[])), "has no picture"),
            (with(&make_moov(b"vide", 24, &[0, 0])), "only empty samples"),
            (with(&make_moov(b"vide", 24, &[90_000])), "does not hold"),
            (with(&make_moov(b"vide", u32::MAX, &[9])), "does not hold"),
            (with(&fragmented), "none of the fragments"),
        ] {
            let error = check_bytes(&file).unwrap_err();
            assert!(error.contains(problem), "{error}, not {problem}");
        }
        let moof = make_box(b"moof", b"");
        let whole = [&ftyp[..], &fragmented, &moof, &mdat].concat();
        assert_eq!(check_bytes(&whole).unwrap().duration, None);
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
        let start = make_movie(b"isom");
        let with_free_boxes = |count| {
            let free_boxes = make_box(b"free", b"").repeat(count);
            check_bytes(&[start.clone(), free_boxes].concat())
        };
        with_free_boxes(MAX_BOXES - 3).unwrap();
        assert_eq!(
            with_free_boxes(MAX_BOXES - 2),
            Err("it has more than 10000 boxes".into())
        );
    }

    #[test]
    fn random_bytes_do_not_panic() {
        for seed in 0..2_000 {
            let mut rng = fastrand::Rng::with_seed(seed);
            let mut bytes = make_movie(b"isom");
            for _ in 0..rng.usize(..64) {
                let index = rng.usize(..bytes.len());
                bytes[index] = rng.u8(..);
            }
            let _ = check_bytes(&bytes);
        }
    }
}
