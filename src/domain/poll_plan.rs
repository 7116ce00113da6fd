//! When to poll a running prediction.
//!
//! A poll costs a call. Not polling costs the time for which the slot of a finished prediction
//! stands idle. If a running prediction ends with probability `h` per second (its *hazard*), polls
//! `d` seconds apart cost `1/d` calls and `h·d/2` seconds of idle slot, per second. With a call
//! valued at `c` seconds, the sum is least at `d = √(2c/h)`. So polls are rare while hardly any
//! prediction ends, dense when most do, and rare again in the tail, whatever the distribution.

use std::time::Duration;

/// Cost of one poll, in seconds of an idle slot.
///
/// It is reduced for routes whose median time is below [`SHORT_ROUTE_S`]: there a second is a
/// larger share of the whole, and few polls fit in anyway.
const POLL_COST_S: f64 = 0.34;

/// Median time below which a poll costs less than [`POLL_COST_S`], in seconds.
const SHORT_ROUTE_S: f64 = 30.0;

/// Initial weight of the prior, as a number of measurements. It decreases with each measurement,
/// down to [`MIN_PRIOR_WEIGHT`].
const PRIOR_WEIGHT: f64 = 4.0;

/// Minimum weight of the prior. It keeps a few polls around the expected times, so that a provider
/// which becomes faster is noticed.
const MIN_PRIOR_WEIGHT: f64 = 0.2;

/// Spread of the prior: the times, as fractions of the expected one, at each of which a seventh of
/// the predictions is assumed to end.
const PRIOR_QUANTILES: [f64; 7] = [0.75, 0.87, 0.94, 1.0, 1.07, 1.17, 1.35];

/// Scale of a component without enough neighbours to derive it from, as a fraction of its centre.
const DEFAULT_RELATIVE_SCALE: f64 = 0.06;

/// Minimum scale of a component derived from its neighbours, as a fraction of its centre.
const MIN_RELATIVE_SCALE: f64 = 0.004;

/// Factor by which the weight of a measurement decreases with each later one, so that the plan
/// follows a provider which becomes slower.
const SAMPLE_DECAY: f64 = 0.97;

/// Share of the predictions assumed to end later than all known ones. When the others have ended,
/// it makes polls rare.
const OUTLIER_SHARE: f64 = 0.02;

/// Number of grid points at which the plan is computed.
const GRID_POINTS: usize = 256;

/// Maximum time from submission to the first poll. A prediction that fails at once (an unreadable
/// image, say) frees its slot in seconds rather than minutes.
const MAX_FIRST_POLL: Duration = Duration::from_secs(10);

/// Maximum interval between polls, except for routes that typically take longer: how long a user
/// is willing to wait to see that a clip is done.
const MAX_INTERVAL: Duration = Duration::from_secs(60);

/// An end that is seen later than this many times the median duration is not used as a measurement
/// unless the provider reports the time: the prediction was probably not being polled when it
/// ended.
const MAX_OBSERVED_FACTOR: u32 = 4;

/// A prediction that runs for this many times the median duration, and at least [`MIN_DEADLINE`],
/// is given up.
const DEADLINE_FACTOR: u32 = 12;

/// Minimum time before a prediction is given up.
const MIN_DEADLINE: Duration = Duration::from_secs(30 * 60);

/// The times at which to poll the predictions of one route with one clip length.
#[derive(Clone, Debug, PartialEq)]
pub struct PollPlan {
    /// Median time from submission to the end of a prediction.
    pub median: Duration,
    /// Minimum interval between two polls of one prediction.
    pub min_interval: Duration,
    /// Distance between two grid points, in seconds.
    grid_step_s: f64,
    /// Number of polls due by each grid point, from submission. Fractional and non-decreasing.
    cumulative_polls: Vec<f64>,
}

