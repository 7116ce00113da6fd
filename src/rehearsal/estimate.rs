//! Estimates cost and time of rows from prices and limits alone, without a simulated run.

use std::time::Duration;

use crate::domain::{Catalog, Model, Money, NewJob, ProviderName};
use crate::queue::ProviderLimits;
use crate::worker::ProcessingTimes;
use crate::worker::processing_times::RouteKey;

/// Sums of rows, by route.
pub struct Estimate<'a> {
    model: &'a Model,
    rows: u64,
    routes: Vec<RouteSum>,
}

struct RouteSum {
    provider: ProviderName,
    rows: u64,
    cost: Money,
}

/// What one route would take for the rows that it can run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RouteEstimate {
    /// The provider.
    pub provider: ProviderName,
    /// Number of rows that this route can run.
    pub rows: u64,
    /// Price if all of them run here.
    pub cost: Money,
    /// Time if all of them run here; `None` if there are none.
    pub time: Option<Duration>,
}

impl<'a> Estimate<'a> {
    /// Creates an estimate of no rows.
    pub fn new(model: &'a Model, providers: &[ProviderName]) -> Self {
        let sum = |provider: &ProviderName| RouteSum {
            provider: *provider,
            rows: 0,
            cost: Money::ZERO,
        };
        Self {
            model,
            rows: 0,
            routes: providers.iter().map(sum).collect(),
        }
    }

    /// Forgets all rows.
    pub fn clear(&mut self) {
        self.rows = 0;
        for sum in &mut self.routes {
            sum.rows = 0;
            sum.cost = Money::ZERO;
        }
    }

    /// Adds a row.
    pub fn add(&mut self, job: &NewJob) {
        self.rows += 1;
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

    /// Returns the number of rows.
    pub fn rows(&self) -> u64 {
        self.rows
    }

    /// Returns the estimate of each route, and the time with all routes in use; `None` if there are
    /// no rows. Predictions take as long as expected before anything is measured.
    pub fn routes(
        &self,
        catalog: &Catalog,
        processing_times: &ProcessingTimes,
        limits: impl Fn(ProviderName) -> ProviderLimits,
    ) -> (Vec<RouteEstimate>, Option<Duration>) {
        let mut total_rate = 0.0;
        let mut slowest = Duration::ZERO;
        let mut routes = Vec::new();
        for sum in &self.routes {
            let Some(route) = self.model.route(sum.provider) else {
                continue;
            };
            let key = RouteKey {
                provider: sum.provider,
                wire_model: route.wire_model.clone(),
                clip_s: None,
            };
            let typical = processing_times.prior(catalog, &key);
            let rate = clips_per_second(limits(sum.provider), typical);
            total_rate += rate;
            slowest = slowest.max(typical);
            routes.push(RouteEstimate {
                provider: sum.provider,
                rows: sum.rows,
                cost: sum.cost,
                time: time_for(sum.rows, rate, typical),
            });
        }
        (routes, time_for(self.rows, total_rate, slowest))
    }
}

/// Returns how many clips per second a provider completes at its limits.
fn clips_per_second(limits: ProviderLimits, typical: Duration) -> f64 {
    let by_slots = f64::from(limits.in_flight) / typical.as_secs_f64().max(0.001);
    by_slots.min(f64::from(limits.creates_per_minute) / 60.0)
}

/// Returns how long these rows take, in whole seconds: at least the time of one prediction. `None`
/// if there are none.
fn time_for(rows: u64, clips_per_second: f64, typical: Duration) -> Option<Duration> {
    if rows == 0 {
        return None;
    }
    let rows = f64::from(u32::try_from(rows).unwrap_or(u32::MAX));
    let seconds = (rows / clips_per_second.max(f64::MIN_POSITIVE))
        .max(typical.as_secs_f64())
        .ceil();
    Some(Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: ProviderLimits = ProviderLimits {
        provider: ProviderName::Fal,
        in_flight: 4,
        creates_per_minute: 60,
        history_delay: Duration::from_secs(900),
        has_storage: false,
    };

    #[test]
    fn rows_take_as_long_as_slots_and_the_rate_limit_allow() {
        let seconds = |rows, typical_s| {
            let typical = Duration::from_secs(typical_s);
            let time = time_for(rows, clips_per_second(LIMITS, typical), typical);
            time.map(|time| time.as_secs())
        };
        assert_eq!(seconds(0, 100), None);
        assert_eq!(seconds(1, 100), Some(100));
        assert_eq!(seconds(8, 100), Some(200));
        // With predictions this short, the rate limit counts.
        assert_eq!(seconds(8, 1), Some(8));
    }
}
