//! The encoding of a text file, found by reading all of it: programs do not record which one they wrote.

use std::borrow::Cow;
use std::io::{self, Read};

use encoding_rs::{Encoding, UTF_8, UTF_16BE, UTF_16LE, WINDOWS_1252};

use crate::manifest::limits::BOM;

/// Maximum number of bytes at the start of a file that are searched for its header.
const MAX_HEADER_BYTES: usize = 64 << 10;

/// Size of one read, in bytes.
pub(super) const READ_BYTES: usize = 256 << 10;

/// The bytes to which Windows-1252 assigns no character.
const UNDEFINED_IN_WINDOWS_1252: [u8; 5] = [0x81, 0x8d, 0x8f, 0x90, 0x9d];

/// What all bytes of a text file, read once, reveal about its encoding.
#[derive(Default)]
pub(super) struct TextSniffer {
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

impl TextSniffer {
    pub(super) fn from_reader(mut bytes: impl Read) -> io::Result<Self> {
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

    /// Returns the encoding of the text.
    ///
    /// # Errors
    /// Returns an error if it cannot be determined.
    pub(super) fn encoding(&self) -> anyhow::Result<&'static Encoding> {
        if let Some(declared) = self.declared().filter(|_| self.has_invalid_utf8) {
            return Ok(declared);
        }
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

    /// Returns the start of the text.
    pub(super) fn start(&self, encoding: &'static Encoding) -> Cow<'_, str> {
        encoding.decode(&self.head).0
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
