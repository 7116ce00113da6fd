//! Flags of `run`.

use clap::Args;

use crate::cli::examples;
use crate::domain::Money;

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
