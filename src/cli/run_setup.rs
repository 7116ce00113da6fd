//! What all runs on a queue should agree on: the limits of the providers, and the prices. Runs on several hosts,
//! or from several folders, each read their own config.

use std::fmt::Write as _;

use jiff::{SignedDuration, Unit};
use sha2::{Digest, Sha256};

use crate::domain::{Catalog, ProviderName};
use crate::queue::{Queue, RunSetup};
use crate::worker::PoolOptions;

use super::render;

/// How far the clock of this machine may differ from that of the queue before it is told.
const MAX_SKEW_S: i64 = 5;

/// The name of the prices.
const PRICES: &str = "prices";

/// Notes the limits and prices of this run, and says where an active run has others. This run keeps to the lower
/// limits then.
pub(super) async fn note(
    queue: &dyn Queue,
    catalog: &Catalog,
    options: &mut PoolOptions,
) -> anyhow::Result<()> {
    let mut setup = RunSetup::from([(PRICES.to_owned(), digest(catalog))]);
    for limits in &options.limits {
        for (name, value) in [(SLOTS, limits.in_flight), (RATE, limits.creates_per_minute)] {
            setup.insert(key(limits.provider, name), value.to_string());
        }
    }
    let different = queue.note_setup(setup).await?;
    for limits in &mut options.limits {
        let provider = limits.provider;
        for (name, own) in [
            (SLOTS, &mut limits.in_flight),
            (RATE, &mut limits.creates_per_minute),
        ] {
            let other = different.get(&key(provider, name));
            let Some(other) = other.and_then(|other| other.parse::<u32>().ok()) else {
                continue;
            };
            let lower = other.min(*own);
            render::print_note(format_args!(
                "an active run has `{name} = {other}` for {provider} and this one {own}: this run keeps to {lower}\n\
                 hint: give all runs on a queue the same limits"
            ));
            *own = lower;
        }
    }
    if different.contains_key(PRICES) {
        render::print_note(
            "an active run has another catalogue than this one: each prices and submits by its own\n\
             hint: give all runs on a queue the same catalogue",
        );
    }
    Ok(())
}

/// Says by how much the clock of this machine differs from that of the queue, if that is worth knowing.
pub(super) fn print_skew(ahead: SignedDuration) {
    let seconds = ahead.round(Unit::Second).unwrap_or(ahead).as_secs();
    if seconds.abs() >= MAX_SKEW_S {
        let direction = if seconds > 0 { "behind" } else { "ahead of" };
        render::print_note(format_args!(
            "the clock of this machine is {} s {direction} that of the queue's server; the queue goes by the server's",
            seconds.abs()
        ));
    }
}

/// The names of limits, as in the config.
const SLOTS: &str = "in_flight";
const RATE: &str = "creates_per_minute";

fn key(provider: ProviderName, name: &str) -> String {
    format!("{provider}.{name}")
}

/// Returns a digest of every route with its price.
fn digest(catalog: &Catalog) -> String {
    let mut text = String::new();
    for model in &catalog.models {
        for route in &model.routes {
            // Writing to a text does not fail.
            let _ = writeln!(
                text,
                "{} {} {} {:?}",
                model.name, route.provider, route.wire_model, route.price
            );
        }
    }
    let digest = Sha256::digest(text);
    digest[..8]
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}
