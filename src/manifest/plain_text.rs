//! Plain text of the HTML that shops keep their descriptions in.

use std::borrow::Cow;

/// A line of this many characters is never filled: the text is to have no line breaks of its own.
const NEVER_BROKEN: usize = 1 << 20;

/// Makes one line of plain text of a cell that holds HTML; another stays as it is.
pub(super) fn plain(cell: &str) -> Cow<'_, str> {
    if !is_html(cell) {
        return Cow::Borrowed(cell);
    }
    let text = html2text::config::with_decorator(html2text::render::TrivialDecorator::new())
        .string_from_read(cell.as_bytes(), NEVER_BROKEN);
    // What the parser cannot make text of is still what the user wrote.
    text.map_or(Cow::Borrowed(cell), |text| {
        Cow::Owned(text.split_whitespace().collect::<Vec<_>>().join(" "))
    })
}

/// Tells whether there is a tag or a written character in a text; `<` and `&` by themselves are none.
fn is_html(text: &str) -> bool {
    let has_tag = text.match_indices('<').any(|(at, _)| {
        let inner = text[at + 1..].trim_start_matches('/');
        inner.starts_with(|c: char| c.is_ascii_alphabetic() || c == '!') && inner.contains('>')
    });
    has_tag
        || text.match_indices('&').any(|(at, _)| {
            let name = text[at + 1..].split(';').next().unwrap_or_default();
            let is_ended = text[at + 1..].len() > name.len();
            let name = name.strip_prefix('#').unwrap_or(name);
            is_ended
                && (2..9).contains(&name.len())
                && name.chars().all(|c| c.is_ascii_alphanumeric())
        })
}

#[cfg(test)]
mod tests {
    use super::plain;

    #[test]
    fn html_becomes_one_line_of_text_and_other_text_stays() {
        let html = "<p>Hand-made <b>cup</b>,<br>300&nbsp;ml &amp; saucer</p>\n<ul><li>blue</li><li>red</li></ul>";
        assert_eq!(plain(html), "Hand-made cup, 300 ml & saucer blue red");
        assert_eq!(
            plain("<a href=\"https://e.com\">More</a> <img src=\"x.png\" alt=\"a cup\">"),
            "More a cup"
        );
        for text in [
            "5 < 10 > 3",
            "Salt & Pepper; shaker",
            "<3",
            "  two  spaces\nand a line",
        ] {
            assert_eq!(plain(text), text);
        }
    }
}
