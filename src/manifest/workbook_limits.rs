//! What a workbook may contain at most: a small file can unpack to more than the memory holds.
//!
//! The parts of a workbook are XML, of which a reader keeps a text or a tag at a time, and all shared
//! strings. They are unpacked once without being kept, and measured.

use std::io::{Read, Seek};

use memchr::memmem;
use zip::ZipArchive;

/// What a workbook may contain.
struct Limits {
    /// Length of all parts together, in bytes.
    unpacked_bytes: u64,
    /// Length of a text or a tag, in bytes.
    run_bytes: usize,
    /// Number of shared strings.
    shared_strings: usize,
}

const LIMITS: Limits = Limits {
    unpacked_bytes: 2 << 30,
    run_bytes: 16 << 20,
    shared_strings: 10_000_000,
};

/// How many bytes are unpacked at a time.
const CHUNK_BYTES: usize = 64 << 10;

/// How the tag of a shared string begins, without and with a prefix.
const STRING_TAGS: [&[u8]; 2] = [b"<si", b":si"];

/// The longest part of a tag that may be at the end of a chunk.
const TAG_OVERLAP: usize = 2;

/// Checks that a workbook takes no more memory than it may.
///
/// # Errors
/// Returns what it has too much of. What cannot be unpacked is left to the reader of the workbook.
pub(super) fn check(file: impl Read + Seek) -> Result<(), String> {
    LIMITS.check(file)
}

impl Limits {
    fn check(&self, file: impl Read + Seek) -> Result<(), String> {
        let Ok(mut archive) = ZipArchive::new(file) else {
            return Ok(());
        };
        let mut unpacked = 0;
        for index in 0..archive.len() {
            if let Ok(part) = archive.by_index(index) {
                self.measure(part, &mut unpacked)?;
            }
        }
        Ok(())
    }

    /// Measures a part, and adds its length to `unpacked`.
    fn measure(&self, mut part: impl Read, unpacked: &mut u64) -> Result<(), String> {
        let finders = STRING_TAGS.map(memmem::Finder::new);
        let mut strings = 0;
        let mut run = 0;
        let mut buffer = vec![0; TAG_OVERLAP + CHUNK_BYTES];
        let mut kept = 0;
        loop {
            let Ok(length @ 1..) = part.read(&mut buffer[kept..]) else {
                return Ok(());
            };
            let end = kept + length;
            *unpacked += length as u64;
            if *unpacked > self.unpacked_bytes {
                let gib = self.unpacked_bytes >> 30;
                return Err(format!("it is more than {gib} GiB when it is unpacked"));
            }
            let new = &buffer[kept..end];
            match memchr::memchr2(b'<', b'>', new) {
                Some(first) => {
                    self.check_run(run + first)?;
                    // What is between the first and the last is shorter than a chunk.
                    let last = memchr::memrchr2(b'<', b'>', new).unwrap_or(first);
                    run = new.len() - last;
                }
                None => run += new.len(),
            }
            self.check_run(run)?;
            let seen = &buffer[..end];
            let tags = finders.iter().map(|tag| tag.find_iter(seen).count());
            strings += tags.sum::<usize>();
            if strings > self.shared_strings {
                let most = self.shared_strings;
                return Err(format!("it has more than {most} shared strings"));
            }
            kept = end.min(TAG_OVERLAP);
            buffer.copy_within(end - kept..end, 0);
        }
    }

    fn check_run(&self, run: usize) -> Result<(), String> {
        if run > self.run_bytes {
            let mib = self.run_bytes >> 20;
            return Err(format!("it has a text or a tag of more than {mib} MiB"));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Cursor, Write};

    use zip::ZipWriter;
    use zip::write::SimpleFileOptions;

    use super::*;

    const FEW: Limits = Limits {
        unpacked_bytes: 1 << 30,
        run_bytes: 1 << 20,
        shared_strings: 20_000,
    };

    /// Returns an archive with a part of these pieces, each as often as it says.
    fn archive(pieces: &[(&[u8], usize)]) -> Cursor<Vec<u8>> {
        let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
        let options = SimpleFileOptions::default().large_file(true);
        zip.start_file("xl/sharedStrings.xml", options).unwrap();
        for (piece, times) in pieces {
            for _ in 0..*times {
                zip.write_all(piece).unwrap();
            }
        }
        zip.finish().unwrap()
    }

    #[test]
    fn a_text_or_a_tag_may_be_long_but_not_endless() {
        let piece = vec![b'a'; 100 << 10];
        let text = |times| FEW.check(archive(&[(b"<t>", 1), (&piece, times), (b"</t>", 1)]));
        assert_eq!(text(10), Ok(()));
        let error = Err("it has a text or a tag of more than 1 MiB".to_owned());
        assert_eq!(text(11), error);
        let tag = archive(&[(b"<c r=\"", 1), (&piece, 11)]);
        assert_eq!(FEW.check(tag), error);
    }

    #[test]
    fn shared_strings_are_counted_with_any_prefix_and_over_the_ends_of_chunks() {
        for string in [&b"<si/>"[..], b"<x:si>", b"<si a=\"\"/>"] {
            let block = string.repeat(1000);
            assert_eq!(FEW.check(archive(&[(&block, 20)])), Ok(()));
            let error = "it has more than 20000 shared strings".to_owned();
            assert_eq!(FEW.check(archive(&[(&block, 20), (string, 1)])), Err(error));
        }
    }

    #[test]
    fn all_parts_together_are_limited() {
        let mut unpacked = FEW.unpacked_bytes - 8;
        assert_eq!(FEW.measure(&b"<a/>"[..], &mut unpacked), Ok(()));
        assert_eq!(FEW.measure(&b"<b/>"[..], &mut unpacked), Ok(()));
        let error = Err("it is more than 1 GiB when it is unpacked".to_owned());
        assert_eq!(FEW.measure(&b"<c/>"[..], &mut unpacked), error);
    }

    #[test]
    fn what_is_no_archive_is_left_to_the_reader() {
        assert_eq!(check(Cursor::new(b"PK\x03\x04none")), Ok(()));
    }
}