impl PollPlan {
    /// Creates a plan for a route and a clip length.
    ///
    /// `expected` is the processing time that the configuration or the catalogue states,
    /// `measured` holds the times of the latest such predictions, newest first, and `min_interval`
    /// is the minimum interval between two polls.
    pub fn new(expected: Duration, measured: &[Duration], min_interval: Duration) -> Self {
        let model = CompletionModel::new(expected, measured);
        let median = model.median();
        // The grid ends at twice the 95th percentile, because one straggler must not make it
        // coarse. Beyond it, intervals grow with the elapsed time.
        let grid_step_s = model.quantile(0.95) * 2.0 / GRID_POINTS as f64;
        let poll_cost_s = POLL_COST_S * (median / SHORT_ROUTE_S).min(1.0).powi(2);
        let max_rate = 1.0 / min_interval.as_secs_f64().max(0.001);
        let mut cumulative_polls = Vec::with_capacity(GRID_POINTS);
        let mut total = 0.0;
        for point in 0..GRID_POINTS {
            cumulative_polls.push(total);
            let time = grid_step_s * (point as f64 + 0.5);
            let rate = (model.hazard(time) / (2.0 * poll_cost_s)).sqrt();
            // The tail is known poorly, so intervals there are at most an eighth of the elapsed time.
            let min_rate = if time > median {
                1.0 / (time / 8.0).min(MAX_INTERVAL.as_secs_f64())
            } else {
                0.0
            };
            total += grid_step_s * rate.max(min_rate).min(max_rate);
        }
        Self {
            median: Duration::from_secs_f64(median),
            min_interval,
            grid_step_s,
            cumulative_polls,
        }
    }

    /// Returns how long to wait before the next poll of a prediction that was submitted `elapsed`
    /// ago and still runs.
    pub fn next_poll(&self, elapsed: Duration) -> Duration {
        let first_poll = (self.median / 10).min(MAX_FIRST_POLL);
        if elapsed < first_poll && first_poll >= self.min_interval {
            return (first_poll - elapsed).max(self.min_interval);
        }
        let now = elapsed.as_secs_f64();
        let next = self.time_of_poll(self.polls_until(now) + 1.0);
        let wait = next.map_or_else(
            || elapsed / 10,
            |next| Duration::from_secs_f64((next - now).max(0.0)),
        );
        let max_wait = MAX_INTERVAL.max(self.median).max(self.min_interval);
        wait.max(self.min_interval).min(max_wait)
    }

    /// Returns the planned interval that ends at a poll at `elapsed`. If that poll is the first to
    /// see the end, the prediction ended within this interval.
    pub fn interval_before(&self, elapsed: Duration) -> Duration {
        let now = elapsed.as_secs_f64();
        let previous = self
            .time_of_poll((self.polls_until(now) - 1.0).max(0.0))
            .unwrap_or(now);
        Duration::from_secs_f64((now - previous).max(0.0))
            .max(self.min_interval)
            .min(MAX_INTERVAL)
            .min(elapsed)
    }

    /// Returns the time a prediction took from submission to end, including the time it was queued
    /// at the provider. This is what [`new`](Self::new) expects as a measurement.
    ///
    /// `elapsed` is the time from submission to the poll that saw the end, `reported` the
    /// processing time that the provider reports. Returns `None` if there is no report and the
    /// prediction was not polled for so long that `elapsed` says nothing about it.
    pub fn processing_time(
        &self,
        elapsed: Duration,
        reported: Option<Duration>,
    ) -> Option<Duration> {
        let interval = self.interval_before(elapsed);
        match reported {
            Some(reported) if reported <= elapsed && elapsed <= reported + interval => {
                Some(reported)
            }
            _ if elapsed < self.median * MAX_OBSERVED_FACTOR => Some(elapsed - interval / 2),
            reported => reported.map(|reported| reported.min(elapsed)),
        }
    }

    /// Returns the time after submission at which a prediction that still runs is given up.
    pub fn deadline(&self) -> Duration {
        (self.median * DEADLINE_FACTOR).max(MIN_DEADLINE)
    }

