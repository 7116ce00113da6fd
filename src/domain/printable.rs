//! Text from files and providers, made safe to show: it must not move a terminal's cursor, change its
//! colors or the direction of the text, or look like a line of ours.

use std::borrow::Cow;

/// Maximum number of characters of an excerpt.
const MAX_CHARS: usize = 60;

/// What takes the place of a character that is not shown.
const REPLACEMENT: char = '\u{fffd}';

/// Returns whether a character is not to be shown: a control character, a line or paragraph separator, or
/// one that is invisible or changes the direction of the text.
pub(crate) fn is_unprintable(c: char) -> bool {
    let is_invisible = matches!(
        c,
        '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}' | '\u{200e}'..='\u{200f}'
            | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}'
            | '\u{e0000}'..='\u{e007f}'
    );
    c.is_control() || is_invisible
}

/// Returns a text on one line that is safe to show: line ends and tabs become spaces, other characters
/// that are not shown become `�`.
pub(crate) fn printable(text: &str) -> Cow<'_, str> {
    replace(text, |c| match c {
        '\n' | '\r' | '\t' => Some(' '),
        c => is_unprintable(c).then_some(REPLACEMENT),
    })
}

/// Returns the same for a text of several lines, which stay.
pub(crate) fn printable_lines(text: &str) -> Cow<'_, str> {
    replace(text, |c| match c {
        '\n' => None,
        '\t' => Some(' '),
        c => is_unprintable(c).then_some(REPLACEMENT),
    })
}

/// Returns JSON with the characters escaped that are not to be shown. They occur in strings only.
pub(crate) fn printable_json(json: &str) -> Cow<'_, str> {
    if !json.contains(is_unprintable) {
        return Cow::Borrowed(json);
    }
    let mut escaped = String::with_capacity(json.len());
    for c in json.chars() {
        if is_unprintable(c) {
            let units = c.encode_utf16(&mut [0; 2]).to_vec();
            escaped.extend(units.iter().map(|unit| format!("\\u{unit:04x}")));
        } else {
            escaped.push(c);
        }
    }
    Cow::Owned(escaped)
}

/// Returns an excerpt of a text that is safe to print in a message.
///
/// Keeps the first 60 characters, because the text may be a whole file, and marks a cut with `…`.
pub(crate) fn printable_excerpt(text: &str) -> String {
    let mut excerpt: String = text
        .chars()
        .take(MAX_CHARS)
        .map(|c| if is_unprintable(c) { REPLACEMENT } else { c })
        .collect();
    if text.chars().nth(MAX_CHARS).is_some() {
        excerpt.push('…');
    }
    excerpt
}

fn replace(text: &str, replacement: impl Fn(char) -> Option<char>) -> Cow<'_, str> {
    if !text.contains(|c| replacement(c).is_some()) {
        return Cow::Borrowed(text);
    }
    let replaced = text.chars().map(|c| replacement(c).unwrap_or(c));
    Cow::Owned(replaced.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_moves_the_cursor_or_turns_the_text_is_not_shown() {
        let text = "a\u{1b}[2Jb\r\nc\u{202e}d\u{9b}e\u{2066}f\u{7}g\u{e0041}h";
        assert_eq!(
            printable(text),
            "a\u{fffd}[2Jb  c\u{fffd}d\u{fffd}e\u{fffd}f\u{fffd}g\u{fffd}h"
        );
        assert_eq!(printable_lines("a\n\u{1b}b"), "a\n\u{fffd}b");
        for plain in ["Häuser 日本 👩\u{200d}🎨", "a b", ""] {
            assert_eq!(printable(plain), plain);
        }
    }

    #[test]
    fn json_means_the_same_after_its_characters_are_escaped() {
        let value = serde_json::json!({ "id": "a\u{9b}\u{202e}b\u{e0041}\n" });
        let json = printable_json(&value.to_string()).into_owned();
        assert!(!json.contains(is_unprintable), "{json:?}");
        assert_eq!(
            serde_json::from_str::<serde_json::Value>(&json).unwrap(),
            value
        );
    }
}
