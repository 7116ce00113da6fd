//! Formats a snapshot as lines: progress, money, throughput, providers, settings that an operator
//! changed, and the jobs that finished last.

use std::ops::RangeInclusive;

use jiff::{SignedDuration, Timestamp};

use crate::cli::remedy::with_remedy;
use crate::cli::{format, width};
use crate::domain::{JobState, Money};
use crate::queue::{JobRecord, LiveSetting, ProviderStatus, RouteStatus, SettingChange};

use super::Snapshot;
use super::painter::Size;
use super::text::{Line, Style, Text};

/// Columns of the progress bar: fewer than the minimum are not worth a bar.
const BAR_COLUMNS: RangeInclusive<usize> = 8..=40;

/// Maximum columns of a batch name or a row id.
const MAX_NAME_COLUMNS: usize = 24;

/// Separates items on one line.
const SEPARATOR: &str = " · ";

/// The status as one line, for output that cannot be redrawn.
pub(in crate::cli) struct PlainStatus {
    /// Counts, money and changed settings. Another line is worth printing only when this changes.
    pub(in crate::cli) stable: String,
    /// Throughput and slots in use, which change all the time. May be empty.
    pub(in crate::cli) volatile: String,
}

/// Formats a snapshot as lines narrower than the terminal, because some terminals wrap a line that
/// fills the last column.
pub(in crate::cli) fn format_screen(snapshot: &Snapshot, size: Size, color: bool) -> Vec<Line> {
    let columns = size.columns.saturating_sub(1);
    let mut texts = vec![
        headline(snapshot, columns),
        money(snapshot),
        throughput(snapshot),
    ];
    texts.extend(providers(snapshot));
    texts.extend(setting_changes(snapshot));
    texts.extend(latest_jobs(&snapshot.latest));
    texts
        .iter()
        .filter(|text| !text.is_empty())
        .map(|text| text.fit(columns, color))
        .collect()
}

/// Formats a snapshot for output that cannot be redrawn.
pub(in crate::cli) fn format_plain(snapshot: &Snapshot) -> PlainStatus {
    let in_use = busy_providers(snapshot).map(|provider| {
        let hold = hold_text(snapshot, provider)
            .map_or(String::new(), |hold| format!(" {}", hold.to_plain_string()));
        let slots = format_slots(snapshot, provider);
        Text::new(Style::Plain, format!("{} {slots}{hold}", provider.provider))
    });
    let stable = Text::join(
        [job_counts(snapshot), money(snapshot)]
            .into_iter()
            .chain(setting_changes(snapshot)),
        SEPARATOR,
    );
    let volatile = Text::join(
        [throughput(snapshot)]
            .into_iter()
            .chain(in_use)
            .chain(held_routes(snapshot))
            .filter(|text| !text.is_empty()),
        SEPARATOR,
    );
    PlainStatus {
        stable: stable.to_plain_string(),
        volatile: volatile.to_plain_string(),
    }
}

fn headline(snapshot: &Snapshot, columns: usize) -> Text {
    let name = match snapshot.status.batches.as_slice() {
        [] => "the queue is empty".into(),
        [batch] => width::truncate(&batch.batch, MAX_NAME_COLUMNS),
        several => format!("{} batches", several.len()),
    };
    let counts = job_counts(snapshot);
    // The bar has a space on each side.
    let taken = width::display_width(&name) + width::display_width(&counts.to_plain_string()) + 2;
    let available = columns.saturating_sub(taken);
    let mut headline = Text::new(Style::Bold, name).with(Style::Plain, " ");
    let total = total_jobs(snapshot);
    let finished = finished_jobs(snapshot);
    if available >= *BAR_COLUMNS.start() && total > 0 {
        let length = available.min(*BAR_COLUMNS.end());
        // Rounded down: the bar is full only when every job is finished.
        let filled = u128::from(finished) * length as u128 / u128::from(total);
        let filled = usize::try_from(filled).unwrap_or(length);
        headline = headline
            .with(Style::Success, "━".repeat(filled))
            .with(Style::Dim, "─".repeat(length - filled))
            .with(Style::Plain, " ");
    }
    Text::join([headline, counts], "")
}

fn total_jobs(snapshot: &Snapshot) -> u64 {
    let batches = &snapshot.status.batches;
    batches.iter().map(|batch| batch.total_jobs()).sum()
}

fn finished_jobs(snapshot: &Snapshot) -> u64 {
    let batches = &snapshot.status.batches;
    let unfinished: u64 = batches.iter().map(|batch| batch.unfinished_jobs()).sum();
    total_jobs(snapshot) - unfinished
}

