//! The cost of attempts, summed by batch, day, model or route.

use std::iter::Sum;
use std::ops::Add;

use jiff::Timestamp;
use serde::Serialize;

use crate::domain::Money;
use crate::domain::names::name_variants;

/// What each line of a bill sums up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BillGrouping {
    /// A batch, including one that has cost nothing yet.
    Batch,
    /// The UTC day of the submission, as `2026-08-20`.
    Day,
    /// A model.
    Model,
    /// A provider and its name for the model: `fal/fal-ai/kling-video/…`.
    Route,
}

name_variants!(BillGrouping, "grouping", {
    Batch => "batch",
    Day => "day",
    Model => "model",
    Route => "route",
});

/// A line of a bill.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BillLine {
    /// The batch, day, model or route that the line sums up.
    pub name: String,
    /// The sums over its attempts.
    pub sums: BillSums,
}

/// Sums over attempts. Whatever a bill is grouped by, the `cost_usd`, `reserved_usd` and
/// `at_risk_usd` of its lines add up to the `spent`, `reserved` and `at_risk` of its batches.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct BillSums {
    /// Number of attempts that a provider accepted or may have accepted, or that are being
    /// submitted.
    pub attempts: u64,
    /// Number of attempts that cost nothing because no provider accepted them: refused, rejected,
    /// never sent, or absent.
    pub refused: u64,
    /// The estimates of the attempts whose cost is booked: done, failed and abandoned ones.
    pub estimate_usd: Money,
    /// The booked cost of these attempts, which is the `spent` of a batch. An abandoned attempt
    /// costs its estimate.
    pub cost_usd: Money,
    /// Number of attempts with a booked cost of zero, usually predictions that failed without being
    /// billed.
    pub refunds: u64,
    /// The estimates of the attempts counted in `refunds`.
    pub refunded_usd: Money,
    /// The price reserved by open attempts.
    pub reserved_usd: Money,
    /// The part of `reserved_usd` whose attempts are in doubt.
    pub at_risk_usd: Money,
    /// When the first attempt was submitted; `None` without attempts.
    #[serde(skip)]
    pub first_submitted_at: Option<Timestamp>,
    /// When the last finished attempt finished; `None` if none has.
    #[serde(skip)]
    pub last_finished_at: Option<Timestamp>,
}

impl Add for BillSums {
    type Output = Self;
    fn add(self, other: Self) -> Self {
        Self {
            attempts: self.attempts + other.attempts,
            refused: self.refused + other.refused,
            estimate_usd: self.estimate_usd + other.estimate_usd,
            cost_usd: self.cost_usd + other.cost_usd,
            refunds: self.refunds + other.refunds,
            refunded_usd: self.refunded_usd + other.refunded_usd,
            reserved_usd: self.reserved_usd + other.reserved_usd,
            at_risk_usd: self.at_risk_usd + other.at_risk_usd,
            // `Option`'s order puts `None` before every time, so `min` must skip it.
            first_submitted_at: self
                .first_submitted_at
                .into_iter()
                .chain(other.first_submitted_at)
                .min(),
            last_finished_at: self.last_finished_at.max(other.last_finished_at),
        }
    }
}

impl Sum for BillSums {
    fn sum<I: Iterator<Item = Self>>(sums: I) -> Self {
        sums.fold(Self::default(), Add::add)
    }
}
