//! Every flag, with the help a user reads.

mod ctl;
mod manifest;
mod setup;

use std::path::PathBuf;
use std::str::FromStr;

use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::domain::{JobState, Money};
use crate::queue::BillBy;
use crate::simulator::Fault;
use crate::simulator::options::FaultRule;

use super::examples;

pub(super) use ctl::{CtlArgs, CtlCommand, CtlSetArgs};
pub(super) use manifest::{LoadArgs, ManifestArgs, RehearseArgs};
pub(super) use setup::{CompletionsArgs, DoctorArgs, InitArgs, ManArgs};

/// Renders product catalogues in bulk: a manifest of images and prompts becomes clips on disk, none paid twice, none
/// lost, whatever is cut.
#[derive(Debug, Parser)]
#[command(name = "overnight", version, max_term_width = 100)]
#[command(after_help = examples::FIRST_RUN)]
pub struct Cli {
    /// What holds for every command.
    #[command(flatten)]
    pub global: Global,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What holds for every command.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Options of every command")]
pub struct Global {
    /// The queue file [default: overnight.db] [env: OVERNIGHT_QUEUE]
    #[arg(long, global = true, value_name = "PATH")]
    pub queue: Option<PathBuf>,
    /// The config file [default: overnight.toml, if it is there]
    #[arg(long, global = true, value_name = "PATH")]
    pub config: Option<PathBuf>,
    /// Log more: -v what went wrong and will be tried again, -vv every step
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    pub verbose: u8,
    /// Say nothing but errors and what was asked for
    #[arg(short, long, global = true)]
    pub quiet: bool,
    /// How logs are written to standard error
    #[arg(
        long,
        global = true,
        value_enum,
        default_value = "text",
        value_name = "FORMAT"
    )]
    pub log_format: LogFormat,
    /// When to use colour
    #[arg(
        long,
        global = true,
        value_enum,
        default_value = "auto",
        value_name = "WHEN"
    )]
    pub color: Color,
}

/// How logs are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One object a line.
    Json,
}

/// When to use colour.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Color {
    /// On a terminal, unless NO_COLOR is set.
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Check a manifest, price it, and put its rows into the queue
    Load(LoadArgs),
    /// Play the night a manifest would make: when it would end, what it would cost, what would stop it
    Rehearse(RehearseArgs),
    /// Work until nothing is left to do
    Run(RunArgs),
    /// Tell how the queue stands
    Status(StatusArgs),
    /// Pause, resume or change the runs that are going on
    Ctl(CtlArgs),
    /// List jobs
    Jobs(JobsArgs),
    /// Show one job with its attempts
    Show(ShowArgs),
    /// Make failed or cancelled jobs go on; what is paid is not paid again
    #[command(after_help = examples::RETRY)]
    Retry(SelectArgs),
    /// Take jobs back that are not paid yet; others when they are named
    #[command(after_help = examples::CANCEL)]
    Cancel(SelectArgs),
    /// Decide about a job in doubt
    Resolve(ResolveArgs),
    /// Check that every clip is on disk as it was saved
    Verify(VerifyArgs),
    /// Sum what was paid by batch, day, model or route
    Bill(BillArgs),
    /// Write one page of HTML: totals, the bill, what needs a human, every clip beside its image
    Report(ReportArgs),
    /// Write one record for each job
    Export(ExportArgs),
    /// Show the models: fields, limits, prices, routes
    Models(ModelsArgs),
    /// Serve the three APIs on this machine, for rehearsals and tests
    Simulate(SimulateArgs),
    /// Render a sample catalogue on the simulator: needs no key and no network
    Demo(DemoArgs),
    /// Write a config file with every key, its default and what it means
    Init(InitArgs),
    /// Check config, keys, providers, clock, disk and queue, and say what to do
    Doctor(DoctorArgs),
    /// Print the completions of a shell
    Completions(CompletionsArgs),
    /// Print the manual's page, or write one for each command
    Man(ManArgs),
}

/// `run`.
#[derive(Clone, Debug, Default, Args)]
#[command(after_help = examples::RUN)]
pub struct RunArgs {
    /// Only this batch
    #[arg(long, value_name = "NAME")]
    pub batch: Option<String>,
    /// Steps at once [default: 16]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    pub workers: Option<u16>,
    /// Stop when the batches in question have cost this many dollars, earlier runs included
    #[arg(long, value_name = "USD")]
    pub budget: Option<Money>,
    /// Submit a job so often at most when its predictions fail unbilled and may fare better [default: 3]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=100))]
    pub attempts: Option<u32>,
    /// Wait for more work for ever
    #[arg(long)]
    pub watch: bool,
    /// Make so many clips first, show them, and go on when told to
    #[arg(long, value_name = "N", conflicts_with = "watch", value_parser = clap::value_parser!(u32).range(1..))]
    pub canary: Option<u32>,
    /// Ask nothing: begin a batch that was never paid for, and go on after clips of --canary that all succeeded
    #[arg(long, short)]
    pub yes: bool,
}

/// `status`.
#[derive(Debug, Args)]
#[command(after_help = examples::STATUS)]
pub struct StatusArgs {
    /// Only this batch
    #[arg(long, value_name = "NAME")]
    pub batch: Option<String>,
    /// As one JSON object
    #[arg(long)]
    pub json: bool,
    /// Again every second, until interrupted
    #[arg(long)]
    pub watch: bool,
}

/// `jobs`.
#[derive(Debug, Args)]
#[command(after_help = examples::JOBS)]
pub struct JobsArgs {
    /// Only this batch
    #[arg(long, value_name = "NAME")]
    pub batch: Option<String>,
    /// Only jobs in this state
    #[arg(long, value_parser = one_of(JobState::ALL, JobState::as_str))]
    pub state: Option<JobState>,
    /// As a JSON array
    #[arg(long)]
    pub json: bool,
}

