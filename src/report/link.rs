//! A link from the page's folder to a file.

use std::path::{Component, Path, PathBuf};

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
    parts.extend(down.map(|part| encoded(&part.as_os_str().to_string_lossy())));
    Some(parts.join("/"))
}

/// Keeps what means nothing in a link, and writes every other byte as `%XX`.
fn encoded(part: &str) -> String {
    let mut link = String::with_capacity(part.len());
    for byte in part.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            link.push(char::from(byte));
        } else {
            link.push_str(&format!("%{byte:02X}"));
        }
    }
    link
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
            assert_eq!(relative(Path::new(folder), Path::new(file)).as_deref(), Some(link));
        }
        assert_eq!(relative(Path::new("w"), Path::new("/w/a.mp4")), None);
    }
}