    /// Returns the number of polls due by `time`, in seconds since submission. Constant beyond the
    /// grid.
    fn polls_until(&self, time: f64) -> f64 {
        let position = time / self.grid_step_s;
        let point = (position as usize).min(self.cumulative_polls.len() - 2);
        let low = self.cumulative_polls[point];
        let high = self.cumulative_polls[point + 1];
        low + (high - low) * (position - point as f64).min(1.0)
    }

    /// Returns the time at which `polls` polls are due, in seconds since submission. The inverse of
    /// [`polls_until`](Self::polls_until); `None` for zero polls and beyond the grid.
    fn time_of_poll(&self, polls: f64) -> Option<f64> {
        let point = self.cumulative_polls.partition_point(|due| *due < polls);
        let low = *self.cumulative_polls.get(point.checked_sub(1)?)?;
        let high = *self.cumulative_polls.get(point)?;
        let fraction = if high > low {
            (polls - low) / (high - low)
        } else {
            1.0
        };
        Some(self.grid_step_s * (point as f64 - 1.0 + fraction))
    }
}

/// The distribution of a route's processing times: a mixture with one component for each measured
/// time and for each of the [`PRIOR_QUANTILES`], sorted by centre.
struct CompletionModel(Vec<Component>);

/// One logistic distribution of a mixture. It resembles a normal one, but its hazard never falls.
struct Component {
    /// Mean, in seconds.
    centre: f64,
    /// Share in the mixture; the weights do not sum to 1.
    weight: f64,
    /// Scale parameter, in seconds.
    scale: f64,
}

impl CompletionModel {
    fn new(expected: Duration, measured: &[Duration]) -> Self {
        let expected = expected.as_secs_f64().max(0.001);
        let prior_weight =
            (PRIOR_WEIGHT * SAMPLE_DECAY.powf(2.0 * measured.len() as f64)).max(MIN_PRIOR_WEIGHT);
        let prior = PRIOR_QUANTILES.map(|fraction| Component {
            centre: expected * fraction,
            weight: prior_weight / PRIOR_QUANTILES.len() as f64,
            scale: expected * DEFAULT_RELATIVE_SCALE,
        });
        let mut samples: Vec<(f64, f64)> = Vec::with_capacity(measured.len());
        let mut weight = 1.0;
        for time in measured {
            weight *= SAMPLE_DECAY;
            samples.push((time.as_secs_f64(), weight));
        }
        samples.sort_unstable_by(|a, b| a.0.total_cmp(&b.0));
        // The scale follows the distance to the neighbours on the nearer side, so that two separate
        // peaks are not smoothed into one.
        let neighbours = (samples.len() / 10).max(2);
        let scale = |index: usize, centre: f64| {
            let left = index
                .checked_sub(neighbours)
                .map(|left| centre - samples[left].0);
            let right = samples
                .get(index + neighbours)
                .map(|right| right.0 - centre);
            let distance = left.into_iter().chain(right).fold(f64::INFINITY, f64::min);
            let scale = if distance.is_finite() {
                distance * 0.5
            } else {
                centre * DEFAULT_RELATIVE_SCALE
            };
            scale.max(centre * MIN_RELATIVE_SCALE).max(0.001)
        };
        let measured = samples
            .iter()
            .enumerate()
            .map(|(index, (centre, weight))| Component {
                centre: *centre,
                weight: *weight,
                scale: scale(index, *centre),
            });
        let mut components: Vec<Component> = measured.chain(prior).collect();
        components.sort_unstable_by(|a, b| a.centre.total_cmp(&b.centre));
        Self(components)
    }

