//! Detects how a manifest is stored: compressed or not, workbook or text, its encoding, and the
//! separator of its cells.
//!
//! Programs that save a table do not record how they wrote it. Any difference from UTF-8 text with
//! commas is reported to the user, and a file whose encoding cannot be determined is rejected: a
//! wrong guess would be in every prompt.

use std::io::{self, BufRead, BufReader, Read, Seek};
use std::path::{Path, PathBuf};

use encoding_rs::{Encoding, UTF_8, UTF_16BE, UTF_16LE, WINDOWS_1252};
use encoding_rs_io::DecodeReaderBytesBuilder;
use flate2::read::MultiGzDecoder;
use serde::de::IgnoredAny;

use super::foreign::{self, ArchiveKind};
use super::row_format::RowFormat;
use super::separator::detect_separator;
use super::workbook_limits;
use crate::manifest::limits::BOM;

/// Maximum number of bytes at the start of a file that are searched for its header.
const MAX_HEADER_BYTES: usize = 64 << 10;

/// Size of one read, in bytes.
const READ_BYTES: usize = 256 << 10;

/// The bytes to which Windows-1252 assigns no character.
const UNDEFINED_IN_WINDOWS_1252: [u8; 5] = [0x81, 0x8d, 0x8f, 0x90, 0x9d];

/// How a manifest is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileFormat {
    compression: Compression,
    pub(in crate::manifest) content: Content,
}

/// How the file is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Compression {
    None,
    Gzip,
    Zstandard,
}

/// What the file contains after decompression.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::manifest) enum Content {
    /// An Excel workbook (`.xlsx`).
    Workbook,
    /// An OpenDocument spreadsheet (`.ods`).
    OpenDocument,
    /// A product feed in XML, in this encoding.
    Feed(&'static Encoding),
    /// Text in this encoding, with rows in this format.
    Text(&'static Encoding, RowFormat),
}

impl FileFormat {
    /// Detects a file's format from its content first and then from its name. Reads a text file
    /// to its end, and leaves every file at its start.
    ///
    /// # Errors
    /// Returns an error if the file cannot be read, if it is a workbook in the old Excel format or one that
    /// contains more than the memory may hold, or if its encoding cannot be determined.
    pub fn detect(path: &Path, file: &mut (impl Read + Seek + Send)) -> anyhow::Result<Self> {
        let mut magic = Vec::new();
        file.by_ref().take(8).read_to_end(&mut magic)?;
        file.rewind()?;
        let compression = match magic.as_slice() {
            [0x1f, 0x8b, ..] => Compression::Gzip,
            [0x28, 0xb5, 0x2f, 0xfd, ..] => Compression::Zstandard,
            _ => Compression::None,
        };
        let content = match magic.as_slice() {
            [b'P', b'K', 3, 4, ..] => {
                workbook_limits::check(file.by_ref()).map_err(anyhow::Error::msg)?;
                file.rewind()?;
                let kind = foreign::archive_kind(file.by_ref()).map_err(anyhow::Error::msg)?;
                file.rewind()?;
                match kind {
                    ArchiveKind::Workbook => Content::Workbook,
                    ArchiveKind::OpenDocument => Content::OpenDocument,
                }
            }
            [0xd0, 0xcf, 0x11, 0xe0, ..] => {
                anyhow::bail!(foreign::describe_compound(file))
            }
            _ => {
                let sniffer = Sniffer::from_reader(decompress(compression, file.by_ref())?)?;
                file.rewind()?;
                let encoding = match sniffer.declared() {
                    Some(declared) if sniffer.has_invalid_utf8 => declared,
                    _ => sniffer.encoding()?,
                };
                if sniffer.is_markup(encoding)? {
                    Content::Feed(encoding)
                } else {
                    let row_format = sniffer.row_format(&uncompressed_path(path), encoding);
                    Content::Text(encoding, row_format)
                }
            }
        };
        Ok(Self {
            compression,
            content,
        })
    }

    /// Returns whether the file is a workbook, which has sheets.
    pub fn is_workbook(&self) -> bool {
        matches!(self.content, Content::Workbook | Content::OpenDocument)
    }

    /// Describes what differs from comma-separated UTF-8 text; `None` if nothing does.
    pub fn describe(&self) -> Option<String> {
        let (encoding, format) = match self.content {
            Content::Text(encoding, format) => (encoding, Some(format)),
            Content::Feed(encoding) => (encoding, None),
            Content::Workbook | Content::OpenDocument => return None,
        };
        let rows = match format {
            None => Some("a product feed in XML"),
            Some(RowFormat::Json) => Some("a JSON document"),
            Some(RowFormat::Csv { separator: b';' }) => Some("semicolon-separated values"),
            Some(RowFormat::Csv { separator: b'\t' }) => Some("tab-separated values"),
            Some(RowFormat::Csv { separator: b'|' }) => Some("pipe-separated values"),
            _ => None,
        };
        let encoding = (encoding != UTF_8).then(|| format!("{} text", encoding.name()));
        let differences: Vec<String> = encoding
            .into_iter()
            .chain(rows.map(str::to_owned))
            .collect();
        (!differences.is_empty()).then(|| format!("read as {}", differences.join(", ")))
    }

    /// Returns a reader of the file's text, decompressed and converted to UTF-8.
    ///
    /// # Errors
    /// Returns an error if the file is a workbook or cannot be decompressed.
    pub(in crate::manifest) fn decode<'a>(
        self,
        file: impl Read + Send + 'a,
    ) -> io::Result<impl BufRead + Send + 'a> {
        let (Content::Text(encoding, _) | Content::Feed(encoding)) = self.content else {
            return Err(io::Error::other("a workbook is not text"));
        };
        let bytes = decompress(self.compression, file)?;
        let text: Box<dyn Read + Send + 'a> = if encoding == UTF_8 {
            bytes
        } else {
            Box::new(
                DecodeReaderBytesBuilder::new()
                    .encoding(Some(encoding))
                    .build(bytes),
            )
        };
        // Large reads leave the disk time for the queue.
        Ok(BufReader::with_capacity(READ_BYTES, text))
    }
}

