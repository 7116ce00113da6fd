//! Stages rows while they are read, and counts what is wrong with them.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read, Seek};
use std::path::PathBuf;

use crate::domain::NewJob;
use crate::manifest::{ID_FIELD, Problem, RowSink};
use crate::queue::{self, RowChange, Staging};

use super::{FoundClips, LoadError, LoadObserver};

/// Maximum number of rows that are held in memory until all are read.
const MAX_DEFERRED: usize = 50_000;

/// Stages rows while they are read, and counts what is wrong with them.
pub(super) struct RowStager<'a, O> {
    staging: &'a mut dyn Staging,
    found: &'a FoundClips,
    observer: &'a mut O,
    /// Number of new rows at whose clip's name there is a file that they do not take.
    blocked: u64,
    /// One of these files.
    blocking: Option<PathBuf>,
    /// Name of the manifest that is being read.
    file: String,
    /// Rows to stage after all are read, each chunk with its manifest: those that name local images or
    /// take files as their clips, and those after them. Reading the files may take minutes, and from
    /// the first staged row on no other process can write to the queue.
    deferred: Vec<(String, Vec<NewJob>)>,
    mistakes: u64,
    /// Number of skipped rows, by the field that they lack.
    skipped: BTreeMap<String, u64>,
}

impl<'a, O: LoadObserver> RowStager<'a, O> {
    pub(super) fn new(
        staging: &'a mut dyn Staging,
        found: &'a FoundClips,
        observer: &'a mut O,
    ) -> Self {
        Self {
            staging,
            found,
            observer,
            blocked: 0,
            blocking: None,
            file: String::new(),
            deferred: Vec::new(),
            mistakes: 0,
            skipped: BTreeMap::new(),
        }
    }

    /// Starts a manifest. Returns the reader to use.
    pub(super) fn start_file(
        &mut self,
        name: &str,
        format: Option<&str>,
        file: File,
    ) -> io::Result<impl Read + Seek + Send + use<O> + 'static> {
        name.clone_into(&mut self.file);
        self.observer.start_file(name, format, file)
    }

    /// Stages what is left after the last manifest, which had `rows` rows together with those
    /// before it. With `fresh`, clips that are there already are rendered all the same.
    ///
    /// # Errors
    /// Returns an error if any row has a mistake, if there are none, or if clips are in the way.
    pub(super) fn finish(mut self, rows: u64, fresh: bool) -> Result<(), LoadError> {
        self.stage_deferred()?;
        self.observer.finish(&self.skipped);
        if self.mistakes > 0 {
            return Err(LoadError::Mistakes {
                mistakes: self.mistakes,
                rows,
            });
        }
        if rows == 0 {
            return Err(LoadError::NoRows);
        }
        match self.blocking {
            Some(example) if !fresh => Err(LoadError::ClipsExist {
                rows: self.blocked,
                example,
            }),
            _ => Ok(()),
        }
    }

    /// Stages the deferred rows.
    fn stage_deferred(&mut self) -> queue::Result<()> {
        for (file, jobs) in std::mem::take(&mut self.deferred) {
            for (line, message) in self.stage(&jobs)? {
                self.problem(Problem {
                    file: file.clone(),
                    line,
                    field: Some(ID_FIELD.to_owned()),
                    mistake: message.into(),
                });
            }
        }
        Ok(())
    }

    /// Stages rows. Returns the line of each duplicate, and what is wrong with it.
    fn stage(&mut self, jobs: &[NewJob]) -> queue::Result<Vec<(u64, String)>> {
        let mut duplicates = Vec::new();
        for (job, change) in jobs.iter().zip(self.staging.add(jobs)?) {
            match change {
                RowChange::New | RowChange::NewPicture | RowChange::Changed => {
                    if let Some(file) = self.found.file(job).filter(|_| change == RowChange::New) {
                        self.blocked += 1;
                        self.blocking.get_or_insert_with(|| file.to_owned());
                    }
                    self.observer.add_row(job);
                }
                RowChange::FileTaken
                | RowChange::Reused { .. }
                | RowChange::Unchanged
                | RowChange::InProgress => {}
                RowChange::Duplicate { line } => {
                    let message = format!("`{}` is on line {line} already", job.row_key);
                    duplicates.push((job.line, message));
                }
            }
        }
        Ok(duplicates)
    }
}

/// Returns whether a row takes long to read.
fn is_slow(job: &NewJob) -> bool {
    job.has_local_images || job.found_clip.is_some()
}

impl<O: LoadObserver> RowSink for RowStager<'_, O> {
    fn rows(&mut self, mut jobs: Vec<NewJob>) -> anyhow::Result<Vec<(u64, String)>> {
        for job in &mut jobs {
            match self.found.take(job) {
                Ok(file) => job.found_clip = file,
                Err(mistake) => self.problem(Problem {
                    file: self.file.clone(),
                    line: job.line,
                    field: None,
                    mistake: mistake.into(),
                }),
            }
        }
        let deferred: usize = self.deferred.iter().map(|(_, jobs)| jobs.len()).sum();
        let defer = deferred > 0 || jobs.iter().any(is_slow);
        if defer && deferred + jobs.len() <= MAX_DEFERRED {
            self.deferred.push((self.file.clone(), jobs));
            return Ok(Vec::new());
        }
        self.stage_deferred()?;
        Ok(self.stage(&jobs)?)
    }

    fn problem(&mut self, problem: Problem) {
        self.mistakes += 1;
        self.observer.problem(problem);
    }

    fn skipped(&mut self, field: &str, rows: u64) {
        *self.skipped.entry(field.to_owned()).or_default() += rows;
    }
}
