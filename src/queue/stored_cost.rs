//! The cost that a response to a submission reports, as a store keeps it.

use serde_json::json;

use crate::domain::{CostReport, Money};

/// Serializes a cost report as JSON; [`parse_cost`] reads it.
pub(super) fn cost_to_json(report: &CostReport) -> String {
    match report {
        CostReport::Usd(usd) => json!({ "usd_micros": usd.micros() }),
        CostReport::Units(units) => json!({ "units": units }),
        CostReport::Credits(credits) => json!({ "credits": credits }),
    }
    .to_string()
}

/// Parses a cost report as [`cost_to_json`] writes it; `None` if it is none.
pub(super) fn parse_cost(text: &str) -> Option<CostReport> {
    let report: serde_json::Value = serde_json::from_str(text).ok()?;
    let usd = report["usd_micros"]
        .as_i64()
        .map(|micros| CostReport::Usd(Money::from_micros(micros)));
    let units = report["units"]
        .as_str()
        .map(|units| CostReport::Units(units.to_owned()));
    usd.or(units)
        .or_else(|| report["credits"].as_u64().map(CostReport::Credits))
}
