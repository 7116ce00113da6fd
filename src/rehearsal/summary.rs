//! What several simulated runs of the same jobs predict together.

use std::time::Duration;

use jiff::Timestamp;
use serde::Serialize;

use crate::domain::Money;

use super::{ProviderReport, RehearsalReport, Scenario, SimulatedHost, StopReason};

/// What several simulated runs of the same jobs predict together.
pub struct RehearsalSummary<'a> {
    scenario: &'a Scenario,
    /// The simulated runs, at least one.
    reports: &'a [RehearsalReport],
    median: &'a RehearsalReport,
}

/// The range of one figure over the simulated runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Spread<T> {
    /// The median.
    pub median: T,
    /// The smallest.
    pub least: T,
    /// The largest.
    pub most: T,
}

impl<T> Spread<T> {
    /// Converts each of the figures.
    pub fn map<U>(self, convert: impl Fn(T) -> U) -> Spread<U> {
        Spread {
            median: convert(self.median),
            least: convert(self.least),
            most: convert(self.most),
        }
    }
}

impl<'a> RehearsalSummary<'a> {
    /// Summarizes simulated runs of one scenario. Returns `None` if there are none.
    pub fn new(scenario: &'a Scenario, reports: &'a [RehearsalReport]) -> Option<Self> {
        let mut by_length: Vec<&RehearsalReport> = reports.iter().collect();
        by_length.sort_by_key(|report| report.makespan);
        Some(Self {
            scenario,
            reports,
            median: by_length.get(by_length.len() / 2)?,
        })
    }

    /// Returns the number of simulated runs.
    pub fn runs(&self) -> usize {
        self.reports.len()
    }

    /// Returns the run of median length. Figures without a range are those of this run.
    pub fn median(&self) -> &'a RehearsalReport {
        self.median
    }

    /// Returns how long the runs take.
    pub fn makespan(&self) -> Spread<Duration> {
        self.spread(|report| report.makespan)
    }

    /// Returns what the runs cost.
    pub fn cost(&self) -> Spread<Money> {
        self.spread(|report| report.cost)
    }

    /// Returns when the run of median length would finish.
    pub fn ends_at(&self) -> Timestamp {
        let ends_at = self.scenario.starts_at.saturating_add(self.median.makespan);
        ends_at.unwrap_or(Timestamp::MAX)
    }

    /// Returns the providers, each with its results in the run of median length.
    pub fn providers(&self) -> impl Iterator<Item = (&'a SimulatedHost, &'a ProviderReport)> {
        self.scenario.hosts.iter().zip(&self.median.providers)
    }

    /// Returns the first run that stopped early, and why. If prices differ between providers, some
    /// runs may reach a budget that others do not.
    pub fn first_stop(&self) -> Option<(&'a RehearsalReport, &'a StopReason)> {
        self.reports
            .iter()
            .find_map(|report| Some((report, report.stop.as_ref()?)))
    }

    /// Returns whether any run stops at a budget.
    pub fn exceeds_budget(&self) -> bool {
        self.reports
            .iter()
            .any(|report| matches!(report.stop, Some(StopReason::Budget(_))))
    }

    /// Returns whether rows fail in any run.
    pub fn has_failures(&self) -> bool {
        self.reports.iter().any(|report| report.failed > 0)
    }

    fn spread<T: Copy + Ord>(&self, figure: impl Fn(&RehearsalReport) -> T) -> Spread<T> {
        let mut figures: Vec<T> = self.reports.iter().map(figure).collect();
        figures.sort();
        Spread {
            median: figures[figures.len() / 2],
            least: figures[0],
            most: figures[figures.len() - 1],
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::domain::{Catalog, RetryPolicy};
    use crate::rehearsal::Latency;
    use crate::worker::ProcessingTimes;

    fn report(seconds: u64, cost: i64, stop: Option<StopReason>) -> RehearsalReport {
        RehearsalReport {
            rows: 4,
            clips: 4,
            failed: 0,
            waiting: 0,
            cost: Money::from_micros(cost),
            makespan: Duration::from_secs(seconds),
            ideal: Duration::ZERO,
            providers: Vec::new(),
            stop,
        }
    }

    #[test]
    fn each_figure_has_a_median_and_a_range_of_its_own() {
        let scenario = Scenario {
            starts_at: Timestamp::UNIX_EPOCH,
            catalog: Arc::new(Catalog::default()),
            hosts: Vec::new(),
            policy: RetryPolicy::default(),
            processing_times: ProcessingTimes::default(),
            times: None,
            latency: Latency::default(),
            workers: 16,
            budget: None,
        };
        assert!(RehearsalSummary::new(&scenario, &[]).is_none());
        let reports = [
            report(30, 1, None),
            report(10, 3, Some(StopReason::NoProvider)),
            report(20, 2, None),
        ];
        let summary = RehearsalSummary::new(&scenario, &reports).unwrap();
        let makespan = summary.makespan().map(|makespan| makespan.as_secs());
        let (median, least, most) = (20, 10, 30);
        assert_eq!(
            makespan,
            Spread {
                median,
                least,
                most
            }
        );
        assert_eq!(summary.cost().map(Money::micros).most, 3);
        assert_eq!(summary.ends_at(), Timestamp::from_second(20).unwrap());
        assert_eq!(summary.first_stop().unwrap().0.cost.micros(), 3);
        assert!(!summary.exceeds_budget());
    }
}
