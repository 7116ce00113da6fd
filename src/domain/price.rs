//! What a clip should cost, what it did cost, and how we know.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::Money;

/// How one route is billed: a price for the first seconds, and one for each further second.
///
/// `$0.045 per second` is `{ per_second = "0.045" }`; `$0.28 for 5 s, $0.056 each further second` is
/// `{ base = "0.28", base_seconds = 5, per_second = "0.056" }`; a flat price is `{ base = "0.30" }`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PriceRule {
    /// Price of the first `base_seconds` seconds, in US dollars.
    pub base: Money,
    /// Seconds of video that `base` pays for.
    pub base_seconds: u32,
    /// Price of each further second of video, in US dollars.
    pub per_second: Money,
    /// Where the provider bills in credits: how many make a dollar.
    pub credits_per_usd: Option<u32>,
}

impl PriceRule {
    /// Prices a clip of the given length in seconds.
    pub fn estimate(&self, seconds: u32) -> Money {
        self.base
            + self
                .per_second
                .times(i64::from(seconds.saturating_sub(self.base_seconds)))
    }

    /// Settles what an attempt cost: what the provider said, else this rule. A report that cannot be read
    /// falls back to the rule as well, because booking nothing would open the budget.
    pub fn settle(&self, report: Option<&CostReport>, estimate: Money) -> Cost {
        let by_rule = Cost {
            amount: estimate,
            source: CostSource::Rule,
        };
        match report {
            None => by_rule,
            Some(CostReport::Usd(usd)) => Cost {
                amount: *usd,
                source: CostSource::Reported,
            },
            Some(CostReport::Units(units)) => match self.per_second.times_decimal(units) {
                Ok(amount) => Cost {
                    amount,
                    source: CostSource::Units,
                },
                Err(_) => by_rule,
            },
            Some(CostReport::Credits(credits)) => match self.credits_per_usd {
                Some(per_usd) => Cost {
                    amount: credits_to_usd(*credits, per_usd),
                    source: CostSource::Credits,
                },
                None => by_rule,
            },
        }
    }
}

fn credits_to_usd(credits: u64, per_usd: u32) -> Money {
    let per_usd = i128::from(per_usd.max(1));
    let micros = (i128::from(credits) * 1_000_000 + per_usd / 2) / per_usd;
    Money::from_micros(i64::try_from(micros).unwrap_or(i64::MAX))
}

/// What a provider's answer said of a prediction's cost, before it is made dollars.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CostReport {
    /// Dollars actually billed.
    Usd(Money),
    /// Billable units (seconds of video), a decimal as it stood in the answer.
    Units(String),
    /// Credits of the provider's own.
    Credits(u64),
}

impl CostReport {
    /// Says that the provider bills nothing.
    pub const ZERO: Self = Self::Usd(Money::ZERO);
}

/// What one attempt cost, and how we know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cost {
    /// The amount, in US dollars.
    pub amount: Money,
    /// Where the amount comes from.
    pub source: CostSource,
}

/// Where a cost comes from, best first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum CostSource {
    /// The provider said what it billed, in dollars.
    Reported,
    /// The provider said how many units it billed.
    Units,
    /// The provider said how many credits it took.
    Credits,
    /// The provider said nothing; the route's price rule did.
    Rule,
}

impl CostSource {
    /// Every source.
    pub const ALL: [Self; 4] = [Self::Reported, Self::Units, Self::Credits, Self::Rule];

    /// Tells the word used in the queue and in exports.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Reported => "reported",
            Self::Units => "units",
            Self::Credits => "credits",
            Self::Rule => "rule",
        }
    }
}

impl fmt::Display for CostSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for CostSource {
    type Err = String;

    fn from_str(word: &str) -> Result<Self, String> {
        Self::ALL
            .into_iter()
            .find(|source| source.as_str() == word)
            .ok_or_else(|| format!("unknown cost source `{word}`"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(base: i64, base_seconds: u32, per_second: i64) -> PriceRule {
        PriceRule {
            base: Money::from_micros(base),
            base_seconds,
            per_second: Money::from_micros(per_second),
            credits_per_usd: Some(2_000_000),
        }
    }

    #[test]
    fn both_published_price_rules_give_the_published_prices() {
        let v1 = rule(0, 0, 45_000);
        assert_eq!(
            (v1.estimate(5), v1.estimate(10)),
            (Money::from_micros(225_000), Money::from_micros(450_000))
        );
        let v21 = rule(280_000, 5, 56_000);
        assert_eq!(
            (v21.estimate(5), v21.estimate(10)),
            (Money::from_micros(280_000), Money::from_micros(560_000))
        );
    }

    #[test]
    fn a_cost_is_taken_from_the_best_source_there_is() {
        let rule = rule(0, 0, 45_000);
        let estimate = rule.estimate(5);
        let settled = |report: Option<CostReport>| {
            let cost = rule.settle(report.as_ref(), estimate);
            (cost.amount.micros(), cost.source)
        };
        assert_eq!(
            settled(Some(CostReport::Usd(Money::from_micros(7)))),
            (7, CostSource::Reported)
        );
        assert_eq!(
            settled(Some(CostReport::Units("10.0".into()))),
            (450_000, CostSource::Units)
        );
        assert_eq!(
            settled(Some(CostReport::Credits(472_500))),
            (236_250, CostSource::Credits)
        );
        assert_eq!(settled(None), (225_000, CostSource::Rule));
        assert_eq!(
            settled(Some(CostReport::Units("many".into()))),
            (225_000, CostSource::Rule)
        );
    }
}
