//! Files that lie where a batch would save its clips.

use std::cell::OnceCell;
use std::collections::HashMap;
use std::path::Path;

use crate::domain::{Location, NewJob, SavedFile, file_name};
use crate::output::{self, OutputError, OutputStore};

/// The files in a batch's folder, by the name that a clip has without its ending.
#[derive(Debug, Default)]
pub struct FoundClips {
    files: HashMap<String, FoundFile>,
    takes_files: bool,
}

#[derive(Debug)]
struct FoundFile {
    location: Location,
    /// What the file is as a clip, or why it is none, once it has been read.
    clip: OnceCell<Result<SavedFile, String>>,
}

impl FoundClips {
    /// Lists the files of a folder; none if there is no such folder. With `takes_files`, new rows take those with
    /// the names of their clips.
    ///
    /// # Errors
    /// Returns an error if the folder cannot be read.
    pub async fn list(
        output: &dyn OutputStore,
        folder: &Location,
        takes_files: bool,
    ) -> Result<Self, OutputError> {
        let found = Self::new(output.list(folder).await?, takes_files);
        let files = found.files.values().filter(|_| takes_files);
        for FoundFile { location, clip } in files.filter(|file| file.location.path().is_none()) {
            // Rows are read where nothing can be waited for.
            let inspected = output.inspect(location).await?;
            clip.get_or_init(|| inspected.map_err(|reason| no_clip(location, &reason)));
        }
        Ok(found)
    }

    /// Returns the files at locations of one folder. As [`list`](Self::list), but nothing is read.
    pub(super) fn new(locations: Vec<Location>, takes_files: bool) -> Self {
        let files = locations.into_iter().map(|location| {
            let stem = file_name::case_folded(&location.file_stem().to_string_lossy());
            let clip = OnceCell::new();
            (stem, FoundFile { location, clip })
        });
        Self {
            files: files.collect(),
            takes_files,
        }
    }

    /// Returns the file that has the name of a job's clip.
    pub(super) fn file(&self, job: &NewJob) -> Option<&Location> {
        Some(&self.find(job)?.location)
    }

    fn find(&self, job: &NewJob) -> Option<&FoundFile> {
        let file = self.files.get(&file_name::case_folded(&job.stem))?;
        let is_named = match &file.location {
            Location::Path(path) => {
                // Where the file system tells names apart that differ only in case, it is another clip's.
                let named = path.with_file_name(&job.stem);
                let named = named.with_added_extension(file.location.extension());
                named.exists()
            }
            Location::Object(_) => file.location.file_stem() == job.stem.as_str(),
        };
        is_named.then_some(file)
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
        let Some(FoundFile { location, clip }) = self.taken(job) else {
            return Ok(None);
        };
        let inspect = || match location.path() {
            Some(path) => inspect(path),
            None => Err(no_clip(location, "it was not read")),
        };
        clip.get_or_init(inspect).clone().map(Some)
    }
}

fn inspect(path: &Path) -> Result<SavedFile, String> {
    let inspected = output::inspect_file(path).map_err(|error| error.to_string());
    let clip = inspected.and_then(|inspected| inspected);
    clip.map_err(|reason| no_clip(&path.to_owned().into(), &reason))
}

fn no_clip(location: &Location, reason: &str) -> String {
    format!("{location} is no complete clip: {reason}")
}
