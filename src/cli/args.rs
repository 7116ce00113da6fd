//! Every flag, with the help a user reads.

use std::path::PathBuf;
use std::str::FromStr;

use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::domain::{JobState, Money, ProviderName};
use crate::manifest::{Layout, Preset};
use crate::simulator::Fault;
use crate::simulator::options::FaultRule;

use super::examples;
use super::ways_args::{CompletionsArgs, DoctorArgs, InitArgs, ManArgs};

/// Renders product catalogues in bulk: a manifest of images and prompts becomes clips on disk, none paid twice, none
/// lost, whatever is cut.
#[derive(Debug, Parser)]
#[command(name = "overnight", version, max_term_width = 100)]
#[command(after_help = examples::FIRST_NIGHT)]
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
    #[arg(long, global = true, value_enum, default_value = "text", value_name = "FORMAT")]
    pub log_format: LogFormat,
    /// When to use colour
    #[arg(long, global = true, value_enum, default_value = "auto", value_name = "WHEN")]
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

/// `load`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  overnight load mugs.csv --model kling-v1-standard --check
  overnight load mugs.csv --model kling-v1-standard --via eachlabs,fal --budget 25
  overnight load shop.csv --model kling-v1-standard --map id=SKU --map image='Image Src' \\
      --prompt 'Slow turntable of {Title|the product}' --set duration=10
  overnight load products_export.csv --model kling-v1-standard --preset shopify \\
      --prompt 'A slow turn of {Title}'
  overnight load jobs/spring.toml --check")]
pub struct LoadArgs {
    /// What is loaded.
    #[command(flatten)]
    pub manifest: ManifestArgs,
    /// Folder in which the batch's folder is made [default: renders]
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
    /// Check and price only; change nothing
    #[arg(long)]
    pub check: bool,
}

/// `rehearse`.
#[derive(Debug, Args)]
#[command(
    after_help = "Needs no key and no network, and leaves nothing behind. Time is virtual; the worker is the one of `run`, with \
the limits, pace and catalogue of this machine. Predictions take as long as this queue has measured (else as the config or \
the catalogue say, 15 % more or less), and none fails. The manifest is played from empty: rows the queue has made already are \
played and priced again.

Providers: those of --via; else those of the model whose key is set; else all of the model.
each::labs and AI/ML API are taken to work on `in_flight` predictions at once, and to refuse what exceeds that. fal.ai lets \
it wait: it is taken to work on two fewer than `in_flight`, unless its times were measured, which have that wait in them.

Exit codes: 0 all rows would become clips · 1 some would wait for a provider · 2 usage or manifest error · 3 some would fail · 4 a budget would \
stop it · 130 interrupted

Examples:
  overnight rehearse mugs.csv --model kling-v1-standard
  overnight rehearse mugs.csv --model kling-v1-standard --via eachlabs --budget 25 --json"
)]
pub struct RehearseArgs {
    /// What is rehearsed.
    #[command(flatten)]
    pub manifest: ManifestArgs,
    /// Steps at once [default: 16]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    pub workers: Option<u16>,
    /// Nights to play, each with a chance of its own
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..=1000))]
    pub seeds: u16,
    /// As one JSON object
    #[arg(long)]
    pub json: bool,
}

