//! The links of pictures that a cell holds: several of them, as Markdown, HTML or attachments of Airtable.

use serde_json::Value;
use url::Url;

use crate::manifest::cell_text::{folded, is_blank, trim};

use super::link_form::is_link;
/// Maximum length of a cell that is searched for several links, in bytes.
const MAX_CELL_BYTES: usize = 64 << 10;

/// Characters between the links of a cell.
fn is_separator(c: char) -> bool {
    matches!(c, ',' | ';' | '|') || is_blank(c)
}

/// Returns whether a cell says that there is no image, as shops write it.
pub(super) fn is_no_image(cell: &str) -> bool {
    matches!(
        folded(cell).as_str(),
        "" | "no_selection" | "no selection" | "n/a" | "-" | "null" | "none"
    )
}

/// A link or path in a cell, as it is written there.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(in crate::manifest) struct WrittenLink {
    pub(in crate::manifest) link: String,
    /// The name of the file behind the link; `None` if the cell does not have it.
    pub(in crate::manifest) file_name: Option<String>,
}

impl From<&str> for WrittenLink {
    fn from(link: &str) -> Self {
        Self {
            link: link.to_owned(),
            file_name: None,
        }
    }
}

/// Returns the links or paths in a cell. `base` is the start of links that leave it out.
pub(in crate::manifest) fn split(cell: &str, base: Option<&Url>) -> Vec<WrittenLink> {
    let cell = trim(cell);
    // One link, as in almost every cell.
    if is_link(cell) && !cell.contains(is_separator) {
        return vec![cell.into()];
    }
    if is_no_image(cell) {
        return Vec::new();
    }
    if cell.len() > MAX_CELL_BYTES {
        return vec![cell.into()];
    }
    if let Some(links) = of_json(cell)
        .or_else(|| of_html(cell))
        .or_else(|| of_parentheses(cell))
    {
        return links;
    }
    if !is_link(cell) {
        if base.is_none() {
            return vec![cell.into()];
        }
        // Paths and names of files, which the shop writes without blanks.
        let names = cell.split([',', ';', '|', '\n']).map(trim);
        let names = names.filter(|name| !name.is_empty());
        return names.map(WrittenLink::from).collect();
    }
    // A link ends at a separator only if another link follows, because a link may contain a comma.
    let mut links = Vec::new();
    let mut start = 0;
    for (at, _) in cell.match_indices(is_separator) {
        let rest = cell[at..].trim_start_matches(is_separator);
        if is_link(rest) && at > start {
            links.push(cell[start..at].trim_end_matches(is_separator));
            start = cell.len() - rest.len();
        }
    }
    links.push(cell[start..].trim_end_matches(is_separator));
    links.into_iter().map(WrittenLink::from).collect()
}

/// Reads a JSON array of links, or of objects that hold one.
fn of_json(cell: &str) -> Option<Vec<WrittenLink>> {
    if !cell.starts_with('[') {
        return None;
    }
    let items: Vec<Value> = serde_json::from_str(cell).ok()?;
    let link = |item: &Value| match item {
        Value::String(link) => Some(WrittenLink::from(link.as_str())),
        Value::Object(fields) => {
            let find = |names: &[&str]| names.iter().find_map(|name| fields.get(*name)?.as_str());
            Some(WrittenLink {
                file_name: find(&["filename", "file_name", "fileName"]).map(str::to_owned),
                ..find(&["url", "src", "link", "href", "image"])?.into()
            })
        }
        _ => None,
    };
    items.iter().map(link).collect()
}

/// Reads the sources of HTML's images.
fn of_html(cell: &str) -> Option<Vec<WrittenLink>> {
    let lower = cell.to_ascii_lowercase();
    let links = lower.match_indices("<img").filter_map(|(at, _)| {
        let tag = &cell[at..at + lower[at..].find('>').unwrap_or(lower.len() - at)];
        let lower_tag = tag.to_ascii_lowercase();
        // Not `data-src`, which is of a page that loads its pictures later.
        let mut sources = lower_tag.match_indices("src=");
        let is_name =
            |at: usize| lower_tag[..at].ends_with(|c: char| c.is_whitespace() || c == '"');
        let (source, _) = sources.find(|(at, _)| is_name(*at))?;
        let value = &tag[source + "src=".len()..];
        let quote = value.chars().next().filter(|c| matches!(c, '"' | '\''));
        let value = match quote {
            Some(quote) => value[1..].split(quote).next(),
            None => value.split(is_blank).next(),
        };
        value.map(|link| trim(link).into())
    });
    let links: Vec<WrittenLink> = links.collect();
    (!links.is_empty()).then_some(links)
}

