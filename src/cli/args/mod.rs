//! Every command and flag, with the text of its `--help`.

mod ctl;
mod manifest;
mod setup;

use std::path::PathBuf;
use std::str::FromStr;

use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{Args, Parser, Subcommand, ValueEnum};
use overnight_simulator::{Fault, FaultRule};

use crate::domain::{JobState, Money};
use crate::queue::BillGrouping;

use super::examples;

pub(super) use ctl::{CtlArgs, CtlCommand, CtlSetArgs};
pub(super) use manifest::{LoadArgs, ManifestArgs, RehearseArgs};
pub(super) use setup::{CompletionsArgs, DoctorArgs, InitArgs, ManArgs};

/// Render product catalogues in bulk through hosted image-to-video APIs; interrupted runs continue
/// without paying twice or losing a clip
#[derive(Debug, Parser)]
#[command(name = "overnight", version, max_term_width = 100)]
#[command(after_help = examples::QUICK_START)]
pub struct Cli {
    /// The flags that every command takes.
    #[command(flatten)]
    pub global: Global,
    /// The command to run.
    #[command(subcommand)]
    pub command: Command,
}

/// The flags that every command takes.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Global options")]
pub struct Global {
    /// Queue file [default: overnight.db] [env: OVERNIGHT_QUEUE]
    #[arg(long, global = true, value_name = "PATH")]
    pub queue: Option<PathBuf>,
    /// Config file [default: overnight.toml, if it exists]
    #[arg(long, global = true, value_name = "PATH")]
    pub config: Option<PathBuf>,
    /// Log more: -v adds failures that will be retried, -vv every step
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    pub verbose: u8,
    /// Print only errors and the requested output
    #[arg(short, long, global = true)]
    pub quiet: bool,
    /// Format of the logs on standard error: text or json
    #[arg(
        long,
        global = true,
        value_enum,
        default_value = "text",
        value_name = "FORMAT",
        hide_possible_values = true
    )]
    pub log_format: LogFormat,
    /// When to use color: always, never, or auto, which is on a terminal unless NO_COLOR is set
    #[arg(
        long,
        global = true,
        value_enum,
        default_value = "auto",
        value_name = "WHEN",
        hide_possible_values = true
    )]
    pub color: Color,
}

/// Format of the logs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// Lines for people to read.
    Text,
    /// One JSON object per line.
    Json,
}

/// When to use color.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Color {
    /// On a terminal, unless `NO_COLOR` is set.
    Auto,
    /// On any output.
    Always,
    /// On no output.
    Never,
}

/// A command, with what its flags say.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Check a manifest, price it, and queue its rows
    Load(LoadArgs),
    /// Simulate a manifest's run: finish time, cost, and what would stop it
    Rehearse(RehearseArgs),
    /// Run the queued jobs until none is left
    Run(RunArgs),
    /// Show the queue's status
    Status(StatusArgs),
    /// Pause, resume or change active runs
    Ctl(CtlArgs),
    /// List jobs
    Jobs(JobsArgs),
    /// Show one job and its attempts
    Show(ShowArgs),
    /// Queue failed or cancelled jobs again; each new submission is paid for
    #[command(after_help = examples::RETRY)]
    Retry(SelectArgs),
    /// Cancel all queued jobs, or the jobs that you select
    #[command(after_help = examples::CANCEL)]
    Cancel(SelectArgs),
    /// Settle a job in doubt
    Resolve(ResolveArgs),
    /// Check that every clip on disk is as it was saved
    Verify(VerifyArgs),
    /// Show what was paid, by batch, day, model or route
    Bill(BillArgs),
    /// Write an HTML page: totals, bill, failures, and every clip beside its image
    Report(ReportArgs),
    /// Write one record per job, as CSV or JSON Lines
    Export(ExportArgs),
    /// Show the models with their prices, times and routes, or one with its fields
    Models(ModelsArgs),
    /// Serve the three provider APIs on this machine, for trial runs and tests
    Simulate(SimulateArgs),
    /// Render a sample catalogue on the simulator, without an API key or network
    Demo(DemoArgs),
    /// Write a config file with every setting, its default and its meaning
    Init(InitArgs),
    /// Check config, API keys, providers, clock, disk and queue, and say what to fix
    Doctor(DoctorArgs),
    /// Print the completion script of a shell
    Completions(CompletionsArgs),
    /// Print the manual page, or write one for each command
    Man(ManArgs),
}

