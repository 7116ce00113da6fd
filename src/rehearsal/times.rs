//! The distribution of processing times.

use std::time::Duration;

/// Relative spread around a single sample: a draw is up to this fraction shorter or longer. With n
/// samples the spread is divided by the square root of n, because the samples themselves show more
/// of the distribution.
const SAMPLE_SPREAD: f64 = 0.15;

/// Minimum of a normally distributed time, as a fraction of the mean.
const MIN_FRACTION_OF_MEAN: f64 = 0.05;

/// A distribution of processing times.
#[derive(Clone, Debug, PartialEq)]
pub enum TimeDistribution {
    /// Close to a randomly chosen measured or configured time: the more there are, the closer. No
    /// samples give zero.
    Samples(Vec<Duration>),
    /// Normally distributed.
    Normal {
        /// The mean.
        mean: Duration,
        /// The standard deviation.
        deviation: Duration,
    },
}

impl TimeDistribution {
    /// Draws a processing time.
    pub fn draw(&self, random: &mut fastrand::Rng) -> Duration {
        match self {
            Self::Samples(samples) => {
                let Some(time) = random.choice(samples) else {
                    return Duration::ZERO;
                };
                let spread = SAMPLE_SPREAD / (samples.len() as f64).sqrt();
                time.mul_f64(1.0 + spread * (2.0 * random.f64() - 1.0))
            }
            Self::Normal { mean, deviation } => {
                let mean = mean.as_secs_f64();
                let deviation = deviation.as_secs_f64();
                Duration::from_secs_f64(
                    (mean + deviation * standard_normal(random)).max(mean * MIN_FRACTION_OF_MEAN),
                )
            }
        }
    }
}

/// Draws from the standard normal distribution, by the Box-Muller transform.
fn standard_normal(random: &mut fastrand::Rng) -> f64 {
    let radius = (-2.0 * (1.0 - random.f64()).ln()).sqrt();
    radius * (std::f64::consts::TAU * random.f64()).cos()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn draws(distribution: &TimeDistribution) -> Vec<f64> {
        let mut random = fastrand::Rng::with_seed(1);
        (0..10_000)
            .map(|_| distribution.draw(&mut random).as_secs_f64())
            .collect()
    }

    #[test]
    fn normal_times_have_the_given_mean_and_deviation_and_a_minimum() {
        let times = draws(&TimeDistribution::Normal {
            mean: 10 * SECOND,
            deviation: 3 * SECOND,
        });
        let mean = times.iter().sum::<f64>() / 10_000.0;
        let variance = times.iter().map(|time| (time - mean).powi(2)).sum::<f64>() / 10_000.0;
        assert!(
            (9.9..10.1).contains(&mean) && (2.9..3.1).contains(&variance.sqrt()),
            "{mean} ± {variance}"
        );
        assert!(times.iter().all(|time| *time >= 0.5));
    }

    #[test]
    fn a_single_sample_spreads_more_than_many_samples() {
        let single = draws(&TimeDistribution::Samples(vec![100 * SECOND]));
        assert!(
            single.iter().all(|time| (85.0..=115.0).contains(time))
                && single.iter().any(|time| *time > 110.0)
        );
        let many = draws(&TimeDistribution::Samples(
            [50 * SECOND, 150 * SECOND].repeat(50),
        ));
        assert!(
            many.iter()
                .all(|time| (49.2..=50.8).contains(time) || (147.7..=152.3).contains(time))
        );
    }
}
