//! When to look at a prediction.
//!
//! A look costs a call; not looking costs the time for which the slot of a finished prediction stands idle. While a
//! prediction that still runs ends with the chance `h` a second, looks `d` seconds apart cost `1/d` calls and `h·d/2`
//! seconds of idle slot, each second. With a call worth `c` seconds their sum is least at `d = √(2c/h)`. So looks are
//! rare where hardly anything ends, close where most does, and wider again in the tail, whatever the distribution is.

use std::time::Duration;

/// What one look is worth, in seconds of an idle slot. It is worth less where predictions usually take less than
/// `SHORT_S`: a second is a larger part of them, and few looks fit into them anyway.
const LOOK_IS_WORTH_S: f64 = 0.34;
const SHORT_S: f64 = 30.0;

/// What is said of a route counts like so many measured predictions; less with each that is measured, but never less
/// than `PRIOR_LEFT`, so that a provider that gets faster is found out by a look from time to time.
const PRIOR_WEIGHT: f64 = 4.0;
const PRIOR_LEFT: f64 = 0.2;

/// How what is said spreads: the times, as parts of it, at which a seventh each is taken to end.
const PRIOR: [f64; 7] = [0.75, 0.87, 0.94, 1.0, 1.07, 1.17, 1.35];

/// A measured prediction counts this much less with each later one: a provider that gets slower is followed.
const FADING: f64 = 0.97;

/// The part of the predictions that does not end as any did before: when the others have ended, looks become rare.
const NEVER: f64 = 0.02;

/// Looks are laid out over so many points of time.
const POINTS: usize = 256;

/// The early look, at most this long after the create: what fails at once (an image that cannot be read) frees its slot
/// in seconds, not minutes.
const EARLY_LOOK: Duration = Duration::from_secs(10);

/// Nobody wants to wait longer than this to see that a clip is done.
const LONGEST: Duration = Duration::from_secs(60);

/// A prediction seen to have ended after so many times the usual time was rather left alone than slow.
const ON_TIME: u32 = 4;

/// A prediction that takes this many times as long as usual, and at least `SHORTEST_DEADLINE`, never ends.
const DEADLINE_FACTOR: u32 = 12;
const SHORTEST_DEADLINE: Duration = Duration::from_secs(30 * 60);

/// Decides when to look next at a running prediction.
#[derive(Clone, Debug, PartialEq)]
pub struct PollPlan {
    /// How long the route usually takes: half of its predictions take longer.
    pub typical: Duration,
    /// Shortest time between two looks at one prediction.
    pub shortest: Duration,
    /// Seconds from one point of time to the next.
    step: f64,
    /// How many looks a prediction that runs until each point is worth.
    looks: Vec<f64>,
}

impl PollPlan {
    /// Lays out looks for a route that is said to take `said`, and has taken `measured`, newest first.
    pub fn new(said: Duration, measured: &[Duration], shortest: Duration) -> Self {
        let times = Times::new(said, measured);
        // Beyond the plan waits grow with what has passed; one straggler must not make its points coarse.
        let step = times.quantile(0.95) * 2.0 / POINTS as f64;
        let worth = LOOK_IS_WORTH_S * (times.median() / SHORT_S).min(1.0).powi(2);
        let mut looks = Vec::with_capacity(POINTS);
        let mut total = 0.0;
        for point in 0..POINTS {
            looks.push(total);
            let at = step * (point as f64 + 0.5);
            let rate = (times.hazard(at) / (2.0 * worth)).sqrt();
            // In the tail little is known: there a wait grows with what has passed.
            let least = if at > times.median() {
                1.0 / (at / 8.0).min(LONGEST.as_secs_f64())
            } else {
                0.0
            };
            total += step * rate.max(least).min(1.0 / shortest.as_secs_f64().max(0.001));
        }
        let typical = Duration::from_secs_f64(times.median());
        Self {
            typical,
            shortest,
            step,
            looks,
        }
    }

    /// Tells how long to wait before the next look, `elapsed` after the create.
    pub fn next_poll(&self, elapsed: Duration) -> Duration {
        let early = (self.typical / 10).min(EARLY_LOOK);
        if elapsed < early && early >= self.shortest {
            return (early - elapsed).max(self.shortest);
        }
        let now = elapsed.as_secs_f64();
        let next = self.time_of(self.worth_of(now) + 1.0);
        let wait = next.map_or_else(
            || elapsed / 10,
            |next| Duration::from_secs_f64((next - now).max(0.0)),
        );
        wait.max(self.shortest)
            .min(LONGEST.max(self.typical).max(self.shortest))
    }

    /// Tells how long before a look the one before it was, by the plan: the prediction ended in between.
    pub fn interval_before(&self, elapsed: Duration) -> Duration {
        let now = elapsed.as_secs_f64();
        let before = self
            .time_of((self.worth_of(now) - 1.0).max(0.0))
            .unwrap_or(now);
        Duration::from_secs_f64((now - before).max(0.0))
            .max(self.shortest)
            .min(LONGEST)
            .min(elapsed)
    }

