//! The form of a link: what a sheet leaves out of it, and what may not be in it.

use url::Url;

use crate::manifest::cell_text::trim;
use crate::manifest::remark::{LinkChange, Remark};

/// Returns whether a text begins like a link.
pub(super) fn is_link(text: &str) -> bool {
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

/// Parses the start of links that leave it out.
///
/// # Errors
/// Returns what is wrong with it.
pub fn parse_image_base(text: &str) -> Result<Url, String> {
    let url = Url::parse(text).ok();
    let url = url.filter(|url| matches!(url.scheme(), "https" | "http") && url.has_host());
    url.ok_or_else(|| "write it like https://shop.example/media/catalog/product".to_owned())
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

fn to_remarks(changes: Vec<LinkChange>) -> Vec<Remark> {
    changes.into_iter().map(Remark::Link).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

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
