//! Stages rows, and counts what is wrong with them.
//!
//! While rows are staged no other process can write to the queue, so reading must not wait for anything
//! then. Rows are held until all are read, if they are few. If they are many, they are staged while they
//! are read; but if some name local images or take files as their clips, which takes minutes to hash,
//! the manifests are read twice: first to inspect the files, then to stage the rows.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read, Seek};

use crate::domain::{Location, NewJob};
use crate::manifest::{ID_FIELD, Mistake, Problem, Remark, RemarkCount, RowSink};
use crate::queue::{self, RowChange, Staging};

use super::{FoundClips, LoadError, LoadObserver};

/// Maximum length of the inputs of rows that are held in memory until all are read, in bytes: some five
/// thousand rows.
const MAX_HELD_BYTES: usize = 2 << 20;

/// What is done with rows when they have been read.
enum Reading {
    /// They are held.
    Hold(HeldRows),
    /// They are staged.
    Stage,
    /// Nothing: only their files are inspected, and the manifests are read again.
    Inspect,
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
    ReadAgain {
        /// Number of mistakes that were reported.
        mistakes: u64,
    },
}

/// Stages rows, and counts what is wrong with them.
pub(super) struct RowStager<'a, O> {
    staging: &'a mut dyn Staging,
    found: &'a FoundClips,
    observer: &'a mut O,
    /// Number of new rows at whose clip's name there is a file that they do not take.
    blocked: u64,
    /// One of these files.
    blocking: Option<Location>,
    /// Name of the manifest that is being read.
    file: String,
    reading: Reading,
    max_held_bytes: usize,
    /// Whether any row so far is slow: it names a local image, or takes a file as its clip.
    is_slow: bool,
    /// Whether the files of all rows have been inspected in a first reading.
    is_again: bool,
    /// Whether that has reported mistakes, which are not reported again. It has not seen duplicates.
    are_mistakes_reported: bool,
    mistakes: u64,
    /// What was done with rows that is no mistake, with the number of them.
    remarks: BTreeMap<Remark, RemarkCount>,
}

impl<'a, O: LoadObserver> RowStager<'a, O> {
    /// Returns the stager of a first reading.
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
            reading: Reading::Hold(HeldRows::default()),
            max_held_bytes: MAX_HELD_BYTES,
            is_slow: false,
            is_again: false,
            are_mistakes_reported: false,
            mistakes: 0,
            remarks: BTreeMap::new(),
        }
    }

    /// Returns the stager of a second reading, after one that was [`Finished::ReadAgain`] with this number of
    /// mistakes.
    pub(super) fn again(
        staging: &'a mut dyn Staging,
        found: &'a FoundClips,
        observer: &'a mut O,
        mistakes: u64,
    ) -> Self {
        Self {
            reading: Reading::Stage,
            is_again: true,
            are_mistakes_reported: mistakes > 0,
            mistakes,
            ..Self::new(staging, found, observer)
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
        if matches!(self.reading, Reading::Inspect) {
            let mistakes = self.mistakes;
            return Ok(Finished::ReadAgain { mistakes });
        }
        self.stage_held()?;
        self.observer.finish(&self.remarks);
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
            _ => Ok(Finished::Staged),
        }
    }

    /// Stages the rows that are held, and from now on those that come.
    fn stage_held(&mut self) -> queue::Result<()> {
        let Reading::Hold(held) = &mut self.reading else {
            return Ok(());
        };
        let held = std::mem::take(held);
        self.reading = Reading::Stage;
        for (file, jobs) in held.chunks {
            let duplicates = self.stage(&jobs)?;
            self.report_duplicates(&file, duplicates);
        }
        Ok(())
    }

    fn report_duplicates(&mut self, file: &str, duplicates: Vec<(u64, Mistake)>) {
        for (line, mistake) in duplicates {
            self.mistakes += 1;
            self.observer.problem(Problem {
                file: file.to_owned(),
                line,
                field: Some(ID_FIELD.to_owned()),
                mistake,
            });
        }
    }

    /// Stages rows. Returns the line of each duplicate, and what is wrong with it.
    fn stage(&mut self, jobs: &[NewJob]) -> queue::Result<Vec<(u64, Mistake)>> {
        let mut duplicates = Vec::new();
        for (job, change) in jobs.iter().zip(self.staging.add(jobs)?) {
            match change {
                RowChange::New | RowChange::NewPicture | RowChange::Changed => {
                    if let Some(file) = self.found.file(job).filter(|_| change == RowChange::New) {
                        self.blocked += 1;
                        self.blocking.get_or_insert_with(|| file.clone());
                    }
                    self.observer.add_row(job);
                }
                RowChange::FileTaken
                | RowChange::Reused { .. }
                | RowChange::Unchanged
                | RowChange::InProgress => {}
                RowChange::Duplicate { line } => {
                    let mistake = if job.has_id() {
                        Mistake::SameId {
                            id: job.row_key.clone(),
                            line,
                        }
                    } else {
                        Mistake::SameRow { line }
                    };
                    duplicates.push((job.line, mistake));
                }
            }
        }
        Ok(duplicates)
    }
}

impl<O: LoadObserver> RowSink for RowStager<'_, O> {
    fn rows(&mut self, mut jobs: Vec<NewJob>) -> anyhow::Result<Vec<(u64, Mistake)>> {
        let is_slow = |job: &NewJob| job.has_local_images || self.found.takes(job);
        self.is_slow |= !self.is_again && jobs.iter().any(is_slow);
        if self.is_slow && matches!(self.reading, Reading::Stage) {
            self.staging.discard()?;
            self.reading = Reading::Inspect;
        }
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
        match &mut self.reading {
            Reading::Hold(held) => {
                held.bytes += jobs.iter().map(|job| job.input_text.len()).sum::<usize>();
                held.chunks.push((self.file.clone(), jobs));
                if held.bytes > self.max_held_bytes {
                    if self.is_slow {
                        self.reading = Reading::Inspect;
                    } else {
                        self.stage_held()?;
                    }
                }
                Ok(Vec::new())
            }
            Reading::Stage => {
                let duplicates = self.stage(&jobs)?;
                if self.are_mistakes_reported {
                    self.report_duplicates(&self.file.clone(), duplicates);
                    return Ok(Vec::new());
                }
                Ok(duplicates)
            }
            Reading::Inspect => Ok(Vec::new()),
        }
    }

    fn problem(&mut self, problem: Problem) {
        if self.are_mistakes_reported {
            return;
        }
        self.mistakes += 1;
        self.observer.problem(problem);
    }

    fn remark(&mut self, remark: &Remark, count: u64, line: u64) {
        let counted = self.remarks.entry(remark.clone()).or_default();
        counted.add(count, || format!("{}:{line}", self.file));
    }
}
