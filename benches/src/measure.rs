//! Two things measured in turn. Other work comes and goes on a machine within seconds, so what is compared is measured
//! in one round, and of all rounds the median ratio counts.

/// Medians of what was measured in turn.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pair {
    /// Of our side.
    pub(crate) ours: f64,
    /// Of the other.
    pub(crate) against: f64,
    /// Of `ours / against` of each round; not the ratio of the medians.
    pub(crate) ratio: f64,
}

impl Pair {
    /// Puts rounds together: both lists have one figure a round.
    pub(crate) fn of(ours: &[f64], against: &[f64]) -> Self {
        let ratios: Vec<f64> = ours
            .iter()
            .zip(against)
            .map(|(ours, against)| ours / against)
            .collect();
        Self {
            ours: median(ours),
            against: median(against),
            ratio: median(&ratios),
        }
    }

    /// The same with the ratio turned round, for times of which less is better.
    pub(crate) fn inverted(ours: &[f64], against: &[f64]) -> Self {
        let Self {
            ours: against,
            against: ours,
            ratio,
        } = Self::of(against, ours);
        Self {
            ours,
            against,
            ratio,
        }
    }
}

/// Measures both sides so many times, and lets them take turns in going first.
pub(crate) fn in_turn(
    rounds: usize,
    mut ours: impl FnMut() -> anyhow::Result<f64>,
    mut against: impl FnMut() -> anyhow::Result<f64>,
) -> anyhow::Result<(Vec<f64>, Vec<f64>)> {
    let (mut our, mut others) = (Vec::new(), Vec::new());
    for round in 0..rounds {
        if round % 2 == 0 {
            our.push(ours()?);
            others.push(against()?);
        } else {
            others.push(against()?);
            our.push(ours()?);
        }
    }
    Ok((our, others))
}

/// The middle one, or the mean of the middle two.
pub(crate) fn median(figures: &[f64]) -> f64 {
    let mut sorted = figures.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    if sorted.len() % 2 == 1 {
        sorted[middle]
    } else {
        (sorted[middle - 1] + sorted[middle]) / 2.0
    }
}