/// Arguments of `run`.
#[derive(Clone, Debug, Default, Args)]
#[command(after_help = examples::RUN)]
pub struct RunArgs {
    /// Run only this batch
    #[arg(long, value_name = "NAME")]
    pub batch: Option<String>,
    /// Maximum number of concurrent steps; a step is one call [default: 16]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    pub workers: Option<u16>,
    /// Stop before the selected batches cost more than this in total, in dollars, including what they
    /// cost earlier
    #[arg(long, value_name = "USD")]
    pub budget: Option<Money>,
    /// Maximum submissions per job, if predictions fail unbilled and can be retried [default: 3]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=100))]
    pub attempts: Option<u32>,
    /// Wait for new jobs when none is left, until interrupted
    #[arg(long)]
    pub watch: bool,
    /// Run the first N jobs, show their clips, and ask before the rest is submitted
    #[arg(
        long,
        value_name = "N",
        conflicts_with = "watch",
        value_parser = clap::value_parser!(u32).range(1..)
    )]
    pub canary: Option<u32>,
    /// Do not prompt: start at once, and continue after --canary if all its jobs succeeded
    #[arg(long, short)]
    pub yes: bool,
}

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
    #[arg(long, group = "decision", value_name = "ID")]
    pub adopt: Option<String>,
    /// The provider did not accept it: submit it again, and pay for that. If the provider accepted it
    /// after all, you pay twice
    #[arg(long, group = "decision")]
    pub resubmit: bool,
    /// Give up the job; its reserved price counts as spent
    #[arg(long, group = "decision")]
    pub fail: bool,
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

/// Arguments of `simulate`.
#[derive(Debug, Args)]
#[command(after_help = examples::SIMULATE)]
pub struct SimulateArgs {
    /// Port on 127.0.0.1; 0 picks a free one
    #[arg(long, default_value_t = 8765)]
    pub port: u16,
    /// Run predictions this many times faster than real time
    #[arg(long, default_value_t = 1.0, value_name = "X")]
    pub speed: f64,
    /// Seed of all random choices
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Fault to inject, with its probability.
    #[arg(long, help = fault_help(), value_name = "FAULT=P")]
    pub fault: Vec<FaultRule>,
    /// Retry-After of injected `rate-limited` faults, in seconds
    #[arg(long, default_value_t = 1, value_name = "S")]
    pub retry_after: u64,
    /// Maximum creates in any 60 seconds, at each API [default: each API's own limit]
    #[arg(long, value_name = "N")]
    pub creates_per_minute: Option<u32>,
    /// Maximum concurrent predictions, at each API [default: each API's own limit]
    #[arg(long, value_name = "N")]
    pub at_once: Option<u32>,
    /// Do not serve the history endpoints
    #[arg(long)]
    pub no_history: bool,
    /// Refuse creates as if the balance were empty
    #[arg(long)]
    pub no_balance: bool,
}

/// Arguments of `demo`.
#[derive(Debug, Args)]
#[command(after_help = examples::DEMO)]
pub struct DemoArgs {
    /// Folder for the demo's queue and clips
    #[arg(long, default_value = "renders/demo", value_name = "DIR")]
    pub dir: PathBuf,
}

/// Returns a parser that accepts these names, so that a typo is answered with the nearest name and
/// shells can complete them.
fn possible_values<T, const N: usize>(
    all: [T; N],
    name: fn(T) -> &'static str,
) -> impl TypedValueParser<Value = T>
where
    T: FromStr<Err = String> + Clone + Send + Sync + 'static,
{
    PossibleValuesParser::new(all.map(name)).try_map(|text| text.parse())
}

fn fault_help() -> String {
    let names = Fault::ALL.map(|(_, name)| name).join(", ");
    format!(
        "Inject a fault with this probability: `garbage=0.2`, or `poll:garbage=0.2` for one kind \
         of call (create, poll, download, history, upload). Faults: {names}"
    )
}
