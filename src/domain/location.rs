//! Where clips are: on a disk, or in object storage.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use serde::Deserialize;

/// Where a clip is, or a folder of clips. As a text it is a path, or a URL, which no absolute path is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize)]
#[serde(try_from = "String")]
pub enum Location {
    /// A path of a disk.
    Path(PathBuf),
    /// An object, or a folder of objects.
    Object(ObjectUrl),
}

/// The URL of an object, or of a folder of objects: `s3://bucket/folder/name`. The names are text as it is, not
/// encoded.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectUrl(String);

/// How the URLs start.
const SCHEME: &str = "s3://";

impl Location {
    /// Returns the path.
    ///
    /// # Errors
    /// [`io::ErrorKind::Unsupported`] if it is in object storage.
    pub fn on_disk(&self) -> io::Result<&Path> {
        self.path().ok_or_else(|| {
            let reason = format!("{self} is not on a disk");
            io::Error::new(io::ErrorKind::Unsupported, reason)
        })
    }

    /// Returns the path; `None` if it is in object storage.
    pub fn path(&self) -> Option<&Path> {
        match self {
            Self::Path(path) => Some(path),
            Self::Object(_) => None,
        }
    }

    /// Returns it with its path in a folder, if that is relative.
    #[must_use]
    pub fn in_folder(self, folder: &Path) -> Self {
        match self {
            Self::Path(path) => folder.join(path).into(),
            Self::Object(_) => self,
        }
    }

    /// Returns it with an absolute path.
    ///
    /// # Errors
    /// Returns an error if the current folder is not known.
    pub fn absolute(&self) -> io::Result<Self> {
        match self {
            Self::Path(path) => Ok(std::path::absolute(path)?.into()),
            Self::Object(_) => Ok(self.clone()),
        }
    }

    /// Returns the bucket of an object, as a URL; `None` if it is on a disk.
    pub fn bucket(&self) -> Option<String> {
        match self {
            Self::Path(_) => None,
            Self::Object(url) => Some(format!("{SCHEME}{}", url.bucket())),
        }
    }

    /// Returns it as a text; `None` if it is a path that is none.
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Self::Path(path) => path.to_str(),
            Self::Object(url) => Some(&url.0),
        }
    }

    /// Returns what has a name in this folder.
    #[must_use]
    pub fn join(&self, name: impl AsRef<OsStr>) -> Self {
        let name = name.as_ref();
        match self {
            Self::Path(path) => path.join(name).into(),
            Self::Object(url) => Self::Object(url.join(&name.to_string_lossy())),
        }
    }

    /// Returns its name in a folder, with those of the folders between; `None` if it is not in there.
    pub fn name_in(&self, folder: &Self) -> Option<PathBuf> {
        match (self, folder) {
            (Self::Path(path), Self::Path(folder)) => {
                path.strip_prefix(folder).ok().map(Path::to_owned)
            }
            (Self::Object(ObjectUrl(url)), Self::Object(ObjectUrl(folder))) => {
                let name = url.strip_prefix(folder)?.strip_prefix('/')?;
                Some(name.into())
            }
            _ => None,
        }
    }

    /// Returns the folder that it is in; itself if it is in none.
    #[must_use]
    pub fn folder(&self) -> Self {
        match self {
            Self::Path(path) => path.parent().unwrap_or(path).to_owned().into(),
            Self::Object(url) => Self::Object(url.folder()),
        }
    }

    /// Returns its name in its folder; empty if it is in none.
    pub fn file_name(&self) -> &OsStr {
        self.name().file_name().unwrap_or_default()
    }

    /// Returns its name without the ending.
    pub fn file_stem(&self) -> &OsStr {
        self.name().file_stem().unwrap_or_default()
    }

    /// Returns the ending of its name; empty if it has none.
    pub fn extension(&self) -> &OsStr {
        self.name().extension().unwrap_or_default()
    }

    /// Returns what has another ending in its place.
    #[must_use]
    pub fn with_extension(&self, extension: impl AsRef<OsStr>) -> Self {
        let name = Path::new(self.file_name()).with_extension(extension);
        self.folder().join(name)
    }

    fn name(&self) -> &Path {
        match self {
            Self::Path(path) => path,
            Self::Object(url) => Path::new(url.name()),
        }
    }
}