    /// Returns the probability per second that a prediction still running at `time`, in seconds,
    /// ends then.
    fn hazard(&self, time: f64) -> f64 {
        let mut density = 0.0;
        let mut survival = 0.0;
        for Component {
            centre,
            weight,
            scale,
        } in &self.0
        {
            let running = 1.0 / (1.0 + ((time - centre) / scale).exp());
            survival += weight * running;
            density += weight * running * (1.0 - running) / scale;
        }
        density / (survival + OUTLIER_SHARE * self.total_weight())
    }

    /// Returns the median processing time, in seconds.
    fn median(&self) -> f64 {
        self.quantile(0.5)
    }

    /// Returns the time, in seconds, by which the given fraction of the predictions has ended,
    /// rounded to a component's centre.
    fn quantile(&self, fraction: f64) -> f64 {
        let target = fraction * self.total_weight();
        let mut sum = 0.0;
        let component = self.0.iter().find(|component| {
            sum += component.weight;
            sum >= target
        });
        component.map_or(0.0, |component| component.centre)
    }

    fn total_weight(&self) -> f64 {
        self.0.iter().map(|component| component.weight).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    /// Returns the number of polls until the end of a prediction is seen, and the delay in seconds
    /// with which it is seen.
    fn poll_until_seen(plan: &PollPlan, end: Duration) -> (u32, f64) {
        let mut elapsed = Duration::ZERO;
        let mut polls = 0;
        while elapsed < end {
            elapsed += plan.next_poll(elapsed);
            polls += 1;
        }
        (polls, (elapsed - end).as_secs_f64())
    }

    /// Returns the mean number of polls and the mean lag in seconds over many predictions, while
    /// the plan learns from each of them as it does in a pool.
    fn mean_polls_and_lag(
        expected_s: u32,
        draw_s: impl Fn(&mut TestRng, usize) -> f64,
    ) -> (f64, f64) {
        const PREDICTIONS: usize = 600;
        const WARM_UP: usize = 200;
        let mut rng = TestRng(7);
        let mut measured = Vec::new();
        let mut mean_polls = 0.0;
        let mut mean_lag = 0.0;
        let mut plan = PollPlan::new(expected_s * SECOND, &measured, 2 * SECOND);
        for number in 0..PREDICTIONS {
            if number % 5 == 0 {
                plan = PollPlan::new(expected_s * SECOND, &measured, 2 * SECOND);
            }
            let end = Duration::from_secs_f64(draw_s(&mut rng, number).max(0.1));
            let (polls, lag) = poll_until_seen(&plan, end);
            if number >= WARM_UP {
                mean_polls += f64::from(polls) / (PREDICTIONS - WARM_UP) as f64;
                mean_lag += lag / (PREDICTIONS - WARM_UP) as f64;
            }
            let seen = end + Duration::from_secs_f64(lag);
            measured.insert(0, seen - plan.interval_before(seen) / 2);
            measured.truncate(100);
        }
        (mean_polls, mean_lag)
    }

    /// A linear congruential generator, so that the domain depends on no random number crate.
    struct TestRng(u64);

    impl TestRng {
        fn uniform(&mut self) -> f64 {
            self.0 = self
                .0
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            (self.0 >> 11) as f64 / (1_u64 << 53) as f64
        }

        fn normal(&mut self, mean: f64, deviation: f64) -> f64 {
            mean + deviation * ((0..12).map(|_| self.uniform()).sum::<f64>() - 6.0)
        }
    }

    fn assert_at_most(name: &str, (polls, lag): (f64, f64), max_polls: f64, max_lag: f64) {
        assert!(
            polls <= max_polls && lag <= max_lag,
            "{name}: {polls:.2} polls, {lag:.2} s late"
        );
    }

    #[test]
    fn normally_distributed_routes_need_few_polls_and_cause_little_lag() {
        let slow = mean_polls_and_lag(270, |rng, _| rng.normal(270.0, 40.0));
        assert_at_most("270 ± 40", slow, 13.0, 4.05);
        let fast = mean_polls_and_lag(60, |rng, _| rng.normal(60.0, 10.0));
        assert_at_most("60 ± 10", fast, 8.0, 2.0);
        let short = mean_polls_and_lag(10, |rng, _| rng.normal(10.0, 3.0));
        assert_at_most("10 ± 3", short, 5.0, 1.15);
    }

    #[test]
    fn a_route_with_little_spread_is_polled_just_when_it_ends() {
        let narrow = mean_polls_and_lag(270, |rng, _| rng.normal(240.0, 3.0));
        assert_at_most("narrow", narrow, 6.0, 1.6);
    }

    #[test]
    fn a_route_with_two_peaks_is_hardly_polled_between_them() {
        let two_peaks = |rng: &mut TestRng, _| {
            let mean = if rng.uniform() < 0.5 { 60.0 } else { 300.0 };
            rng.normal(mean, 8.0)
        };
        assert_at_most("two peaks", mean_polls_and_lag(270, two_peaks), 11.5, 3.0);
    }

    #[test]
    fn the_plan_follows_a_route_that_becomes_slower() {
        let drift =
            |rng: &mut TestRng, number: usize| rng.normal(100.0 + number as f64 / 4.0, 10.0);
        assert_at_most("drift", mean_polls_and_lag(100, drift), 11.0, 2.0);
    }

    #[test]
    fn a_heavy_tail_needs_few_polls() {
        let heavy = |rng: &mut TestRng, _| 60.0 / (1.0 - rng.uniform()).powf(0.6).max(0.001);
        assert_at_most("heavy tail", mean_polls_and_lag(60, heavy), 13.0, 5.0);
    }

    #[test]
    fn the_expected_time_is_used_until_something_is_measured() {
        let plan = PollPlan::new(270 * SECOND, &[], 2 * SECOND);
        assert!(
            (250..290).contains(&plan.median.as_secs()),
            "{:?}",
            plan.median
        );
        for end in [230, 270, 330] {
            let (polls, lag) = poll_until_seen(&plan, end * SECOND);
            assert!(
                polls <= 24 && lag <= 8.0,
                "{polls} polls, {lag:.1} s late for {end} s"
            );
        }
    }

    #[test]
    fn a_processing_time_counts_from_submission_unless_the_end_was_not_polled() {
        let plan = PollPlan::new(100 * SECOND, &[], 2 * SECOND);
        let interval = plan.interval_before(100 * SECOND);
        assert_eq!(
            plan.processing_time(100 * SECOND, Some(99 * SECOND)),
            Some(99 * SECOND)
        );
        assert_eq!(
            plan.processing_time(100 * SECOND, None),
            Some(100 * SECOND - interval / 2)
        );
        // The prediction was queued at the provider before it was processed.
        let interval = plan.interval_before(200 * SECOND);
        assert_eq!(
            plan.processing_time(200 * SECOND, Some(99 * SECOND)),
            Some(200 * SECOND - interval / 2)
        );
        // The program did not run when the prediction ended.
        assert_eq!(
            plan.processing_time(30_000 * SECOND, Some(99 * SECOND)),
            Some(99 * SECOND)
        );
        assert_eq!(plan.processing_time(30_000 * SECOND, None), None);
    }

    #[test]
    fn a_prediction_that_fails_at_once_is_seen_within_ten_seconds() {
        let plan = PollPlan::new(270 * SECOND, &[], 2 * SECOND);
        assert_eq!(plan.next_poll(Duration::ZERO), 10 * SECOND);
    }

    #[test]
    fn intervals_stay_between_the_minimum_and_a_minute() {
        let plan = PollPlan::new(SECOND, &[SECOND; 50], 2 * SECOND);
        for millis in (0..600_000).step_by(250) {
            let wait = plan.next_poll(Duration::from_millis(millis));
            assert!(
                (2 * SECOND..=60 * SECOND).contains(&wait),
                "{wait:?} at {millis}"
            );
        }
    }
}
