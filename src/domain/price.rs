//! Prices of clips: the estimate before a submission, and the cost after it with its source.

use serde::{Deserialize, Serialize};

use super::Money;
use super::names::name_variants;

/// Largest cost of one clip that is believed, in US dollars. A larger one is a fault of the provider, and
/// the sums of a batch could not hold many of them.
const MAX_COST: Money = Money::from_micros(100_000 * 1_000_000);

/// How one route is billed: a base price for the first seconds, and a price for each further
/// second.
///
/// In a model's TOML file:
///
/// - $0.045 per second: `{ per_second = "0.045" }`
/// - $0.28 for 5 s, $0.056 for each further second:
///   `{ base = "0.28", base_seconds = 5, per_second = "0.056" }`
/// - $0.30 per clip: `{ base = "0.30" }`
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PriceRule {
    /// Price of the first `base_seconds` seconds, in US dollars.
    pub base: Money,
    /// Number of seconds of video that `base` includes.
    pub base_seconds: u32,
    /// Price of each further second of video, in US dollars.
    pub per_second: Money,
    /// Number of credits in a dollar; `None` if the provider does not bill in credits.
    pub credits_per_usd: Option<u32>,
}

impl PriceRule {
    /// Returns the price of a clip of the given length in seconds, in US dollars.
    pub fn estimate(&self, seconds: u32) -> Money {
        self.base
            + self
                .per_second
                .saturating_mul(i64::from(seconds.saturating_sub(self.base_seconds)))
    }

    /// Returns the cost of an attempt: as reported by the provider, else `estimate`, the price that
    /// was reserved for it.
    ///
    /// Reported units and credits are converted at this rule's rates. A report that cannot be
    /// converted to dollars, or is beyond $100,000, also falls back to the estimate, because booking
    /// nothing would let the batch exceed its budget.
    pub fn settle(&self, report: Option<&CostReport>, estimate: Money) -> Cost {
        let converted = report.and_then(|report| self.convert(report));
        converted
            .filter(|cost| cost.amount <= MAX_COST)
            .unwrap_or(Cost {
                amount: estimate,
                source: CostSource::Rule,
            })
    }

    /// Converts a report to dollars; `None` if this rule cannot.
    fn convert(&self, report: &CostReport) -> Option<Cost> {
        let (amount, source) = match report {
            CostReport::Usd(usd) => (*usd, CostSource::Reported),
            CostReport::Units(units) => {
                let amount = self.per_second.mul_decimal(units).ok();
                // Without a price per second the product would be nothing.
                let amount = amount.filter(|_| self.per_second > Money::ZERO)?;
                (amount, CostSource::Units)
            }
            CostReport::Credits(credits) => {
                let amount = credits_to_usd(*credits, self.credits_per_usd?);
                (amount, CostSource::Credits)
            }
        };
        Some(Cost { amount, source })
    }
}

/// Converts credits to US dollars, rounding half up to a micro-dollar and saturating.
fn credits_to_usd(credits: u64, per_usd: u32) -> Money {
    let per_usd = i128::from(per_usd.max(1));
    let micros = (i128::from(credits) * 1_000_000 + per_usd / 2) / per_usd;
    Money::from_micros(i64::try_from(micros).unwrap_or(i64::MAX))
}

/// The cost of a prediction as the provider reports it, before conversion to dollars.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CostReport {
    /// The amount billed, in US dollars.
    Usd(Money),
    /// Billed units (seconds of video), as the decimal that the response contained.
    Units(String),
    /// Billed credits, in the provider's own currency.
    Credits(u64),
}

impl CostReport {
    /// The report that nothing was billed.
    pub const ZERO: Self = Self::Usd(Money::ZERO);
}

/// The cost of one attempt, and its source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cost {
    /// The amount, in US dollars.
    pub amount: Money,
    /// How the amount is known.
    pub source: CostSource,
}

/// How a cost is known, from the most to the least reliable source.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum CostSource {
    /// The provider reported the dollars it billed.
    Reported,
    /// The provider reported the units it billed; converted at the route's price per second.
    Units,
    /// The provider reported the credits it billed; converted at the route's rate.
    Credits,
    /// The estimate that was reserved for the attempt, by the route's price rule at that time. Used
    /// if the provider reported nothing usable, and for abandoned attempts.
    Rule,
    /// Nothing: the attempt took the clip of an earlier one.
    Reused,
}

name_variants!(CostSource, "cost source", {
    Reported => "reported",
    Units => "units",
    Credits => "credits",
    Rule => "rule",
    Reused => "reused",
});

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
    fn price_rules_reproduce_the_published_prices() {
        let v1 = rule(0, 0, 45_000);
        assert_eq!(v1.estimate(5), Money::from_micros(225_000));
        assert_eq!(v1.estimate(10), Money::from_micros(450_000));
        let v21 = rule(280_000, 5, 56_000);
        assert_eq!(v21.estimate(5), Money::from_micros(280_000));
        assert_eq!(v21.estimate(10), Money::from_micros(560_000));
    }

    #[test]
    fn a_cost_comes_from_the_most_reliable_source_available() {
        let rule = rule(0, 0, 45_000);
        let estimate = rule.estimate(5);
        let settle = |report: Option<CostReport>| {
            let cost = rule.settle(report.as_ref(), estimate);
            (cost.amount.micros(), cost.source)
        };
        assert_eq!(
            settle(Some(CostReport::Usd(Money::from_micros(7)))),
            (7, CostSource::Reported)
        );
        assert_eq!(
            settle(Some(CostReport::Units("10.0".into()))),
            (450_000, CostSource::Units)
        );
        assert_eq!(
            settle(Some(CostReport::Credits(472_500))),
            (236_250, CostSource::Credits)
        );
        assert_eq!(settle(None), (225_000, CostSource::Rule));
        for absurd in [
            CostReport::Usd(Money::from_micros(9_200_000_000_000_000_000)),
            CostReport::Units("4e7".into()),
            CostReport::Credits(999_999_999_999_999),
        ] {
            assert_eq!(settle(Some(absurd)), (225_000, CostSource::Rule));
        }
        assert_eq!(
            settle(Some(CostReport::Units("many".into()))),
            (225_000, CostSource::Rule)
        );
    }

    #[test]
    fn units_cost_the_estimate_if_the_rule_has_no_price_per_second() {
        let estimate = Money::from_micros(300_000);
        let units = CostReport::Units("5".into());
        let per_clip = rule(300_000, 0, 0);
        // The rule of a route that is no longer in the catalogue.
        let unknown = PriceRule::default();
        for rule in [per_clip, unknown] {
            let cost = rule.settle(Some(&units), estimate);
            assert_eq!((cost.amount, cost.source), (estimate, CostSource::Rule));
        }
    }
}