/// Returns a path without the suffix of its compression: `a.csv` for `a.csv.gz`.
pub fn uncompressed_path(path: &Path) -> PathBuf {
    let suffix = path.extension().map(|suffix| suffix.to_ascii_lowercase());
    match suffix.as_ref().and_then(|suffix| suffix.to_str()) {
        Some("gz" | "zst") => path.with_extension(""),
        _ => path.to_owned(),
    }
}

fn decompress<'a>(
    compression: Compression,
    file: impl Read + Send + 'a,
) -> io::Result<Box<dyn Read + Send + 'a>> {
    Ok(match compression {
        Compression::None => Box::new(file),
        Compression::Gzip => Box::new(MultiGzDecoder::new(file)),
        Compression::Zstandard => Box::new(zstd::Decoder::new(file)?),
    })
}

/// What all bytes of a text file, read once, reveal about its encoding.
#[derive(Default)]
struct Sniffer {
    /// The first [`MAX_HEADER_BYTES`] bytes.
    head: Vec<u8>,
    /// Whether there are valid UTF-8 characters outside ASCII.
    has_multibyte_utf8: bool,
    /// Whether there are bytes that are not UTF-8.
    has_invalid_utf8: bool,
    /// Whether a sequence of them starts with a byte that has no character in Windows-1252 either.
    has_undefined_byte: bool,
    /// The variant of UTF-16, if the text seems to be UTF-16.
    utf16: Option<&'static Encoding>,
    /// Whether there are characters that are not valid in that variant.
    has_invalid_utf16: bool,
}

impl Sniffer {
    fn from_reader(mut bytes: impl Read) -> io::Result<Self> {
        let mut sniffer = Self::default();
        bytes
            .by_ref()
            .take(MAX_HEADER_BYTES as u64)
            .read_to_end(&mut sniffer.head)?;
        sniffer.utf16 = detect_utf16(&sniffer.head);
        let head = sniffer.head.clone();
        let mut whole = head.as_slice().chain(bytes);
        match sniffer.utf16 {
            Some(encoding) => sniffer.scan_utf16(&mut whole, encoding)?,
            None => sniffer.scan(&mut whole)?,
        }
        Ok(sniffer)
    }

    /// Looks for bytes that are not ASCII, and checks which of them are UTF-8 or Windows-1252.
    fn scan(&mut self, bytes: &mut impl Read) -> io::Result<()> {
        let mut buffer = vec![0; READ_BYTES];
        // The number of bytes at the buffer's start that are left from the last read.
        let mut carried = 0;
        loop {
            let length = bytes.read(&mut buffer[carried..])?;
            let end = carried + length;
            let mut rest = &buffer[..end];
            carried = 0;
            while !rest.is_ascii() {
                let Err(error) = std::str::from_utf8(rest) else {
                    self.has_multibyte_utf8 = true;
                    break;
                };
                let (valid, invalid) = rest.split_at(error.valid_up_to());
                self.has_multibyte_utf8 |= !valid.is_ascii();
                match error.error_len() {
                    // The buffer ends in the middle of a character.
                    None if length > 0 => {
                        carried = invalid.len();
                        break;
                    }
                    error_len => {
                        self.has_invalid_utf8 = true;
                        self.has_undefined_byte |= UNDEFINED_IN_WINDOWS_1252.contains(&invalid[0]);
                        rest = &invalid[error_len.unwrap_or(invalid.len())..];
                    }
                }
            }
            if length == 0 {
                return Ok(());
            }
            buffer.copy_within(end - carried..end, 0);
        }
    }

