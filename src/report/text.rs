//! Escapes text so that it cannot become markup.

use std::fmt;
use std::io;

use serde::Serialize;

/// Displays a text escaped for an element or for an attribute in quotes.
pub(super) struct Escaped<'a>(pub(super) &'a str);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rest = self.0;
        while let Some(at) = rest.find(['&', '<', '>', '"', '\'']) {
            let (before, from) = rest.split_at(at);
            f.write_str(before)?;
            f.write_str(match from.as_bytes()[0] {
                b'&' => "&amp;",
                b'<' => "&lt;",
                b'>' => "&gt;",
                b'"' => "&quot;",
                _ => "&#39;",
            })?;
            rest = &from[1..];
        }
        f.write_str(rest)
    }
}

/// Returns JSON for a script element. Without `<` it can neither end the element nor start a
/// comment.
pub(super) fn script_json(value: &impl Serialize) -> io::Result<String> {
    Ok(serde_json::to_string(value)?.replace('<', "\\u003c"))
}

/// Truncates a text to at most `max_chars` characters, and appends an ellipsis if it was longer.
pub(super) fn truncate(text: &str, max_chars: usize) -> String {
    match text.char_indices().nth(max_chars) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn markup_characters_are_escaped() {
        assert_eq!(
            Escaped("a & <b c=\"d\">é'").to_string(),
            "a &amp; &lt;b c=&quot;d&quot;&gt;é&#39;"
        );
    }

    #[test]
    fn script_json_cannot_end_its_element_and_parses_to_the_same_value() {
        let text = "</script><!--\u{2028}{{jobs}}";
        let json = script_json(&text).unwrap();
        assert!(!json.contains('<'), "{json}");
        assert_eq!(serde_json::from_str::<String>(&json).unwrap(), text);
    }

    #[test]
    fn text_is_truncated_between_characters() {
        assert_eq!(truncate("äöü", 2), "äö…");
        assert_eq!(truncate("äöü", 3), "äöü");
    }
}
