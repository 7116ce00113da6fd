//! Finds an API key, and parts of it, in whatever spelling a provider quotes it.

use std::collections::HashSet;
use std::ops::Range;

use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD;

/// The text that replaces the key.
pub(super) const REDACTED: &str = "[key]";

/// Minimum length of a part of a key that is redacted, in characters. Shorter ones are found in ordinary
/// words.
const PART_CHARS: usize = 8;

/// Minimum length of a part that is redacted in a URL. Without a part of its path a paid clip could not be
/// downloaded, and a longer part is no coincidence.
const URL_PART_CHARS: usize = 12;

/// Minimum length of the id in `id:secret` to be redacted, in characters. Where the user chose it, a shorter
/// one may be a word.
const MIN_ID_CHARS: usize = 16;

/// Maximum number of times that a text is taken to be percent-encoded.
const MAX_ENCODINGS: usize = 3;

/// A part that is no secret, although a key may contain it: the provider's name.
const PUBLIC: Part = Part::from_be_bytes(*b"eachlabs");

/// As many characters of a key as are looked for at once, as one number.
type Part = u64;

/// What is looked for of one key.
#[derive(Clone)]
pub(super) struct KeyParts {
    /// The parts that grant access, and those of an id that is long enough.
    parts: HashSet<Part>,
    /// The parts of the id alone, which are kept in URLs.
    id_parts: HashSet<Part>,
}

/// A character of a text as it is meant, and where it is written.
struct Meant {
    byte: u8,
    at: Range<usize>,
}

impl KeyParts {
    /// Prepares to look for a key.
    pub(super) fn new(key: &str) -> Self {
        let key = key.to_ascii_lowercase();
        let id_end = key.find(':').map_or(0, |colon| colon + 1);
        let mut parts = HashSet::new();
        let mut id_parts = HashSet::new();
        for (start, part) in parts_of(key.bytes()).enumerate() {
            if part == PUBLIC {
                continue;
            }
            if start + PART_CHARS > id_end {
                parts.insert(part);
            } else if id_end > MIN_ID_CHARS {
                id_parts.insert(part);
            }
        }
        // Encoded, the id and the secret cannot be told apart.
        if key.len() >= PART_CHARS {
            for encoded in encodings(&key) {
                parts.extend(parts_of(encoded.bytes()));
            }
        }
        Self { parts, id_parts }
    }

    /// Replaces the key and its parts in a text.
    pub(super) fn redact(&self, text: &str) -> String {
        let is_part = |part: &Part| self.parts.contains(part) || self.id_parts.contains(part);
        replace(text, &self.find(text, is_part, PART_CHARS))
    }

    /// Replaces the key and its longer parts in a URL, in which the id alone is kept.
    pub(super) fn redact_url(&self, url: &str) -> String {
        let is_part = |part: &Part| self.parts.contains(part);
        replace(url, &self.find(url, is_part, URL_PART_CHARS))
    }

    /// Returns where parts of the key are written that have at least this length.
    fn find(
        &self,
        text: &str,
        is_part: impl Fn(&Part) -> bool,
        min_chars: usize,
    ) -> Vec<Range<usize>> {
        if self.parts.is_empty() {
            return Vec::new();
        }
        let meant = decode(text);
        let mut found: Vec<Range<usize>> = Vec::new();
        let mut run: Option<Range<usize>> = None;
        let mut keep = |run: Option<Range<usize>>| {
            if let Some(run) = run.filter(|run| run.len() >= min_chars) {
                found.push(meant[run.start].at.start..meant[run.end - 1].at.end);
            }
        };
        for (start, part) in parts_of(meant.iter().map(|meant| meant.byte)).enumerate() {
            if !is_part(&part) {
                continue;
            }
            let end = start + PART_CHARS;
            match &mut run {
                Some(run) if start <= run.end => run.end = end,
                _ => keep(run.replace(start..end)),
            }
        }
        keep(run);
        found
    }
}

/// Returns the parts of a text, of which the first begins at its start and each other one character later.
fn parts_of(text: impl Iterator<Item = u8>) -> impl Iterator<Item = Part> {
    let mut part = 0;
    let ends = text.map(move |byte| {
        part = part << 8 | Part::from(byte);
        part
    });
    ends.skip(PART_CHARS - 1)
}

/// Returns the spellings of a key that are not a character for a character, in lower case.
fn encodings(key: &str) -> Vec<String> {
    let mut spellings = vec![hex::encode(key)];
    // A key may begin at any of three positions within a base64 text, such as after a user name.
    for before in ["", "x", "xx"] {
        let encoded = STANDARD_NO_PAD.encode(format!("{before}{key}"));
        // The first characters mix with what is before the key, the last with what is after it.
        let start = if before.is_empty() {
            0
        } else {
            before.len() + 1
        };
        let end = encoded.len().saturating_sub(1).max(start);
        let inner = encoded[start..end].to_ascii_lowercase();
        spellings.push(inner.replace('+', "-").replace('/', "_"));
        spellings.push(inner);
    }
    spellings
}

