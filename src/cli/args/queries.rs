//! Flags of the commands that only show something.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};
use jiff::{Span, SpanRelativeTo, Unit};

use crate::cli::examples;
use crate::domain::JobState;
use crate::queue::BillGrouping;

use super::possible_values::possible_values;

/// Arguments of `status`.
#[derive(Debug, Args)]
#[command(after_help = examples::STATUS)]
pub struct StatusArgs {
    /// Show only this batch
    #[arg(long, value_name = "NAME")]
    pub batch: Option<String>,
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
    /// Refresh until interrupted
    #[arg(long)]
    pub watch: bool,
}

/// Arguments of `jobs`.
#[derive(Debug, Args)]
#[command(after_help = examples::JOBS)]
pub struct JobsArgs {
    /// List only this batch
    #[arg(long, value_name = "NAME")]
    pub batch: Option<String>,
    /// List only jobs in this state
    #[arg(long, value_parser = possible_values(JobState::ALL, JobState::as_str))]
    pub state: Option<JobState>,
    /// Print a JSON array
    #[arg(long)]
    pub json: bool,
}

/// Arguments of `show`.
#[derive(Debug, Args)]
#[command(after_help = examples::SHOW)]
pub struct ShowArgs {
    /// Row id or job number; an id that is in several batches needs --batch
    pub job: String,
    /// Batch of the job
    #[arg(long, value_name = "NAME")]
    pub batch: Option<String>,
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
}

/// Arguments of `bill`.
#[derive(Debug, Args)]
#[command(after_help = examples::BILL)]
pub struct BillArgs {
    /// Show only this batch
    #[arg(long, value_name = "NAME")]
    pub batch: Option<String>,
    /// What to group by; a day is the UTC day of submission, a route is a provider and its name for
    /// the model
    #[arg(long, default_value = "batch", value_parser = possible_values(BillGrouping::ALL, BillGrouping::as_str))]
    pub by: BillGrouping,
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
}

/// Arguments of `report`.
#[derive(Debug, Args)]
#[command(after_help = examples::REPORT)]
pub struct ReportArgs {
    /// Report only this batch
    #[arg(long, value_name = "NAME")]
    pub batch: Option<String>,
    /// File to write; `-` is standard output [default: {batch}.html, or report.html]
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
    /// Sign links to clips in object storage that are valid for this long, such as `12h` or `7d`, the longest.
    /// Whoever has the page can see the clips until then
    #[arg(long, value_name = "TIME", value_parser = parse_validity)]
    pub links: Option<Duration>,
}

/// Returns how long links are valid.
fn parse_validity(text: &str) -> Result<Duration, String> {
    const MAX: Duration = Duration::from_secs(7 * 24 * 3600);
    let span: Span = text.parse().map_err(|error| format!("{error}"))?;
    let seconds = span.total((Unit::Second, SpanRelativeTo::days_are_24_hours()));
    let seconds = seconds.map_err(|error| error.to_string())?;
    let validity = Duration::try_from_secs_f64(seconds).map_err(|error| error.to_string())?;
    if validity.is_zero() || validity > MAX {
        return Err("links are valid for a second to seven days".into());
    }
    Ok(validity)
}

/// Arguments of `export`.
#[derive(Debug, Args)]
#[command(after_help = examples::EXPORT)]
pub struct ExportArgs {
    /// Export only this batch
    #[arg(long, value_name = "NAME")]
    pub batch: Option<String>,
    /// Format of the records: csv, with a header, or jsonl, one JSON object per line
    #[arg(long, value_enum, default_value = "csv", hide_possible_values = true)]
    pub format: ExportFormat,
    /// Write each cell of the CSV as it is. Without this, a cell that a spreadsheet would take for a
    /// formula begins with an apostrophe
    #[arg(long)]
    pub raw: bool,
}

/// Format of exported records.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ExportFormat {
    /// Comma-separated values, with a header.
    Csv,
    /// One JSON object per line.
    Jsonl,
}

/// Arguments of `models`.
#[derive(Debug, Args)]
#[command(after_help = examples::MODELS)]
pub struct ModelsArgs {
    /// Show only this model, with all its fields
    pub model: Option<String>,
}
