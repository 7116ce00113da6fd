//! The commands, and the flags that all of them take.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::cli::examples;
use crate::domain::QueueAddress;

use super::{
    BackupArgs, BillArgs, CleanArgs, CompletionsArgs, CtlArgs, DemoArgs, DoctorArgs, ExportArgs,
    InitArgs, JobsArgs, LoadArgs, ManArgs, ModelsArgs, MoveArgs, QueueArgs, RehearseArgs,
    ReportArgs, ResolveArgs, RunArgs, SelectArgs, ShowArgs, SimulateArgs, StatusArgs, VerifyArgs,
};

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
    /// Queue: a file, or the postgres:// URL of a database [default: overnight.db] [env:
    /// OVERNIGHT_QUEUE]
    #[arg(long, global = true, value_name = "PATH|URL")]
    pub queue: Option<QueueAddress>,
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
    /// Move the clips of a batch to another folder
    Move(MoveArgs),
    /// Remove clips that were rendered anew
    Clean(CleanArgs),
    /// Write a whole copy of the queue, also while runs are active
    Backup(BackupArgs),
    /// Move the queue between a file and a database
    Queue(QueueArgs),
    /// Bring the queue to the format of this version
    #[command(after_help = examples::MIGRATE)]
    Migrate,
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
