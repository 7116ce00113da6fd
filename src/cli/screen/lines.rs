//! What the screen says: how far it has got, money, pace, providers, what a person changed, and what ended last.

use jiff::{SignedDuration, Timestamp};

use crate::cli::{render, width};
use crate::domain::{JobState, Money};
use crate::queue::{JobRecord, LiveSetting, ProviderStatus, SettingChange};

use super::Snapshot;
use super::painter::Size;
use super::text::{Line, Look, Text};

/// The longest bar, and the shortest that is worth its columns.
const BAR: std::ops::RangeInclusive<usize> = 8..=40;

/// The columns a name or an id may take.
const NAME: usize = 24;

/// Between things that stand on one line.
const AND: &str = " · ";

/// Says how things stand, in lines that are narrower than the terminal: some wrap a line that fills the last column.
pub(in crate::cli) fn screen(snapshot: &Snapshot, size: Size, color: bool) -> Vec<Line> {
    let columns = size.columns.saturating_sub(1);
    let mut texts = vec![head(snapshot, columns), money(snapshot), pace(snapshot)];
    texts.extend(providers(snapshot));
    texts.extend(changes(snapshot));
    texts.extend(latest(&snapshot.latest));
    texts
        .iter()
        .filter(|text| !text.is_empty())
        .map(|text| text.fit(columns, color))
        .collect()
}

/// Says the same on one line, for where nothing can be written over. The second part is what may change all the time.
pub(in crate::cli) fn plain(snapshot: &Snapshot) -> (String, String) {
    let in_use = used(snapshot).map(|provider| {
        let gate =
            gate(snapshot, provider).map_or(String::new(), |gate| format!(" {}", gate.plain()));
        Text::of(
            Look::Plain,
            format!("{} {}{gate}", provider.provider, slots(snapshot, provider)),
        )
    });
    let steady = Text::join(
        [counts(snapshot), money(snapshot)]
            .into_iter()
            .chain(changes(snapshot)),
        AND,
    );
    let in_progress = Text::join(
        [pace(snapshot)]
            .into_iter()
            .chain(in_use)
            .filter(|text| !text.is_empty()),
        AND,
    );
    (steady.plain(), in_progress.plain())
}

fn head(snapshot: &Snapshot, columns: usize) -> Text {
    let batches = &snapshot.status.batches;
    let name = match batches.as_slice() {
        [] => "the queue is empty".into(),
        [batch] => width::clipped(&batch.batch, NAME),
        several => format!("{} batches", several.len()),
    };
    let counts = counts(snapshot);
    // A space on each side.
    let left = columns.saturating_sub(width::columns(&name) + width::columns(&counts.plain()) + 2);
    let mut head = Text::of(Look::Strong, name).and(Look::Plain, " ");
    let (total, ended) = (total(snapshot), ended(snapshot));
    if left >= *BAR.start() && total > 0 {
        let length = left.min(*BAR.end());
        // Full when all is over, and not before.
        let full = usize::try_from(u128::from(ended) * length as u128 / u128::from(total))
            .unwrap_or(length);
        head = head
            .and(Look::Good, "━".repeat(full))
            .and(Look::Faint, "─".repeat(length - full));
        head = head.and(Look::Plain, " ");
    }
    Text::join([head, counts], "")
}

fn total(snapshot: &Snapshot) -> u64 {
    snapshot
        .status
        .batches
        .iter()
        .map(|batch| batch.total())
        .sum()
}

fn ended(snapshot: &Snapshot) -> u64 {
    total(snapshot)
        - snapshot
            .status
            .batches
            .iter()
            .map(|batch| batch.unfinished())
            .sum::<u64>()
}

fn counts(snapshot: &Snapshot) -> Text {
    let batches = &snapshot.status.batches;
    let count = |state| batches.iter().map(|batch| batch.count(state)).sum::<u64>();
    let held: u64 = batches.iter().map(|batch| batch.held).sum();
    let done = format!("{}/{} done", count(JobState::Succeeded), total(snapshot));
    let rest = [
        (count(JobState::Failed), Look::Bad, "failed"),
        (held, Look::Waits, "held"),
        (
            count(JobState::InDoubt).saturating_sub(held),
            Look::Waits,
            "in doubt",
        ),
        (count(JobState::Cancelled), Look::Faint, "cancelled"),
    ];
    let rest = rest.into_iter().filter(|(count, ..)| *count > 0);
    let rest = rest.map(|(count, look, word)| Text::of(look, format!("{count} {word}")));
    Text::join([Text::of(Look::Plain, done)].into_iter().chain(rest), AND)
}

fn money(snapshot: &Snapshot) -> Text {
    let (spent, reserved) = (snapshot.spent(), snapshot.reserved());
    let mut text = Text::of(
        Look::Plain,
        format!("{} spent, {} reserved", usd(spent), usd(reserved)),
    );
    if let Some(budget) = snapshot.budget() {
        // What was billed beyond its estimate, or before the budget was lowered, leaves nothing.
        let left = (budget - spent - reserved).max(Money::ZERO);
        text = text.and(
            Look::Plain,
            format!(", {} left of {}", usd(left), usd(budget)),
        );
    }
    text
}

/// To the cent: `bill` has the rest.
fn usd(money: Money) -> String {
    let cents = (money.micros() + 5_000).div_euclid(10_000);
    let sign = if cents < 0 { "-" } else { "" };
    let cents = cents.unsigned_abs();
    format!("{sign}${}.{:02}", cents / 100, cents % 100)
}

