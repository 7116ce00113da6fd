//! What a workbook may contain at most: a small file can unpack to more than the memory holds.
//!
//! The parts of a workbook are XML, of which calamine keeps a tag, a text or a shared string at a time, and
//! the smaller parts whole. They are read once with the same parser, without being kept, and measured.

use std::io::{self, BufReader, Read, Seek};

use quick_xml::Reader;
use quick_xml::events::{BytesStart, Event};
use zip::ZipArchive;

/// What a workbook may contain.
struct Limits {
    /// Length of all parts together, in bytes.
    unpacked_bytes: u64,
    /// Length of a part other than a sheet or the shared strings, in bytes.
    part_bytes: u64,
    /// Length of a tag, of a text, or of what a cell or a shared string consists of, in bytes.
    item_bytes: u64,
    /// Number of shared strings.
    shared_strings: u64,
}

const LIMITS: Limits = Limits {
    unpacked_bytes: 2 << 30,
    part_bytes: 256 << 20,
    item_bytes: 16 << 20,
    shared_strings: 10_000_000,
};

/// Size of the buffer for reading a part, in bytes.
const BUFFER_BYTES: usize = 64 << 10;

/// Checks that a workbook takes no more memory than it may.
///
/// # Errors
/// Returns what it has too much of. What cannot be unpacked or parsed is left to the reader of the workbook.
pub(super) fn check(file: impl Read + Seek) -> Result<(), String> {
    LIMITS.check(file)
}

impl Limits {
    fn check(&self, file: impl Read + Seek) -> Result<(), String> {
        let Ok(mut archive) = ZipArchive::new(file) else {
            return Ok(());
        };
        let mut left = self.unpacked_bytes;
        for index in 0..archive.len() {
            let Ok(part) = archive.by_index(index) else {
                continue;
            };
            let name = part.name().unwrap_or_default().to_ascii_lowercase();
            if name.ends_with(".xml") || name.ends_with(".rels") {
                left -= self.measure_xml(part, left)?;
            } else {
                left -= self.measure_other(part, left)?;
            }
        }
        Ok(())
    }

    /// Returns the length of a part that is no XML, or is not named like it.
    fn measure_other(&self, part: impl Read, left: u64) -> Result<u64, String> {
        let mut part = part.take(left.min(self.part_bytes) + 1);
        let length = io::copy(&mut part, &mut io::sink()).unwrap_or(0);
        self.check_part(length, left)?;
        Ok(length)
    }

    /// Returns the length of a part in XML.
    fn measure_xml(&self, part: impl Read, left: u64) -> Result<u64, String> {
        let mut reader =
            Reader::from_reader(BufReader::with_capacity(BUFFER_BYTES, Allowance::new(part)));
        // As calamine reads it: what ends this reader ends that one.
        let config = reader.config_mut();
        config.check_end_names = false;
        config.check_comments = false;
        config.expand_empty_elements = true;
        let mut buffer = Vec::new();
        // Whether the part is a sheet or the shared strings; `None` before its first tag.
        let mut is_streamed = None;
        let mut item_start = None;
        let mut strings = 0;
        loop {
            reader.get_mut().get_mut().left = self.item_bytes;
            buffer.clear();
            let event = reader.read_event_into(&mut buffer);
            let source = reader.get_ref().get_ref();
            let length = source.total;
            if event.is_err() && source.left == 0 {
                return Err(self.item_too_long());
            }
            match is_streamed {
                Some(true) => self.check_total(length, left)?,
                _ => self.check_part(length, left)?,
            }
            match event {
                Ok(Event::Start(tag)) => {
                    let name = tag.local_name();
                    if is_streamed.is_none() {
                        is_streamed = Some(matches!(name.as_ref(), "worksheet" | "sst"));
                        self.check_strings(announced_strings(&tag))?;
                    }
                    if name.as_ref() == "si" {
                        strings += 1;
                        self.check_strings(strings)?;
                    }
                    if matches!(name.as_ref(), "si" | "c") {
                        item_start = Some(length);
                    }
                }
                Ok(Event::End(tag)) if matches!(tag.local_name().as_ref(), "si" | "c") => {
                    item_start = None;
                }
                Ok(Event::Eof) | Err(_) => return Ok(length),
                Ok(_) => {}
            }
            if item_start.is_some_and(|start| length - start > self.item_bytes) {
                return Err(self.item_too_long());
            }
        }
    }

    fn check_total(&self, length: u64, left: u64) -> Result<(), String> {
        if length > left {
            let max = self.unpacked_bytes >> 20;
            return Err(format!("it is more than {max} MiB when it is unpacked"));
        }
        Ok(())
    }

    fn check_part(&self, length: u64, left: u64) -> Result<(), String> {
        self.check_total(length, left)?;
        if length > self.part_bytes {
            let max = self.part_bytes >> 20;
            return Err(format!("it has a part of more than {max} MiB"));
        }
        Ok(())
    }

    fn check_strings(&self, strings: u64) -> Result<(), String> {
        if strings > self.shared_strings {
            let max = self.shared_strings;
            return Err(format!("it has more than {max} shared strings"));
        }
        Ok(())
    }

