//! Prints what the simulated runs of one manifest predict: time, cost, use of each provider, and
//! what would stop the run.

use std::time::Duration;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde_json::{Value, json};

use crate::queue::BudgetLimit;
use crate::rehearsal::{
    ProviderReport, RehearsalReport, RehearsalSummary, SimulatedHost, Spread, StopReason,
};

use super::render;

/// Prints a summary for people to read.
pub(super) fn print(batch: &str, summary: &RehearsalSummary<'_>) -> anyhow::Result<()> {
    let rows = render::format_count(summary.median().rows, "row");
    let runs = render::format_count(summary.runs() as u64, "simulated run");
    render::print_line(format_args!("{batch}: {rows}, {runs}"))?;
    let makespan = summary
        .makespan()
        .map(|makespan| render::format_duration(makespan.as_secs()));
    render::print_line(format_args!(
        "time  {}; started now, it would finish on {}",
        format_spread(&makespan),
        local_time(summary.ends_at())
    ))?;
    let cost = summary.cost().map(|cost| format!("${cost:#}"));
    render::print_line(format_args!("cost  {}", format_spread(&cost)))?;
    let header = [
        "provider",
        "slots",
        "busy",
        "clips",
        "polls per clip",
        "time per prediction",
    ];
    let mut table = vec![header.map(String::from).to_vec()];
    for (host, report) in summary.providers() {
        table.push(vec![
            report.provider.to_string(),
            format_slots(host),
            if report.clips == 0 {
                "-".into()
            } else {
                format!("{:.0} %", report.utilization() * 100.0)
            },
            report.clips.to_string(),
            format!("{:.1}", report.polls_per_clip()),
            format_prediction_time(host, report),
        ]);
    }
    render::print_table(&table)?;
    render::print_line(format_stop(summary))
}

/// Formats the mean time of a provider's predictions, and where it comes from.
fn format_prediction_time(host: &SimulatedHost, report: &ProviderReport) -> String {
    let Some(mean) = report.mean_processing() else {
        return "-".into();
    };
    let source = if host.is_measured {
        "measured"
    } else {
        "typical"
    };
    format!("{:.0} s, {source}", mean.as_secs_f64())
}

fn format_stop(summary: &RehearsalSummary<'_>) -> String {
    let RehearsalReport {
        clips,
        waiting,
        failed,
        ..
    } = summary.median();
    match summary.first_stop() {
        Some((report, StopReason::Budget(BudgetLimit { budget, .. }))) => format!(
            "would stop at the budget of ${budget:#} after {}; {} would wait",
            render::format_count(report.clips, "row"),
            report.waiting
        ),
        Some((_, StopReason::NoProvider)) => format!(
            "would stop after {}; {waiting} would wait, because none of these providers can \
             run them",
            render::format_count(*clips, "row")
        ),
        None if *failed > 0 => format!("nothing would stop it; {failed} would fail"),
        None => "nothing would stop it".into(),
    }
}

/// Prints a summary in its documented JSON form.
pub(super) fn print_json(batch: &str, summary: &RehearsalSummary<'_>) -> anyhow::Result<()> {
    let seconds = |duration: Duration| round_to_thousandths(duration.as_secs_f64());
    let providers = summary.providers().map(|(host, report)| {
        json!({
            "provider": report.provider,
            "slots": report.at_once,
            "in_flight": host.limits.in_flight,
            "creates_per_minute": host.limits.creates_per_minute,
            "busy": round_to_thousandths(report.utilization()),
            "clips": report.clips,
            "looks_per_clip": round_to_thousandths(report.polls_per_clip()),
            "refused_creates": report.refused,
            "worked_s": seconds(report.worked),
            "unseen_s": seconds(report.detection_lag),
            "makespan_s": seconds(report.makespan),
            "ideal_s": seconds(report.ideal),
            "times_measured": host.is_measured,
        })
    });
    let stop = summary.first_stop().map_or(Value::Null, |(report, stop)| {
        let (reason, budget) = match stop {
            StopReason::Budget(limit) => ("budget", Some(limit.budget)),
            StopReason::NoProvider => ("no_provider", None),
        };
        json!({
            "reason": reason,
            "budget_usd": budget,
            "after_rows": report.clips,
            "waiting_rows": report.waiting,
        })
    });
    let median = summary.median();
    render::print_json(&json!({
        "batch": batch,
        "rows": median.rows,
        "seeds": summary.runs(),
        "takes_s": summary.makespan().map(seconds),
        "ends_at": summary.ends_at(),
        "cost_usd": summary.cost(),
        "ideal_s": seconds(median.ideal),
        "failed_rows": median.failed,
        "providers": providers.collect::<Vec<_>>(),
        "stop": stop,
    }))
}

/// Formats how many predictions a provider runs at once, and how many more it queues.
fn format_slots(host: &SimulatedHost) -> String {
    let waiting = host.limits.in_flight.saturating_sub(host.at_once);
    if waiting > 0 {
        format!("{} (+{waiting} waiting)", host.at_once)
    } else {
        host.at_once.to_string()
    }
}

fn format_spread(spread: &Spread<String>) -> String {
    let Spread {
        median,
        least,
        most,
    } = spread;
    if least == most {
        median.clone()
    } else {
        format!("{median} ({least} to {most})")
    }
}

/// Formats a time in this machine's time zone, such as `Thu 20 Aug 22:25`.
fn local_time(at: Timestamp) -> String {
    at.to_zoned(TimeZone::system())
        .strftime("%a %-d %b %H:%M")
        .to_string()
}

/// Rounds to three decimals, which is all the precision that a simulated figure has.
fn round_to_thousandths(number: f64) -> f64 {
    (number * 1000.0).round() / 1000.0
}
