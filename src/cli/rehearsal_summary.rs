//! What the simulated runs of one manifest predict: time, cost, use of each provider, and what
//! would stop the run.

use std::time::Duration;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde::Serialize;
use serde_json::{Value, json};

use crate::domain::{Model, Money, ProviderName};
use crate::queue::BudgetLimit;
use crate::rehearsal::{ProviderReport, RehearsalReport, Scenario, SimulatedHost, StopReason};

use super::exit::Exit;
use super::render;

/// What the simulated runs of one manifest predict.
pub(super) struct RehearsalSummary<'a> {
    batch: &'a str,
    scenario: &'a Scenario,
    model: &'a Model,
    /// The simulated runs, at least one.
    reports: &'a [RehearsalReport],
    /// The run of median length. Figures without a range are those of this run.
    median: &'a RehearsalReport,
}

/// The range of one figure over the simulated runs.
#[derive(Serialize)]
struct Spread<T> {
    median: T,
    least: T,
    most: T,
}

impl<T: Copy + Ord> Spread<T> {
    /// Returns the spread of a figure, or `None` if there are no runs.
    fn new(reports: &[RehearsalReport], figure: impl Fn(&RehearsalReport) -> T) -> Option<Self> {
        let mut figures: Vec<T> = reports.iter().map(figure).collect();
        figures.sort();
        Some(Self {
            median: *figures.get(figures.len() / 2)?,
            least: *figures.first()?,
            most: *figures.last()?,
        })
    }

    fn map<U>(self, convert: impl Fn(T) -> U) -> Spread<U> {
        Spread {
            median: convert(self.median),
            least: convert(self.least),
            most: convert(self.most),
        }
    }
}

impl<'a> RehearsalSummary<'a> {
    /// Summarises simulated runs. Returns `None` if there are none.
    pub(super) fn new(
        batch: &'a str,
        scenario: &'a Scenario,
        model: &'a Model,
        reports: &'a [RehearsalReport],
    ) -> Option<Self> {
        let mut by_length: Vec<&RehearsalReport> = reports.iter().collect();
        by_length.sort_by_key(|report| report.makespan);
        let median = by_length.get(by_length.len() / 2)?;
        Some(Self {
            batch,
            scenario,
            model,
            reports,
            median,
        })
    }

    /// Returns the exit code of the worst simulated run.
    pub(super) fn exit(&self) -> Exit {
        let stops = || {
            self.reports
                .iter()
                .filter_map(|report| report.stop.as_ref())
        };
        if stops().any(|stop| matches!(stop, StopReason::Budget(_))) {
            Exit::Budget
        } else if stops().next().is_some() {
            Exit::CannotContinue
        } else if self.reports.iter().any(|report| report.failed > 0) {
            Exit::Incomplete
        } else {
            Exit::Success
        }
    }

    /// Prints the summary for people to read.
    pub(super) fn print(&self) -> anyhow::Result<()> {
        let rows = render::format_count(self.median.rows, "row");
        let runs = render::format_count(self.reports.len() as u64, "simulated run");
        render::print_line(format_args!("{}: {rows}, {runs}", self.batch))?;
        if let Some(makespan) = Spread::new(self.reports, |report| report.makespan) {
            let time = makespan.map(|makespan| render::format_duration(makespan.as_secs()));
            render::print_line(format_args!(
                "time  {}; started now, it would finish on {}",
                format_spread(&time),
                local_time(self.ends_at())
            ))?;
        }
        if let Some(cost) = Spread::new(self.reports, |report| report.cost) {
            render::print_line(format_args!(
                "cost  {}",
                format_spread(&cost.map(|cost| format!("${cost:#}")))
            ))?;
        }
        let header = [
            "provider",
            "slots",
            "busy",
            "clips",
            "polls per clip",
            "time per prediction",
        ];
        let mut table = vec![header.map(String::from).to_vec()];
        for (host, report) in self.scenario.hosts.iter().zip(&self.median.providers) {
            table.push(vec![
                report.provider.to_string(),
                format_slots(host),
                if report.clips == 0 {
                    "-".into()
                } else {
                    format!("{:.0} %", report.utilization() * 100.0)
                },
                report.clips.to_string(),
                format!("{:.1}", report.polls_per_clip()),
                self.format_prediction_time(report),
            ]);
        }
        render::print_table(&table)?;
        render::print_line(self.format_stop())
    }

    /// Formats the mean time of a provider's predictions, and where it comes from.
    fn format_prediction_time(&self, report: &ProviderReport) -> String {
        if report.clips == 0 {
            return "-".into();
        }
        let mean = report.worked.as_secs_f64() / report.clips as f64;
        let source = if self.is_measured(report.provider) {
            "measured"
        } else {
            "typical"
        };
        format!("{mean:.0} s, {source}")
    }

