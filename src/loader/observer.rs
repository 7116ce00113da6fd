//! What happens while manifests are read.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read, Seek};

use crate::domain::NewJob;
use crate::manifest::{Problem, Remark, RemarkCount};

/// Receives what happens while manifests are read.
pub trait LoadObserver {
    /// Receives a manifest before it is read, with a description of its format if that is not plain.
    /// Returns the reader to use, so that it can be followed how much was read.
    fn start_file(
        &mut self,
        name: &str,
        format: Option<&str>,
        file: File,
    ) -> io::Result<impl Read + Seek + Send + use<Self> + 'static>;

    /// Receives a row that is new or has changed.
    fn add_row(&mut self, job: &NewJob);

    /// Receives a mistake in a manifest.
    fn problem(&mut self, problem: Problem);

    /// Receives that the manifests are read again from the start. The rows so far do not count.
    fn read_again(&mut self);

    /// Receives the end of all manifests, with what was done with rows that is no mistake, and the number
    /// of them.
    fn finish(&mut self, remarks: &BTreeMap<Remark, RemarkCount>);
}
