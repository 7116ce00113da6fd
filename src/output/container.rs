//! Checks that a file is a whole MP4 video, by its outermost boxes (ISO/IEC 14496-12, section 4.2).

use std::io::{self, Read, Seek, SeekFrom};

/// Boxes that a file of this size could hold and no sane one does; a walk ends here.
const MOST_BOXES: usize = 10_000;

/// Checks the outermost boxes: `ftyp` first, a `moov` somewhere, and the last one ending where the file ends.
/// The inner error says what is wrong with the content.
pub fn check(file: &mut (impl Read + Seek)) -> io::Result<Result<(), String>> {
    let length = file.seek(SeekFrom::End(0))?;
    let (mut at, mut has_moov) = (0, false);
    for index in 0..MOST_BOXES {
        if length - at < 8 {
            break;
        }
        file.seek(SeekFrom::Start(at))?;
        let mut header = [0; 8];
        file.read_exact(&mut header)?;
        let [s0, s1, s2, s3, kind @ ..] = header;
        if index == 0 && kind != *b"ftyp" {
            return Ok(Err(format!(
                "it does not begin with a file type box but with {}",
                shown(&header)
            )));
        }
        if !kind
            .iter()
            .all(|byte| byte.is_ascii_graphic() || matches!(byte, b' ' | 0xa9))
        {
            return Ok(Err(format!("there is no box at byte {at}")));
        }
        has_moov |= kind == *b"moov";
        let size = match u32::from_be_bytes([s0, s1, s2, s3]) {
            // The box reaches to the end of the file.
            0 => length - at,
            // The size follows in 64 bits.
            1 if length - at >= 16 => {
                let mut long = [0; 8];
                file.read_exact(&mut long)?;
                u64::from_be_bytes(long)
            }
            size => u64::from(size),
        };
        if size < 8 {
            return Ok(Err(format!("the box at byte {at} has an impossible size")));
        }
        if size > length - at {
            let kind = String::from_utf8_lossy(&kind).into_owned();
            return Ok(Err(format!(
                "it is cut: its `{kind}` box ends {} bytes after the file",
                size - (length - at)
            )));
        }
        at += size;
    }
    if at == 0 {
        return Ok(Err("it is empty".into()));
    }
    if length - at >= 8 {
        return Ok(Err(format!("it has more than {MOST_BOXES} boxes")));
    }
    if !has_moov {
        return Ok(Err("it has no movie box, a player could not open it".into()));
    }
    Ok(Ok(()))
}

/// Shows the first bytes as text where they are text: an error page tells itself.
fn shown(bytes: &[u8]) -> String {
    if bytes
        .iter()
        .all(|byte| byte.is_ascii_graphic() || byte.is_ascii_whitespace())
    {
        // Line ends and tabs become blanks: the reason is one line.
        let text = String::from_utf8_lossy(bytes);
        format!(
            "`{}`",
            text.split_ascii_whitespace().collect::<Vec<_>>().join(" ")
        )
    } else {
        hex::encode(bytes)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use super::*;

    fn boxed(kind: &[u8; 4], content: &[u8]) -> Vec<u8> {
        let size = u32::try_from(content.len() + 8).unwrap();
        [&size.to_be_bytes()[..], kind, content].concat()
    }

    fn verdict(bytes: &[u8]) -> Result<(), String> {
        check(&mut Cursor::new(bytes)).unwrap()
    }

    #[test]
    fn a_whole_video_passes_wherever_its_movie_box_stands() {
        let (ftyp, moov, mdat) = (
            boxed(b"ftyp", b"isom"),
            boxed(b"moov", b"..."),
            boxed(b"mdat", &[0; 100]),
        );
        assert_eq!(
            verdict(&[ftyp.clone(), moov.clone(), mdat.clone()].concat()),
            Ok(())
        );
        assert_eq!(
            verdict(&[ftyp.clone(), mdat, moov.clone()].concat()),
            Ok(())
        );
        let mut to_the_end = boxed(b"mdat", &[0; 100]);
        to_the_end[..4].fill(0);
        assert_eq!(verdict(&[ftyp, moov, to_the_end].concat()), Ok(()));
    }

    #[test]
    fn a_video_cut_at_any_byte_is_refused() {
        let whole = [
            boxed(b"ftyp", b"isom"),
            boxed(b"mdat", &[7; 40]),
            boxed(b"moov", &[9; 40]),
        ]
        .concat();
        for length in 0..whole.len() {
            assert!(verdict(&whole[..length]).is_err(), "{length} bytes passed");
        }
        assert_eq!(verdict(&whole), Ok(()));
    }

    #[test]
    fn an_error_page_is_refused_and_shown() {
        let message = verdict(b"<html><body>404</body></html>").unwrap_err();
        assert!(message.contains("`<html><b`"), "{message}");
        let message = verdict(b"<p>\r\n</p></html>").unwrap_err();
        assert!(message.contains("`<p> </p`"), "{message}");
    }

    #[test]
    fn boxes_without_end_are_not_taken_for_a_whole_video() {
        let start = [boxed(b"ftyp", b"isom"), boxed(b"moov", b"...")].concat();
        let with = |count| verdict(&[start.clone(), boxed(b"free", b"").repeat(count)].concat());
        assert_eq!(with(MOST_BOXES - 2), Ok(()));
        assert_eq!(
            with(MOST_BOXES - 1),
            Err("it has more than 10000 boxes".into())
        );
    }

    #[test]
    fn rubbish_never_panics() {
        for seed in 0..2_000 {
            let mut random = fastrand::Rng::with_seed(seed);
            let mut bytes = boxed(b"ftyp", b"isom");
            bytes.extend((0..random.usize(..64)).map(|_| random.u8(..)));
            let _ = verdict(&bytes);
        }
    }
}
