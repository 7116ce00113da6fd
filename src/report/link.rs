//! Relative links from the page's folder to a file.

use std::path::{Component, Path, PathBuf};

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

/// Characters to percent-encode: all but those that have no meaning in a URL (RFC 3986, section
/// 2.3, unreserved characters).
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

/// Removes `.` and `..` from an absolute path as a browser does, without resolving symbolic links.
fn normalize(path: &Path) -> PathBuf {
    let mut normalized = PathBuf::new();
    for component in path.components() {
        match component {
            Component::CurDir => {}
            Component::ParentDir => drop(normalized.pop()),
            component => normalized.push(component),
        }
    }
    normalized
}

/// Returns a relative, percent-encoded link from a folder to a file; `None` if no relative path
/// exists, as between two Windows drives.
pub(super) fn relative_link(folder: &Path, file: &Path) -> Option<String> {
    let folder = normalize(folder);
    let file = normalize(file);
    let mut from = folder.components().peekable();
    let mut to = file.components().peekable();
    let mut shared = 0;
    while from.peek().is_some() && from.peek() == to.peek() {
        from.next();
        to.next();
        shared += 1;
    }
    if shared == 0 {
        return None;
    }
    let mut segments: Vec<String> = from.map(|_| "..".into()).collect();
    segments.extend(to.map(|component| {
        utf8_percent_encode(&component.as_os_str().to_string_lossy(), ENCODED).to_string()
    }));
    Some(segments.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_leads_from_the_folder_of_the_page_to_the_file() {
        for (folder, file, link) in [
            ("/w", "/w/renders/b/a.mp4", "renders/b/a.mp4"),
            ("/w/pages/../pages", "/w/renders/a.mp4", "../renders/a.mp4"),
            ("/w/b", "/w/b/a.mp4", "a.mp4"),
            ("/w", "/w/ü 1/50%#1?.mp4", "%C3%BC%201/50%25%231%3F.mp4"),
            // An unencoded colon would turn a file name into a URL scheme.
            ("/w", "/w/javascript:a", "javascript%3Aa"),
        ] {
            assert_eq!(
                relative_link(Path::new(folder), Path::new(file)).as_deref(),
                Some(link)
            );
        }
    }

    #[test]
    fn paths_without_a_common_root_have_no_link() {
        assert_eq!(relative_link(Path::new("w"), Path::new("/w/a.mp4")), None);
    }
}
