//! A link from the page's folder to a file.

use std::path::{Component, Path, PathBuf};

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

/// What is written as `%XX`: all but what means nothing in a link.
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

/// Takes `.` and `..` out of an absolute path as a browser does: by the letters, whatever links there are on disk.
pub(super) fn plain(path: &Path) -> PathBuf {
    let mut plain = PathBuf::new();
    for part in path.components() {
        match part {
            Component::CurDir => {}
            Component::ParentDir => drop(plain.pop()),
            part => plain.push(part),
        }
    }
    plain
}

/// Makes a relative link, percent-encoded; `None` where no way leads there, as from one Windows drive to another.
pub(super) fn relative(folder: &Path, file: &Path) -> Option<String> {
    let (folder, file) = (plain(folder), plain(file));
    let (mut up, mut down) = (folder.components().peekable(), file.components().peekable());
    let mut shared = 0;
    while up.peek().is_some() && up.peek() == down.peek() {
        up.next();
        down.next();
        shared += 1;
    }
    if shared == 0 {
        return None;
    }
    let mut parts: Vec<String> = up.map(|_| "..".into()).collect();
    parts.extend(
        down.map(|part| {
            utf8_percent_encode(&part.as_os_str().to_string_lossy(), ENCODED).to_string()
        }),
    );
    Some(parts.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_leads_from_the_pages_folder_to_the_file() {
        for (folder, file, link) in [
            ("/w", "/w/renders/b/a.mp4", "renders/b/a.mp4"),
            ("/w/pages/../pages", "/w/renders/a.mp4", "../renders/a.mp4"),
            ("/w/b", "/w/b/a.mp4", "a.mp4"),
            ("/w", "/w/ü 1/50%#1?.mp4", "%C3%BC%201/50%25%231%3F.mp4"),
            // Or `javascript:` would be a file's name once and a scheme ever after.
            ("/w", "/w/javascript:a", "javascript%3Aa"),
        ] {
            assert_eq!(
                relative(Path::new(folder), Path::new(file)).as_deref(),
                Some(link)
            );
        }
        assert_eq!(relative(Path::new("w"), Path::new("/w/a.mp4")), None);
    }
}
