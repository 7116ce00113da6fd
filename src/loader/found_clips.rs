//! Files that lie where a batch would save its clips.

use std::cell::OnceCell;
use std::collections::HashMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::domain::{NewJob, SavedFile, file_name};
use crate::output;

/// The files in a batch's folder, by the name that a clip has without its ending.
#[derive(Debug, Default)]
pub struct FoundClips {
    files: HashMap<String, FoundFile>,
    takes_files: bool,
}

#[derive(Debug)]
struct FoundFile {
    path: PathBuf,
    /// What the file is as a clip, or why it is none, once it has been read.
    clip: OnceCell<Result<SavedFile, String>>,
}

impl FoundClips {
    /// Lists the files of a folder; none if there is no such folder. With `takes_files`, new rows take those with
    /// the names of their clips.
    ///
    /// # Errors
    /// Returns an error if the folder cannot be read.
    pub fn list(folder: &Path, takes_files: bool) -> io::Result<Self> {
        let entries = match fs::read_dir(folder) {
            Err(error) if is_no_folder(&error) => return Ok(Self::default()),
            entries => entries?,
        };
        let mut files = HashMap::new();
        for entry in entries {
            let entry = entry?;
            let path = entry.path();
            // A clip that was being saved when the program ended is no clip.
            let is_hidden = entry.file_name().as_encoded_bytes().starts_with(b".");
            if let Some(stem) = path.file_stem().filter(|_| !is_hidden)
                && entry.file_type()?.is_file()
            {
                let stem = file_name::case_folded(&stem.to_string_lossy());
                let clip = OnceCell::new();
                files.insert(stem, FoundFile { path, clip });
            }
        }
        Ok(Self { files, takes_files })
    }

    /// Returns the file that has the name of a job's clip.
    pub(super) fn file(&self, job: &NewJob) -> Option<&Path> {
        Some(self.find(job)?.path.as_path())
    }

    fn find(&self, job: &NewJob) -> Option<&FoundFile> {
        let file = self.files.get(&file_name::case_folded(&job.stem))?;
        // Where the file system tells names apart that differ only in case, it is another clip's.
        let named = file.path.with_file_name(&job.stem);
        let named = named.with_added_extension(file.path.extension().unwrap_or_default());
        named.exists().then_some(file)
    }

    /// Returns the file that a job takes as its clip, if that is one.
    fn taken(&self, job: &NewJob) -> Option<&FoundFile> {
        self.takes_files.then(|| self.find(job)).flatten()
    }

    /// Returns whether a job takes a file as its clip, if that is one.
    pub(super) fn takes(&self, job: &NewJob) -> bool {
        self.taken(job).is_some()
    }

    /// Returns the file that a job takes as its clip; `None` if it takes none.
    ///
    /// # Errors
    /// Returns why the file is no clip.
    pub(super) fn take(&self, job: &NewJob) -> Result<Option<SavedFile>, String> {
        let Some(file) = self.taken(job) else {
            return Ok(None);
        };
        file.clip
            .get_or_init(|| inspect(&file.path))
            .clone()
            .map(Some)
    }
}

fn inspect(path: &Path) -> Result<SavedFile, String> {
    let inspected = output::inspect(path).map_err(|error| error.to_string());
    let clip = inspected.and_then(|inspected| inspected);
    clip.map_err(|reason| format!("{} is no complete clip: {reason}", path.display()))
}

fn is_no_folder(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
    )
}
