//! What a manifest's new and changed rows would cost on each route, how long they should take, and how they read.

use serde_json::Value;

use crate::domain::{Model, Money, NewJob, ProviderName};

use super::render;
use super::setup::Setup;

/// How many prompts are shown.
const EXAMPLES: usize = 3;

/// Letters of a prompt that are shown, at most.
const LONGEST_PROMPT: usize = 400;

/// Sums rows up by route.
pub(super) struct Estimate<'a> {
    model: &'a Model,
    rows: u64,
    routes: Vec<RouteSum>,
    /// The first rows' keys and prompts.
    examples: Vec<(String, String)>,
}

struct RouteSum {
    provider: ProviderName,
    rows: u64,
    cost: Money,
}

impl<'a> Estimate<'a> {
    pub(super) fn new(model: &'a Model, providers: &[ProviderName]) -> Self {
        let sum = |provider: &ProviderName| RouteSum {
            provider: *provider,
            rows: 0,
            cost: Money::ZERO,
        };
        Self {
            model,
            rows: 0,
            routes: providers.iter().map(sum).collect(),
            examples: Vec::new(),
        }
    }

    pub(super) fn add(&mut self, job: &NewJob) {
        self.rows += 1;
        if self.examples.len() < EXAMPLES
            && let Some(prompt) = job.input.get("prompt").and_then(Value::as_str)
        {
            self.examples.push((job.row_key.clone(), prompt.to_owned()));
        }
        for sum in self
            .routes
            .iter_mut()
            .filter(|sum| job.providers.contains(&sum.provider))
        {
            if let Some(route) = self.model.route(sum.provider) {
                sum.rows += 1;
                sum.cost += self.model.price(route, &job.input);
            }
        }
    }

    /// Prints a line a route, the time all of them together need, and some prompts as they will be sent.
    pub(super) fn tell(&self, setup: &Setup) -> anyhow::Result<()> {
        let mut table = vec![
            ["route", "rows it can take", "price if all go there", "time"]
                .map(String::from)
                .to_vec(),
        ];
        let (mut together, mut slowest) = (0.0, 0.0_f64);
        for sum in &self.routes {
            let typical_s = self.typical_s(setup, sum.provider);
            let pace = clips_per_second(setup, sum.provider, typical_s);
            (together, slowest) = (together + pace, slowest.max(typical_s));
            table.push(vec![
                sum.provider.to_string(),
                sum.rows.to_string(),
                format!("${:#}", sum.cost),
                time(sum.rows, pace, typical_s),
            ]);
        }
        render::table(&table)?;
        if self.routes.len() > 1 {
            render::line(format_args!(
                "all together: {}",
                time(self.rows, together, slowest)
            ))?;
        }
        if !self.examples.is_empty() {
            let which = if self.rows > EXAMPLES as u64 {
                "the first prompts"
            } else {
                "prompts"
            };
            render::line(format_args!("{which}, as they will be sent:"))?;
        }
        for (row_key, prompt) in &self.examples {
            let (row_key, prompt) = (
                render::clipped(row_key, 40),
                render::clipped(prompt, LONGEST_PROMPT),
            );
            render::line(format_args!("  {row_key}: {prompt}"))?;
        }
        Ok(())
    }

    fn typical_s(&self, setup: &Setup, provider: ProviderName) -> f64 {
        let configured = setup
            .config
            .provider
            .get(&provider)
            .and_then(|settings| settings.typical_s);
        configured
            .or_else(|| Some(self.model.route(provider)?.typical.as_secs_f64()))
            .unwrap_or(0.0)
    }
}

/// How many clips a provider makes in a second, at its limits.
fn clips_per_second(setup: &Setup, provider: ProviderName, typical_s: f64) -> f64 {
    let limits = setup.limits(provider);
    let by_slots = f64::from(limits.in_flight) / typical_s.max(0.001);
    by_slots.min(f64::from(limits.creates_per_minute) / 60.0)
}

/// How long so many clips take; even one takes its own time.
fn time(rows: u64, per_second: f64, typical_s: f64) -> String {
    if rows == 0 {
        return "-".into();
    }
    let rows = f64::from(u32::try_from(rows).unwrap_or(u32::MAX));
    let seconds = (rows / per_second.max(f64::MIN_POSITIVE))
        .max(typical_s)
        .ceil();
    format!(
        "about {}",
        render::span(format!("{seconds:.0}").parse().unwrap_or(u64::MAX))
    )
}
