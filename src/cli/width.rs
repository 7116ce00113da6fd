//! How many columns of a terminal a text takes.

use unicode_width::UnicodeWidthChar;

/// Asks for the emoji form of the character before it, which is wide.
const EMOJI_FORM: char = '\u{fe0f}';

/// Tells how many columns a text takes at most. Terminals do not agree on emoji that are put together of several: each part
/// is counted.
pub(super) fn columns(text: &str) -> usize {
    text.chars().map(of).sum()
}

/// Cuts a text to so many columns, and keeps off the terminal what would move its cursor or turn its text around.
pub(super) fn clipped(text: &str, most: usize) -> String {
    let clean: String = text
        .chars()
        .map(|c| if is_unfit(c) { ' ' } else { c })
        .collect();
    if columns(&clean) <= most {
        return clean;
    }
    let (mut shown, mut taken) = (String::new(), 0);
    for c in clean.chars() {
        // A column is kept for the mark.
        if taken + of(c) + 1 > most {
            break;
        }
        taken += of(c);
        shown.push(c);
    }
    if most > 0 {
        shown.push('…');
    }
    shown
}

/// Fills a text up to so many columns.
pub(super) fn padded(text: &str, to: usize) -> String {
    format!("{text}{}", " ".repeat(to.saturating_sub(columns(text))))
}

fn of(c: char) -> usize {
    if c == EMOJI_FORM {
        1
    } else {
        c.width().unwrap_or(0)
    }
}

fn is_unfit(c: char) -> bool {
    c.is_control() || matches!(c, '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_cut_at_columns_and_not_at_letters() {
        assert_eq!(clipped("夏季目录", 8), "夏季目录");
        assert_eq!(clipped("夏季目录", 7), "夏季目…");
        assert_eq!(clipped("夏季目录", 6), "夏季…");
        assert_eq!(clipped("mug", 3), "mug");
        assert_eq!(clipped("mugs", 3), "mu…");
        assert_eq!(clipped("mugs", 1), "…");
        assert_eq!(clipped("mugs", 0), "");
        assert_eq!(clipped("a\u{1b}[31mb\r\nc\u{202e}d", 20), "a [31mb  c d");
        assert_eq!((columns("e\u{301}"), columns("☁\u{fe0f}")), (1, 2));
    }
}
