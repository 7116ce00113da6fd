//! Matroska and WebM (RFC 9559): EBML elements, each with its size in front.

use std::io::{self, Read, Seek};

use super::reader::{Reader, truncated};

const DOC_TYPE: u32 = 0x4282;
const SEGMENT: u32 = 0x1853_8067;
const CLUSTER: u32 = 0x1f43_b675;
const TRACKS: u32 = 0x1654_ae6b;

/// Maximum number of elements that are read. Only a recording of unknown length has more than a
/// handful here; a minute of it has a few thousand.
const MAX_ELEMENTS: usize = 1_000_000;

/// Checks that every element is there as far as the sizes say, and that there are tracks and content.
/// Returns whether it is WebM.
///
/// A recording of unknown length can be truncated between two of its elements without a trace.
pub(super) fn check<F: Read + Seek>(file: &mut Reader<'_, F>) -> io::Result<Result<bool, String>> {
    let is_webm = match read_doc_type(file)? {
        Some(doc_type) if doc_type == b"webm" => true,
        Some(doc_type) if doc_type == b"matroska" => false,
        _ => return Ok(Err("it is neither WebM nor Matroska".into())),
    };
    let mut has_tracks = false;
    let mut has_content = false;
    for _ in 0..MAX_ELEMENTS {
        if file.left() == 0 {
            return Ok(match (has_tracks, has_content) {
                (true, true) => Ok(is_webm),
                (false, _) => Err("it has no tracks".into()),
                (true, false) => Err("it has no content".into()),
            });
        }
        let Some((id, size)) = read_element(file)? else {
            return truncated("it ends in the header of an element");
        };
        has_tracks |= id == TRACKS;
        has_content |= id == CLUSTER;
        match size {
            Some(size) if size > file.left() => {
                return truncated(&format!(
                    "an element ends {} bytes after the file",
                    size - file.left()
                ));
            }
            // The elements inside follow. Those of a cluster of unknown size are read likewise.
            _ if id == SEGMENT => {}
            None if id == CLUSTER => {}
            None => return Ok(Err("an element has no size".into())),
            Some(size) => {
                file.skip(size)?;
            }
        }
    }
    Ok(Err(format!("it has more than {MAX_ELEMENTS} elements")))
}

/// Reads the header of the file, and returns the document type in it; `None` if there is none.
fn read_doc_type<F: Read + Seek>(file: &mut Reader<'_, F>) -> io::Result<Option<Vec<u8>>> {
    let Some((_, Some(header_bytes))) = read_element(file)? else {
        return Ok(None);
    };
    let Some(end) = file.left().checked_sub(header_bytes) else {
        return Ok(None);
    };
    let mut doc_type = None;
    while file.left() > end {
        let Some((id, Some(size))) = read_element(file)? else {
            return Ok(None);
        };
        if file.left() < end + size {
            return Ok(None);
        }
        if id != DOC_TYPE {
            file.skip(size)?;
            continue;
        }
        let mut name = Vec::new();
        for _ in 0..size.min(16) {
            name.extend(file.read_byte()?);
        }
        // It may be padded with zeros.
        name.retain(|byte| *byte != 0);
        file.skip(size.saturating_sub(16))?;
        doc_type = Some(name);
    }
    Ok(doc_type)
}

/// Reads the header of an element: its id, and its size unless that is unknown. `None` if there is
/// no whole header.
fn read_element<F: Read + Seek>(
    file: &mut Reader<'_, F>,
) -> io::Result<Option<(u32, Option<u64>)>> {
    let Some((id, id_bytes)) = read_number(file, true)? else {
        return Ok(None);
    };
    let Some((size, size_bytes)) = read_number(file, false)? else {
        return Ok(None);
    };
    let Ok(id) = u32::try_from(id) else {
        return Ok(None);
    };
    let is_unknown = size == (1 << (7 * size_bytes)) - 1;
    Ok((id_bytes <= 4).then_some((id, (!is_unknown).then_some(size))))
}

/// Reads a number of variable length; its first byte tells the length by its leading zeros. Returns
/// it, with that marker or without, and its length in bytes.
fn read_number<F: Read + Seek>(
    file: &mut Reader<'_, F>,
    keeps_marker: bool,
) -> io::Result<Option<(u64, u32)>> {
    let Some(first) = file.read_byte()? else {
        return Ok(None);
    };
    let length = first.leading_zeros() + 1;
    if length > 8 {
        return Ok(None);
    }
    let marker = 0x80_u8 >> (length - 1);
    let mut number = u64::from(if keeps_marker { first } else { first & !marker });
    for _ in 1..length {
        let Some(byte) = file.read_byte()? else {
            return Ok(None);
        };
        number = (number << 8) | u64::from(byte);
    }
    Ok(Some((number, length)))
}

#[cfg(test)]
pub(super) mod tests {
    use std::io::Cursor;

    use super::*;

    fn element(id: &[u8], content: &[u8]) -> Vec<u8> {
        let size = u8::try_from(content.len()).unwrap();
        [id, &[0x40, size], content].concat()
    }

    /// Returns a video of a document type, of known length or as it is recorded.
    pub(in super::super) fn sample(doc_type: &str, has_size: bool) -> Vec<u8> {
        let header = [
            element(&[0x42, 0x86], &[1]),
            element(&[0x42, 0x82], doc_type.as_bytes()),
        ]
        .concat();
        let tracks = element(&[0x16, 0x54, 0xae, 0x6b], &[1; 9]);
        let block = element(&[0xa3], &[7; 30]);
        let header = element(&[0x1a, 0x45, 0xdf, 0xa3], &header);
        if has_size {
            let cluster = element(&[0x1f, 0x43, 0xb6, 0x75], &block);
            let segment = [tracks, cluster].concat();
            return [header, element(&[0x18, 0x53, 0x80, 0x67], &segment)].concat();
        }
        let unknown = [1, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff];
        [
            &header[..],
            &[0x18, 0x53, 0x80, 0x67],
            &unknown,
            &tracks,
            &[0x1f, 0x43, 0xb6, 0x75],
            &unknown,
            &block,
            &block,
        ]
        .concat()
    }

    #[test]
    fn a_recording_of_unknown_length_passes_unless_it_ends_in_an_element() {
        let bytes = sample("webm", false);
        let check_bytes = |bytes: &[u8]| {
            let mut file = Cursor::new(bytes);
            check(&mut Reader::new(&mut file).unwrap()).unwrap()
        };
        assert_eq!(check_bytes(&bytes), Ok(true));
        let block = bytes.len() - 33;
        assert_eq!(check_bytes(&bytes[..block]), Ok(true));
        for length in block + 1..bytes.len() {
            assert!(check_bytes(&bytes[..length]).is_err(), "{length} passed");
        }
    }

    #[test]
    fn a_file_without_tracks_or_content_is_rejected() {
        let header = element(&[0x1a, 0x45, 0xdf, 0xa3], &element(&[0x42, 0x82], b"webm"));
        let segment = element(&[0x18, 0x53, 0x80, 0x67], &element(&[0xec], &[0; 3]));
        let mut file = Cursor::new([header, segment].concat());
        let checked = check(&mut Reader::new(&mut file).unwrap()).unwrap();
        assert_eq!(checked, Err("it has no tracks".into()));
    }
}