    fn item_too_long(&self) -> String {
        let max = self.item_bytes >> 20;
        format!("it has a text or a tag of more than {max} MiB")
    }
}

/// Returns the number of shared strings that a part says to have, for which calamine reserves memory.
fn announced_strings(tag: &BytesStart<'_>) -> u64 {
    let numbers = tag.attributes().flatten().filter_map(|attribute| {
        let is_count = matches!(attribute.key.as_ref(), "uniqueCount" | "count");
        is_count.then(|| attribute.value.trim().parse().unwrap_or(u64::MAX))
    });
    numbers.max().unwrap_or(0)
}

/// A reader that fails when an item takes more than it may.
struct Allowance<R> {
    source: R,
    /// How much of the current item may still be read, in bytes.
    left: u64,
    /// Number of bytes that were read.
    total: u64,
}

impl<R> Allowance<R> {
    fn new(source: R) -> Self {
        Self {
            source,
            left: 0,
            total: 0,
        }
    }
}

impl<R: Read> Read for Allowance<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.left == 0 {
            return Err(io::Error::other("the item is too long"));
        }
        let length = self.source.by_ref().take(self.left).read(buffer)?;
        self.left -= length as u64;
        self.total += length as u64;
        Ok(length)
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Cursor, Write};

    use zip::ZipWriter;
    use zip::write::SimpleFileOptions;

    use super::*;

    const FEW: Limits = Limits {
        unpacked_bytes: 8 << 20,
        part_bytes: 2 << 20,
        item_bytes: 1 << 20,
        shared_strings: 2_000,
    };

    fn check_part(name: &str, part: &[u8]) -> Result<(), String> {
        let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
        zip.start_file(name, SimpleFileOptions::default()).unwrap();
        zip.write_all(part).unwrap();
        FEW.check(zip.finish().unwrap())
    }

    fn check_strings(part: &str) -> Result<(), String> {
        check_part("xl/sharedStrings.xml", part.as_bytes())
    }

    #[test]
    fn a_text_or_a_tag_may_be_long_but_not_endless_however_it_is_written() {
        let half = "a".repeat(600 << 10);
        assert_eq!(
            check_strings(&format!("<sst><si><t>{half}</t></si></sst>")),
            Ok(())
        );
        let separate = format!("<sst><si><t>{half}</t></si><si><t>{half}</t></si></sst>");
        assert_eq!(check_strings(&separate), Ok(()));
        for too_long in [
            format!("<sst><si><t>{half}{half}</t></si></sst>"),
            format!("<sst><si><t>{half}>{half}</t></si></sst>"),
            format!("<sst><si><t>{half}<!-- <si> -->{half}</t></si></sst>"),
            format!("<sst><si><r><t>{half}</t></r><r><t>{half}</t></r></si></sst>"),
            format!("<sst><si><t><![CDATA[{half}<si>{half}]]></t></si></sst>"),
            format!("<worksheet><c r=\"{half}><{half}\"/></worksheet>"),
            format!("<worksheet><c><is><t>{half}</t><t>{half}</t></is></c></worksheet>"),
        ] {
            let error = "it has a text or a tag of more than 1 MiB".to_owned();
            assert_eq!(check_strings(&too_long), Err(error));
        }
    }

    #[test]
    fn shared_strings_are_counted_with_any_prefix_and_as_they_are_announced() {
        let error = Err("it has more than 2000 shared strings".to_owned());
        for string in ["<si/>", "<x:si></x:si>", "<si a=\"\"/>"] {
            let of = |count| check_strings(&format!("<sst>{}</sst>", string.repeat(count)));
            assert_eq!(of(2_000), Ok(()));
            assert_eq!(of(2_001), error);
        }
        assert_eq!(check_strings("<sst uniqueCount=\"2000\"/>"), Ok(()));
        for count in ["2001", "10000000000000", "99999999999999999999999"] {
            assert_eq!(
                check_strings(&format!("<sst uniqueCount=\"{count}\"/>")),
                error
            );
        }
    }

    #[test]
    fn only_sheets_and_shared_strings_may_be_long() {
        let long = "<a></a>".repeat(400_000);
        assert_eq!(
            check_strings(&format!("<worksheet>{long}</worksheet>")),
            Ok(())
        );
        let error = Err("it has a part of more than 2 MiB".to_owned());
        assert_eq!(
            check_strings(&format!("<styleSheet>{long}</styleSheet>")),
            error
        );
        assert_eq!(check_part("xl/media/image.png", &vec![0; 3 << 20]), error);
        let longer = "<a></a>".repeat(1_300_000);
        let error = Err("it is more than 8 MiB when it is unpacked".to_owned());
        assert_eq!(
            check_strings(&format!("<worksheet>{longer}</worksheet>")),
            error
        );
    }

    #[test]
    fn what_is_no_archive_is_left_to_the_reader() {
        assert_eq!(check(Cursor::new(b"PK\x03\x04none")), Ok(()));
    }
}
