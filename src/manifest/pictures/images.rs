//! Finds the image files that rows name, and replaces each path by the image's identity.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use serde_json::Value;
use sha2::{Digest, Sha256};
use unicode_normalization::UnicodeNormalization;
use url::Url;

use crate::domain::suggest::did_you_mean;
use crate::domain::{LocalImage, Shape};
use crate::image::{ImageFixes, PictureFacts, identify};

use crate::manifest::problem::Mistake;

/// Maximum number of files in the cache: some 100 MB of memory.
const MAX_CACHED: usize = 1_000_000;

/// Maximum number of pictures that were written and are remembered.
const MAX_FIXED: usize = 100_000;

/// Maximum number of files of a folder that are searched for a similar name.
const MAX_LISTED_FILES: usize = 10_000;

/// A SHA-256.
type Sha256Bytes = [u8; 32];

/// Resolves the image files of a manifest. An image that many rows name is read once, as long as there is
/// room in the cache.
#[derive(Debug, Default)]
pub(in crate::manifest) struct ImageResolver {
    /// Where pictures are written that are not shown right; `None` if they are sent as they are.
    fixes: Option<ImageFixes>,
    /// The pictures that were written, by the SHA-256 of those that they are sent for.
    fixed: Mutex<HashMap<String, (LocalImage, PictureFacts)>>,
    /// The SHA-256 of images and what they are like, by the SHA-256 of their paths: a million paths would
    /// take much more memory.
    cache: Mutex<HashMap<Sha256Bytes, (Sha256Bytes, PictureFacts)>>,
}

impl ImageResolver {
    pub(in crate::manifest) fn new(fixes: Option<ImageFixes>) -> Self {
        Self {
            fixes,
            ..Self::default()
        }
    }

    /// Replaces each path in a value, at any depth, by the image at that path. Relative paths start
    /// at `folder`; links are left as they are. Adds what each picture is like to `found`.
    ///
    /// # Errors
    /// Returns what is wrong with the first path that does not lead to an image.
    pub(in crate::manifest) fn resolve(
        &self,
        shape: &Shape,
        value: &mut Value,
        folder: &Path,
        found: &mut Vec<PictureFacts>,
    ) -> Result<(), UnusableImage> {
        match (shape, value) {
            (Shape::Image, Value::String(text)) => {
                if let Some(path) = local_path(text, folder) {
                    let identified = self.identify(&find_file(path));
                    let (image, facts) = identified.map_err(|image| image.with_link_hint(text))?;
                    let (image, facts) = self.fix(image, facts)?;
                    *text = image.to_string();
                    found.push(facts);
                }
                Ok(())
            }
            (Shape::List { item, .. }, Value::Array(items)) => {
                let mut items = items.iter_mut().enumerate();
                items.try_for_each(|(index, value)| {
                    self.resolve(item, value, folder, found)
                        .map_err(|problem| problem.at(&format!("[{index}]")))
                })
            }
            (Shape::Object { fields }, Value::Object(values)) => {
                fields.iter().try_for_each(|field| {
                    let Some(value) = values.get_mut(&field.name) else {
                        return Ok(());
                    };
                    self.resolve(&field.shape, value, folder, found)
                        .map_err(|problem| problem.at(&field.name))
                })
            }
            _ => Ok(()),
        }
    }

    /// Returns the picture to send for one that is not shown right.
    fn fix(
        &self,
        image: LocalImage,
        facts: PictureFacts,
    ) -> Result<(LocalImage, PictureFacts), UnusableImage> {
        let fixes = self.fixes.as_ref();
        let Some(fixes) = fixes.filter(|_| facts.is_shown_wrongly()) else {
            return Ok((image, facts));
        };
        let mut fixed = self.fixed.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = fixed.get(image.sha256()) {
            return Ok(known.clone());
        }
        let new = fixes.fix(&image).map_err(|error| UnusableImage {
            reason: error.reason,
            is_missing: false,
        })?;
        if fixed.len() < MAX_FIXED {
            fixed.insert(image.sha256().to_owned(), new.clone());
        }
        Ok(new)
    }

