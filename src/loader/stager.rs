//! Stages rows, and counts what is wrong with them.
//!
//! While rows are staged no other process can write to the queue, so reading must not wait for anything
//! then. Rows are held until all are read, if they are few. If they are many, they are staged while they
//! are read; but if some name local images or take files as their clips, which takes minutes to look at,
//! the manifests are read twice: first to look at the files, then to stage the rows.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read, Seek};
use std::path::PathBuf;

use crate::domain::NewJob;
use crate::manifest::{ID_FIELD, Problem, RowSink};
use crate::queue::{self, RowChange, Staging};

use super::{FoundClips, LoadError, LoadObserver};

/// Maximum length of the inputs of rows that are held in memory until all are read, in bytes: some five
/// thousand rows.
const MAX_HELD_BYTES: usize = 2 << 20;

/// What is done with rows when they have been read.
enum Reading {
    /// They are held.
    Hold(HeldRows),
    /// They are staged. The files of slow rows have been looked at if `is_again`.
    Stage { is_again: bool },
    /// Nothing: only their files are looked at, and the manifests are read again.
    Look,
}

/// Rows that are held in memory.
#[derive(Default)]
struct HeldRows {
    /// Each chunk with its manifest.
    chunks: Vec<(String, Vec<NewJob>)>,
    /// Length of their inputs, in bytes.
    bytes: usize,
}

/// What is left to do after the manifests were read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Finished {
    /// All rows are staged.
    Staged,
    /// No row is staged: the manifests have to be read again.
    ReadAgain,
}

/// Stages rows, and counts what is wrong with them.
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
    reading: Reading,
    max_held_bytes: usize,
    /// Whether any row so far is slow.
    is_slow: bool,
    mistakes: u64,
    /// Number of skipped rows, by the field that they lack.
    skipped: BTreeMap<String, u64>,
}

impl<'a, O: LoadObserver> RowStager<'a, O> {
    /// Returns the stager of a first reading.
    pub(super) fn new(
        staging: &'a mut dyn Staging,
        found: &'a FoundClips,
        observer: &'a mut O,
    ) -> Self {
        let reading = Reading::Hold(HeldRows::default());
        Self::with_reading(staging, found, observer, reading)
    }

    /// Returns the stager of a second reading, after one that was [`Finished::ReadAgain`].
    pub(super) fn again(
        staging: &'a mut dyn Staging,
        found: &'a FoundClips,
        observer: &'a mut O,
    ) -> Self {
        let reading = Reading::Stage { is_again: true };
        Self::with_reading(staging, found, observer, reading)
    }

    fn with_reading(
        staging: &'a mut dyn Staging,
        found: &'a FoundClips,
        observer: &'a mut O,
        reading: Reading,
    ) -> Self {
        Self {
            staging,
            found,
            observer,
            blocked: 0,
            blocking: None,
            file: String::new(),
            reading,
            max_held_bytes: MAX_HELD_BYTES,
            is_slow: false,
            mistakes: 0,
            skipped: BTreeMap::new(),
        }
    }

    #[cfg(test)]
    pub(super) fn limit_held_bytes(&mut self, bytes: usize) {
        self.max_held_bytes = bytes;
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
    pub(super) fn finish(mut self, rows: u64, fresh: bool) -> Result<Finished, LoadError> {
        self.stage_held()?;
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
        match (self.reading, self.blocking) {
            (Reading::Look, _) => Ok(Finished::ReadAgain),
            (_, Some(example)) if !fresh => Err(LoadError::ClipsExist {
                rows: self.blocked,
                example,
            }),
            _ => Ok(Finished::Staged),
        }
    }

    /// Stages the rows that are held, and from now on those that come.
    fn stage_held(&mut self) -> queue::Result<()> {
        let Reading::Hold(held) = &mut self.reading else {
            return Ok(());
        };
        let held = std::mem::take(held);
        self.reading = Reading::Stage { is_again: false };
        for (file, jobs) in held.chunks {
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
        self.is_slow |= jobs.iter().any(is_slow);
        match &mut self.reading {
            Reading::Hold(held) => {
                held.bytes += jobs.iter().map(|job| job.input_text.len()).sum::<usize>();
                held.chunks.push((self.file.clone(), jobs));
                if held.bytes > self.max_held_bytes {
                    if self.is_slow {
                        self.reading = Reading::Look;
                    } else {
                        self.stage_held()?;
                    }
                }
                Ok(Vec::new())
            }
            Reading::Stage { is_again: false } if self.is_slow => {
                self.staging.discard()?;
                self.reading = Reading::Look;
                Ok(Vec::new())
            }
            Reading::Stage { .. } => Ok(self.stage(&jobs)?),
            Reading::Look => Ok(Vec::new()),
        }
    }

    fn problem(&mut self, problem: Problem) {
        self.mistakes += 1;
        self.observer.problem(problem);
    }

    fn skipped(&mut self, field: &str, rows: u64) {
        *self.skipped.entry(field.to_owned()).or_default() += rows;
    }
}
