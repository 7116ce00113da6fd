//! Flags of the commands that change jobs: `retry`, `cancel`, `resolve`, `verify`,
//! `clean`, `move` and `backup`.

use std::path::PathBuf;

use clap::Args;

use crate::cli::examples;
use crate::domain::prediction_id::is_prediction_id;
use crate::domain::{JobState, Location};

use super::location;
use super::possible_values::possible_values;

/// Arguments of `retry` and `cancel`.
#[derive(Debug, Args)]
pub struct SelectArgs {
    /// Select only this batch
    #[arg(long, value_name = "NAME")]
    pub batch: Option<String>,
    /// Select only jobs in this state
    #[arg(long, value_parser = possible_values(JobState::ALL, JobState::as_str))]
    pub state: Option<JobState>,
    /// Select only these jobs, by row id or job number; an id that is in several batches needs
    /// --batch
    #[arg(value_name = "JOB")]
    pub jobs: Vec<String>,
}

/// Arguments of `resolve`.
#[derive(Debug, Args)]
#[command(group = clap::ArgGroup::new("decision").required(true), after_help = examples::RESOLVE)]
pub struct ResolveArgs {
    /// Row id or job number; an id that is in several batches needs --batch
    pub job: String,
    /// Batch of the job
    #[arg(long, value_name = "NAME")]
    pub batch: Option<String>,
    /// The provider accepted it: continue with the prediction that has this id at the provider
    #[arg(long, group = "decision", value_name = "ID", value_parser = parse_prediction_id)]
    pub adopt: Option<String>,
    /// The provider did not accept it: submit it again, and pay for that. If the provider accepted it
    /// after all, you pay twice
    #[arg(long, group = "decision")]
    pub resubmit: bool,
    /// Give up the job; its reserved price counts as spent
    #[arg(long, group = "decision")]
    pub fail: bool,
}

fn parse_prediction_id(text: &str) -> Result<String, String> {
    let text = text.trim();
    if is_prediction_id(text) {
        Ok(text.to_owned())
    } else {
        Err(
            "this is not the id of a prediction: it has letters, digits and some of `-_.:~=+@/`"
                .into(),
        )
    }
}

/// Arguments of `verify`.
#[derive(Debug, Args)]
#[command(after_help = examples::VERIFY)]
pub struct VerifyArgs {
    /// Check only this batch
    #[arg(long, value_name = "NAME")]
    pub batch: Option<String>,
    /// Download missing or damaged clips again now, replacing what is there; costs nothing
    #[arg(long)]
    pub fix: bool,
    /// Read every clip in object storage as well, instead of comparing what was stored with it
    #[arg(long)]
    pub deep: bool,
}

/// Arguments of `backup`.
#[derive(Debug, Args)]
#[command(after_help = examples::BACKUP)]
pub struct BackupArgs {
    /// The file to write, which must not exist
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
}

/// Arguments of `clean`.
#[derive(Debug, Args)]
#[command(after_help = examples::CLEAN)]
pub struct CleanArgs {
    /// Remove the earlier clips of rows that were rendered anew
    #[arg(long)]
    pub earlier: bool,
    /// Only of this batch
    #[arg(long, value_name = "NAME")]
    pub batch: Option<String>,
}

/// Arguments of `move`.
#[derive(Debug, Args)]
#[command(after_help = examples::MOVE)]
pub struct MoveArgs {
    /// The batch whose clips to move
    #[arg(value_name = "BATCH")]
    pub batch: String,
    /// The folder for its clips; it may have them already
    #[arg(value_name = "DIR", value_parser = location::parser())]
    pub dir: Location,
}