impl ObjectUrl {
    /// Returns the URL that a text is; `None` if it is none of object storage.
    ///
    /// # Errors
    /// Says what is wrong with it.
    pub fn parse(text: &str) -> Option<Result<Self, String>> {
        let place = text.strip_prefix(SCHEME)?.trim_end_matches('/');
        let mut names = place.split('/');
        let bucket = names.next().unwrap_or_default();
        let is_bucket = |c: char| c.is_ascii_alphanumeric() || ".-_".contains(c);
        if bucket.is_empty() || !bucket.chars().all(is_bucket) {
            return Some(Err(format!("`{text}` names no bucket")));
        }
        let is_name =
            |name: &str| !["", ".", ".."].contains(&name) && !name.contains(char::is_control);
        if !names.all(is_name) {
            let reason = "has an empty name, `.`, `..` or a control character between its slashes";
            return Some(Err(format!("`{text}` {reason}")));
        }
        Some(Ok(Self(format!("{SCHEME}{place}"))))
    }

    /// Returns the name of the bucket.
    pub fn bucket(&self) -> &str {
        self.place().0
    }

    /// Returns the name in the bucket; empty for the bucket itself.
    pub fn key(&self) -> &str {
        self.place().1
    }

    fn place(&self) -> (&str, &str) {
        let place = self.0.strip_prefix(SCHEME).unwrap_or_default();
        place.split_once('/').unwrap_or((place, ""))
    }

    /// Returns the last part of the name.
    fn name(&self) -> &str {
        let key = self.key();
        key.rsplit_once('/').map_or(key, |(_, name)| name)
    }

    fn join(&self, name: &str) -> Self {
        Self(format!("{}/{name}", self.0))
    }

    fn folder(&self) -> Self {
        match self.key() {
            "" => self.clone(),
            _ => Self(
                self.0
                    .rsplit_once('/')
                    .map_or("", |(folder, _)| folder)
                    .to_owned(),
            ),
        }
    }
}

impl From<&str> for Location {
    /// Returns what a text stands for: what is no valid URL is a path.
    fn from(text: &str) -> Self {
        match ObjectUrl::parse(text) {
            Some(Ok(url)) => Self::Object(url),
            Some(Err(_)) | None => Self::Path(text.into()),
        }
    }
}

impl TryFrom<String> for Location {
    type Error = String;

    /// Returns what a user has named: a path, or a valid URL.
    fn try_from(text: String) -> Result<Self, String> {
        match ObjectUrl::parse(&text) {
            Some(url) => url.map(Self::Object),
            None => Ok(Self::Path(text.into())),
        }
    }
}

impl TryFrom<OsString> for Location {
    type Error = String;

    fn try_from(text: OsString) -> Result<Self, String> {
        match text.into_string() {
            Ok(text) => text.try_into(),
            Err(path) => Ok(Self::Path(path.into())),
        }
    }
}

impl From<PathBuf> for Location {
    fn from(path: PathBuf) -> Self {
        Self::Path(path)
    }
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Path(path) => path.display().fmt(f),
            Self::Object(url) => url.fmt(f),
        }
    }
}

impl fmt::Display for ObjectUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(text: &str) -> Location {
        Location::from(text)
    }

    #[test]
    fn an_object_has_a_bucket_a_folder_and_a_name() {
        let clip = object("s3://shop/renders/spring/cup 1.25.mp4");
        assert_eq!(clip.file_name(), "cup 1.25.mp4");
        assert_eq!(clip.file_stem(), "cup 1.25");
        assert_eq!(clip.extension(), "mp4");
        assert_eq!(clip.folder(), object("s3://shop/renders/spring/"));
        assert_eq!(
            clip.with_extension("webm"),
            clip.folder().join("cup 1.25.webm")
        );
        assert_eq!(object("s3://shop").join("a").to_string(), "s3://shop/a");
        assert_eq!(object("s3://shop").folder(), object("s3://shop"));
        let Location::Object(url) = clip else {
            panic!("it is an object");
        };
        assert_eq!(url.bucket(), "shop");
        assert_eq!(url.key(), "renders/spring/cup 1.25.mp4");
    }

    #[test]
    fn a_path_is_no_url_and_a_url_without_a_bucket_or_with_odd_names_is_wrong() {
        for path in [
            "/renders",
            "renders",
            "S3://shop",
            "s3:/shop",
            "https://shop",
        ] {
            assert_eq!(ObjectUrl::parse(path), None, "{path}");
        }
        for wrong in [
            "s3://",
            "s3:///a",
            "s3://shop/a//b",
            "s3://shop/../b",
            "s3://a b/c",
            "s3://a/b\n",
        ] {
            assert!(ObjectUrl::parse(wrong).unwrap().is_err(), "{wrong}");
        }
    }
}