/// Reads the links in parentheses of Markdown, `![a cup](https://…)`, and of Airtable, `cup.jpg (https://…)`.
fn of_parentheses(cell: &str) -> Option<Vec<WrittenLink>> {
    if is_link(cell) {
        return None;
    }
    let mut links = Vec::new();
    // What is before the link is its name.
    let mut start = 0;
    let mut searched = 0;
    while let Some(at) = cell[searched..].find('(') {
        let at = searched + at;
        let inner = &cell[at + 1..];
        if !is_link(inner) {
            searched = at + 1;
            continue;
        }
        let name =
            cell[start..at].trim_matches(|c| is_separator(c) || matches!(c, '!' | '[' | ']'));
        let mut depth = 1;
        let end = inner.find(|c| {
            depth += i32::from(c == '(') - i32::from(c == ')');
            depth == 0
        })?;
        // Markdown allows a title after the link.
        let link = inner[..end].split(is_blank).next().unwrap_or_default();
        links.push(WrittenLink {
            file_name: Some(name.to_owned()).filter(|name| !name.is_empty()),
            ..link.into()
        });
        start = at + 1 + end + 1;
        searched = start;
    }
    (!links.is_empty()).then_some(links)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_in_one_cell_are_split_and_a_comma_in_a_link_is_kept() {
        for (cell, links) in [
            ("https://a/1.jpg", vec!["https://a/1.jpg"]),
            (
                " https://a/1.jpg, HTTPS://a/2.jpg ,http://a/3.jpg,",
                vec!["https://a/1.jpg", "HTTPS://a/2.jpg", "http://a/3.jpg"],
            ),
            (
                "https://a/w_100,h_200/1.jpg|https://a/2.jpg",
                vec!["https://a/w_100,h_200/1.jpg", "https://a/2.jpg"],
            ),
            (
                "//cdn.a.com/1.jpg\n//cdn.a.com/2.jpg",
                vec!["//cdn.a.com/1.jpg", "//cdn.a.com/2.jpg"],
            ),
            ("photos/a, b.jpg", vec!["photos/a, b.jpg"]),
            (
                "a cup.jpg (https://dl.a.com/x/1), b (2).jpg (https://dl.a.com/x/2)",
                vec!["https://dl.a.com/x/1", "https://dl.a.com/x/2"],
            ),
            (
                "![a cup](https://a/cup_(1).jpg \"A cup\")",
                vec!["https://a/cup_(1).jpg"],
            ),
            (
                "<p><img alt='x' data-src='lazy.gif' src=\"https://a/1.jpg?a=1&amp;b=2\"/><IMG SRC=https://a/2.jpg></p>",
                vec!["https://a/1.jpg?a=1&amp;b=2", "https://a/2.jpg"],
            ),
            (
                r#"["https://a/1.jpg", {"url": "https://a/2.jpg"}]"#,
                vec!["https://a/1.jpg", "https://a/2.jpg"],
            ),
            ("photos/cup (1).jpg", vec!["photos/cup (1).jpg"]),
        ] {
            let found = split(cell, None).into_iter().map(|written| written.link);
            assert_eq!(found.collect::<Vec<_>>(), links, "{cell}");
        }
        let base = Url::parse("https://shop.com/media").unwrap();
        assert_eq!(
            split("/a/1.jpg,/b/2.jpg", Some(&base)),
            ["/a/1.jpg".into(), "/b/2.jpg".into()]
        );
    }

    #[test]
    fn attachments_keep_the_names_of_their_files() {
        let links = split(
            "a, b.heic (https://a.com/1),c (2).png (https://a.com/2)",
            None,
        );
        let names = links.iter().map(|written| written.file_name.as_deref());
        assert_eq!(
            names.collect::<Vec<_>>(),
            [Some("a, b.heic"), Some("c (2).png")]
        );
        let links = split(r#"[{"url": "https://a.com/1", "filename": "a.gif"}]"#, None);
        assert_eq!(links[0].file_name.as_deref(), Some("a.gif"));
    }
}
