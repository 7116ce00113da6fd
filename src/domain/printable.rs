//! Text from files and providers, made safe to print in a message.

/// Maximum number of characters kept.
const MAX_CHARS: usize = 60;

/// Returns an excerpt of a text that is safe to print in a message.
///
/// Keeps the first 60 characters, because the text may be a whole file, marks a cut with `…`, and
/// replaces control characters, which could move the terminal's cursor.
pub(crate) fn printable_excerpt(text: &str) -> String {
    let mut excerpt: String = text
        .chars()
        .take(MAX_CHARS)
        .map(|c| if c.is_control() { '\u{fffd}' } else { c })
        .collect();
    if text.chars().nth(MAX_CHARS).is_some() {
        excerpt.push('…');
    }
    excerpt
}
