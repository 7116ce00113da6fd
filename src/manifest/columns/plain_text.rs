//! Converts HTML, in which shops keep their descriptions, to plain text.

use std::borrow::Cow;

/// Width of a line, in characters, that no text reaches: the output must not contain line breaks
/// that the renderer added.
const UNLIMITED_WIDTH: usize = 1 << 20;

/// Converts a cell of HTML to one line of plain text. Returns any other cell as it is.
pub(super) fn to_plain_text(cell: &str) -> Cow<'_, str> {
    if !is_html(cell) {
        return Cow::Borrowed(cell);
    }
    let text = html2text::config::with_decorator(html2text::render::TrivialDecorator::new())
        .string_from_read(cell.as_bytes(), UNLIMITED_WIDTH);
    // If the parser fails, the cell is still what the user wrote.
    text.map_or(Cow::Borrowed(cell), |text| {
        Cow::Owned(text.split_whitespace().collect::<Vec<_>>().join(" "))
    })
}

/// Reports whether a text contains a tag or a character reference. A lone `<` or `&` is neither.
fn is_html(text: &str) -> bool {
    let has_tag = text.match_indices('<').any(|(at, _)| {
        let inner = text[at + 1..].trim_start_matches('/');
        inner.starts_with(|c: char| c.is_ascii_alphabetic() || c == '!') && inner.contains('>')
    });
    has_tag
        || text.match_indices('&').any(|(at, _)| {
            let name = text[at + 1..].split(';').next().unwrap_or_default();
            let has_semicolon = text[at + 1..].len() > name.len();
            let name = name.strip_prefix('#').unwrap_or(name);
            has_semicolon
                && (2..9).contains(&name.len())
                && name.chars().all(|c| c.is_ascii_alphanumeric())
        })
}

#[cfg(test)]
mod tests {
    use super::to_plain_text;

    #[test]
    fn html_becomes_one_line_of_text_and_other_text_stays_as_it_is() {
        let html = "<p>Hand-made <b>cup</b>,<br>300&nbsp;ml &amp; saucer</p>\n\
                    <ul><li>blue</li><li>red</li></ul>";
        assert_eq!(
            to_plain_text(html),
            "Hand-made cup, 300 ml & saucer blue red"
        );
        assert_eq!(
            to_plain_text("<a href=\"https://e.com\">More</a> <img src=\"x.png\" alt=\"a cup\">"),
            "More a cup"
        );
        for text in [
            "5 < 10 > 3",
            "Salt & Pepper; shaker",
            "<3",
            "  two  spaces\nand a line",
        ] {
            assert_eq!(to_plain_text(text), text);
        }
    }
}