    fn identify(&self, path: &Path) -> Result<(LocalImage, PictureFacts), UnusableImage> {
        let absolute = std::path::absolute(path);
        let path = absolute.as_deref().unwrap_or(path);
        let mut cache = self.cache.lock().unwrap_or_else(PoisonError::into_inner);
        let key = Sha256::digest(path.as_os_str().as_encoded_bytes()).into();
        if let Some((sha256, facts)) = cache.get(&key)
            && let Some(image) = LocalImage::new(path, &hex::encode(sha256))
        {
            return Ok((image, *facts));
        }
        let (image, facts) = identify(path).map_err(|error| {
            let suggestion = suggest_file(path);
            UnusableImage {
                is_missing: suggestion.is_empty() && !path.exists(),
                reason: format!("{}{suggestion}", error.reason),
            }
        })?;
        let mut sha256 = [0; 32];
        let has_room = cache.len() < MAX_CACHED;
        if has_room && hex::decode_to_slice(image.sha256(), &mut sha256).is_ok() {
            cache.insert(key, (sha256, facts));
        }
        Ok((image, facts))
    }
}

/// Returns the file that a path means: the path itself or, if there is no such file, another spelling of it
/// that there is. Programs write `\` between folders, and accents as one character or as two.
fn find_file(path: PathBuf) -> PathBuf {
    if path.exists() {
        return path;
    }
    let Some(text) = path.to_str() else {
        return path;
    };
    let slashes = text.replace('\\', "/");
    let spellings = [
        slashes.clone(),
        slashes.nfc().collect(),
        slashes.nfd().collect(),
    ];
    let mut spellings = spellings.into_iter().map(PathBuf::from);
    spellings.find(|other| other.exists()).unwrap_or(path)
}

/// Returns `, did you mean …?` if a path's folder has a file whose name differs in case alone or by little.
fn suggest_file(path: &Path) -> String {
    let suggest = || {
        let name = path.file_name()?.to_str()?;
        let entries = std::fs::read_dir(path.parent()?).ok()?.flatten();
        let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
        let names: Vec<String> = names.take(MAX_LISTED_FILES).collect();
        (!path.exists()).then(|| did_you_mean(name, names.iter().map(String::as_str)))
    };
    suggest().unwrap_or_default()
}

/// Returns the path that an image's text in a manifest names, relative to the manifest's folder;
/// `None` if the text is a link of any kind.
fn local_path(text: &str, folder: &Path) -> Option<PathBuf> {
    let text = text.trim();
    if text.starts_with("file://") {
        return Url::parse(text).ok()?.to_file_path().ok();
    }
    if let Some(rest) = text.strip_prefix("~/") {
        return Some(std::env::home_dir()?.join(rest));
    }
    let is_link = text.is_empty() || text.contains("://") || text.starts_with("data:");
    (!is_link).then(|| folder.join(text))
}

/// Why a text does not lead to an image.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::manifest) struct UnusableImage {
    pub(in crate::manifest) reason: String,
    /// Whether there is no file of this name, which may be the end of a link.
    pub(super) is_missing: bool,
}

impl UnusableImage {
    /// Adds how to write a link, if the text looks like one without a scheme: that is more likely than a
    /// file whose path starts with a host name.
    fn with_link_hint(mut self, text: &str) -> Self {
        let host = text.split_once('/').map_or("", |(host, _)| host);
        if host.contains('.') && !host.starts_with('.') {
            self.reason.push_str("; a link starts with https://");
            self.is_missing = false;
        }
        self
    }

    /// Adds where in a value the text is.
    fn at(self, place: &str) -> Self {
        Self {
            reason: format!("{place}: {}", self.reason),
            ..self
        }
    }
}