/// Returns the characters that a text means, in lower case, without blanks: percent-encoding, character
/// references and escapes are undone.
fn decode(text: &str) -> Vec<Meant> {
    let mut meant: Vec<Meant> = text
        .char_indices()
        .filter(|(_, c)| c.is_ascii() && !c.is_ascii_whitespace() && !c.is_ascii_control())
        .map(|(at, c)| Meant {
            byte: u8::try_from(c).unwrap_or_default(),
            at: at..at + 1,
        })
        .collect();
    let is_encoded = |byte: u8| matches!(byte, b'%' | b'&' | b'\\');
    for _ in 0..MAX_ENCODINGS {
        if !meant.iter().any(|meant| is_encoded(meant.byte)) {
            break;
        }
        meant = undo(&meant);
    }
    for meant in &mut meant {
        meant.byte.make_ascii_lowercase();
    }
    meant
}

fn undo(text: &[Meant]) -> Vec<Meant> {
    let mut decoded = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some(first) = rest.first() {
        let (byte, length) = escape(rest).unwrap_or((first.byte, 1));
        decoded.push(Meant {
            byte,
            at: first.at.start..rest[length - 1].at.end,
        });
        rest = &rest[length..];
    }
    decoded
}

/// Returns the character that an escape at the beginning of a text means, and the escape's length.
fn escape(text: &[Meant]) -> Option<(u8, usize)> {
    let byte = |index: usize| text.get(index).map(|meant| meant.byte);
    let number = |from: usize, length: usize, radix: u32| {
        let digits = text.get(from..from + length)?.iter();
        let digits: String = digits.map(|meant| char::from(meant.byte)).collect();
        let number = u32::from_str_radix(&digits, radix).ok()?;
        u8::try_from(number).ok().filter(u8::is_ascii)
    };
    match byte(0)? {
        b'%' => Some((number(1, 2, 16)?, 3)),
        b'\\' => match byte(1)? {
            b'u' => Some((number(2, 4, 16)?, 6)),
            b'x' => Some((number(2, 2, 16)?, 4)),
            escaped => Some((escaped, 2)),
        },
        b'&' => {
            let end = (1..10).find(|index| byte(*index) == Some(b';'))?;
            let is_hex = matches!(byte(2), Some(b'x' | b'X'));
            let number = match byte(1)? {
                b'#' if is_hex => number(3, end - 3, 16)?,
                b'#' => number(2, end - 2, 10)?,
                _ => return None,
            };
            Some((number, end + 1))
        }
        _ => None,
    }
}

fn replace(text: &str, found: &[Range<usize>]) -> String {
    let mut redacted = String::with_capacity(text.len());
    let mut copied = 0;
    for range in found {
        redacted.push_str(&text[copied..range.start]);
        redacted.push_str(REDACTED);
        copied = range.end;
    }
    redacted + &text[copied..]
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "0b5b3c1e-9f52-4a52:5f0c9d1e77aa4ce2";

    /// Spellings of a text in which a provider may quote it.
    fn spellings(text: &str) -> Vec<String> {
        let each = |format: fn(u8) -> String| text.bytes().map(format).collect::<String>();
        vec![
            text.to_owned(),
            text.to_uppercase(),
            each(|byte| format!("%{byte:02x}")),
            each(|byte| format!("%25{byte:02X}")),
            each(|byte| format!("&#{byte};")),
            each(|byte| format!("&#x{byte:x};")),
            each(|byte| format!("\\u{byte:04x}")),
            each(|byte| format!("\\x{byte:02x}")),
            each(|byte| format!("{} ", char::from(byte))),
            each(|byte| format!("{}\n\u{200b}", char::from(byte))),
            hex::encode(text),
            STANDARD_NO_PAD.encode(text),
            STANDARD_NO_PAD.encode(format!("a:{text}")),
            STANDARD_NO_PAD.encode(format!("me:{text}")),
            STANDARD_NO_PAD.encode(format!("you:{text}")),
        ]
    }

    #[test]
    fn a_key_and_the_beginning_of_one_are_found_in_every_spelling() {
        let parts = KeyParts::new(KEY);
        for length in [12, 16, 24, KEY.len()] {
            for spelling in spellings(&KEY[..length]) {
                let redacted = parts.redact(&format!("no user for {spelling}!"));
                let rest = redacted.replace(REDACTED, "");
                assert!(redacted.contains(REDACTED), "{length}: {redacted}");
                assert!(
                    rest.len() < "no user for !".len() + 24,
                    "{length}: {redacted}"
                );
                assert!(!rest.contains(&KEY[..8]), "{length}: {redacted}");
            }
        }
    }

    #[test]
    fn a_part_of_eight_characters_is_found_and_a_shorter_one_is_not() {
        let parts = KeyParts::new("sk-12345-67890-abcdef");
        assert_eq!(parts.redact("bad key 12345-67…"), "bad key [key]…");
        assert_eq!(parts.redact("bad key 12345-6…"), "bad key 12345-6…");
        let url = "https://cdn.example/sk-12345-6/clip.mp4";
        assert_eq!(parts.redact_url(url), url);
        let url = "https://cdn.example/?key=sk-12345-67890";
        assert_eq!(parts.redact_url(url), "https://cdn.example/?key=[key]");
    }

    #[test]
    fn texts_without_the_key_stay_as_they_are() {
        let parts = KeyParts::new(KEY);
        for text in [
            "",
            "short",
            "100 % of é & \\ %zz &#; &#x; \\u12",
            "\u{1f600}",
            "%",
        ] {
            assert_eq!(parts.redact(text), text);
        }
        assert_eq!(
            KeyParts::new("short").redact("short and more"),
            "short and more"
        );
    }
}
