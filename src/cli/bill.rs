//! `bill`: what was paid, grouped by batch, day, model or route.

use serde_json::{Value, json};

use crate::queue::{BillGrouping, BillLine, BillSums};

use super::args::{BillArgs, Global};
use super::exit::Exit;
use super::render;
use super::setup::Setup;

/// Columns of a terminal that a batch's, model's or route's name may take.
const MAX_NAME_COLUMNS: usize = 64;

/// Prints the bill.
pub(super) async fn bill(global: &Global, args: BillArgs) -> anyhow::Result<Exit> {
    let setup = Setup::load(global)?;
    let lines = setup.app.queue()?.bill(args.by, args.batch).await?;
    let total: BillSums = lines.iter().map(|line| line.sums).sum();
    if args.json {
        render::print_json(&contract(args.by, &lines, &total)?)?;
    } else {
        render::print_table(&table(args.by, &lines, &total))?;
    }
    Ok(Exit::Success)
}

/// Returns the bill in its documented JSON form, which other programs read.
fn contract(by: BillGrouping, lines: &[BillLine], total: &BillSums) -> anyhow::Result<Value> {
    let line = |line: &BillLine| {
        let mut object = serde_json::to_value(line.sums)?;
        object[by.as_str()] = json!(line.name);
        Ok(object)
    };
    let lines: Vec<Value> = lines.iter().map(line).collect::<anyhow::Result<_>>()?;
    Ok(json!({ "by": by.as_str(), "lines": lines, "total": total }))
}

fn table(by: BillGrouping, lines: &[BillLine], total: &BillSums) -> Vec<Vec<String>> {
    let header = [
        by.as_str(),
        "attempts",
        "refused",
        "estimate",
        "cost",
        "not charged",
        "reserved",
        "at risk",
    ];
    let mut table = vec![header.map(String::from).to_vec()];
    table.extend(
        lines
            .iter()
            .map(|line| row(render::truncate(&line.name, MAX_NAME_COLUMNS), &line.sums)),
    );
    table.push(row("total".into(), total));
    table
}

fn row(name: String, sums: &BillSums) -> Vec<String> {
    let not_charged = match sums.refunds {
        0 => "-".into(),
        attempts => format!("{attempts} (${:#})", sums.refunded_usd),
    };
    vec![
        name,
        sums.attempts.to_string(),
        sums.refused.to_string(),
        format!("${:#}", sums.estimate_usd),
        format!("${:#}", sums.cost_usd),
        not_charged,
        format!("${:#}", sums.reserved_usd),
        format!("${:#}", sums.at_risk_usd),
    ]
}
