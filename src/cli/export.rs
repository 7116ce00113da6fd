//! `export`: one record for each job.

use std::io;

use crate::queue::{JobFilter, JobRecord};

use super::args::{ExportArgs, ExportFormat, Global};
use super::exit::Exit;
use super::jobs::for_each_job;
use super::setup::Setup;
use super::{render, summary};

/// The columns of the CSV, which are the keys of the JSON objects.
const COLUMNS: [&str; 18] = [
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
];

/// Writes all jobs.
pub(super) async fn export(global: &Global, args: ExportArgs) -> anyhow::Result<Exit> {
    let setup = Setup::of(global)?;
    let queue = setup.queue()?;
    let doubts = summary::doubts(&queue.status(args.batch.clone()).await?);
    let filter = JobFilter {
        batch: args.batch,
        state: None,
    };
    match args.format {
        ExportFormat::Jsonl => {
            for_each_job(queue.as_ref(), filter, |job| render::json(&job)).await?
        }
        ExportFormat::Csv => {
            let mut csv = csv::Writer::from_writer(io::stdout().lock());
            csv.write_record(COLUMNS)?;
            for_each_job(queue.as_ref(), filter, |job| {
                Ok(csv.write_record(cells(&job)?)?)
            })
            .await?;
            csv.flush()?;
        }
    }
    // The records tell it as well: `in_doubt`, with the estimate that may have been paid.
    if let Some(doubts) = doubts {
        render::note(doubts);
    }
    Ok(Exit::Success)
}

fn cells(job: &JobRecord) -> anyhow::Result<Vec<String>> {
    let record = serde_json::to_value(job)?;
    let cell = |column: &&str| match &record[*column] {
        serde_json::Value::Null => String::new(),
        serde_json::Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    Ok(COLUMNS.iter().map(cell).collect())
}