    /// Looks for characters that are not valid UTF-16.
    fn scan_utf16(&mut self, bytes: &mut impl Read, encoding: &'static Encoding) -> io::Result<()> {
        let mut buffer = vec![0; READ_BYTES];
        let mut text = vec![0; READ_BYTES * 2];
        let mut decoder = encoding.new_decoder();
        loop {
            let length = bytes.read(&mut buffer)?;
            let mut rest = &buffer[..length];
            loop {
                let (result, read, _, has_errors) =
                    decoder.decode_to_utf8(rest, &mut text, length == 0);
                self.has_invalid_utf16 |= has_errors;
                rest = &rest[read..];
                if result == encoding_rs::CoderResult::InputEmpty {
                    break;
                }
            }
            if length == 0 {
                return Ok(());
            }
        }
    }

    fn encoding(&self) -> anyhow::Result<&'static Encoding> {
        if let Some(encoding) = self.utf16 {
            anyhow::ensure!(
                !self.has_invalid_utf16,
                "it is damaged {} text; save it as UTF-8",
                encoding.name()
            );
            return Ok(encoding);
        }
        let has_bom = self.head.starts_with(BOM);
        // One invalid byte in UTF-8 text is a mistake in its row. Only text without any character
        // of UTF-8 is in another encoding.
        if !self.has_invalid_utf8 || self.has_multibyte_utf8 || has_bom {
            return Ok(UTF_8);
        }
        anyhow::ensure!(
            !self.has_undefined_byte,
            "it is neither UTF-8 nor Windows-1252 text; save it as UTF-8"
        );
        Ok(WINDOWS_1252)
    }

    /// Returns the encoding that an XML declaration names.
    fn declared(&self) -> Option<&'static Encoding> {
        let start = self.head.get(..200.min(self.head.len()))?;
        let start = String::from_utf8_lossy(start);
        let declaration = start.trim_start().strip_prefix("<?xml")?;
        let declaration = declaration.split("?>").next()?;
        let (_, value) = declaration.split_once("encoding=")?;
        let quote = value.chars().next()?;
        let name = value.get(1..)?.split(quote).next()?;
        Encoding::for_label(name.as_bytes())
    }

    /// Returns whether the text is XML, which may be a product feed.
    ///
    /// # Errors
    /// Returns what to do if it is a page or a workbook.
    fn is_markup(&self, encoding: &'static Encoding) -> anyhow::Result<bool> {
        let (text, ..) = encoding.decode(&self.head);
        let text = text.trim_start();
        if !text.starts_with('<') {
            return Ok(false);
        }
        foreign::describe_markup(text).map_or(Ok(true), |what| Err(anyhow::Error::msg(what)))
    }

    fn row_format(&self, path: &Path, encoding: &'static Encoding) -> RowFormat {
        let (text, ..) = encoding.decode(&self.head);
        let extension = path
            .extension()
            .and_then(|extension| extension.to_str())
            .map(str::to_ascii_lowercase);
        match extension.as_deref() {
            Some("jsonl" | "ndjson") if !text.trim_start().starts_with('[') => RowFormat::Jsonl,
            Some("tsv" | "tab") => RowFormat::Csv { separator: b'\t' },
            Some("csv") if !text.trim_start().starts_with("[{") => RowFormat::Csv {
                separator: detect_separator(&text),
            },
            _ if text.trim_start().starts_with(['{', '[']) => detect_json(&text),
            _ => RowFormat::Csv {
                separator: detect_separator(&text),
            },
        }
    }
}

/// Returns whether a text that begins like JSON is a document, or has an object on each line.
fn detect_json(text: &str) -> RowFormat {
    let first = text.trim_start().lines().next().unwrap_or_default();
    let is_row = first.starts_with('{') && serde_json::from_str::<IgnoredAny>(first).is_ok();
    // An object that holds the list may be on one line.
    let is_only_line = text.trim().lines().count() == 1;
    if is_row && !(is_only_line && first.contains("[{")) {
        RowFormat::Jsonl
    } else {
        RowFormat::Json
    }
}

/// Returns the variant of UTF-16 that a text is in: by its byte order mark, or by the zero in every
/// other byte of Latin letters.
fn detect_utf16(head: &[u8]) -> Option<&'static Encoding> {
    if let Some((encoding, _)) = Encoding::for_bom(head).filter(|(encoding, _)| *encoding != UTF_8)
    {
        return Some(encoding);
    }
    let count_zeros = |first: usize| {
        head.iter()
            .skip(first)
            .step_by(2)
            .filter(|byte| **byte == 0)
            .count()
    };
    // A quarter of the bytes: the zeros of a text in which half of the characters are Latin.
    let min_zeros = (head.len() / 4).max(1);
    match (count_zeros(0), count_zeros(1)) {
        (even, odd) if odd > min_zeros && even < odd / 8 => Some(UTF_16LE),
        (even, odd) if even > min_zeros && odd < even / 8 => Some(UTF_16BE),
        _ => None,
    }
}