/// `show`.
#[derive(Debug, Args)]
#[command(after_help = examples::SHOW)]
pub struct ShowArgs {
    /// A row's id, or a job's number
    pub job: String,
    /// The batch, where several have the id
    #[arg(long, value_name = "NAME")]
    pub batch: Option<String>,
    /// As one JSON object
    #[arg(long)]
    pub json: bool,
}

/// `retry` and `cancel`.
#[derive(Debug, Args)]
pub struct SelectArgs {
    /// Only this batch
    #[arg(long, value_name = "NAME")]
    pub batch: Option<String>,
    /// Only jobs in this state
    #[arg(long, value_parser = one_of(JobState::ALL, JobState::as_str))]
    pub state: Option<JobState>,
    /// Only these jobs, by row id or number
    #[arg(value_name = "JOB")]
    pub jobs: Vec<String>,
}

/// `resolve`.
#[derive(Debug, Args)]
#[command(group = clap::ArgGroup::new("decision").required(true), after_help = examples::RESOLVE)]
pub struct ResolveArgs {
    /// A row's id, or a job's number
    pub job: String,
    /// The batch, where several have the id
    #[arg(long, value_name = "NAME")]
    pub batch: Option<String>,
    /// The provider took it: go on with this prediction
    #[arg(long, group = "decision", value_name = "ID")]
    pub adopt: Option<String>,
    /// The provider did not take it: send it again, and pay for that
    #[arg(long, group = "decision")]
    pub resubmit: bool,
    /// Give it up; its price stays booked
    #[arg(long, group = "decision")]
    pub fail: bool,
}

/// `verify`.
#[derive(Debug, Args)]
#[command(after_help = examples::VERIFY)]
pub struct VerifyArgs {
    /// Only this batch
    #[arg(long, value_name = "NAME")]
    pub batch: Option<String>,
    /// Fetch what is missing or damaged again, over what is there; costs nothing
    #[arg(long)]
    pub fix: bool,
}

/// `bill`.
#[derive(Debug, Args)]
#[command(after_help = examples::BILL)]
pub struct BillArgs {
    /// Only this batch
    #[arg(long, value_name = "NAME")]
    pub batch: Option<String>,
    /// What there is a line for each of; days are those of submission, in UTC; a route is a provider and its name for
    /// the model
    #[arg(long, default_value = "batch", value_parser = one_of(BillBy::ALL, BillBy::as_str))]
    pub by: BillBy,
    /// As one JSON object
    #[arg(long)]
    pub json: bool,
}

/// `report`.
#[derive(Debug, Args)]
#[command(after_help = examples::REPORT)]
pub struct ReportArgs {
    /// Only this batch
    #[arg(long, value_name = "NAME")]
    pub batch: Option<String>,
    /// Where the page is written; `-` is standard output [default: {batch}.html, or report.html]
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
}

/// `export`.
#[derive(Debug, Args)]
#[command(after_help = examples::EXPORT)]
pub struct ExportArgs {
    /// Only this batch
    #[arg(long, value_name = "NAME")]
    pub batch: Option<String>,
    /// How records are written
    #[arg(long, value_enum, default_value = "csv")]
    pub format: ExportFormat,
}

/// How records are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ExportFormat {
    /// With a header.
    Csv,
    /// One object a line.
    Jsonl,
}

/// `models`.
#[derive(Debug, Args)]
#[command(after_help = examples::MODELS)]
pub struct ModelsArgs {
    /// Only this model, with all its fields
    pub model: Option<String>,
}

/// `simulate`.
#[derive(Debug, Args)]
#[command(after_help = examples::SIMULATE)]
pub struct SimulateArgs {
    /// Port on 127.0.0.1; 0 takes a free one
    #[arg(long, default_value_t = 8765)]
    pub port: u16,
    /// How many times faster than in life
    #[arg(long, default_value_t = 1.0, value_name = "X")]
    pub speed: f64,
    /// Seed of all chance
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// What goes wrong, and how often.
    #[arg(long, help = fault_help(), value_name = "FAULT=P")]
    pub fault: Vec<FaultRule>,
    /// What Retry-After says, in seconds
    #[arg(long, default_value_t = 1, value_name = "S")]
    pub retry_after: u64,
    /// Creates allowed in any 60 seconds, at each API
    #[arg(long, value_name = "N")]
    pub creates_per_minute: Option<u32>,
    /// Predictions allowed at once, at each API
    #[arg(long, value_name = "N")]
    pub at_once: Option<u32>,
    /// Answer no question about the past
    #[arg(long)]
    pub no_history: bool,
    /// Let the balance be empty
    #[arg(long)]
    pub no_balance: bool,
}

/// `demo`.
#[derive(Debug, Args)]
#[command(after_help = examples::DEMO)]
pub struct DemoArgs {
    /// Folder for the demo's queue and clips
    #[arg(long, default_value = "renders/demo", value_name = "DIR")]
    pub dir: PathBuf,
}

/// A parser that knows the names, so that a slip is told the nearest and the shell can complete them.
fn one_of<T, const N: usize>(
    all: [T; N],
    name: fn(T) -> &'static str,
) -> impl TypedValueParser<Value = T>
where
    T: FromStr<Err = String> + Clone + Send + Sync + 'static,
{
    PossibleValuesParser::new(all.map(name)).try_map(|word| word.parse())
}

fn fault_help() -> String {
    let names = Fault::ALL.map(|(_, name)| name).join(", ");
    format!(
        "What goes wrong, with its probability: `garbage=0.2`, or `poll:garbage=0.2` for one kind of call (create, \
         poll, download, history, upload). Faults: {names}"
    )
}