    /// Tells how long a prediction took that was seen to have ended `elapsed` after its create, as the plan needs it:
    /// from create to end, with the time it waited for its turn. `reported` is what the provider says it worked; `None`
    /// where nobody looked for so long that it says nothing.
    pub fn processing_time(
        &self,
        elapsed: Duration,
        reported: Option<Duration>,
    ) -> Option<Duration> {
        let gap = self.interval_before(elapsed);
        match reported {
            Some(reported) if reported <= elapsed && elapsed <= reported + gap => Some(reported),
            _ if elapsed < self.typical * ON_TIME => Some(elapsed - gap / 2),
            reported => reported.map(|reported| reported.min(elapsed)),
        }
    }

    /// Tells when a prediction that has not ended never will.
    pub fn deadline(&self) -> Duration {
        (self.typical * DEADLINE_FACTOR).max(SHORTEST_DEADLINE)
    }

    /// How many looks a prediction that runs until then is worth.
    fn worth_of(&self, at: f64) -> f64 {
        let place = at / self.step;
        let point = (place as usize).min(self.looks.len() - 2);
        let (low, high) = (self.looks[point], self.looks[point + 1]);
        low + (high - low) * (place - point as f64).min(1.0)
    }

    /// When a prediction has run for so long that it is worth so many looks; `None` beyond the plan.
    fn time_of(&self, looks: f64) -> Option<f64> {
        let point = self.looks.partition_point(|known| *known < looks);
        let (low, high) = (
            *self.looks.get(point.checked_sub(1)?)?,
            *self.looks.get(point)?,
        );
        let part = if high > low {
            (looks - low) / (high - low)
        } else {
            1.0
        };
        Some(self.step * (point as f64 - 1.0 + part))
    }
}

/// What is known of how long a route takes: a smooth bump around every time that was said or measured.
struct Times(Vec<Bump>);

/// A logistic distribution: nearly normal, with a chance to end that never falls.
struct Bump {
    centre: f64,
    weight: f64,
    scale: f64,
}

impl Times {
    fn new(said: Duration, measured: &[Duration]) -> Self {
        let said = said.as_secs_f64().max(0.001);
        let prior_weight =
            (PRIOR_WEIGHT * FADING.powf(2.0 * measured.len() as f64)).max(PRIOR_LEFT);
        let prior = PRIOR.map(|part| Bump {
            centre: said * part,
            weight: prior_weight / PRIOR.len() as f64,
            scale: said * 0.06,
        });
        let mut sorted: Vec<(f64, f64)> = Vec::with_capacity(measured.len());
        let mut weight = 1.0;
        for time in measured {
            weight *= FADING;
            sorted.push((time.as_secs_f64(), weight));
        }
        sorted.sort_unstable_by(|one, other| one.0.total_cmp(&other.0));
        // As wide as the neighbours are far, on the side where they are nearer: two humps are not smoothed into one.
        let near = (sorted.len() / 10).max(2);
        let scale = |at: usize, centre: f64| {
            let left = at.checked_sub(near).map(|before| centre - sorted[before].0);
            let right = sorted.get(at + near).map(|after| after.0 - centre);
            let nearer = left.into_iter().chain(right).fold(f64::INFINITY, f64::min);
            (if nearer.is_finite() {
                nearer * 0.5
            } else {
                centre * 0.06
            })
            .max(centre * 0.004)
            .max(0.001)
        };
        let measured = sorted.iter().enumerate();
        let measured = measured.map(|(at, (centre, weight))| Bump {
            centre: *centre,
            weight: *weight,
            scale: scale(at, *centre),
        });
        let mut bumps: Vec<Bump> = measured.chain(prior).collect();
        bumps.sort_unstable_by(|one, other| one.centre.total_cmp(&other.centre));
        Self(bumps)
    }

    /// The chance a second that what still runs at this time ends.
    fn hazard(&self, at: f64) -> f64 {
        let (mut ending, mut running) = (0.0, 0.0);
        for Bump {
            centre,
            weight,
            scale,
        } in &self.0
        {
            let left = 1.0 / (1.0 + ((at - centre) / scale).exp());
            running += weight * left;
            ending += weight * left * (1.0 - left) / scale;
        }
        let never = NEVER * self.0.iter().map(|bump| bump.weight).sum::<f64>();
        ending / (running + never)
    }

    fn median(&self) -> f64 {
        self.quantile(0.5)
    }

