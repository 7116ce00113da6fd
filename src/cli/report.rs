//! `report`: writes the state of the queue as one HTML page.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use anyhow::Context;
use uuid::Uuid;

use crate::domain::file_name::safe_file_stem;
use crate::queue::job_reader::JobReader;
use crate::queue::{BillGrouping, JobFilter, Queue, Status};
use crate::report::{PageCommands, PageHeader, PageWriter};

use super::args::{Global, ReportArgs};
use super::clip_links::ClipLinks;
use super::exit::Exit;
use super::render;
use super::setup::Setup;

/// Writes the page to a file, or to standard output for `--out -`.
pub(super) async fn report(global: &Global, args: ReportArgs) -> anyhow::Result<Exit> {
    let setup = Setup::load(global)?;
    let queue = setup.app.queue()?;
    let status = queue.status(args.batch.clone()).await?;
    let now = setup.app.clock.now();
    let writer = ReportWriter {
        queue: queue.as_ref(),
        batch: args.batch,
        status,
        now,
        commands: PageCommands {
            resolve: setup.suggest("resolve").arg("JOB").to_string(),
            retry: setup.suggest("retry").arg("JOB").to_string(),
        },
        links: ClipLinks::new(&setup, args.links),
    };
    let path = args
        .out
        .unwrap_or_else(|| default_path(writer.batch.as_deref()));
    if path == Path::new("-") {
        let folder = std::env::current_dir().context("cannot read the current folder's name")?;
        writer
            .write(BufWriter::new(io::stdout().lock()), &folder)
            .await?;
        return Ok(Exit::Success);
    }
    writer
        .write_file(&path)
        .await
        .with_context(|| format!("cannot write {}", path.display()))?;
    if !global.quiet {
        render::print_note(format_args!("wrote {}", path.display()));
        writer.links.print_hint(&writer.status);
    }
    Ok(Exit::Success)
}

fn default_path(batch: Option<&str>) -> PathBuf {
    format!("{}.html", batch.map_or("report".into(), safe_file_stem)).into()
}

/// Writes a page about one batch or all of them.
struct ReportWriter<'a> {
    queue: &'a dyn Queue,
    /// The only batch to include; `None` includes all.
    batch: Option<String>,
    status: Status,
    now: jiff::Timestamp,
    /// The commands that the page tells its reader to use.
    commands: PageCommands,
    links: ClipLinks,
}

impl ReportWriter<'_> {
    /// Writes a temporary file and renames it, so that a browser never sees half a page and a
    /// failure keeps the previous page.
    async fn write_file(&self, path: &Path) -> anyhow::Result<()> {
        let path = std::path::absolute(path)?;
        let folder = path.parent().context("the path names no file")?;
        // `File::create_new` applies the usual permissions of a new file; a temporary file would be
        // readable by its owner alone.
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

    /// Writes the page. Links to clips are relative to `folder`.
    async fn write<W: Write>(&self, out: W, folder: &Path) -> anyhow::Result<W> {
        let mut bills = Vec::new();
        for by in [BillGrouping::Batch, BillGrouping::Route] {
            bills.push((by, self.queue.bill(by, self.batch.clone()).await?));
        }
        let remote = self.links.remote(&self.status, self.now).await?;
        let nonce = Uuid::new_v4().simple().to_string();
        let header = PageHeader {
            folder,
            nonce: &nonce,
            now: self.now,
            status: &self.status,
            bills: &bills,
            commands: &self.commands,
            remote: &remote,
        };
        let mut page = PageWriter::new(out, &header)?;
        let filter = JobFilter {
            batch: self.batch.clone(),
            state: None,
        };
        let mut jobs = JobReader::new(self.queue, filter);
        while let Some(job) = jobs.next().await? {
            page.write_job(&job, &self.links.of_job(&job).await?)?;
        }
        Ok(page.finish(&header)?)
    }
}