fn job_counts(snapshot: &Snapshot) -> Text {
    let batches = &snapshot.status.batches;
    let count = |state| snapshot.status.count(state);
    let held: u64 = batches.iter().map(|batch| batch.held).sum();
    let in_doubt = count(JobState::InDoubt).saturating_sub(held);
    let done = format!(
        "{}/{} done",
        count(JobState::Succeeded),
        total_jobs(snapshot)
    );
    let others = [
        (count(JobState::Failed), Style::Failure, "failed"),
        (held, Style::Warning, "held"),
        (in_doubt, Style::Warning, "in doubt"),
        (count(JobState::Cancelled), Style::Dim, "cancelled"),
    ];
    let others = others
        .into_iter()
        .filter(|(count, ..)| *count > 0)
        .map(|(count, style, label)| Text::new(style, format!("{count} {label}")));
    Text::join(
        [Text::new(Style::Plain, done)].into_iter().chain(others),
        SEPARATOR,
    )
}

fn money(snapshot: &Snapshot) -> Text {
    let spent = snapshot.spent();
    let reserved = snapshot.reserved();
    let mut text = format!(
        "{} spent, {} reserved",
        format_cents(spent),
        format_cents(reserved)
    );
    if let Some(budget) = snapshot.effective_budget() {
        // A job billed above its estimate, or a lowered budget, may leave less than nothing.
        let left = (budget - spent - reserved).max(Money::ZERO);
        let left = format!(", {} left of {}", format_cents(left), format_cents(budget));
        text.push_str(&left);
    }
    Text::new(Style::Plain, text)
}

/// Formats money rounded to the cent; `bill` shows exact amounts.
fn format_cents(money: Money) -> String {
    let cents = (money.micros() + 5_000).div_euclid(10_000);
    let sign = if cents < 0 { "-" } else { "" };
    let cents = cents.unsigned_abs();
    format!("{sign}${}.{:02}", cents / 100, cents % 100)
}

/// Formats the throughput and the time left; empty until enough jobs have finished to measure.
fn throughput(snapshot: &Snapshot) -> Text {
    let status = &snapshot.status;
    let remaining: u64 = status
        .batches
        .iter()
        .map(|batch| batch.progressing_jobs())
        .sum();
    if status.working_since(snapshot.now).is_none() {
        let no_run = "no run is active; start one with `overnight run`";
        return if remaining > 0 {
            Text::new(Style::Warning, no_run)
        } else {
            Text::default()
        };
    }
    let Some(throughput) = status.throughput(snapshot.now) else {
        return Text::default();
    };
    let rate = Text::new(
        Style::Plain,
        format!(
            "{} an hour",
            format::format_count(throughput.per_hour(), "job")
        ),
    );
    let all_paused = !status.providers.is_empty()
        && status
            .providers
            .iter()
            .all(|provider| provider.paused.is_some());
    match throughput.seconds_for(remaining) {
        Some(seconds) if !snapshot.settings.paused && !all_paused => {
            let left = format!("about {} left", format::format_duration(round_up(seconds)));
            Text::join([rate, Text::new(Style::Plain, left)], SEPARATOR)
        }
        _ => rate,
    }
}

/// Rounds a duration up to a precision that an estimate can have.
fn round_up(seconds: u64) -> u64 {
    let step = match seconds {
        0..90 => 10,
        90..5400 => 60,
        _ => 600,
    };
    seconds.div_ceil(step) * step
}

/// Returns the providers that have predictions in flight or to which submits are held.
fn busy_providers(snapshot: &Snapshot) -> impl Iterator<Item = &ProviderStatus> {
    snapshot
        .status
        .providers
        .iter()
        .filter(|provider| provider.in_flight > 0 || hold_reason(provider, snapshot.now).is_some())
}

fn format_slots(snapshot: &Snapshot, provider: &ProviderStatus) -> String {
    match snapshot.settings.in_flight(provider.provider) {
        Some(limit) => format!("{}/{limit}", provider.in_flight),
        None => provider.in_flight.to_string(),
    }
}

/// Returns why nothing is submitted to a provider now, or `None` if submits are not held.
pub(in crate::cli) fn hold_reason(provider: &ProviderStatus, now: Timestamp) -> Option<String> {
    let because = provider
        .hold_reason
        .as_ref()
        .map_or(String::new(), |reason| format!(": {reason}"));
    match (&provider.paused, provider.submits_from) {
        (Some(reason), _) => Some(format!("paused: {reason}")),
        (None, Some(from)) if from > now => Some(format!(
            "submits held for {}{because}",
            format_wait(from, now)
        )),
        (None, _) if provider.waits_for_end => {
            Some(format!("submits held until a prediction ends{because}"))
        }
        (None, _) if provider.waits_for_history => Some(format!(
            "submits held until the history shows a lost submission{because}"
        )),
        _ => None,
    }
}

/// Returns why nothing is submitted on a route now, or `None` if submits are not held.
pub(in crate::cli) fn route_hold_reason(route: &RouteStatus, now: Timestamp) -> Option<String> {
    if let Some(stop) = price_stop(route) {
        return Some(stop);
    }
    let gate = &route.gate;
    let reason = gate
        .hold_reason
        .as_ref()
        .filter(|_| gate.held_until > now)?;
    Some(format!(
        "submits held for {}: {reason}",
        format_wait(gate.held_until, now)
    ))
}

