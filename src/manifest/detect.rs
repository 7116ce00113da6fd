//! Finds out what a manifest is: packed or not, a workbook or text, in which encoding, separated by what.
//!
//! Programs that save a table do not say how they wrote it. What is found is told, and what cannot be read for certain
//! is refused: a wrong guess would be in every prompt.

use std::io::{self, BufRead, BufReader, Read, Seek};
use std::path::Path;

use encoding_rs::{Encoding, UTF_8, UTF_16BE, UTF_16LE, WINDOWS_1252};
use encoding_rs_io::DecodeReaderBytesBuilder;
use flate2::read::MultiGzDecoder;

use super::RowFormat;

/// How much of a file's beginning is looked at for its header.
const START: usize = 64 << 10;

/// What is read at once.
const AT_ONCE: usize = 256 << 10;

/// Windows-1252 has no character for these bytes.
const NO_CHARACTER: [u8; 5] = [0x81, 0x8d, 0x8f, 0x90, 0x9d];

/// Signs that separate cells, the likeliest first.
const SEPARATORS: [char; 4] = [',', ';', '\t', '|'];

/// What a manifest is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileFormat {
    packing: Compression,
    pub(super) content: Content,
}

/// What it is packed in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Compression {
    None,
    Gzip,
    Zstandard,
}

/// What is in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Content {
    /// An Excel workbook.
    Workbook,
    /// Text.
    Text(&'static Encoding, RowFormat),
}

impl FileFormat {
    /// Finds out what a file is, by its content first and then by its name. It is read through, and left at its start.
    ///
    /// # Errors
    /// What keeps it from being read, or from being understood.
    pub fn of(path: &Path, file: &mut (impl Read + Seek + Send)) -> anyhow::Result<Self> {
        let mut magic = Vec::new();
        file.by_ref().take(8).read_to_end(&mut magic)?;
        file.rewind()?;
        let packing = match magic.as_slice() {
            [0x1f, 0x8b, ..] => Compression::Gzip,
            [0x28, 0xb5, 0x2f, 0xfd, ..] => Compression::Zstandard,
            _ => Compression::None,
        };
        let content = match magic.as_slice() {
            [b'P', b'K', 3, 4, ..] => Content::Workbook,
            [0xd0, 0xcf, 0x11, 0xe0, ..] => {
                anyhow::bail!("it is a workbook of an old Excel; save it as .xlsx or as CSV")
            }
            _ => {
                let text = Sniffer::of(unpacked(packing, file.by_ref())?)?;
                file.rewind()?;
                let encoding = text.encoding()?;
                Content::Text(encoding, text.format(&unpacked_name(path), encoding))
            }
        };
        Ok(Self { packing, content })
    }

    /// Tells what was found, where it is not plain: not UTF-8, not separated by commas.
    pub fn told(&self) -> Option<String> {
        let Content::Text(encoding, format) = self.content else {
            return None;
        };
        let separated = match format {
            RowFormat::Csv { separator: b';' } => Some("separated by semicolons"),
            RowFormat::Csv { separator: b'\t' } => Some("separated by tabs"),
            RowFormat::Csv { separator: b'|' } => Some("separated by bars"),
            _ => None,
        };
        let encoded = (encoding != UTF_8).then(|| format!("{} text", encoding.name()));
        let told: Vec<String> = encoded
            .into_iter()
            .chain(separated.map(str::to_owned))
            .collect();
        (!told.is_empty()).then(|| format!("read as {}", told.join(", ")))
    }

    /// Makes UTF-8 text of a file of this kind.
    pub(super) fn text<R: Read + Send + 'static>(
        self,
        file: R,
    ) -> io::Result<impl BufRead + Send + use<R>> {
        let Content::Text(encoding, _) = self.content else {
            return Err(io::Error::other("a workbook is no text"));
        };
        let bytes = unpacked(self.packing, file)?;
        let text: Box<dyn Read + Send> = if encoding == UTF_8 {
            bytes
        } else {
            Box::new(
                DecodeReaderBytesBuilder::new()
                    .encoding(Some(encoding))
                    .build(bytes),
            )
        };
        // Large reads leave the disk time for the queue.
        Ok(BufReader::with_capacity(AT_ONCE, text))
    }
}

/// The name of what is packed in a file: `a.csv` of `a.csv.gz`.
pub fn unpacked_name(path: &Path) -> std::path::PathBuf {
    match path.extension().and_then(|ending| ending.to_str()) {
        Some("gz" | "zst") => path.with_extension(""),
        _ => path.to_owned(),
    }
}

fn unpacked<'a>(
    packing: Compression,
    file: impl Read + Send + 'a,
) -> io::Result<Box<dyn Read + Send + 'a>> {
    Ok(match packing {
        Compression::None => Box::new(file),
        Compression::Gzip => Box::new(MultiGzDecoder::new(file)),
        Compression::Zstandard => Box::new(zstd::Decoder::new(file)?),
    })
}

/// What a look at all of a file's bytes says of its encoding.
#[derive(Default)]
struct Sniffer {
    /// Its beginning.
    start: Vec<u8>,
    /// Whether it has characters that only UTF-8 writes so, bytes that are not UTF-8, and bytes that are no character of
    /// Windows-1252.
    has_utf_8: bool,
    has_other: bool,
    has_no_character: bool,
    /// The kind of UTF-16 it is, if it is any, and whether a character of it is damaged.
    utf_16: Option<&'static Encoding>,
    is_damaged: bool,
}

