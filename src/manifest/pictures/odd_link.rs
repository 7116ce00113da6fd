//! Links that do not seem to lead to pictures.

use crate::manifest::remark::OddLink;

use super::links::WrittenLink;

/// Returns what a link seems to lead to, if that is no picture that providers take.
pub(in crate::manifest) fn odd_link(written: &WrittenLink) -> Option<OddLink> {
    // Links of attachments do not end like their files.
    let of_name = written.file_name.as_deref().and_then(Ending::of);
    match of_name {
        Some(Ending::Odd(odd)) => Some(odd),
        Some(Ending::Picture) | None => odd_address(&written.link),
    }
}

/// Returns whether a link, or the name of the file behind it, ends like a picture.
pub(in crate::manifest) fn is_picture_name(written: &WrittenLink) -> bool {
    let address = written.link.split(['?', '#']).next().unwrap_or_default();
    let names = [written.file_name.as_deref().unwrap_or_default(), address];
    let is_picture = |name: &str| matches!(Ending::of(name), Some(Ending::Picture));
    names.into_iter().any(is_picture)
}

fn odd_address(link: &str) -> Option<OddLink> {
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
    if host.ends_with("airtableusercontent.com") {
        return Some(OddLink::Expiring);
    }
    if path.contains("small_default") || path.contains("home_default") {
        return Some(OddLink::Thumbnail);
    }
    let name = path.rsplit('/').next().unwrap_or_default();
    match Ending::of(name)? {
        Ending::Picture => None,
        Ending::Odd(odd) => Some(odd),
    }
}

/// What the ending of a name says.
enum Ending {
    Picture,
    Odd(OddLink),
}

impl Ending {
    /// Returns `None` if the ending says nothing.
    fn of(name: &str) -> Option<Self> {
        let (_, ending) = name.rsplit_once('.')?;
        Some(match ending.to_ascii_lowercase().as_str() {
            "jpg" | "jpeg" | "png" | "webp" => Self::Picture,
            "html" | "htm" | "aspx" | "pdf" | "docx" => Self::Odd(OddLink::Page),
            "gif" | "svg" | "heic" | "heif" | "avif" | "tif" | "tiff" | "bmp" | "psd" | "mp4"
            | "mov" | "webm" => Self::Odd(OddLink::OtherKind),
            _ => return None,
        })
    }
}
