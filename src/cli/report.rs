//! `report`: the night as one page of HTML.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use anyhow::Context;
use uuid::Uuid;

use crate::domain::file_name::safe_file_stem;
use crate::queue::{BillBy, JobFilter, Queue, Status};
use crate::report::{Head, Page};

use super::args::{Global, ReportArgs};
use super::exit::Exit;
use super::jobs::for_each_job;
use super::render;
use super::setup::Setup;

/// Writes the page.
pub(super) async fn report(global: &Global, args: ReportArgs) -> anyhow::Result<Exit> {
    let setup = Setup::of(global)?;
    let queue = setup.queue()?;
    let status = queue.status(args.batch.clone()).await?;
    let now = setup.clock.now();
    let night = ReportWriter {
        queue: queue.as_ref(),
        batch: args.batch,
        status,
        now,
    };
    let path = args
        .out
        .unwrap_or_else(|| default_path(night.batch.as_deref()));
    if path == Path::new("-") {
        let here = std::env::current_dir().context("cannot tell which folder this is")?;
        night
            .write(BufWriter::new(io::stdout().lock()), &here)
            .await?;
        return Ok(Exit::Success);
    }
    night
        .write_file(&path)
        .await
        .with_context(|| format!("cannot write {}", path.display()))?;
    if !global.quiet {
        render::note(format_args!("wrote {}", path.display()));
    }
    Ok(Exit::Success)
}

fn default_path(batch: Option<&str>) -> PathBuf {
    format!("{}.html", batch.map_or("report".into(), safe_file_stem)).into()
}

/// What is told.
struct ReportWriter<'a> {
    queue: &'a dyn Queue,
    batch: Option<String>,
    status: Status,
    now: jiff::Timestamp,
}

impl ReportWriter<'_> {
    /// Writes to a temporary name and renames, so that a browser never sees half a page, nor a failure costs the last one.
    async fn write_file(&self, path: &Path) -> anyhow::Result<()> {
        let path = std::path::absolute(path)?;
        let folder = path.parent().context("that is no file's name")?;
        // With the rights of any new file, where temporary files are the owner's alone.
        let part = tempfile::Builder::new()
            .prefix(".report-")
            .suffix(".part")
            .make_in(folder, |path| File::create_new(path))?;
        let (file, part) = part.into_parts();
        let file = self.write(BufWriter::new(file), folder).await?;
        file.into_inner()
            .map_err(io::IntoInnerError::into_error)?
            .sync_all()?;
        part.persist(&path).map_err(|error| error.error)?;
        Ok(())
    }

    async fn write<W: Write>(&self, out: W, folder: &Path) -> anyhow::Result<W> {
        let mut bills = Vec::new();
        for by in [BillBy::Batch, BillBy::Route] {
            bills.push((by, self.queue.bill(by, self.batch.clone()).await?));
        }
        let nonce = Uuid::new_v4().simple().to_string();
        let head = Head {
            folder,
            nonce: &nonce,
            now: self.now,
            status: &self.status,
            bills: &bills,
        };
        let mut page = Page::begin(out, &head)?;
        let filter = JobFilter {
            batch: self.batch.clone(),
            state: None,
        };
        for_each_job(self.queue, filter, |job| Ok(page.job(&job)?)).await?;
        Ok(page.end(&head)?)
    }
}
