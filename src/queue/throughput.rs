//! How fast jobs come to an end, and with it how long the rest will take.

use jiff::{SignedDuration, Timestamp};

/// The span a rate is measured over.
const WINDOW: SignedDuration = SignedDuration::from_mins(10);

/// Where fewer ended in that span, so many of the last are taken: ten slots with predictions of twenty minutes end ten
/// jobs at a time, and what a window of ten minutes holds of them is chance.
const MIN_SAMPLES: usize = 30;

/// The most a rate is measured by.
pub const MAX_SAMPLES: usize = 300;

/// The fewest that say anything.
const MIN_COMPLETIONS: usize = 3;

/// However many predictions are in flight, so many ends are enough.
const MAX_WAVE: usize = 100;

/// A job that came to an end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Completion {
    /// When its last attempt was submitted.
    pub submitted_at: Timestamp,
    /// When it was over.
    pub finished_at: Timestamp,
}

/// So many jobs in such a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Throughput {
    ended: u64,
    millis: u64,
}

impl Throughput {
    /// Measures by the last jobs that ended, newest first. Only what was submitted since somebody has been at work says
    /// how fast that is: a run that goes on finds clips that were made while nobody looked. Nor do the first of a wave
    /// say how long a wave takes, so nothing is told until as many have ended as are `in_flight`.
    pub fn of(
        ended: &[Completion],
        working_since: Timestamp,
        in_flight: u32,
        now: Timestamp,
    ) -> Option<Self> {
        let ended: Vec<&Completion> = ended
            .iter()
            .filter(|job| job.submitted_at >= working_since)
            .collect();
        let newest = ended.first()?.finished_at;
        let in_window = ended
            .iter()
            .take_while(|job| newest.duration_since(job.finished_at) <= WINDOW)
            .count();
        let taken = in_window.max(MIN_SAMPLES).min(ended.len()).min(MAX_SAMPLES);
        if taken < (in_flight as usize).clamp(MIN_COMPLETIONS, MAX_WAVE) {
            return None;
        }
        let (taken, before) = ended.split_at(taken);
        // From one end to another: what lies before the first of them and behind the last is part of a wave. Where nothing
        // was under way when the job before them ended, the time until something was does not count.
        let submitted = taken.iter().map(|job| job.submitted_at).min()?;
        let from = before
            .first()
            .map_or(submitted, |job| job.finished_at.max(submitted));
        let took: i64 = taken
            .iter()
            .map(|job| millis(job.submitted_at, job.finished_at))
            .sum();
        let usual = took / i64::try_from(taken.len()).ok()?;
        // Half as long again as usual without an end is no wave any more.
        let until = if millis(newest, now) > usual * 3 / 2 {
            now
        } else {
            newest
        };
        let millis = u64::try_from(millis(from, until))
            .ok()
            .filter(|millis| *millis > 0)?;
        Some(Self {
            ended: taken.len() as u64,
            millis,
        })
    }

    /// Tells how many jobs end in an hour.
    pub fn per_hour(&self) -> u64 {
        (self.ended * 3_600_000 + self.millis / 2) / self.millis
    }

    /// Tells how many seconds so many jobs take; `None` where there are none.
    pub fn seconds_for(&self, jobs: u64) -> Option<u64> {
        (jobs > 0).then(|| (jobs * self.millis).div_ceil(self.ended * 1000))
    }
}

fn millis(from: Timestamp, to: Timestamp) -> i64 {
    to.as_millisecond() - from.as_millisecond()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(1_000_000 + seconds).unwrap()
    }

    /// So many slots, each of which has a job of `takes` seconds after another, from `from` to `now`.
    fn slots(slots: i64, takes: i64, from: i64, now: i64) -> Vec<Completion> {
        let waves = (now - from) / takes;
        let ended = |n: i64| {
            let wave = waves - n / slots;
            Completion {
                submitted_at: at(from + (wave - 1) * takes),
                finished_at: at(from + wave * takes),
            }
        };
        (0..waves * slots)
            .take(MAX_SAMPLES + 1)
            .map(ended)
            .collect()
    }

    fn per_hour(ended: &[Completion], since: i64, in_flight: u32, now: i64) -> Option<u64> {
        Throughput::of(ended, at(since), in_flight, at(now)).map(|rate| rate.per_hour())
    }

    #[test]
    fn nothing_is_told_before_a_wave_is_over_and_the_truth_from_then_on() {
        let first = slots(10, 270, 0, 270);
        assert_eq!(per_hour(&first[3..], 0, 10, 270), None);
        for now in [270, 300, 500, 540, 800, 3000, 9000] {
            assert_eq!(
                per_hour(&slots(10, 270, 0, now), 0, 10, now),
                Some(133),
                "after {now} s"
            );
        }
        assert_eq!(per_hour(&[], 0, 10, 270), None);
    }

    #[test]
    fn long_predictions_and_short_ones_are_measured_alike() {
        assert_eq!(per_hour(&slots(10, 1200, 0, 7300), 0, 10, 7300), Some(30));
        assert_eq!(per_hour(&slots(4, 2, 0, 3600), 0, 4, 3600), Some(7200));
        assert_eq!(per_hour(&slots(1, 60, 0, 3600), 0, 1, 3600), Some(60));
    }

    #[test]
    fn what_was_under_way_before_the_run_and_the_time_without_work_do_not_count() {
        // Ten were left behind by a run that was killed.
        let left: Vec<Completion> = (0..10)
            .map(|_| Completion {
                submitted_at: at(-9000),
                finished_at: at(2),
            })
            .collect();
        assert_eq!(per_hour(&left, 0, 10, 60), None);
        // A run that waits for work had some, and hours later again.
        let ended = [slots(10, 270, 20_000, 20_600), slots(10, 270, 0, 600)].concat();
        assert_eq!(per_hour(&ended[..20], 0, 10, 20_600), Some(133));
        assert!(per_hour(&ended, 0, 10, 20_600).is_some_and(|rate| rate < 133));
    }

    #[test]
    fn a_standstill_slows_the_rate_down() {
        let ended = slots(10, 270, 0, 2700);
        assert_eq!(per_hour(&ended, 0, 10, 2700 + 300), Some(133));
        assert_eq!(per_hour(&ended, 0, 10, 2700 + 2700), Some(31));
        let rate = Throughput::of(&ended, at(0), 10, at(2700)).unwrap();
        assert_eq!(
            (rate.seconds_for(200), rate.seconds_for(0)),
            (Some(5400), None)
        );
    }
}
