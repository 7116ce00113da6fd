//! What some rehearsals of one night let expect.

use std::time::Duration;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde::Serialize;
use serde_json::{Value, json};

use crate::domain::{Model, Money, ProviderName};
use crate::queue::BudgetLimit;
use crate::rehearsal::{ProviderReport, RehearsalReport, Scenario, SimulatedHost, Stop};

use super::exit::Exit;
use super::render;

/// What some rehearsals of one night let expect.
pub(super) struct RehearsalSummary<'a> {
    batch: &'a str,
    scenario: &'a Scenario,
    model: &'a Model,
    /// At least one.
    nights: &'a [RehearsalReport],
    /// The one in the middle, by how long it takes: what is not spread is told of this one.
    usual: &'a RehearsalReport,
}

/// A figure of several nights.
#[derive(Serialize)]
struct Spread<T> {
    median: T,
    least: T,
    most: T,
}

impl<T: Copy + Ord> Spread<T> {
    fn of(nights: &[RehearsalReport], figure: impl Fn(&RehearsalReport) -> T) -> Option<Self> {
        let mut figures: Vec<T> = nights.iter().map(figure).collect();
        figures.sort();
        Some(Self {
            median: *figures.get(figures.len() / 2)?,
            least: *figures.first()?,
            most: *figures.last()?,
        })
    }

    fn map<U>(self, change: impl Fn(T) -> U) -> Spread<U> {
        Spread {
            median: change(self.median),
            least: change(self.least),
            most: change(self.most),
        }
    }
}

impl<'a> RehearsalSummary<'a> {
    /// Sums nights up; `None` where there are none.
    pub(super) fn of(
        batch: &'a str,
        scenario: &'a Scenario,
        model: &'a Model,
        nights: &'a [RehearsalReport],
    ) -> Option<Self> {
        let mut by_length: Vec<&RehearsalReport> = nights.iter().collect();
        by_length.sort_by_key(|scenario| scenario.makespan);
        let usual = by_length.get(by_length.len() / 2)?;
        Some(Self {
            batch,
            scenario,
            model,
            nights,
            usual,
        })
    }

    /// Tells how the command ends: as a run of the worst night would.
    pub(super) fn exit(&self) -> Exit {
        let stops = || {
            self.nights
                .iter()
                .filter_map(|scenario| scenario.stop.as_ref())
        };
        if stops().any(|stop| matches!(stop, Stop::Budget(_))) {
            Exit::Budget
        } else if stops().next().is_some() {
            Exit::CannotGoOn
        } else if self.nights.iter().any(|scenario| scenario.failed > 0) {
            Exit::Incomplete
        } else {
            Exit::Success
        }
    }

    /// Prints what a person reads in a few seconds.
    pub(super) fn tell(&self) -> anyhow::Result<()> {
        let rows = render::count(self.usual.rows, "row");
        let nights = render::count(self.nights.len() as u64, "night");
        render::line(format_args!("{}: {rows}, {nights} played", self.batch))?;
        if let Some(takes) = Spread::of(self.nights, |scenario| scenario.makespan) {
            let shown = takes.map(|takes| render::span(takes.as_secs()));
            let ends_at = local(self.ends_at());
            render::line(format_args!(
                "takes   {}, until {ends_at} if it begins now",
                with_range(&shown)
            ))?;
        }
        if let Some(costs) = Spread::of(self.nights, |scenario| scenario.cost) {
            render::line(format_args!(
                "costs   {}",
                with_range(&costs.map(|cost| format!("${cost:#}")))
            ))?;
        }
        let header = [
            "provider",
            "slots",
            "busy",
            "clips",
            "looks a clip",
            "a prediction takes",
        ];
        let mut table = vec![header.map(String::from).to_vec()];
        for (host, report) in self.scenario.hosts.iter().zip(&self.usual.providers) {
            table.push(vec![
                report.provider.to_string(),
                slots(host),
                if report.clips == 0 {
                    "-".into()
                } else {
                    format!("{:.0} %", report.busy() * 100.0)
                },
                report.clips.to_string(),
                format!("{:.1}", report.polls_per_clip()),
                self.takes(report),
            ]);
        }
        render::table(&table)?;
        render::line(self.what_stops())
    }

    fn takes(&self, report: &ProviderReport) -> String {
        let mean = report.worked.as_secs_f64() / (report.clips as f64).max(1.0);
        let source = if self.is_measured(report.provider) {
            "measured"
        } else {
            "as said"
        };
        if report.clips == 0 {
            "-".into()
        } else {
            format!("{mean:.0} s, {source}")
        }
    }