    /// Reports whether this queue has measured predictions of the model at a provider.
    fn is_measured(&self, provider: ProviderName) -> bool {
        let route = self.model.route(provider);
        route.is_some_and(|route| {
            self.scenario
                .processing_times
                .has_measured(provider, &route.wire_model)
        })
    }

    /// Returns when the run of median length would finish.
    fn ends_at(&self) -> Timestamp {
        let ends_at = self.scenario.starts_at.saturating_add(self.median.makespan);
        ends_at.unwrap_or(Timestamp::MAX)
    }

    /// Returns the first simulated run that stopped early, and why. If prices differ between
    /// providers, some runs may reach a budget that others do not.
    fn first_stop(&self) -> Option<(&RehearsalReport, &StopReason)> {
        self.reports
            .iter()
            .find_map(|report| Some((report, report.stop.as_ref()?)))
    }

    fn format_stop(&self) -> String {
        let RehearsalReport {
            clips,
            waiting,
            failed,
            ..
        } = self.median;
        match self.first_stop() {
            Some((report, StopReason::Budget(BudgetLimit { budget, .. }))) => format!(
                "would stop at the budget of ${budget:#} after {}; {} would wait",
                render::format_count(report.clips, "row"),
                report.waiting
            ),
            Some((_, StopReason::NoProvider)) => format!(
                "would stop after {}; {waiting} would wait, because none of these providers can \
                 run them",
                render::format_count(*clips, "row")
            ),
            None if *failed > 0 => format!("nothing would stop it; {failed} would fail"),
            None => "nothing would stop it".into(),
        }
    }

    /// Prints the summary in its documented JSON form.
    pub(super) fn print_json(&self) -> anyhow::Result<()> {
        let seconds = |duration: Duration| round_to_thousandths(duration.as_secs_f64());
        let providers =
            self.scenario
                .hosts
                .iter()
                .zip(&self.median.providers)
                .map(|(host, report)| {
                    json!({
                        "provider": report.provider,
                        "slots": report.at_once,
                        "in_flight": host.limits.in_flight,
                        "creates_per_minute": host.limits.creates_per_minute,
                        "busy": round_to_thousandths(report.utilization()),
                        "clips": report.clips,
                        "looks_per_clip": round_to_thousandths(report.polls_per_clip()),
                        "refused_creates": report.refused,
                        "worked_s": seconds(report.worked),
                        "unseen_s": seconds(report.detection_lag),
                        "makespan_s": seconds(report.makespan),
                        "ideal_s": seconds(report.ideal),
                        "times_measured": self.is_measured(report.provider),
                    })
                });
        let stop = self.first_stop().map_or(Value::Null, |(report, stop)| {
            let (reason, budget) = match stop {
                StopReason::Budget(limit) => ("budget", Some(limit.budget)),
                StopReason::NoProvider => ("no_provider", None),
            };
            json!({
                "reason": reason,
                "budget_usd": budget,
                "after_rows": report.clips,
                "waiting_rows": report.waiting,
            })
        });
        let takes_s =
            Spread::new(self.reports, |report| report.makespan).map(|time| time.map(seconds));
        render::print_json(&json!({
            "batch": self.batch,
            "rows": self.median.rows,
            "seeds": self.reports.len(),
            "takes_s": takes_s,
            "ends_at": self.ends_at(),
            "cost_usd": Spread::<Money>::new(self.reports, |report| report.cost),
            "ideal_s": seconds(self.median.ideal),
            "failed_rows": self.median.failed,
            "providers": providers.collect::<Vec<_>>(),
            "stop": stop,
        }))
    }
}

/// Formats how many predictions a provider runs at once, and how many more it queues.
fn format_slots(host: &SimulatedHost) -> String {
    let waiting = host.limits.in_flight.saturating_sub(host.at_once);
    if waiting > 0 {
        format!("{} (+{waiting} waiting)", host.at_once)
    } else {
        host.at_once.to_string()
    }
}

fn format_spread(spread: &Spread<String>) -> String {
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

/// Formats a time in this machine's time zone, such as `Thu 20 Aug 22:25`.
fn local_time(at: Timestamp) -> String {
    at.to_zoned(TimeZone::system())
        .strftime("%a %-d %b %H:%M")
        .to_string()
}

/// Rounds to three decimals, which is all the precision that a simulated figure has.
fn round_to_thousandths(number: f64) -> f64 {
    (number * 1000.0).round() / 1000.0
}