impl From<UnusableImage> for Mistake {
    fn from(image: UnusableImage) -> Self {
        if image.is_missing {
            Self::NoFile {
                reason: image.reason,
                start: None,
            }
        } else {
            Self::Text(image.reason)
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_missing_file_that_looks_like_a_link_is_reported_with_how_to_write_a_link() {
        let problem = |text: &str| {
            let resolved = ImageResolver::default().resolve(
                &Shape::Image,
                &mut json!(text),
                Path::new("/shop"),
                &mut Vec::new(),
            );
            resolved.expect_err("there is no such file").reason
        };
        assert_eq!(
            problem("photos/cup.jpg"),
            "there is no file /shop/photos/cup.jpg"
        );
        assert_eq!(problem("../cup.jpg"), "there is no file /shop/../cup.jpg");
        assert_eq!(
            problem("www.example.com/cup.jpg"),
            "there is no file /shop/www.example.com/cup.jpg; a link starts with https://"
        );
    }

    #[test]
    fn files_are_resolved_at_any_depth_and_links_are_left_as_they_are() {
        let folder = tempfile::tempdir().expect("a folder");
        ::image::GrayImage::new(8, 8)
            .save(folder.path().join("mask.png"))
            .expect("the file is written");
        let catalog = crate::catalog::load(&[]).expect("the catalog");
        let masks = &catalog
            .model("kling-v1-standard")
            .expect("a model")
            .field("dynamic_masks")
            .expect("a field")
            .shape;
        let mut value = json!([{"mask": "mask.png"}, {"mask": "https://example.com/mask.png"}]);
        assert_eq!(
            ImageResolver::default().resolve(masks, &mut value, folder.path(), &mut Vec::new()),
            Ok(())
        );
        let image = LocalImage::parse(value[0]["mask"].as_str().expect("a text"))
            .expect("an image on disk");
        assert_eq!(image.path(), folder.path().join("mask.png"));
        assert_eq!(value[1]["mask"], "https://example.com/mask.png");
        let missing = ImageResolver::default().resolve(
            masks,
            &mut json!([{"mask": "none.png"}]),
            folder.path(),
            &mut Vec::new(),
        );
        assert!(
            missing
                .is_err_and(|problem| problem.reason.starts_with("[0]: mask: there is no file "))
        );
    }

    #[test]
    fn a_path_in_another_spelling_is_found_and_one_in_another_case_is_suggested() {
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::create_dir(folder.path().join("photos")).expect("a folder");
        let picture = |name: &str| folder.path().join("photos").join(name);
        let saved = ::image::GrayImage::new(8, 8).save(picture("Stu\u{308}hl.png"));
        saved.expect("a picture");
        let resolve = |text: &str| {
            let mut value = json!(text);
            let resolver = ImageResolver::default();
            resolver
                .resolve(&Shape::Image, &mut value, folder.path(), &mut Vec::new())
                .map_err(|image| image.reason)
        };
        assert_eq!(resolve("photos\\St\u{fc}hl.png"), Ok(()));
        let reason = resolve("photos/st\u{fc}hl.PNG").expect_err("another name");
        assert!(
            reason.contains("did you mean `Stu\u{308}hl.png`?"),
            "{reason}"
        );
    }

    #[test]
    fn a_text_that_is_not_a_link_is_a_path_relative_to_the_manifest() {
        let path = |text: &str| local_path(text, Path::new("shop"));
        assert_eq!(path("photos/a, b.jpg"), Some("shop/photos/a, b.jpg".into()));
        assert_eq!(path("/photos/a.jpg"), Some("/photos/a.jpg".into()));
        assert_eq!(
            path("file:///photos/a%20b.jpg"),
            Some("/photos/a b.jpg".into())
        );
        for link in [
            "https://a/b.jpg",
            "HTTP://a/b.jpg",
            " ftp://a/b.jpg",
            "data:image/png;base64,AA",
            "",
        ] {
            assert_eq!(path(link), None, "{link}");
        }
    }
}
