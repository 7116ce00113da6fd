//! The HTML report of a queue: totals, the bill, what needs attention, and every clip beside its
//! source image.
//!
//! The rules of this folder: the page is a single file that loads nothing from the network unless
//! its reader asks for it, and no text from a queue can become markup or script. Jobs are written
//! one at a time, so that the memory needed does not depend on their number.

mod header;
mod link;
mod row;
mod template;
#[cfg(test)]
mod tests;
mod text;

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::PathBuf;

use crate::queue::JobRecord;

use row::PageRow;

pub(crate) use header::{PageCommands, PageHeader, RemoteClips};

const TEMPLATE: &str = include_str!("page.html");
const STYLE: &str = include_str!("page.css");
const SCRIPT: &str = include_str!("page.js");

/// The placeholder of the jobs in the template.
const JOBS: &str = "{{jobs}}";

/// Writes a page job by job.
#[derive(Debug)]
pub(crate) struct PageWriter<W> {
    out: W,
    /// The absolute folder of the page. Links to clips are relative to it.
    folder: PathBuf,
    batches: Vec<String>,
    /// Number of jobs written so far.
    jobs: u64,
}

impl<W: Write> PageWriter<W> {
    /// Writes everything that comes before the jobs.
    pub(crate) fn new(mut out: W, header: &PageHeader<'_>) -> io::Result<Self> {
        let (before, _) = split_template();
        template::fill(&mut out, before, |name, out| match name {
            "style" => out.write_all(STYLE.as_bytes()),
            _ => header.write(name, out),
        })?;
        let batches = header
            .status
            .batches
            .iter()
            .map(|batch| batch.batch.clone())
            .collect();
        Ok(Self {
            out,
            folder: header.folder.to_owned(),
            batches,
            jobs: 0,
        })
    }

    /// Writes a job. `links` has the links to those of its clips that are not on a disk, by their locations.
    pub(crate) fn write_job(
        &mut self,
        job: &JobRecord,
        links: &BTreeMap<String, String>,
    ) -> io::Result<()> {
        let row = PageRow::new(job, &self.batches, &self.folder, links);
        let separator = if self.jobs == 0 { "" } else { ",\n" };
        self.jobs += 1;
        // Escaped for a script element, because a job's texts may contain `</script>`.
        write!(self.out, "{separator}{}", text::script_json(&row)?)
    }

    /// Writes everything that comes after the jobs, and returns the flushed writer.
    pub(crate) fn finish(mut self, header: &PageHeader<'_>) -> io::Result<W> {
        let (_, after) = split_template();
        template::fill(&mut self.out, after, |name, out| match name {
            "script" => out.write_all(SCRIPT.as_bytes()),
            _ => header.write(name, out),
        })?;
        self.out.flush()?;
        Ok(self.out)
    }
}

/// Splits the template at the placeholder of the jobs.
fn split_template() -> (&'static str, &'static str) {
    TEMPLATE.split_once(JOBS).unwrap_or((TEMPLATE, ""))
}
