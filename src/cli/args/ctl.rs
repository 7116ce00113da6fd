//! The flags of `ctl`.

use clap::{ArgGroup, Args, Subcommand};

use crate::domain::{Money, ProviderName};

use crate::cli::examples;

/// `ctl`.
#[derive(Debug, Args)]
#[command(after_help = examples::CTL)]
pub struct CtlArgs {
    /// What to change.
    #[command(subcommand)]
    pub change: CtlCommand,
}

/// What to change.
#[derive(Debug, Subcommand)]
pub enum CtlCommand {
    /// Begin no clip; what is under way is finished, and the runs wait
    Pause,
    /// Go on
    Resume,
    /// Change workers, limits or a budget
    Set(CtlSetArgs),
}

/// `ctl set`.
#[derive(Debug, Args)]
#[command(group = ArgGroup::new("setting").args(["workers", "in_flight", "budget"]).required(true).multiple(true))]
pub struct CtlSetArgs {
    /// Steps at once, in each run
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    pub workers: Option<u16>,
    /// The most predictions of a provider under way at once, over all runs
    #[arg(long, value_name = "PROVIDER=N", value_parser = limit)]
    pub in_flight: Vec<(ProviderName, u32)>,
    /// What each run may cost, earlier runs included, as `run --budget` has it; `none` takes it away
    #[arg(long, value_name = "USD", value_parser = budget)]
    pub budget: Option<Budget>,
    /// Change the budget of this batch, and not the runs'; needs no run
    #[arg(long, value_name = "NAME", requires = "budget")]
    pub batch: Option<String>,
}

/// A budget, or none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budget(pub Option<Money>);

fn budget(text: &str) -> Result<Budget, String> {
    if text == "none" {
        return Ok(Budget(None));
    }
    let budget: Result<Money, _> = text.parse();
    budget
        .map(|budget| Budget(Some(budget)))
        .map_err(|error| format!("{error}, or none"))
}

fn limit(text: &str) -> Result<(ProviderName, u32), String> {
    let (provider, limit) = text.split_once('=').ok_or("write it like fal=4")?;
    match limit.parse() {
        Ok(0) => Err("with 0 nothing would go on\nhint: `overnight ctl pause` does that".into()),
        Ok(limit) => Ok((provider.parse()?, limit)),
        Err(_) => Err(format!("`{limit}` is no whole number, write it like fal=4")),
    }
}