impl Sniffer {
    fn of(mut bytes: impl Read) -> io::Result<Self> {
        let mut survey = Self::default();
        bytes
            .by_ref()
            .take(START as u64)
            .read_to_end(&mut survey.start)?;
        survey.utf_16 = utf_16(&survey.start);
        let start = survey.start.clone();
        let mut rest = start.as_slice().chain(bytes);
        match survey.utf_16 {
            Some(encoding) => survey.look_at_utf_16(&mut rest, encoding)?,
            None => survey.look_at(&mut rest)?,
        }
        Ok(survey)
    }

    fn look_at(&mut self, bytes: &mut impl Read) -> io::Result<()> {
        let (mut lot, mut kept) = (vec![0; AT_ONCE], 0);
        loop {
            let read = bytes.read(&mut lot[kept..])?;
            let end = kept + read;
            let mut rest = &lot[..end];
            kept = 0;
            while !rest.is_ascii() {
                let Err(error) = std::str::from_utf8(rest) else {
                    self.has_utf_8 = true;
                    break;
                };
                let (good, other) = rest.split_at(error.valid_up_to());
                self.has_utf_8 |= !good.is_ascii();
                match error.error_len() {
                    // The end of this lot is in the middle of a character.
                    None if read > 0 => {
                        kept = other.len();
                        break;
                    }
                    length => {
                        self.has_other = true;
                        self.has_no_character |= NO_CHARACTER.contains(&other[0]);
                        rest = &other[length.unwrap_or(other.len())..];
                    }
                }
            }
            if read == 0 {
                return Ok(());
            }
            lot.copy_within(end - kept..end, 0);
        }
    }

    fn look_at_utf_16(
        &mut self,
        bytes: &mut impl Read,
        encoding: &'static Encoding,
    ) -> io::Result<()> {
        let (mut lot, mut text) = (vec![0; AT_ONCE], vec![0; AT_ONCE * 2]);
        let mut decoder = encoding.new_decoder();
        loop {
            let length = bytes.read(&mut lot)?;
            let mut rest = &lot[..length];
            loop {
                let (result, read, _, is_damaged) =
                    decoder.decode_to_utf8(rest, &mut text, length == 0);
                self.is_damaged |= is_damaged;
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
        if let Some(encoding) = self.utf_16 {
            anyhow::ensure!(
                !self.is_damaged,
                "it is damaged {} text; save it as UTF-8",
                encoding.name()
            );
            return Ok(encoding);
        }
        let is_marked = self.start.starts_with(super::BOM);
        // One odd byte in UTF-8 text is a mistake in its row; text without a single character of UTF-8 is another kind.
        if !self.has_other || self.has_utf_8 || is_marked {
            return Ok(UTF_8);
        }
        anyhow::ensure!(
            !self.has_no_character,
            "it is neither UTF-8 nor Windows-1252 text; save it as UTF-8"
        );
        Ok(WINDOWS_1252)
    }

    fn format(&self, path: &Path, encoding: &'static Encoding) -> RowFormat {
        let (text, ..) = encoding.decode(&self.start);
        let ending = path
            .extension()
            .and_then(|ending| ending.to_str())
            .map(str::to_ascii_lowercase);
        match ending.as_deref() {
            Some("jsonl" | "ndjson") => RowFormat::Jsonl,
            Some("tsv" | "tab") => RowFormat::Csv { separator: b'\t' },
            Some("csv") => RowFormat::Csv {
                separator: separator(&text),
            },
            _ if text.trim_start().starts_with('{') => RowFormat::Jsonl,
            _ => RowFormat::Csv {
                separator: separator(&text),
            },
        }
    }
}

/// The kind of UTF-16 a text is: by its mark, or by the zeros that every other byte of plain letters is there.
fn utf_16(start: &[u8]) -> Option<&'static Encoding> {
    if let Some((marked, _)) = Encoding::for_bom(start).filter(|(marked, _)| *marked != UTF_8) {
        return Some(marked);
    }
    let zeros = |first: usize| {
        start
            .iter()
            .skip(first)
            .step_by(2)
            .filter(|byte| **byte == 0)
            .count()
    };
    let many = (start.len() / 4).max(1);
    match (zeros(0), zeros(1)) {
        (even, odd) if odd > many && even < odd / 8 => Some(UTF_16LE),
        (even, odd) if even > many && odd < even / 8 => Some(UTF_16BE),
        _ => None,
    }
}

/// The sign that separates the cells of a header: the one that stands in it most often outside quotes.
fn separator(text: &str) -> u8 {
    let text = text.trim_start();
    // Excel's own way to say it.
    if let Some(said) = text
        .strip_prefix("sep=")
        .and_then(|rest| rest.bytes().next())
        && SEPARATORS.contains(&char::from(said))
    {
        return said;
    }
    let mut is_quoted = false;
    let mut counts = [0; SEPARATORS.len()];
    for sign in text.chars() {
        is_quoted ^= sign == '"';
        if is_quoted {
            continue;
        }
        if matches!(sign, '\r' | '\n') {
            break;
        }
        if let Some(index) = SEPARATORS.iter().position(|separator| *separator == sign) {
            counts[index] += 1;
        }
    }
    let (mut most, mut found) = (0, b',');
    for (count, separator) in counts.into_iter().zip(SEPARATORS) {
        if count > most {
            (most, found) = (count, u8::try_from(separator).unwrap_or(b','));
        }
    }
    found
}
