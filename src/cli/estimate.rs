//! The estimate that `load` prints for new and changed rows: cost and time on each route, and the
//! first prompts.

use serde_json::Value;

use crate::domain::{Model, Money, NewJob, ProviderName};

use super::render;
use super::setup::Setup;

/// Number of prompts that are printed.
const MAX_PROMPTS: usize = 3;

/// Columns of a terminal that a printed row key may take.
const MAX_KEY_COLUMNS: usize = 40;

/// Columns of a terminal that a printed prompt may take.
const MAX_PROMPT_COLUMNS: usize = 400;

/// Sums of the new and changed rows, by route.
pub(super) struct Estimate<'a> {
    model: &'a Model,
    rows: u64,
    routes: Vec<RouteSum>,
    /// Key and prompt of the first rows.
    prompts: Vec<(String, String)>,
}

struct RouteSum {
    provider: ProviderName,
    /// Number of rows that this route can run.
    rows: u64,
    /// Price if all of them run here.
    cost: Money,
}

impl<'a> Estimate<'a> {
    /// Creates an estimate of no rows.
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
            prompts: Vec::new(),
        }
    }

    /// Adds a new or changed row.
    pub(super) fn add(&mut self, job: &NewJob) {
        self.rows += 1;
        if self.prompts.len() < MAX_PROMPTS
            && let Some(prompt) = job.input.get("prompt").and_then(Value::as_str)
        {
            self.prompts.push((job.row_key.clone(), prompt.to_owned()));
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

    /// Prints one line per route, the time with all routes in use, and the first prompts.
    pub(super) fn print(&self, setup: &Setup) -> anyhow::Result<()> {
        let mut table = vec![
            [
                "route",
                "rows it can render",
                "cost if all run here",
                "time",
            ]
            .map(String::from)
            .to_vec(),
        ];
        let mut total_rate = 0.0;
        let mut slowest_s = 0.0_f64;
        for sum in &self.routes {
            let typical_s = self.typical_s(setup, sum.provider);
            let rate = clips_per_second(setup, sum.provider, typical_s);
            total_rate += rate;
            slowest_s = slowest_s.max(typical_s);
            table.push(vec![
                sum.provider.to_string(),
                sum.rows.to_string(),
                format!("${:#}", sum.cost),
                format_time(sum.rows, rate, typical_s),
            ]);
        }
        render::print_table(&table)?;
        if self.routes.len() > 1 {
            render::print_line(format_args!(
                "time on all routes together: {}",
                format_time(self.rows, total_rate, slowest_s)
            ))?;
        }
        if !self.prompts.is_empty() {
            let which = if self.rows > MAX_PROMPTS as u64 {
                "first prompts"
            } else {
                "prompts"
            };
            render::print_line(format_args!("{which}, as they will be submitted:"))?;
        }
        for (row_key, prompt) in &self.prompts {
            let row_key = render::truncate(row_key, MAX_KEY_COLUMNS);
            let prompt = render::truncate(prompt, MAX_PROMPT_COLUMNS);
            render::print_line(format_args!("  {row_key}: {prompt}"))?;
        }
        Ok(())
    }

    /// Returns how long a prediction typically takes, in seconds: by the config, else by the
    /// catalog.
    fn typical_s(&self, setup: &Setup, provider: ProviderName) -> f64 {
        let configured = setup
            .app
            .config
            .provider
            .get(&provider)
            .and_then(|settings| settings.typical_s);
        configured
            .or_else(|| Some(self.model.route(provider)?.typical.as_secs_f64()))
            .unwrap_or(0.0)
    }
}

/// Returns how many clips per second a provider completes at its limits.
fn clips_per_second(setup: &Setup, provider: ProviderName, typical_s: f64) -> f64 {
    let limits = setup.app.limits(provider);
    let by_slots = f64::from(limits.in_flight) / typical_s.max(0.001);
    by_slots.min(f64::from(limits.creates_per_minute) / 60.0)
}

/// Formats how long these rows take; at least the time of one prediction.
fn format_time(rows: u64, clips_per_second: f64, typical_s: f64) -> String {
    if rows == 0 {
        return "-".into();
    }
    let rows = f64::from(u32::try_from(rows).unwrap_or(u32::MAX));
    let seconds = (rows / clips_per_second.max(f64::MIN_POSITIVE))
        .max(typical_s)
        .ceil();
    format!(
        "about {}",
        render::format_duration(format!("{seconds:.0}").parse().unwrap_or(u64::MAX))
    )
}
