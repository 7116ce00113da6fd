//! Stages rows while they are read, and counts what is wrong with them.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read, Seek};

use crate::domain::NewJob;
use crate::manifest::{ID_FIELD, Problem, RowSink};
use crate::queue::{self, RowChange, Staging};

use super::{LoadError, LoadObserver};

/// Maximum number of rows that are held in memory until all are read.
const MAX_DEFERRED: usize = 50_000;

/// Stages rows while they are read, and counts what is wrong with them.
pub(super) struct RowStager<'a, O> {
    staging: &'a mut dyn Staging,
    observer: &'a mut O,
    /// Name of the manifest that is being read.
    file: String,
    /// Rows to stage after all are read, each chunk with its manifest: those that name local
    /// images, and those after them. Reading the images may take minutes, and from the first
    /// staged row on no other process can write to the queue.
    deferred: Vec<(String, Vec<NewJob>)>,
    mistakes: u64,
    /// Number of skipped rows, by the field that they lack.
    skipped: BTreeMap<String, u64>,
}

impl<'a, O: LoadObserver> RowStager<'a, O> {
    pub(super) fn new(staging: &'a mut dyn Staging, observer: &'a mut O) -> Self {
        Self {
            staging,
            observer,
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
    /// before it.
    ///
    /// # Errors
    /// Returns an error if any row has a mistake, or if there are none.
    pub(super) fn finish(mut self, rows: u64) -> Result<(), LoadError> {
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
        Ok(())
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
                RowChange::New | RowChange::Changed => self.observer.add_row(job),
                RowChange::Reused { .. } | RowChange::Unchanged | RowChange::InProgress => {}
                RowChange::Duplicate { line } => {
                    let message = format!("`{}` is on line {line} already", job.row_key);
                    duplicates.push((job.line, message));
                }
            }
        }
        Ok(duplicates)
    }
}

impl<O: LoadObserver> RowSink for RowStager<'_, O> {
    fn rows(&mut self, jobs: Vec<NewJob>) -> anyhow::Result<Vec<(u64, String)>> {
        let deferred: usize = self.deferred.iter().map(|(_, jobs)| jobs.len()).sum();
        let defer = deferred > 0 || jobs.iter().any(|job| job.has_local_images);
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
