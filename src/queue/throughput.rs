//! Measures how fast jobs complete, and estimates how long the remaining jobs take.
//!
//! Jobs complete in waves: a run fills all slots at about the same time, so their predictions end
//! at about the same time. A measurement must span whole waves to mean anything.

use jiff::{SignedDuration, Timestamp};

/// The time span over which throughput is measured.
const WINDOW: SignedDuration = SignedDuration::from_mins(10);

/// Number of latest completions to use if the window has fewer: ten slots with predictions of
/// twenty minutes complete ten jobs at a time, and how many of them a window of ten minutes holds
/// is chance.
const MIN_SAMPLES: usize = 30;

/// Maximum number of completions that a measurement uses.
pub(crate) const MAX_SAMPLES: usize = 300;

/// Minimum number of completions for a measurement, however few jobs are in flight.
const MIN_COMPLETIONS: usize = 3;

/// Maximum number of completions that a measurement waits for, however many jobs are in flight.
const MAX_WAVE: usize = 100;

/// The submission and completion times of a finished job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Completion {
    /// When its last attempt was submitted.
    pub submitted_at: Timestamp,
    /// When the job succeeded or failed.
    pub finished_at: Timestamp,
}

/// A measured throughput: a number of completed jobs and the time they took.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Throughput {
    completed: u64,
    elapsed_ms: u64,
}

impl Throughput {
    /// Measures the throughput from the latest `completions`, newest first.
    ///
    /// Ignores jobs submitted before `working_since`: a resumed run finds clips that were rendered
    /// while no run was polling. Returns `None` until as many jobs have completed as are
    /// `in_flight`, but at least 3 and at most 100, because the first jobs of a wave do not show
    /// how long the wave takes.
    pub fn measure(
        completions: &[Completion],
        working_since: Timestamp,
        in_flight: u32,
        now: Timestamp,
    ) -> Option<Self> {
        let completions: Vec<&Completion> = completions
            .iter()
            .filter(|job| job.submitted_at >= working_since)
            .collect();
        let newest = completions.first()?.finished_at;
        let in_window = completions
            .iter()
            .take_while(|job| newest.duration_since(job.finished_at) <= WINDOW)
            .count();
        let sample_count = in_window
            .max(MIN_SAMPLES)
            .min(completions.len())
            .min(MAX_SAMPLES);
        if sample_count < (in_flight as usize).clamp(MIN_COMPLETIONS, MAX_WAVE) {
            return None;
        }
        let (samples, older) = completions.split_at(sample_count);
        // Measure from one completion to another: the time before the first sample and after the
        // last one is only a part of a wave. If nothing was in flight when the job before the
        // samples completed, start at the first submission instead, so that idle time does not
        // count.
        let first_submitted = samples.iter().map(|job| job.submitted_at).min()?;
        let from = older
            .first()
            .map_or(first_submitted, |job| job.finished_at.max(first_submitted));
        let total_ms: i64 = samples
            .iter()
            .map(|job| millis_between(job.submitted_at, job.finished_at))
            .sum();
        let average_ms = total_ms / i64::try_from(samples.len()).ok()?;
        // One and a half times the average without a completion is no gap between waves: work has
        // stalled, and the time since then counts.
        let until = if millis_between(newest, now) > average_ms * 3 / 2 {
            now
        } else {
            newest
        };
        let elapsed_ms = u64::try_from(millis_between(from, until))
            .ok()
            .filter(|millis| *millis > 0)?;
        Some(Self {
            completed: samples.len() as u64,
            elapsed_ms,
        })
    }

    /// Returns the number of jobs that complete in an hour, rounded to the nearest whole number.
    pub fn per_hour(&self) -> u64 {
        (self.completed * 3_600_000 + self.elapsed_ms / 2) / self.elapsed_ms
    }

    /// Returns the number of seconds that `jobs` jobs take, rounded up; `None` for no jobs.
    pub fn seconds_for(&self, jobs: u64) -> Option<u64> {
        (jobs > 0).then(|| (jobs * self.elapsed_ms).div_ceil(self.completed * 1000))
    }
}

fn millis_between(from: Timestamp, to: Timestamp) -> i64 {
    to.as_millisecond() - from.as_millisecond()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(1_000_000 + seconds).unwrap()
    }

    /// Returns the completions, newest first, of `slots` slots that each run jobs of `duration`
    /// seconds back to back from `from` to `now`.
    fn waves(slots: i64, duration: i64, from: i64, now: i64) -> Vec<Completion> {
        let waves = (now - from) / duration;
        let completion = |n: i64| {
            let wave = waves - n / slots;
            Completion {
                submitted_at: at(from + (wave - 1) * duration),
                finished_at: at(from + wave * duration),
            }
        };
        (0..waves * slots)
            .take(MAX_SAMPLES + 1)
            .map(completion)
            .collect()
    }

    fn per_hour(completions: &[Completion], since: i64, in_flight: u32, now: i64) -> Option<u64> {
        Throughput::measure(completions, at(since), in_flight, at(now))
            .map(|throughput| throughput.per_hour())
    }

    #[test]
    fn throughput_is_unknown_during_the_first_wave_and_exact_after_it() {
        let first = waves(10, 270, 0, 270);
        assert_eq!(per_hour(&first[3..], 0, 10, 270), None);
        for now in [270, 300, 500, 540, 800, 3000, 9000] {
            assert_eq!(
                per_hour(&waves(10, 270, 0, now), 0, 10, now),
                Some(133),
                "after {now} s"
            );
        }
        assert_eq!(per_hour(&[], 0, 10, 270), None);
    }

    #[test]
    fn long_and_short_predictions_are_both_measured_exactly() {
        assert_eq!(per_hour(&waves(10, 1200, 0, 7300), 0, 10, 7300), Some(30));
        assert_eq!(per_hour(&waves(4, 2, 0, 3600), 0, 4, 3600), Some(7200));
        assert_eq!(per_hour(&waves(1, 60, 0, 3600), 0, 1, 3600), Some(60));
    }

    #[test]
    fn jobs_of_an_earlier_run_and_idle_time_do_not_count() {
        // A killed run left ten jobs behind.
        let earlier_run: Vec<Completion> = (0..10)
            .map(|_| Completion {
                submitted_at: at(-9000),
                finished_at: at(2),
            })
            .collect();
        assert_eq!(per_hour(&earlier_run, 0, 10, 60), None);
        // A run that waits for new jobs had some, and got more hours later.
        let completions = [waves(10, 270, 20_000, 20_600), waves(10, 270, 0, 600)].concat();
        assert_eq!(per_hour(&completions[..20], 0, 10, 20_600), Some(133));
        assert!(per_hour(&completions, 0, 10, 20_600).is_some_and(|rate| rate < 133));
    }

    #[test]
    fn throughput_drops_while_work_is_stalled() {
        let completions = waves(10, 270, 0, 2700);
        assert_eq!(per_hour(&completions, 0, 10, 2700 + 300), Some(133));
        assert_eq!(per_hour(&completions, 0, 10, 2700 + 2700), Some(31));
        let throughput = Throughput::measure(&completions, at(0), 10, at(2700)).unwrap();
        assert_eq!(throughput.seconds_for(200), Some(5400));
        assert_eq!(throughput.seconds_for(0), None);
    }
}
