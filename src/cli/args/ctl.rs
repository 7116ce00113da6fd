//! The flags of `ctl`.

use clap::{ArgGroup, Args, Subcommand};

use crate::domain::{Money, ProviderName};

use crate::cli::examples;

/// Arguments of `ctl`.
#[derive(Debug, Args)]
#[command(after_help = examples::CTL)]
pub struct CtlArgs {
    /// What to change
    #[command(subcommand)]
    pub change: CtlCommand,
}

/// What `ctl` changes.
#[derive(Debug, Subcommand)]
pub enum CtlCommand {
    /// Submit nothing more; clips in progress are finished, and the runs wait
    #[command(after_help = examples::CTL_PAUSE)]
    Pause,
    /// Let paused runs submit again
    #[command(after_help = examples::CTL_RESUME)]
    Resume,
    /// Change workers, limits or a budget; give one or more of them
    Set(CtlSetArgs),
    /// Accept the price that a provider bills for a model, so that it is submitted again
    #[command(after_help = examples::CTL_ACCEPT_PRICE)]
    AcceptPrice(AcceptPriceArgs),
    /// Let runs use several keys of one account at a provider
    #[command(after_help = examples::CTL_KEY)]
    Key(KeyArgs),
}

/// Arguments of `ctl set`.
#[derive(Debug, Args)]
#[command(group = setting_group(), after_help = examples::CTL_SET)]
pub struct CtlSetArgs {
    /// Maximum number of concurrent steps of each run; a step is one call
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    pub workers: Option<u16>,
    /// Maximum number of predictions in flight at a provider, over all runs together
    #[arg(long, value_name = "PROVIDER=N", value_parser = parse_limit)]
    pub in_flight: Vec<(ProviderName, u32)>,
    /// Maximum total cost in dollars of the batches that a run selects, including what they cost
    /// earlier; replaces `run --budget`; `none` removes it
    #[arg(long, value_name = "USD", value_parser = parse_budget)]
    pub budget: Option<Budget>,
    /// Change this batch's own budget instead of the runs'; works without an active run
    #[arg(long, value_name = "NAME", requires = "budget")]
    pub batch: Option<String>,
}

/// Arguments of `ctl accept-price`.
#[derive(Debug, Args)]
pub struct AcceptPriceArgs {
    /// The provider and its name for the model, as `models` prints them, with a slash between
    #[arg(value_name = "ROUTE", value_parser = parse_route)]
    pub route: (ProviderName, String),
}

/// Arguments of `ctl key`.
#[derive(Debug, Args)]
pub struct KeyArgs {
    /// The provider whose key this machine has in its environment
    #[arg(value_name = "PROVIDER")]
    pub provider: ProviderName,
    /// The key is of the same account as the one that is used
    #[arg(long, required = true)]
    pub same_account: bool,
}

fn parse_route(text: &str) -> Result<(ProviderName, String), String> {
    let (provider, wire_model) = text
        .split_once('/')
        .ok_or("write it like eachlabs/kling-v1-standard-image-to-video")?;
    Ok((provider.parse()?, wire_model.to_owned()))
}

fn setting_group() -> ArgGroup {
    ArgGroup::new("setting")
        .args(["workers", "in_flight", "budget"])
        .required(true)
        .multiple(true)
}

/// An amount, or `None` to remove the budget.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budget(pub Option<Money>);

fn parse_budget(text: &str) -> Result<Budget, String> {
    if text == "none" {
        return Ok(Budget(None));
    }
    let budget: Result<Money, _> = text.parse();
    budget
        .map(|budget| Budget(Some(budget)))
        .map_err(|error| format!("{error}, or none"))
}

fn parse_limit(text: &str) -> Result<(ProviderName, u32), String> {
    let (provider, limit) = text.split_once('=').ok_or("write it like fal=4")?;
    match limit.parse() {
        Ok(0) => Err("the limit must be at least 1\n\
             hint: run `overnight ctl pause` to stop submitting"
            .into()),
        Ok(limit) => Ok((provider.parse()?, limit)),
        Err(_) => Err(format!(
            "`{limit}` is not a whole number; write it like fal=4"
        )),
    }
}
