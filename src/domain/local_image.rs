//! An image on disk, as a checked row names it: where it is, and what is in it.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use serde_json::Value;
use url::Url;

/// What stands between a file's address and the hash of its content.
const HASH: &str = "sha256=";

/// Length of a SHA-256 in hexadecimal.
const HASH_LEN: usize = 64;

/// An image on disk. In an input it stands as `file:///photos/cup.jpg#sha256=…`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LocalImage {
    path: PathBuf,
    sha256: String,
}

impl LocalImage {
    /// Names an image by its absolute path and the SHA-256 of its content in hexadecimal; `None` where they are not that.
    pub fn new(path: &Path, sha256: &str) -> Option<Self> {
        let is_hash =
            sha256.len() == HASH_LEN && sha256.bytes().all(|byte| byte.is_ascii_hexdigit());
        (is_hash && path.is_absolute()).then(|| Self {
            path: path.to_owned(),
            sha256: sha256.to_owned(),
        })
    }

    /// Reads what [`fmt::Display`] writes; anything else is no image on disk.
    pub fn parse(text: &str) -> Option<Self> {
        if !text.starts_with("file:") {
            return None;
        }
        let url = Url::parse(text).ok()?;
        let sha256 = url.fragment()?.strip_prefix(HASH)?;
        Self::new(&url.to_file_path().ok()?, sha256)
    }

    /// Tells where it was when its row was loaded.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Tells the SHA-256 of its content, in hexadecimal: what makes two files one image.
    pub fn sha256(&self) -> &str {
        &self.sha256
    }

    /// Tells what stands for it in a request, until its bytes or its link take the place.
    pub fn placeholder(&self) -> String {
        format!("sha256:{}", self.sha256)
    }

    /// Tells whether a request has its placeholder still.
    pub fn is_placeholder_in(&self, request: &Value) -> bool {
        match request {
            Value::String(text) => text.strip_prefix("sha256:") == Some(&self.sha256),
            Value::Array(items) => items.iter().any(|item| self.is_placeholder_in(item)),
            Value::Object(fields) => fields.values().any(|value| self.is_placeholder_in(value)),
            Value::Null | Value::Bool(_) | Value::Number(_) => false,
        }
    }
}

impl fmt::Display for LocalImage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut url = Url::from_file_path(&self.path).map_err(|()| fmt::Error)?;
        url.set_fragment(Some(&format!("{HASH}{}", self.sha256)));
        f.write_str(url.as_str())
    }
}

/// Puts into a request what stands for images on disk there: for each placeholder the text it is to become.
pub fn fill_placeholders(request: &mut Value, images: &BTreeMap<String, String>) {
    match request {
        Value::String(text) => {
            if let Some(image) = images.get(text) {
                text.clone_from(image);
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

/// Finds the images on disk in a value, at any depth.
pub(super) fn find(value: &Value, found: &mut Vec<LocalImage>) {
    match value {
        Value::String(text) => found.extend(LocalImage::parse(text)),
        Value::Array(items) => items.iter().for_each(|item| find(item, found)),
        Value::Object(fields) => fields.values().for_each(|value| find(value, found)),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const HASH: &str = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08";

    #[test]
    fn any_path_is_written_as_one_word_and_read_back() {
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
    fn nothing_else_is_an_image_on_disk() {
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
    fn placeholders_are_filled_at_any_depth_and_nothing_else_is() {
        let mut request =
            json!({"image_url": "sha256:1", "prompt": "sha256:2", "masks": [{"mask": "sha256:1"}]});
        fill_placeholders(
            &mut request,
            &[("sha256:1".into(), "https://a/1".into())].into(),
        );
        let filled = json!({"image_url": "https://a/1", "prompt": "sha256:2", "masks": [{"mask": "https://a/1"}]});
        assert_eq!(request, filled);
    }
}
