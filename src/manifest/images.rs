//! Finds the image files that rows name, and puts in their place what they are.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use serde_json::Value;
use url::Url;

use crate::domain::{LocalImage, Shape};
use crate::image::identify;

/// More files than this are not remembered, so that a million photos take no more memory than these.
const MOST_KNOWN: usize = 10_000;

/// The image files of a manifest. A file that many rows show is read once.
#[derive(Debug, Default)]
pub(super) struct ImageResolver {
    known: Mutex<HashMap<PathBuf, Result<LocalImage, String>>>,
}

impl ImageResolver {
    /// Puts in place of each path in a value, at any depth, the image it leads to. Links are left as they are.
    pub(super) fn find(
        &self,
        shape: &Shape,
        value: &mut Value,
        folder: &Path,
    ) -> Result<(), String> {
        match (shape, value) {
            (Shape::Image, Value::String(word)) => {
                if let Some(path) = path_of(word, folder) {
                    *word = self
                        .identify(&path)
                        .map_err(|problem| told(word, problem))?
                        .to_string();
                }
                Ok(())
            }
            (Shape::List { item, .. }, Value::Array(items)) => {
                let mut items = items.iter_mut().enumerate();
                items.try_for_each(|(index, value)| {
                    self.find(item, value, folder)
                        .map_err(|problem| format!("[{index}]: {problem}"))
                })
            }
            (Shape::Object { fields }, Value::Object(values)) => {
                fields.iter().try_for_each(|field| {
                    let Some(value) = values.get_mut(&field.name) else {
                        return Ok(());
                    };
                    self.find(&field.shape, value, folder)
                        .map_err(|problem| format!("{}: {problem}", field.name))
                })
            }
            _ => Ok(()),
        }
    }

    fn identify(&self, path: &Path) -> Result<LocalImage, String> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(image) = known.get(path) {
            return image.clone();
        }
        if known.len() == MOST_KNOWN {
            known.clear();
        }
        let image = identify(path).map_err(|no_image| no_image.reason);
        known.insert(path.to_owned(), image.clone());
        image
    }
}

/// Tells the path that a manifest's word for an image names, from the folder the manifest is in; `None` where it is a
/// link of any kind.
fn path_of(word: &str, folder: &Path) -> Option<PathBuf> {
    let word = word.trim();
    if word.starts_with("file://") {
        return Url::parse(word).ok()?.to_file_path().ok();
    }
    let is_link = word.is_empty() || word.contains("://") || word.starts_with("data:");
    (!is_link).then(|| folder.join(word))
}

/// A word that is neither was more often meant as a link that lacks its beginning than as a file.
fn told(word: &str, problem: String) -> String {
    let host = word.split_once('/').map_or("", |(host, _)| host);
    let is_link = host.contains('.') && !host.starts_with('.');
    if is_link {
        format!("{problem}; a link begins with https://")
    } else {
        problem
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_file_that_is_not_there_may_have_been_meant_as_a_link() {
        let problem = |word: &str| {
            let found =
                ImageResolver::default().find(&Shape::Image, &mut json!(word), Path::new("/shop"));
            found.expect_err("there is no such file")
        };
        assert_eq!(
            problem("photos/cup.jpg"),
            "there is no file /shop/photos/cup.jpg"
        );
        assert_eq!(problem("../cup.jpg"), "there is no file /shop/../cup.jpg");
        let told = "there is no file /shop/www.example.com/cup.jpg; a link begins with https://";
        assert_eq!(problem("www.example.com/cup.jpg"), told);
    }

    #[test]
    fn files_are_found_at_any_depth_and_links_are_left() {
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::write(
            folder.path().join("mask.png"),
            b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR",
        )
        .expect("written");
        let catalog = crate::catalog::load(&[]).expect("the catalogue");
        let masks = &catalog
            .model("kling-v1-standard")
            .expect("a model")
            .field("dynamic_masks")
            .expect("a field")
            .shape;
        let mut value = json!([{"mask": "mask.png"}, {"mask": "https://example.com/mask.png"}]);
        assert_eq!(
            ImageResolver::default().find(masks, &mut value, folder.path()),
            Ok(())
        );
        let found = LocalImage::parse(value[0]["mask"].as_str().expect("a text"))
            .expect("an image on disk");
        assert_eq!(found.path(), folder.path().join("mask.png"));
        assert_eq!(value[1]["mask"], "https://example.com/mask.png");
        let missing =
            ImageResolver::default().find(masks, &mut json!([{"mask": "none.png"}]), folder.path());
        assert!(missing.is_err_and(|problem| problem.starts_with("[0]: mask: there is no file ")));
    }

    #[test]
    fn a_word_that_is_no_link_is_a_path_from_the_manifest() {
        let at = |word: &str| path_of(word, Path::new("shop"));
        assert_eq!(at("photos/a, b.jpg"), Some("shop/photos/a, b.jpg".into()));
        assert_eq!(at("/photos/a.jpg"), Some("/photos/a.jpg".into()));
        assert_eq!(
            at("file:///photos/a%20b.jpg"),
            Some("/photos/a b.jpg".into())
        );
        for link in [
            "https://a/b.jpg",
            "HTTP://a/b.jpg",
            " ftp://a/b.jpg",
            "data:image/png;base64,AA",
            "",
        ] {
            assert_eq!(at(link), None, "{link}");
        }
    }
}
