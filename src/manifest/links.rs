//! Links of images as sheets hold them: several in a cell, with blanks around them, without their scheme,
//! as Markdown, HTML or an attachment of Airtable.

use serde_json::Value;
use url::Url;

use super::column_names::{folded, is_blank, trim};
use super::problem::Mistake;
use super::remark::{LinkChange, OddLink, Remark};
use super::row::Row;

/// Maximum length of a cell that is searched for several links, in bytes.
const MAX_CELL_BYTES: usize = 64 << 10;

/// Characters between the links of a cell.
fn is_separator(c: char) -> bool {
    matches!(c, ',' | ';' | '|') || is_blank(c)
}

/// Returns whether a text begins like a link.
fn is_link(text: &str) -> bool {
    let has_scheme = |scheme: &str| {
        let start = text.get(..scheme.len());
        start.is_some_and(|start| start.eq_ignore_ascii_case(scheme))
    };
    has_scheme("https://") || has_scheme("http://") || is_schemeless(text)
}

/// Returns whether a text is a link that leaves out its scheme: `//cdn.example.com/a.jpg`.
fn is_schemeless(text: &str) -> bool {
    let host = text
        .strip_prefix("//")
        .and_then(|rest| rest.split('/').next());
    host.is_some_and(|host| host.contains('.'))
}

/// Returns whether a cell says that there is no image, as shops write it.
pub(super) fn is_no_image(cell: &str) -> bool {
    matches!(
        folded(cell).as_str(),
        "" | "no_selection" | "no selection" | "n/a" | "-" | "null" | "none"
    )
}

/// Parses the start of links that leave it out.
///
/// # Errors
/// Returns what is wrong with it.
pub fn parse_image_base(text: &str) -> Result<Url, String> {
    let url = Url::parse(text).ok();
    let url = url.filter(|url| matches!(url.scheme(), "https" | "http") && url.has_host());
    url.ok_or_else(|| "write it like https://shop.example/media/catalog/product".to_owned())
}

/// Returns the links or paths in a cell, as they are written there. `base` is the start of links that leave
/// it out.
pub(super) fn split(cell: &str, base: Option<&Url>) -> Vec<String> {
    let cell = trim(cell);
    if is_no_image(cell) {
        return Vec::new();
    }
    if cell.len() > MAX_CELL_BYTES {
        return vec![cell.to_owned()];
    }
    if let Some(links) = of_json(cell)
        .or_else(|| of_html(cell))
        .or_else(|| of_parentheses(cell))
    {
        return links;
    }
    if !is_link(cell) {
        if base.is_none() {
            return vec![cell.to_owned()];
        }
        // Paths and names of files, which the shop writes without blanks.
        let names = cell.split([',', ';', '|', '\n']).map(trim);
        let names = names.filter(|name| !name.is_empty());
        return names.map(str::to_owned).collect();
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
    links.into_iter().map(str::to_owned).collect()
}

/// Reads a JSON array of links, or of objects that hold one.
fn of_json(cell: &str) -> Option<Vec<String>> {
    if !cell.starts_with('[') {
        return None;
    }
    let items: Vec<Value> = serde_json::from_str(cell).ok()?;
    let link = |item: &Value| match item {
        Value::String(link) => Some(link.clone()),
        Value::Object(fields) => ["url", "src", "link", "href", "image"]
            .iter()
            .find_map(|name| fields.get(*name)?.as_str().map(str::to_owned)),
        _ => None,
    };
    items.iter().map(link).collect()
}

/// Reads the sources of HTML's images.
fn of_html(cell: &str) -> Option<Vec<String>> {
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
        value.map(|link| trim(link).to_owned())
    });
    let links: Vec<String> = links.collect();
    (!links.is_empty()).then_some(links)
}

/// Reads the links in parentheses of Markdown, `![a cup](https://…)`, and of Airtable, `cup.jpg (https://…)`.
fn of_parentheses(cell: &str) -> Option<Vec<String>> {
    if is_link(cell) {
        return None;
    }
    let mut links = Vec::new();
    let mut rest = cell;
    while let Some(at) = rest.find('(') {
        let inner = &rest[at + 1..];
        if !is_link(inner) {
            rest = inner;
            continue;
        }
        let mut depth = 1;
        let end = inner.find(|c| {
            depth += i32::from(c == '(') - i32::from(c == ')');
            depth == 0
        })?;
        // Markdown allows a title after the link.
        let link = inner[..end].split(is_blank).next().unwrap_or_default();
        links.push(link.to_owned());
        rest = &inner[end..];
    }
    (!links.is_empty()).then_some(links)
}

