//! The width of text on a terminal, in columns.

use unicode_width::UnicodeWidthChar;

use crate::domain::printable::is_unprintable;

/// Variation selector 16: requests the emoji form of the preceding character, which is wide.
const EMOJI_SELECTOR: char = '\u{fe0f}';

/// Returns the maximum number of columns a text takes. Terminals disagree about emoji composed of
/// several characters, so each part is counted.
pub(super) fn display_width(text: &str) -> usize {
    text.chars().map(char_width).sum()
}

/// Truncates a text to at most `max_columns`, ending in an ellipsis. Replaces characters that would
/// move the cursor or change the text direction with spaces.
pub(super) fn truncate(text: &str, max_columns: usize) -> String {
    let clean: String = text
        .chars()
        .map(|c| if is_unprintable(c) { ' ' } else { c })
        .collect();
    if display_width(&clean) <= max_columns {
        return clean;
    }
    let mut truncated = String::new();
    let mut columns = 0;
    for c in clean.chars() {
        // One column is reserved for the ellipsis.
        if columns + char_width(c) + 1 > max_columns {
            break;
        }
        columns += char_width(c);
        truncated.push(c);
    }
    if max_columns > 0 {
        truncated.push('…');
    }
    truncated
}

/// Appends spaces until a text takes at least `min_columns`.
pub(super) fn pad(text: &str, min_columns: usize) -> String {
    let padding = min_columns.saturating_sub(display_width(text));
    format!("{text}{}", " ".repeat(padding))
}

fn char_width(c: char) -> usize {
    if c == EMOJI_SELECTOR {
        // The selector widens the character before it.
        1
    } else {
        c.width().unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_truncated_by_columns_rather_than_characters() {
        assert_eq!(truncate("夏季目录", 8), "夏季目录");
        assert_eq!(truncate("夏季目录", 7), "夏季目…");
        assert_eq!(truncate("夏季目录", 6), "夏季…");
        assert_eq!(truncate("mug", 3), "mug");
        assert_eq!(truncate("mugs", 3), "mu…");
        assert_eq!(truncate("mugs", 1), "…");
        assert_eq!(truncate("mugs", 0), "");
    }

    #[test]
    fn characters_that_move_the_cursor_or_turn_the_text_become_spaces() {
        assert_eq!(truncate("a\u{1b}[31mb\r\nc\u{202e}d", 20), "a [31mb  c d");
    }

    #[test]
    fn combining_characters_take_no_column_and_emoji_take_two() {
        assert_eq!(display_width("e\u{301}"), 1);
        assert_eq!(display_width("☁\u{fe0f}"), 2);
    }
}
