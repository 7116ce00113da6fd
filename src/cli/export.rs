//! `export`: one record per job, as CSV or JSON Lines.

use std::io;

use crate::domain::printable::printable_lines;
use crate::queue::job_reader::JobReader;
use crate::queue::{JobFilter, JobRecord};

use super::args::{ExportArgs, ExportFormat, Global};
use super::exit::Exit;
use super::setup::Setup;
use super::{render, summary};

/// The columns of the CSV, in order. The JSON objects have the same keys.
const COLUMNS: [&str; 19] = [
    "batch",
    "id",
    "line",
    "state",
    "model",
    "provider",
    "prediction_id",
    "attempts",
    "estimate_usd",
    "cost_usd",
    "cost_source",
    "output",
    "bytes",
    "sha256",
    "error",
    "queued_at",
    "submitted_at",
    "finished_at",
    "versions",
];

/// Prints one record per job.
pub(super) async fn export(global: &Global, args: ExportArgs) -> anyhow::Result<Exit> {
    let setup = Setup::load(global)?;
    let queue = setup.app.queue()?;
    let status = queue.status(args.batch.clone()).await?;
    let in_doubt = summary::in_doubt(&status);
    let show = setup
        .suggest("status")
        .option("--batch", args.batch.as_deref());
    let filter = JobFilter {
        batch: args.batch,
        state: None,
    };
    let mut jobs = JobReader::new(queue.as_ref(), filter);
    match args.format {
        ExportFormat::Jsonl => {
            while let Some(job) = jobs.next().await? {
                render::print_json(&job)?;
            }
        }
        ExportFormat::Csv => {
            let mut csv = csv::Writer::from_writer(io::stdout().lock());
            csv.write_record(COLUMNS)?;
            while let Some(job) = jobs.next().await? {
                let cells = cells(&job)?;
                if args.raw {
                    csv.write_record(cells)?;
                } else {
                    csv.write_record(cells.into_iter().map(as_text))?;
                }
            }
            csv.flush()?;
        }
    }
    // The records say so too, by the state `in_doubt` and the estimate, but a note is seen.
    if let Some(in_doubt) = in_doubt {
        render::print_note(format_args!(
            "{in_doubt}\nhint: `{show}` prints how to settle them"
        ));
    }
    Ok(Exit::Success)
}

/// Returns a cell that is safe to show, and that no spreadsheet takes for a formula: what begins like one
/// gets an apostrophe, which marks a text.
fn as_text(cell: String) -> String {
    let cell = printable_lines(&cell);
    if cell.starts_with(['=', '+', '-', '@']) {
        format!("'{cell}")
    } else {
        cell.into_owned()
    }
}

/// Returns a job's fields in the order of [`COLUMNS`].
fn cells(job: &JobRecord) -> anyhow::Result<Vec<String>> {
    let record = serde_json::to_value(job)?;
    let cell = |column: &&str| match &record[*column] {
        serde_json::Value::Null => String::new(),
        serde_json::Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    Ok(COLUMNS.iter().map(cell).collect())
}
