//! Opens a manifest that the user names: a file, a pipe or standard input.

use std::fs::File;
use std::io::{self, Read, Seek};
use std::path::{Path, PathBuf};

use anyhow::Context;

use crate::manifest::FileFormat;

use super::LoadError;

/// An open manifest.
pub(super) struct Source {
    /// Its name, for messages.
    pub(super) name: String,
    pub(super) format: FileFormat,
    content: Content,
}

/// Where a manifest can be read from its start.
enum Content {
    /// A regular file. It is not kept open: there may be more manifests than files that may be open.
    File(PathBuf),
    /// The copy of a pipe.
    Copy(File),
}

impl Source {
    /// Opens a manifest and detects its format. `-` is standard input.
    pub(super) fn open(path: &Path) -> Result<Self, LoadError> {
        let is_stdin = path == Path::new("-");
        let name = if is_stdin {
            "-".to_owned()
        } else {
            path.display().to_string()
        };
        let unreadable = |reason: anyhow::Error| LoadError::Unreadable {
            name: name.clone(),
            reason,
        };
        let (mut file, is_regular) = if is_stdin {
            (buffer_in_file(&mut std::io::stdin().lock())?, false)
        } else {
            let mut file = File::open(path).map_err(|error| unreadable(error.into()))?;
            let file_type = file.metadata()?.file_type();
            if file_type.is_dir() {
                return Err(LoadError::Folder(name));
            }
            if file_type.is_file() {
                (file, true)
            } else {
                (buffer_in_file(&mut file)?, false)
            }
        };
        let format = FileFormat::detect(path, &mut file).map_err(unreadable)?;
        let content = if is_regular {
            Content::File(path.to_owned())
        } else {
            Content::Copy(file)
        };
        Ok(Self {
            name,
            format,
            content,
        })
    }

    /// Returns the manifest from its start. There must be no other reader of it any more.
    pub(super) fn reader(&self) -> io::Result<File> {
        match &self.content {
            Content::File(path) => File::open(path),
            Content::Copy(file) => {
                let mut file = file.try_clone()?;
                file.rewind()?;
                Ok(file)
            }
        }
    }
}

/// Copies a pipe to a temporary file: its writer may be slow, and while rows are staged no other
/// process can write to the queue.
fn buffer_in_file(pipe: &mut dyn Read) -> anyhow::Result<File> {
    let context = "cannot copy the manifest to a temporary file";
    let mut file = tempfile::tempfile().context(context)?;
    io::copy(pipe, &mut file).context(context)?;
    file.rewind()?;
    Ok(file)
}