/// Returns why the price of a route stops its submits, or `None` if it does not.
pub(in crate::cli) fn price_stop(route: &RouteStatus) -> Option<String> {
    let price = route.gate.unaccepted_price()?;
    Some(format!(
        "stopped: it billed ${:#} where the catalog says ${:#}; `overnight ctl accept-price {}/{}` \
         accepts that",
        price.billed, price.priced, route.provider, route.wire_model
    ))
}

fn format_wait(until: Timestamp, now: Timestamp) -> String {
    let seconds = u64::try_from(until.duration_since(now).as_secs()).unwrap_or(0) + 1;
    format::format_duration(seconds)
}

/// Returns the first line of the hold reason, which says what is wrong; hints follow it.
fn hold_text(snapshot: &Snapshot, provider: &ProviderStatus) -> Option<Text> {
    let reason = hold_reason(provider, snapshot.now)?;
    Some(Text::new(Style::Warning, reason.lines().next()?))
}

fn providers(snapshot: &Snapshot) -> Vec<Text> {
    let format_provider = |provider: &ProviderStatus| {
        let name = provider.provider.as_str();
        let slots = format_slots(snapshot, provider);
        let text = Text::new(Style::Plain, format!("{name:<8}  {slots:>7} in flight"));
        let hold = hold_text(snapshot, provider);
        Text::join([text].into_iter().chain(hold), ", ")
    };
    busy_providers(snapshot)
        .map(format_provider)
        .chain(held_routes(snapshot))
        .collect()
}

/// Formats the routes to which submits are held.
fn held_routes(snapshot: &Snapshot) -> impl Iterator<Item = Text> {
    let format_route = |route: &RouteStatus| {
        let reason = route_hold_reason(route, snapshot.now)?;
        let text = format!("{}/{}: {reason}", route.provider, route.wire_model);
        Some(Text::new(Style::Warning, text.lines().next()?))
    };
    snapshot.status.routes.iter().filter_map(format_route)
}

/// Formats the settings that an operator changed, with who changed them and when.
fn setting_changes(snapshot: &Snapshot) -> Vec<Text> {
    let pause = snapshot.settings.pause().map(|pause| {
        let by = &pause.set_by;
        let since = format_time(snapshot, pause.set_at);
        let text = format!("paused by {by}, since {since}; run `overnight ctl resume`");
        Text::new(Style::Warning, text)
    });
    let others = snapshot
        .settings
        .changes()
        .iter()
        .filter(|change| !matches!(change.setting, LiveSetting::Paused(_)))
        .map(|change| format_change(snapshot, change));
    pause.into_iter().chain(others).collect()
}

fn format_change(snapshot: &Snapshot, change: &SettingChange) -> Text {
    let time = format_time(snapshot, change.set_at);
    let by = format!(" ({}, {time})", change.set_by);
    Text::new(Style::Plain, change.setting.to_string()).with(Style::Dim, by)
}

/// Formats a local time of day, with the weekday if it is 12 hours or more in the past.
fn format_time(snapshot: &Snapshot, at: Timestamp) -> String {
    let is_recent = snapshot.now.duration_since(at) < SignedDuration::from_hours(12);
    let format = if is_recent { "%H:%M" } else { "%a %H:%M" };
    at.to_zoned(snapshot.zone.clone())
        .strftime(format)
        .to_string()
}

/// Formats the jobs that finished last: id, state, elapsed time, cost, and the reason of a failure.
fn latest_jobs(jobs: &[JobRecord]) -> Vec<Text> {
    let names: Vec<String> = jobs
        .iter()
        .map(|job| width::truncate(&job.id, MAX_NAME_COLUMNS))
        .collect();
    let name_columns = names
        .iter()
        .map(|name| width::display_width(name))
        .max()
        .unwrap_or(0);
    let format_job = |(job, name): (&JobRecord, &String)| {
        let has_failed = job.state == JobState::Failed;
        let state_style = if has_failed {
            Style::Failure
        } else {
            Style::Success
        };
        let elapsed = job
            .submitted_at
            .zip(job.finished_at)
            .map_or("-".into(), |(from, to)| format_elapsed(from, to));
        let cost = job.cost_usd.map_or("-".into(), |cost| format!("${cost:#}"));
        let text = Text::new(Style::Dim, width::pad(name, name_columns))
            .with(state_style, format!("  {:<9}", job.state.as_str()))
            .with(Style::Dim, format!("  {elapsed:>11}  {cost:>7}"));
        match job.error.as_ref().filter(|_| has_failed) {
            Some(reason) => text.with(
                Style::Plain,
                format!("  {}", with_remedy(reason, job.remedy())),
            ),
            None => text,
        }
    };
    jobs.iter().zip(&names).map(format_job).collect()
}

/// Formats the time between two instants: `43 s`, `4 min 31 s`, `1 h 2 min`.
fn format_elapsed(from: Timestamp, to: Timestamp) -> String {
    let seconds = u64::try_from(to.duration_since(from).as_secs()).unwrap_or(0);
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3600 => format!("{} min {} s", seconds / 60, seconds % 60),
        _ => format!("{} h {} min", seconds / 3600, seconds % 3600 / 60),
    }
}