/// How fast it goes, and how long it will take. Nothing, while nothing says so.
fn pace(snapshot: &Snapshot) -> Text {
    let status = &snapshot.status;
    let left: u64 = status.batches.iter().map(|batch| batch.progressing()).sum();
    if status.working_since(snapshot.now).is_none() {
        let idle = "no run is going on: `overnight run` goes on";
        return if left > 0 {
            Text::of(Look::Waits, idle)
        } else {
            Text::default()
        };
    }
    let Some(throughput) = status.throughput(snapshot.now) else {
        return Text::default();
    };
    let rate_text = Text::of(
        Look::Plain,
        format!("{} an hour", render::count(throughput.per_hour(), "job")),
    );
    let stands_still =
        !status.providers.is_empty() && status.providers.iter().all(|one| one.paused.is_some());
    match throughput.seconds_for(left) {
        Some(seconds) if snapshot.pause().is_none() && !stands_still => {
            let left = format!("about {} left", render::span(rounded(seconds)));
            Text::join([rate_text, Text::of(Look::Plain, left)], AND)
        }
        _ => rate_text,
    }
}

/// No more exact than it can be known.
fn rounded(seconds: u64) -> u64 {
    let to = match seconds {
        0..90 => 10,
        90..5400 => 60,
        _ => 600,
    };
    seconds.div_ceil(to) * to
}

/// The providers that have something, or would have if they let it begin.
fn used(snapshot: &Snapshot) -> impl Iterator<Item = &ProviderStatus> {
    let is_used =
        |provider: &&ProviderStatus| provider.in_flight > 0 || gate(snapshot, provider).is_some();
    snapshot.status.providers.iter().filter(is_used)
}

fn slots(snapshot: &Snapshot, provider: &ProviderStatus) -> String {
    match snapshot.limits.get(&provider.provider) {
        Some(limit) => format!("{}/{limit}", provider.in_flight),
        None => provider.in_flight.to_string(),
    }
}

/// Says what keeps creates from a provider, if anything does.
pub(in crate::cli) fn hold_reason(provider: &ProviderStatus, now: Timestamp) -> Option<String> {
    match (&provider.paused, provider.creates_from) {
        (Some(reason), _) => Some(format!("paused: {reason}")),
        (None, Some(from)) if from > now => {
            let seconds = u64::try_from(from.duration_since(now).as_secs()).unwrap_or(0) + 1;
            Some(format!("no create for {}", render::span(seconds)))
        }
        _ => None,
    }
}

/// The same, on the one line there is room for; the first says what is wrong.
fn gate(snapshot: &Snapshot, provider: &ProviderStatus) -> Option<Text> {
    let hold_reason = hold_reason(provider, snapshot.now)?;
    Some(Text::of(Look::Waits, hold_reason.lines().next()?))
}

fn providers(snapshot: &Snapshot) -> Vec<Text> {
    let line = |provider: &ProviderStatus| {
        let text = format!(
            "{:<8}  {:>7} in flight",
            provider.provider.as_str(),
            slots(snapshot, provider)
        );
        let gate = gate(snapshot, provider);
        Text::join([Text::of(Look::Plain, text)].into_iter().chain(gate), ", ")
    };
    used(snapshot).map(line).collect()
}

/// What a person changed, and who.
fn changes(snapshot: &Snapshot) -> Vec<Text> {
    let pause = snapshot.pause().map(|pause| {
        let (by, since) = (&pause.set_by, clock(snapshot, pause.set_at));
        let text = format!("paused by {by}, since {since}; `overnight ctl resume` goes on");
        Text::of(Look::Waits, text)
    });
    let is_shown = |control: &&SettingChange| !matches!(control.setting, LiveSetting::Paused(_));
    let rest = snapshot
        .live_settings
        .iter()
        .filter(is_shown)
        .map(|control| {
            let by = format!(" ({}, {})", control.set_by, clock(snapshot, control.set_at));
            Text::of(Look::Plain, control.setting.to_string()).and(Look::Faint, by)
        });
    pause.into_iter().chain(rest).collect()
}

/// A time of today as a clock on the wall shows it, and another with its day.
fn clock(snapshot: &Snapshot, at: Timestamp) -> String {
    let is_of_today = snapshot.now.duration_since(at) < SignedDuration::from_hours(12);
    let form = if is_of_today { "%H:%M" } else { "%a %H:%M" };
    at.to_zoned(snapshot.zone.clone())
        .strftime(form)
        .to_string()
}

/// What ended last: which, how, how long it took, what it cost, and why where it failed.
fn latest(jobs: &[JobRecord]) -> Vec<Text> {
    let name = |job: &JobRecord| width::clipped(&job.id, NAME);
    let widest = jobs
        .iter()
        .map(|job| width::columns(&name(job)))
        .max()
        .unwrap_or(0);
    let line = |job: &JobRecord| {
        let look = if job.state == JobState::Failed {
            Look::Bad
        } else {
            Look::Good
        };
        let took = job
            .submitted_at
            .zip(job.finished_at)
            .map_or("-".into(), |(from, to)| took(from, to));
        let cost = job.cost_usd.map_or("-".into(), |cost| format!("${cost:#}"));
        let text = Text::of(Look::Faint, width::padded(&name(job), widest))
            .and(look, format!("  {:<9}", job.state.as_str()))
            .and(Look::Faint, format!("  {took:>11}  {cost:>7}"));
        match job.error.as_ref().filter(|_| job.state == JobState::Failed) {
            Some(reason) => text.and(Look::Plain, format!("  {reason}")),
            None => text,
        }
    };
    jobs.iter().map(line).collect()
}

/// `43 s`, `4 min 31 s`, `1 h 2 min`.
fn took(from: Timestamp, to: Timestamp) -> String {
    let seconds = u64::try_from(to.duration_since(from).as_secs()).unwrap_or(0);
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3600 => format!("{} min {} s", seconds / 60, seconds % 60),
        _ => format!("{} h {} min", seconds / 3600, seconds % 3600 / 60),
    }
}
