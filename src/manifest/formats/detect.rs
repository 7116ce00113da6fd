//! Detects how a manifest is stored: compressed or not, workbook or text, its encoding, and the
//! separator of its cells.
//!
//! Programs that save a table do not record how they wrote it. Any difference from UTF-8 text with
//! commas is reported to the user, and a file whose encoding cannot be determined is rejected: a
//! wrong guess would be in every prompt.

use std::io::{self, BufRead, BufReader, Read, Seek};
use std::path::{Path, PathBuf};

use encoding_rs::{Encoding, UTF_8};
use encoding_rs_io::DecodeReaderBytesBuilder;
use flate2::read::MultiGzDecoder;
use serde::de::IgnoredAny;

use super::foreign::{self, ArchiveKind};
use super::row_format::RowFormat;
use super::separator::{detect_separator, is_raw_tsv};
use super::text_encoding::{READ_BYTES, TextSniffer};
use super::workbook_limits;

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
                let sniffer = TextSniffer::from_reader(decompress(compression, file.by_ref())?)?;
                file.rewind()?;
                let encoding = sniffer.encoding()?;
                let start = sniffer.start(encoding);
                if is_markup(&start)? {
                    Content::Feed(encoding)
                } else {
                    Content::Text(encoding, detect_rows(&start, &uncompressed_path(path)))
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
            Some(RowFormat::RawTsv) => Some("tab-separated values without quoting"),
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

/// Returns whether the text is XML, which may be a product feed.
///
/// # Errors
/// Returns what to do if it is a page or a workbook.
fn is_markup(text: &str) -> anyhow::Result<bool> {
    let text = text.trim_start();
    if !text.starts_with('<') {
        return Ok(false);
    }
    foreign::describe_markup(text).map_or(Ok(true), |what| Err(anyhow::Error::msg(what)))
}

/// Returns how the rows of a text are separated, by its file's name and its start.
fn detect_rows(text: &str, path: &Path) -> RowFormat {
    let extension = path
        .extension()
        .and_then(|extension| extension.to_str())
        .map(str::to_ascii_lowercase);
    match extension.as_deref() {
        Some("jsonl" | "ndjson") if !text.trim_start().starts_with('[') => RowFormat::Jsonl,
        Some("tsv" | "tab") => table(text, b'\t'),
        Some("csv") if !text.trim_start().starts_with("[{") => table(text, detect_separator(text)),
        _ if text.trim_start().starts_with(['{', '[']) => detect_json(text),
        _ => table(text, detect_separator(text)),
    }
}

fn table(text: &str, separator: u8) -> RowFormat {
    if separator == b'\t' && is_raw_tsv(text) {
        RowFormat::RawTsv
    } else {
        RowFormat::Csv { separator }
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
