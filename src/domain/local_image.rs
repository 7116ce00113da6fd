//! A local image file that a job's input refers to.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use serde_json::Value;
use url::Url;

/// Prefix of the content hash in the fragment of a local image's URL.
const HASH_PREFIX: &str = "sha256=";

/// Start of the text of a local image whose path is relative to a folder that the reader knows.
const RELATIVE_PREFIX: &str = "queue:";

/// Length of a SHA-256 in hexadecimal, in bytes.
const HASH_LEN: usize = 64;

/// A local image file, identified by its path and the hash of its content.
///
/// In an [`Input`](super::Input) it is written as `file:///photos/cup.jpg#sha256=…`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LocalImage {
    path: PathBuf,
    sha256: String,
}

impl LocalImage {
    /// Creates a reference to an image from its path and the SHA-256 of its content in hexadecimal.
    /// Returns `None` if the path is not absolute or the hash is malformed.
    pub fn new(path: &Path, sha256: &str) -> Option<Self> {
        let is_hash =
            sha256.len() == HASH_LEN && sha256.bytes().all(|byte| byte.is_ascii_hexdigit());
        (is_hash && path.is_absolute()).then(|| Self {
            path: path.to_owned(),
            sha256: sha256.to_owned(),
        })
    }

    /// Parses the URL that the [`Display`](fmt::Display) implementation writes; `None` for any
    /// other text.
    pub fn parse(text: &str) -> Option<Self> {
        if !text.starts_with("file:") {
            return None;
        }
        let url = Url::parse(text).ok()?;
        let sha256 = url.fragment()?.strip_prefix(HASH_PREFIX)?;
        Self::new(&url.to_file_path().ok()?, sha256)
    }

    /// Returns the text of this image with its path relative to a folder, as
    /// [`parse_relative`](Self::parse_relative) reads it. `None` if the path is absolute.
    pub(crate) fn to_relative(&self, path: &Path) -> Option<String> {
        // The root only completes the path, so that it is written like an absolute one.
        let root = Path::new(if cfg!(windows) { "C:\\" } else { "/" });
        let at_root = Self::new(&root.join(path), &self.sha256)?.to_string();
        let root = Url::from_directory_path(root).ok()?;
        let relative = at_root.strip_prefix(root.as_str())?;
        path.is_relative()
            .then(|| format!("{RELATIVE_PREFIX}{relative}"))
    }

    /// Parses a text whose path is relative to a folder; `None` for any other text.
    pub(crate) fn parse_relative(text: &str, folder: &Path) -> Option<Self> {
        let relative = text.strip_prefix(RELATIVE_PREFIX)?;
        let folder = Url::from_directory_path(folder).ok()?;
        Self::parse(&format!("{folder}{relative}"))
    }

    /// Returns whether a JSON text may contain an image whose path is relative.
    pub(crate) fn may_be_relative(json: &str) -> bool {
        json.contains(RELATIVE_PREFIX) && json.contains(HASH_PREFIX)
    }

    /// Returns the absolute path at which the image was when its row was loaded.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Returns the SHA-256 of the content, in hexadecimal. Files with the same hash are the same
    /// image.
    pub fn sha256(&self) -> &str {
        &self.sha256
    }

    /// Returns the placeholder that a stored request contains instead of the image, until a link or
    /// a data URI replaces it.
    pub fn placeholder(&self) -> String {
        format!("sha256:{}", self.sha256)
    }

    /// Returns whether a request still contains this image's placeholder, at any depth.
    pub fn has_placeholder_in(&self, request: &Value) -> bool {
        match request {
            Value::String(text) => text.strip_prefix("sha256:") == Some(&self.sha256),
            Value::Array(items) => items.iter().any(|item| self.has_placeholder_in(item)),
            Value::Object(fields) => fields.values().any(|value| self.has_placeholder_in(value)),
            Value::Null | Value::Bool(_) | Value::Number(_) => false,
        }
    }
}

impl fmt::Display for LocalImage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut url = Url::from_file_path(&self.path).map_err(|()| fmt::Error)?;
        url.set_fragment(Some(&format!("{HASH_PREFIX}{}", self.sha256)));
        f.write_str(url.as_str())
    }
}

/// Replaces the placeholders in a request, at any depth. `images` maps each placeholder to the link
/// or data URI that replaces it.
pub(crate) fn fill_placeholders(request: &mut Value, images: &BTreeMap<String, String>) {
    match request {
        Value::String(text) => {
            if let Some(replacement) = images.get(text) {
                text.clone_from(replacement);
            }
        }
        Value::Array(items) => items
            .iter_mut()
            .for_each(|item| fill_placeholders(item, images)),
        Value::Object(fields) => fields
            .values_mut()
            .for_each(|value| fill_placeholders(value, images)),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// Appends the local images in a value, at any depth, to `images`.
pub(super) fn collect(value: &Value, images: &mut Vec<LocalImage>) {
    match value {
        Value::String(text) => images.extend(LocalImage::parse(text)),
        Value::Array(items) => items.iter().for_each(|item| collect(item, images)),
        Value::Object(fields) => fields.values().for_each(|value| collect(value, images)),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const HASH: &str = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08";

    #[test]
    fn any_path_is_written_without_spaces_and_parsed_back() {
        for path in [
            "/photos/cup.jpg",
            "/photos/Tasse #1, grün 50%.webp",
            "/a b/?.png",
        ] {
            let image = LocalImage::new(Path::new(path), HASH).unwrap();
            let text = image.to_string();
            assert!(!text.contains(char::is_whitespace), "{text}");
            assert_eq!(LocalImage::parse(&text), Some(image), "{text}");
        }
    }

    #[test]
    fn other_texts_and_relative_paths_are_not_local_images() {
        for text in [
            "file:///photos/cup.jpg",
            "file:///photos/cup.jpg#sha256=abc",
            &format!("file://elsewhere/cup.jpg#sha256={HASH}"),
            &format!("https://example.com/cup.jpg#sha256={HASH}"),
            &format!("file: the one we like #sha256={}", "zz".repeat(32)),
        ] {
            assert_eq!(LocalImage::parse(text), None, "{text}");
        }
        assert_eq!(LocalImage::new(Path::new("photos/cup.jpg"), HASH), None);
    }

    #[test]
    fn only_placeholders_are_replaced_at_any_depth() {
        let mut request = json!({
            "image_url": "sha256:1",
            "prompt": "sha256:2",
            "masks": [{"mask": "sha256:1"}],
        });
        fill_placeholders(
            &mut request,
            &[("sha256:1".into(), "https://a/1".into())].into(),
        );
        let expected = json!({
            "image_url": "https://a/1",
            "prompt": "sha256:2",
            "masks": [{"mask": "https://a/1"}],
        });
        assert_eq!(request, expected);
    }
}