    fn is_measured(&self, provider: ProviderName) -> bool {
        let route = self.model.route(provider);
        route.is_some_and(|route| {
            self.scenario
                .processing_times
                .has_measured(provider, &route.wire_model)
        })
    }

    fn ends_at(&self) -> Timestamp {
        let ends_at = self.scenario.begins_at.saturating_add(self.usual.makespan);
        ends_at.unwrap_or(Timestamp::MAX)
    }

    fn what_stops(&self) -> String {
        let RehearsalReport {
            clips,
            waiting,
            failed,
            ..
        } = self.usual;
        // Whether a budget is reached may hang on the night, where providers have different prices.
        let stopped = self
            .nights
            .iter()
            .find_map(|scenario| Some((scenario, scenario.stop.as_ref()?)));
        match stopped {
            Some((scenario, Stop::Budget(BudgetLimit { budget, .. }))) => format!(
                "would stop: at the budget of ${budget:#}, after {}; {} would wait",
                render::count(scenario.clips, "row"),
                scenario.waiting
            ),
            Some((_, Stop::NoProvider)) => format!(
                "would stop: after {}; {waiting} would wait, which none of these providers may run",
                render::count(*clips, "row")
            ),
            None if *failed > 0 => format!("nothing would stop it; {failed} would fail"),
            None => "nothing would stop it".into(),
        }
    }

    /// Prints the same as JSON.
    pub(super) fn tell_json(&self) -> anyhow::Result<()> {
        let seconds = |duration: Duration| round(duration.as_secs_f64());
        let providers =
            self.scenario
                .hosts
                .iter()
                .zip(&self.usual.providers)
                .map(|(host, report)| {
                    json!({
                        "provider": report.provider,
                        "slots": report.at_once,
                        "in_flight": host.limits.in_flight,
                        "creates_per_minute": host.limits.creates_per_minute,
                        "busy": round(report.busy()),
                        "clips": report.clips,
                        "looks_per_clip": round(report.polls_per_clip()),
                        "refused_creates": report.refused,
                        "worked_s": seconds(report.worked),
                        "unseen_s": seconds(report.unseen),
                        "makespan_s": seconds(report.makespan),
                        "ideal_s": seconds(report.ideal),
                        "times_measured": self.is_measured(report.provider),
                    })
                });
        let stop = self
            .nights
            .iter()
            .find_map(|scenario| Some((scenario, scenario.stop.as_ref()?)));
        let stop = stop.map_or(Value::Null, |(scenario, stop)| {
            let (reason, budget) = match stop {
                Stop::Budget(wall) => ("budget", Some(wall.budget)),
                Stop::NoProvider => ("no_provider", None),
            };
            json!({
                "reason": reason,
                "budget_usd": budget,
                "after_rows": scenario.clips,
                "waiting_rows": scenario.waiting,
            })
        });
        render::json(&json!({
            "batch": self.batch,
            "rows": self.usual.rows,
            "seeds": self.nights.len(),
            "takes_s": Spread::of(self.nights, |scenario| scenario.makespan).map(|takes| takes.map(seconds)),
            "ends_at": self.ends_at(),
            "cost_usd": Spread::<Money>::of(self.nights, |scenario| scenario.cost),
            "ideal_s": seconds(self.usual.ideal),
            "failed_rows": self.usual.failed,
            "providers": providers.collect::<Vec<_>>(),
            "stop": stop,
        }))
    }
}

/// What runs at once, and what waits besides.
fn slots(host: &SimulatedHost) -> String {
    let waiting = host.limits.in_flight.saturating_sub(host.at_once);
    if waiting > 0 {
        format!("{} (+{waiting} waiting)", host.at_once)
    } else {
        host.at_once.to_string()
    }
}

fn with_range(spread: &Spread<String>) -> String {
    let Spread {
        median,
        least,
        most,
    } = spread;
    if least == most {
        median.clone()
    } else {
        format!("{median} ({least} to {most})")
    }
}

/// A time as a clock on the wall shows it.
fn local(at: Timestamp) -> String {
    at.to_zoned(TimeZone::system())
        .strftime("%a %e %b %H:%M")
        .to_string()
}

/// Thousandths are more than anybody knows.
fn round(number: f64) -> f64 {
    (number * 1000.0).round() / 1000.0
}
