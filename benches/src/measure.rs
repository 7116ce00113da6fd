//! Comparisons of two alternately measured sides.
//!
//! Other work on a machine comes and goes within seconds, so both sides are measured in the same
//! round, and the median ratio of all rounds counts.

/// Medians over the rounds of a comparison.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Comparison {
    /// Median of our side.
    pub(crate) ours: f64,
    /// Median of the baseline.
    pub(crate) baseline: f64,
    /// Median of the ratio of each round, which is not the ratio of the medians.
    pub(crate) ratio: f64,
}

impl Comparison {
    /// Summarises rounds, with `ours / baseline` as the ratio. Both slices have one figure per
    /// round.
    pub(crate) fn from_rounds(ours: &[f64], baseline: &[f64]) -> Self {
        let ratios: Vec<f64> = ours
            .iter()
            .zip(baseline)
            .map(|(ours, baseline)| ours / baseline)
            .collect();
        Self {
            ours: median(ours),
            baseline: median(baseline),
            ratio: median(&ratios),
        }
    }

    /// Summarises rounds, with `baseline / ours` as the ratio: for times, of which less is better.
    pub(crate) fn from_rounds_inverted(ours: &[f64], baseline: &[f64]) -> Self {
        let swapped = Self::from_rounds(baseline, ours);
        Self {
            ours: swapped.baseline,
            baseline: swapped.ours,
            ratio: swapped.ratio,
        }
    }
}

/// Measures both sides in each of a number of rounds, alternating which of them goes first. Returns
/// the figures of each side.
pub(crate) fn measure_alternately(
    rounds: usize,
    mut ours: impl FnMut() -> anyhow::Result<f64>,
    mut baseline: impl FnMut() -> anyhow::Result<f64>,
) -> anyhow::Result<(Vec<f64>, Vec<f64>)> {
    let mut our_figures = Vec::new();
    let mut baseline_figures = Vec::new();
    for round in 0..rounds {
        if round % 2 == 0 {
            our_figures.push(ours()?);
            baseline_figures.push(baseline()?);
        } else {
            baseline_figures.push(baseline()?);
            our_figures.push(ours()?);
        }
    }
    Ok((our_figures, baseline_figures))
}

/// Returns the middle figure, or the mean of the middle two.
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
