//! What attempts have cost, summed by what a person asks for.

use std::iter::Sum;
use std::ops::Add;
use std::str::FromStr;

use jiff::Timestamp;
use serde::Serialize;

use crate::domain::Money;

/// What a bill has a line for each of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BillBy {
    /// A batch, also one that has cost nothing yet.
    Batch,
    /// The UTC day of submission.
    Day,
    /// A model.
    Model,
    /// A provider and its name for the model: `fal/fal-ai/kling-video/…`.
    Route,
}

impl BillBy {
    /// Every way to sum.
    pub const ALL: [Self; 4] = [Self::Batch, Self::Day, Self::Model, Self::Route];

    /// Tells the word used on the command line and in JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Batch => "batch",
            Self::Day => "day",
            Self::Model => "model",
            Self::Route => "route",
        }
    }
}

impl FromStr for BillBy {
    type Err = String;

    fn from_str(word: &str) -> Result<Self, String> {
        Self::ALL
            .into_iter()
            .find(|by| by.as_str() == word)
            .ok_or_else(|| {
                let words = Self::ALL.map(Self::as_str).join(", ");
                format!("a bill is by one of {words}, not by `{word}`")
            })
    }
}

/// A line of a bill.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BillLine {
    /// Which batch, day, model or route.
    pub name: String,
    /// Its sums.
    pub sums: BillSums,
}

/// Sums over attempts. Whatever the lines are by, all of them together are what the batches have spent, reserved and
/// at risk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct BillSums {
    /// Submissions a provider took, or may have taken.
    pub attempts: u64,
    /// Submissions that were turned away or proven absent: nothing was ever to be paid for them.
    pub refused: u64,
    /// What the settled attempts should have cost.
    pub estimate_usd: Money,
    /// What they did cost.
    pub cost_usd: Money,
    /// Settled attempts that cost nothing by the provider's word: predictions that failed unbilled.
    pub refunds: u64,
    /// What those should have cost.
    pub refunded_usd: Money,
    /// What open attempts may cost.
    pub reserved_usd: Money,
    /// The part of `reserved_usd` whose attempts are in doubt.
    pub at_risk_usd: Money,
    /// When the first of all was submitted.
    #[serde(skip)]
    pub from: Option<Timestamp>,
    /// When the last that is over was over.
    #[serde(skip)]
    pub until: Option<Timestamp>,
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
            // `None` is no time at all, and must not come before every other.
            from: self.from.into_iter().chain(other.from).min(),
            until: self.until.into_iter().chain(other.until).max(),
        }
    }
}

impl Sum for BillSums {
    fn sum<I: Iterator<Item = Self>>(sums: I) -> Self {
        sums.fold(Self::default(), Add::add)
    }
}