/// What a manifest is, and how it is read.
#[derive(Debug, Args)]
pub struct ManifestArgs {
    /// Manifests: CSV (any separator), .xlsx or JSONL, packed (.gz, .zst) or not; `-` is standard input. Or a batch
    /// file (.toml), which says all of this
    #[arg(required = true, value_name = "FILE")]
    pub files: Vec<PathBuf>,
    /// The model; `overnight models` lists them [a batch file may say it]
    #[arg(long)]
    pub model: Option<String>,
    /// The providers that may be used, in order of preference [default: all that offer the model]
    #[arg(long, value_delimiter = ',', value_name = "P,P", value_parser = one_of(ProviderName::ALL, ProviderName::as_str))]
    pub via: Vec<ProviderName>,
    /// The batch's name [default: the first file's name]
    #[arg(long, value_name = "NAME")]
    pub batch: Option<String>,
    /// Take a field from a column of another name
    #[arg(long, value_name = "FIELD=COLUMN", value_parser = pair)]
    pub map: Vec<(String, String)>,
    /// Give a field to every row that leaves it out
    #[arg(long, value_name = "FIELD=VALUE", value_parser = pair)]
    pub set: Vec<(String, String)>,
    /// Make the prompt of columns: `{Column}`, `{Column|text if empty}`, `{{` for a brace
    #[arg(long, value_name = "TEMPLATE")]
    pub prompt: Option<String>,
    /// Take the columns a shop's export has: shopify, woocommerce or google-merchant
    #[arg(long, value_name = "SHOP")]
    pub preset: Option<Preset>,
    /// Make one job of the rows that have the same value in a field or column: the first with an image, with the
    /// product's first row for what it leaves empty [a preset's default: id]
    #[arg(long, value_name = "FIELD")]
    pub one_per: Option<String>,
    /// Make a job of each image of a row or product: `mug`, `mug-2`, …
    #[arg(long)]
    pub each_image: bool,
    /// Leave out rows without this field, and count them
    #[arg(long, value_name = "FIELD")]
    pub skip_missing: Vec<String>,
    /// The sheet of a workbook [default: the first]
    #[arg(long, value_name = "NAME")]
    pub sheet: Option<String>,
    /// What the batch may cost, in dollars: spent and reserved never pass it
    #[arg(long, value_name = "USD")]
    pub budget: Option<Money>,
}

impl ManifestArgs {
    /// What they say of the manifest's columns and rows.
    pub fn layout(&self) -> Layout {
        Layout {
            preset: self.preset,
            map: self.map.clone(),
            set: self.set.clone(),
            prompt: self.prompt.clone(),
            one_per: self.one_per.clone(),
            each_image: self.each_image,
            skip_missing: self.skip_missing.clone(),
        }
    }
}

fn fault_help() -> String {
    let names = Fault::ALL.map(|(_, name)| name).join(", ");
    format!(
        "What goes wrong, with its probability: `garbage=0.2`, or `poll:garbage=0.2` for one kind of call (create, \
         poll, download, history). Faults: {names}"
    )
}

/// A parser that knows the names, so that a slip is told the nearest and the shell can complete them.
fn one_of<T, const N: usize>(all: [T; N], name: fn(T) -> &'static str) -> impl TypedValueParser<Value = T>
where
    T: FromStr<Err = String> + Clone + Send + Sync + 'static,
{
    PossibleValuesParser::new(all.map(name)).try_map(|word| word.parse())
}

fn pair(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((field, value)) if !field.trim().is_empty() => Ok((field.trim().to_owned(), value.to_owned())),
        _ => Err("write it like FIELD=TEXT".into()),
    }
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
#[command(
    after_help = "attempts: submissions a provider took, or may have taken; refused: turned away, never to be paid. The estimate \
is that of the settled attempts, to hold their cost against; refunds are those among them that failed and were not billed. \
reserved: what open attempts may cost; at risk: the part of it that is in doubt.

Examples:
  overnight bill
  overnight bill --batch spring --by day --json"
)]
pub struct BillArgs {
    /// Only this batch
    #[arg(long, value_name = "NAME")]
    pub batch: Option<String>,
    /// What there is a line for each of; days are those of submission, in UTC
    #[arg(long, value_enum, default_value = "batch")]
    pub by: By,
    /// As one JSON object
    #[arg(long)]
    pub json: bool,
}

/// What a bill has a line for each of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum By {
    /// A batch.
    Batch,
    /// A day of submission.
    Day,
    /// A model.
    Model,
    /// A provider and its name for the model.
    Route,
}

/// `report`.
#[derive(Debug, Args)]
#[command(
    after_help = "The page is one file and works offline; it links to the clips where they are, from where it is. Source images are \
loaded from their own servers only when the reader asks for them.

Examples:
  overnight report
  overnight report --batch spring --out renders/spring.html"
)]
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
