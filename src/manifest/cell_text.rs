//! The texts of cells as people mean them: without regard to case and to blanks that nobody sees.

/// Characters without a width, which programs leave in texts that are copied.
const INVISIBLE: [char; 7] = [
    '\u{200b}', '\u{200c}', '\u{200d}', '\u{200e}', '\u{200f}', '\u{2060}', '\u{feff}',
];

/// Returns a text without blanks and invisible characters around it.
pub(super) fn trim(text: &str) -> &str {
    text.trim_matches(is_blank)
}

/// Returns whether a character is a blank, such as a no-break space, or has no width.
pub(super) fn is_blank(c: char) -> bool {
    c.is_whitespace() || INVISIBLE.contains(&c)
}

/// Returns a name in lower case, with single spaces.
pub(super) fn folded(name: &str) -> String {
    let words = name.split(is_blank).filter(|word| !word.is_empty());
    words.collect::<Vec<_>>().join(" ").to_lowercase()
}

/// Returns the text of a formula that is nothing but a text: `="00123"` keeps a spreadsheet program from
/// reading a number.
pub(super) fn text_of_formula(cell: &str) -> Option<&str> {
    let text = cell.strip_prefix("=\"")?.strip_suffix('"')?;
    (!text.contains('"')).then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blanks_and_invisible_characters_around_a_text_do_not_count() {
        assert_eq!(trim("\u{feff} a\u{a0}\u{200b}"), "a");
        assert_eq!(folded(" Image\u{a0}\u{a0}SRC "), "image src");
    }

    #[test]
    fn a_formula_that_is_nothing_but_a_text_is_that_text() {
        assert_eq!(text_of_formula("=\"00123\""), Some("00123"));
        assert_eq!(text_of_formula("=\"a\"&\"b\""), None);
    }
}
