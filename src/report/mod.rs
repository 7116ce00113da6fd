//! A night as one page of HTML: what was made and paid, what needs a human, and every clip beside its image.
//!
//! The rule of this folder: the page is one file that asks nobody for anything, and nothing in a queue can become markup
//! or script. Jobs are written as they come, so that any number of them takes the memory of one.

mod head;
mod link;
mod row;
mod template;
#[cfg(test)]
mod tests;
mod text;

use std::io::{self, Write};
use std::path::PathBuf;

use crate::queue::JobRecord;

pub use head::Head;

const TEMPLATE: &str = include_str!("page.html");
const STYLE: &str = include_str!("page.css");
const SCRIPT: &str = include_str!("page.js");

/// Stands in the template where the jobs go.
const JOBS: &str = "{{jobs}}";

/// A page that is being written.
#[derive(Debug)]
pub struct Page<W> {
    out: W,
    /// Where the page will stand: links to clips lead from here.
    folder: PathBuf,
    batches: Vec<String>,
    jobs: u64,
}

impl<W: Write> Page<W> {
    /// Writes all that comes before the jobs.
    pub fn begin(mut out: W, head: &Head<'_>) -> io::Result<Self> {
        let (before, _) = halves();
        template::fill(&mut out, before, |name, out| match name {
            "style" => out.write_all(STYLE.as_bytes()),
            _ => head.write(name, out),
        })?;
        let batches = head
            .status
            .batches
            .iter()
            .map(|batch| batch.batch.clone())
            .collect();
        Ok(Self {
            out,
            folder: head.folder.to_owned(),
            batches,
            jobs: 0,
        })
    }

    /// Writes a job.
    pub fn job(&mut self, job: &JobRecord) -> io::Result<()> {
        let row = row::of(job, &self.batches, &self.folder);
        // The end of the element would stand in any text as it stands here, were it not escaped.
        let comma = if self.jobs == 0 { "" } else { ",\n" };
        self.jobs += 1;
        write!(self.out, "{comma}{}", text::json(&row)?)
    }

    /// Writes all that comes after the jobs.
    pub fn end(mut self, head: &Head<'_>) -> io::Result<W> {
        let (_, after) = halves();
        template::fill(&mut self.out, after, |name, out| match name {
            "script" => out.write_all(SCRIPT.as_bytes()),
            _ => head.write(name, out),
        })?;
        self.out.flush()?;
        Ok(self.out)
    }
}

fn halves() -> (&'static str, &'static str) {
    TEMPLATE.split_once(JOBS).unwrap_or((TEMPLATE, ""))
}
