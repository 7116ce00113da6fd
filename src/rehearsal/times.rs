//! How long predictions take.

use std::time::Duration;

/// A single known time stands for times up to so much shorter or longer; several leave less between them.
const SPREAD: f64 = 0.15;

/// No prediction is shorter than this part of the mean, however wide the distribution is.
const SHORTEST: f64 = 0.05;

/// How long predictions take, to be drawn from.
#[derive(Clone, Debug, PartialEq)]
pub enum TimeDistribution {
    /// As long as some did, or are said to: the more are known, the closer to one of them.
    Known(Vec<Duration>),
    /// Normally distributed.
    Normal {
        /// Their mean.
        mean: Duration,
        /// Their standard deviation.
        deviation: Duration,
    },
}

impl TimeDistribution {
    /// Draws one.
    pub fn draw(&self, random: &mut fastrand::Rng) -> Duration {
        match self {
            Self::Known(times) => {
                let Some(time) = random.choice(times) else {
                    return Duration::ZERO;
                };
                let spread = SPREAD / (times.len() as f64).sqrt();
                time.mul_f64(1.0 + spread * (2.0 * random.f64() - 1.0))
            }
            Self::Normal { mean, deviation } => {
                let (mean, deviation) = (mean.as_secs_f64(), deviation.as_secs_f64());
                Duration::from_secs_f64((mean + deviation * normal(random)).max(mean * SHORTEST))
            }
        }
    }
}

/// Draws from the standard normal distribution, by Box and Muller.
fn normal(random: &mut fastrand::Rng) -> f64 {
    let radius = (-2.0 * (1.0 - random.f64()).ln()).sqrt();
    radius * (std::f64::consts::TAU * random.f64()).cos()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn draws(times: &TimeDistribution) -> Vec<f64> {
        let mut random = fastrand::Rng::with_seed(1);
        (0..10_000)
            .map(|_| times.draw(&mut random).as_secs_f64())
            .collect()
    }

    #[test]
    fn normal_times_have_their_mean_and_deviation_and_are_never_nothing() {
        let drawn = draws(&TimeDistribution::Normal {
            mean: 10 * SECOND,
            deviation: 3 * SECOND,
        });
        let mean = drawn.iter().sum::<f64>() / 10_000.0;
        let variance = drawn.iter().map(|time| (time - mean).powi(2)).sum::<f64>() / 10_000.0;
        assert!(
            (9.9..10.1).contains(&mean) && (2.9..3.1).contains(&variance.sqrt()),
            "{mean} ± {variance}"
        );
        assert!(drawn.iter().all(|time| *time >= 0.5));
    }

    #[test]
    fn what_is_said_spreads_more_than_what_is_known_well() {
        let one = draws(&TimeDistribution::Known(vec![100 * SECOND]));
        assert!(
            one.iter().all(|time| (85.0..=115.0).contains(time))
                && one.iter().any(|time| *time > 110.0)
        );
        let many = draws(&TimeDistribution::Known(
            [50 * SECOND, 150 * SECOND].repeat(50),
        ));
        assert!(
            many.iter()
                .all(|time| (49.2..=50.8).contains(time) || (147.7..=152.3).contains(time))
        );
    }
}