/// Returns a link of a cell as it is submitted, or the path of a file, and what was changed for that.
///
/// # Errors
/// Returns what is wrong with the link.
pub(super) fn tidy(written: &str, base: Option<&Url>) -> Result<(String, Vec<Remark>), String> {
    let mut changes = Vec::new();
    let mut link = trim(written).to_owned();
    if let Some(base) = base.filter(|_| !is_link(&link) && !link.contains("://")) {
        let path = link.trim_start_matches('/');
        let start = base.as_str().trim_end_matches('/');
        link = format!("{start}/{path}");
        changes.push(LinkChange::Completed);
    }
    if is_schemeless(&link) {
        link = format!("https:{link}");
        changes.push(LinkChange::Completed);
    }
    if !is_link(&link) {
        let is_mangled = link.get(..6).is_some_and(|start| {
            let start = start.to_ascii_lowercase();
            start.starts_with("http:\\") || start.starts_with("https:")
        });
        if is_mangled {
            return Err(format!(
                "{link} is not a link; write it like https://example.com/cup.jpg"
            ));
        }
        return Ok((link, to_remarks(changes)));
    }
    if link.contains('\\') {
        return Err("contains a backslash; links are written with /".into());
    }
    if link.contains("&amp;") {
        link = link.replace("&amp;", "&");
        changes.push(LinkChange::Unescaped);
    }
    let is_plain = link.bytes().all(|byte| byte.is_ascii_graphic());
    // A control character may be a part of another cell: it is reported where links are checked.
    if (!is_plain && !link.chars().any(char::is_control)) || link.contains('@') {
        let Ok(url) = Url::parse(&link) else {
            return Ok((link, to_remarks(changes)));
        };
        if !url.username().is_empty() || url.password().is_some() {
            return Err("contains a user name or password, which would be sent to the provider; use a link without".into());
        }
        if !is_plain {
            link = url.into();
            changes.push(LinkChange::Encoded);
        }
    }
    Ok((link, to_remarks(changes)))
}

/// Returns the one link or path in a cell; `None` after a mistake, which is added to the row.
pub(super) fn read_one(
    row: &mut Row,
    field: &str,
    cell: &str,
    base: Option<&Url>,
) -> Option<String> {
    if trim(cell).len() != cell.len() {
        row.remarks.push(Remark::Link(LinkChange::Trimmed));
    }
    let mut links = split(cell, base);
    if links.len() > 1 {
        row.add_problem(field, Mistake::SeveralLinks { links: links.len() });
        return None;
    }
    match tidy(&links.pop()?, base) {
        Ok((link, changes)) => {
            row.remarks.extend(changes);
            row.remarks.extend(odd_link(&link).map(Remark::OddLink));
            Some(link)
        }
        Err(message) => {
            row.add_problem(field, message);
            None
        }
    }
}

/// Returns what a link seems to lead to, if that is no picture that providers take.
fn odd_link(link: &str) -> Option<OddLink> {
    let start = link.find("://")? + "://".len();
    let rest = &link[start..];
    let address = rest.split(['?', '#']).next().unwrap_or_default();
    let (host, path) = address.split_once('/').unwrap_or((address, ""));
    let host = host.to_ascii_lowercase();
    let host = host.strip_prefix("www.").unwrap_or(&host);
    let is_share_page = match host {
        "drive.google.com" => path.starts_with("file/") || path.starts_with("open"),
        "photos.google.com" | "photos.app.goo.gl" | "1drv.ms" | "we.tl" => true,
        "dropbox.com" => !link.contains("raw=1") && !link.contains("dl=1"),
        "imgur.com" | "flickr.com" | "canva.com" | "icloud.com" => true,
        _ => false,
    };
    if is_share_page {
        return Some(OddLink::SharePage);
    }
    let name = path.rsplit('/').next().unwrap_or_default();
    let (_, ending) = name.rsplit_once('.')?;
    match ending.to_ascii_lowercase().as_str() {
        "html" | "htm" | "aspx" | "pdf" | "docx" => Some(OddLink::Page),
        "gif" | "svg" | "heic" | "heif" | "avif" | "tif" | "tiff" | "bmp" | "psd" | "mp4" => {
            Some(OddLink::OtherKind)
        }
        _ => None,
    }
}

fn to_remarks(changes: Vec<LinkChange>) -> Vec<Remark> {
    changes.into_iter().map(Remark::Link).collect()
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
            assert_eq!(split(cell, None), links, "{cell}");
        }
        let base = Url::parse("https://shop.com/media").unwrap();
        assert_eq!(
            split("/a/1.jpg,/b/2.jpg", Some(&base)),
            ["/a/1.jpg", "/b/2.jpg"]
        );
    }

    #[test]
    fn links_are_completed_and_encoded_and_what_was_changed_is_said() {
        use LinkChange::{Completed, Encoded, Unescaped};
        let base = Url::parse("https://shop.com/media/").unwrap();
        for (written, link, changes) in [
            ("https://a.com/1.jpg", "https://a.com/1.jpg", vec![]),
            ("//a.com/1.jpg", "https://a.com/1.jpg", vec![Completed]),
            (
                "/c/u/cup.jpg",
                "https://shop.com/media/c/u/cup.jpg",
                vec![Completed],
            ),
            (
                "https://a.com/blaue tasse/größe.jpg",
                "https://a.com/blaue%20tasse/gr%C3%B6%C3%9Fe.jpg",
                vec![Encoded],
            ),
            (
                "https://a.com/1.jpg?w=1&amp;h=2",
                "https://a.com/1.jpg?w=1&h=2",
                vec![Unescaped],
            ),
            ("https://a.com/@1/1.jpg", "https://a.com/@1/1.jpg", vec![]),
        ] {
            let expected = (link.to_owned(), to_remarks(changes));
            assert_eq!(tidy(written, Some(&base)), Ok(expected), "{written}");
        }
        assert_eq!(
            tidy("photos/a b.jpg", None),
            Ok(("photos/a b.jpg".into(), vec![]))
        );
        for wrong in [
            "https://user:secret@a.com/1.jpg",
            "https://a.com\\1.jpg",
            "http:\\\\a.com\\1.jpg",
            "https:/a.com/1.jpg",
        ] {
            assert!(tidy(wrong, None).is_err(), "{wrong}");
        }
    }
}