    /// The time within which this part has ended.
    fn quantile(&self, part: f64) -> f64 {
        let wanted = part * self.0.iter().map(|bump| bump.weight).sum::<f64>();
        let mut sum = 0.0;
        let found = self.0.iter().find(|bump| {
            sum += bump.weight;
            sum >= wanted
        });
        found.map_or(0.0, |bump| bump.centre)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    /// Looks and seconds of lag until the end is seen.
    fn watch(plan: &PollPlan, end: Duration) -> (u32, f64) {
        let (mut at, mut looks) = (Duration::ZERO, 0);
        while at < end {
            at += plan.next_poll(at);
            looks += 1;
        }
        (looks, (at - end).as_secs_f64())
    }

    /// Mean looks and mean lag over many predictions, each of which the plan learns from as the worker does.
    fn learn_and_watch(said: u32, draw: impl Fn(&mut Chance, usize) -> f64) -> (f64, f64) {
        let mut chance = Chance(7);
        let mut measured = Vec::new();
        let (mut looks, mut lag) = (0.0, 0.0);
        const MANY: usize = 600;
        const LEARNING: usize = 200;
        let mut plan = PollPlan::new(said * SECOND, &measured, 2 * SECOND);
        for number in 0..MANY {
            if number % 5 == 0 {
                plan = PollPlan::new(said * SECOND, &measured, 2 * SECOND);
            }
            let end = Duration::from_secs_f64(draw(&mut chance, number).max(0.1));
            let (took, late) = watch(&plan, end);
            if number >= LEARNING {
                looks += f64::from(took) / (MANY - LEARNING) as f64;
                lag += late / (MANY - LEARNING) as f64;
            }
            let seen = end + Duration::from_secs_f64(late);
            measured.insert(0, seen - plan.interval_before(seen) / 2);
            measured.truncate(100);
        }
        (looks, lag)
    }

    /// A small generator, so that the domain needs none.
    struct Chance(u64);

    impl Chance {
        fn uniform(&mut self) -> f64 {
            self.0 = self
                .0
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            (self.0 >> 11) as f64 / (1_u64 << 53) as f64
        }

        fn normal(&mut self, mean: f64, spread: f64) -> f64 {
            mean + spread * ((0..12).map(|_| self.uniform()).sum::<f64>() - 6.0)
        }
    }

    fn assert_within(name: &str, (looks, lag): (f64, f64), most_looks: f64, most_lag: f64) {
        assert!(
            looks <= most_looks && lag <= most_lag,
            "{name}: {looks:.2} looks, {lag:.2} s late"
        );
    }

    #[test]
    fn usual_routes_take_few_looks_and_little_lag() {
        let slow = learn_and_watch(270, |chance, _| chance.normal(270.0, 40.0));
        assert_within("270 ± 40", slow, 13.0, 4.05);
        let quick = learn_and_watch(60, |chance, _| chance.normal(60.0, 10.0));
        assert_within("60 ± 10", quick, 8.0, 2.0);
        let short = learn_and_watch(10, |chance, _| chance.normal(10.0, 3.0));
        assert_within("10 ± 3", short, 5.0, 1.15);
    }

    #[test]
    fn a_narrow_route_is_looked_at_just_when_it_ends() {
        assert_within(
            "narrow",
            learn_and_watch(270, |chance, _| chance.normal(240.0, 3.0)),
            6.0,
            1.6,
        );
    }

    #[test]
    fn a_route_with_two_humps_is_left_alone_between_them() {
        let humps = |chance: &mut Chance, _| {
            let mean = if chance.uniform() < 0.5 { 60.0 } else { 300.0 };
            chance.normal(mean, 8.0)
        };
        assert_within("two humps", learn_and_watch(270, humps), 11.5, 3.0);
    }

    #[test]
    fn a_route_that_gets_slower_is_followed() {
        let drifts =
            |chance: &mut Chance, number: usize| chance.normal(100.0 + number as f64 / 4.0, 10.0);
        assert_within("drifting", learn_and_watch(100, drifts), 11.0, 2.0);
    }

    #[test]
    fn a_heavy_tail_costs_few_looks() {
        let heavy = |chance: &mut Chance, _| 60.0 / (1.0 - chance.uniform()).powf(0.6).max(0.001);
        assert_within("heavy tail", learn_and_watch(60, heavy), 13.0, 5.0);
    }

    #[test]
    fn what_was_said_serves_until_something_is_measured() {
        let plan = PollPlan::new(270 * SECOND, &[], 2 * SECOND);
        assert!(
            (250..290).contains(&plan.typical.as_secs()),
            "{:?}",
            plan.typical
        );
        for end in [230, 270, 330] {
            let (looks, lag) = watch(&plan, end * SECOND);
            assert!(
                looks <= 24 && lag <= 8.0,
                "{looks} looks, {lag:.1} s late for {end} s"
            );
        }
    }

    #[test]
    fn a_time_counts_from_the_create_unless_nobody_looked() {
        let plan = PollPlan::new(100 * SECOND, &[], 2 * SECOND);
        let gap = plan.interval_before(100 * SECOND);
        assert_eq!(
            plan.processing_time(100 * SECOND, Some(99 * SECOND)),
            Some(99 * SECOND)
        );
        assert_eq!(
            plan.processing_time(100 * SECOND, None),
            Some(100 * SECOND - gap / 2)
        );
        // It waited for its turn before it was worked on.
        let gap = plan.interval_before(200 * SECOND);
        assert_eq!(
            plan.processing_time(200 * SECOND, Some(99 * SECOND)),
            Some(200 * SECOND - gap / 2)
        );
        // The program was not there when it ended.
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
    fn two_looks_are_never_closer_than_the_shortest_interval_nor_further_apart_than_a_minute_in_the_tail()
     {
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
