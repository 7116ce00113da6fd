//! What the status display shows, and that no line exceeds the terminal's width.

use std::time::Duration;

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

use super::painter::Size;
use super::{Snapshot, format_plain, format_screen};
use crate::cli::width;
use crate::domain::{JobId, JobState, Money, ProviderName};
use crate::queue::{
    BatchStatus, Completion, JobRecord, LiveSetting, PoolRecord, ProviderLimits, ProviderStatus,
    SettingChange, Status,
};
use crate::worker::LiveSettings;

fn now() -> Timestamp {
    "2026-08-20T22:00:00Z".parse().unwrap()
}

fn ago(seconds: i64) -> Timestamp {
    now() - SignedDuration::from_secs(seconds)
}

fn usd(micros: i64) -> Money {
    Money::from_micros(micros)
}

/// Returns a batch of 200 jobs after 45 minutes with ten slots and predictions of 270 seconds.
fn batch(name: &str) -> BatchStatus {
    let jobs = [
        (JobState::Succeeded, 100),
        (JobState::Failed, 3),
        (JobState::InDoubt, 2),
        (JobState::Running, 10),
        (JobState::Queued, 84),
        (JobState::Cancelled, 1),
    ];
    let completion = |index: i64| Completion {
        submitted_at: ago(index / 10 * 270 + 270),
        finished_at: ago(index / 10 * 270),
    };
    BatchStatus {
        batch: name.into(),
        model: "kling-v1-standard".into(),
        folder: "/w/renders/spring".into(),
        jobs: JobState::ALL
            .map(|state| (state, 0))
            .into_iter()
            .chain(jobs)
            .collect(),
        spent: usd(12_405_000),
        reserved: usd(1_800_000),
        at_risk: Money::ZERO,
        presumed: Money::ZERO,
        budget: None,
        held: 1,
        recent_completions: (0..100).map(completion).collect(),
    }
}

fn job(id: &str, state: JobState, error: Option<&str>) -> JobRecord {
    JobRecord {
        versions: Vec::new(),
        job_id: JobId(1),
        batch: "spring".into(),
        id: id.into(),
        line: 2,
        state,
        model: "kling-v1-standard".into(),
        provider: Some(ProviderName::Fal),
        prediction_id: None,
        attempts: 1,
        estimate_usd: usd(225_000),
        cost_usd: (state == JobState::Succeeded).then(|| usd(225_000)),
        cost_source: None,
        output: None,
        bytes: None,
        sha256: None,
        error: error.map(Into::into),
        queued_at: ago(9000),
        submitted_at: Some(ago(280)),
        finished_at: Some(ago(9)),
        input: serde_json::from_str("{}").unwrap(),
        due_at: None,
        attempt_state: None,
    }
}

fn provider(provider: ProviderName, in_flight: u32) -> ProviderStatus {
    ProviderStatus {
        provider,
        in_flight,
        paused: None,
        submits_from: None,
        hold_reason: None,
        waits_for_end: false,
        waits_for_history: false,
    }
}

/// Returns settings with ten slots at each provider.
fn settings(budget: Option<Money>) -> LiveSettings {
    let limits = ProviderName::ALL.map(|provider| ProviderLimits {
        provider,
        in_flight: 10,
        creates_per_minute: 60,
        history_delay: Duration::from_secs(900),
        has_storage: false,
    });
    LiveSettings::new(16, budget, limits.into())
}

fn snapshot() -> Snapshot {
    let pool = PoolRecord {
        host: "desk".into(),
        pid: 4711,
        started_at: ago(2700),
        expires_at: ago(-30),
    };
    let providers = vec![
        provider(ProviderName::Eachlabs, 10),
        provider(ProviderName::Fal, 0),
    ];
    Snapshot {
        now: now(),
        zone: TimeZone::UTC,
        status: Status {
            routes: Vec::new(),
            batches: vec![batch("spring")],
            providers,
            pools: vec![pool],
        },
        latest: vec![
            job("MUG-102", JobState::Succeeded, None),
            job("MUG-9", JobState::Failed, Some("the image cannot be read")),
        ],
        settings: settings(Some(usd(45_000_000))),
    }
}

fn change(setting: LiveSetting) -> SettingChange {
    SettingChange {
        setting,
        previous: None,
        set_by: "anna@desk, pid 4712".into(),
        set_at: ago(3360),
    }
}

fn screen_lines(snapshot: &Snapshot, columns: usize) -> Vec<String> {
    let lines = format_screen(snapshot, Size { rows: 24, columns }, false);
    lines.into_iter().map(|line| line.rendered).collect()
}

#[test]
fn an_active_run_takes_a_few_lines() {
    let expected = "\
spring ━━━━━━━━━━━━━━━━──────────────── 100/200 done · 3 failed · 1 held · 1 in doubt · 1 cancelled
$12.41 spent, $1.80 reserved, $30.80 left of $45.00
133 jobs an hour · about 43 min left
eachlabs    10/10 in flight
MUG-102  succeeded   4 min 31 s   $0.225
MUG-9    failed      4 min 31 s        -  the image cannot be read";
    assert_eq!(screen_lines(&snapshot(), 100).join("\n"), expected);
}

#[test]
fn held_submits_are_shown_with_the_reason_or_the_operator() {
    let mut snapshot = snapshot();
    snapshot.status.providers[0].paused =
        Some("the key was refused (401)\nhint: set EACHLABS_API_KEY".into());
    snapshot.status.providers[1].submits_from = Some(ago(-11));
    snapshot.settings.apply(vec![
        change(LiveSetting::Paused(true)),
        change(LiveSetting::Workers(8)),
    ]);
    let lines = screen_lines(&snapshot, 80);
    assert_eq!(
        lines[2..7],
        [
            // The time left is unknown while the runs are paused.
            "133 jobs an hour",
            "eachlabs    10/10 in flight, paused: the key was refused (401)",
            "fal          0/10 in flight, submits held for 12 s",
            "paused by anna@desk, pid 4712, since 21:04; run `overnight ctl resume`",
            "workers 8 (anna@desk, pid 4712, 21:04)",
        ]
    );
    let plain = format_plain(&snapshot);
    assert!(
        plain.stable.contains("paused by anna@desk"),
        "{}",
        plain.stable
    );
    assert!(
        plain.volatile.contains("fal 0/10 submits held for 12 s"),
        "{}",
        plain.volatile
    );
}

#[test]
fn settings_of_an_operator_replace_the_configured_ones() {
    let mut snapshot = snapshot();
    snapshot.settings.apply(vec![
        change(LiveSetting::InFlight(ProviderName::Eachlabs, 4)),
        change(LiveSetting::Budget(None)),
    ]);
    let lines = screen_lines(&snapshot, 80);
    assert_eq!(lines[1], "$12.41 spent, $1.80 reserved");
    assert!(
        lines[3].starts_with("eachlabs     10/4 in flight"),
        "{lines:?}"
    );
}

#[test]
fn open_jobs_without_an_active_run_show_how_to_start_one() {
    let mut snapshot = snapshot();
    snapshot.status.pools.clear();
    assert_eq!(
        screen_lines(&snapshot, 80)[2],
        "no run is active; start one with `overnight run`"
    );
}

#[test]
fn no_line_reaches_the_last_column() {
    let mut snapshot = snapshot();
    let long = "überlange-夏季目录-☁️👩‍👩‍👧-".repeat(9);
    snapshot.status.batches[0].batch.clone_from(&long);
    snapshot.status.providers = ProviderName::ALL.map(|name| provider(name, 1000)).into();
    for provider in &mut snapshot.status.providers {
        provider.paused = Some(long.clone());
    }
    snapshot.latest = [JobState::Succeeded, JobState::Failed]
        .map(|state| job(&long, state, Some(&long)))
        .into();
    snapshot.settings.apply(vec![
        change(LiveSetting::Paused(true)),
        change(LiveSetting::BatchBudget(long, None)),
    ]);
    for columns in [2, 10, 20, 40, 79, 80, 120, 200] {
        for color in [false, true] {
            for line in format_screen(&snapshot, Size { rows: 24, columns }, color) {
                let text = console::strip_ansi_codes(&line.rendered).into_owned();
                let text_columns = width::display_width(&text);
                assert!(text_columns < columns, "{columns}: {text}");
                assert_eq!(text_columns, line.columns, "{columns}: {text}");
                assert!(color || !line.rendered.contains('\u{1b}'));
            }
        }
    }
}

#[test]
fn color_does_not_change_the_text() {
    let snapshot = snapshot();
    let size = Size {
        rows: 24,
        columns: 80,
    };
    let uncolored: Vec<String> = format_screen(&snapshot, size, true)
        .into_iter()
        .map(|line| console::strip_ansi_codes(&line.rendered).into_owned())
        .collect();
    assert_eq!(uncolored, screen_lines(&snapshot, 80));
}

#[test]
fn several_batches_are_added_up() {
    let mut snapshot = snapshot();
    snapshot.settings.budget = None;
    snapshot.status.batches.push(batch("summer"));
    let lines = screen_lines(&snapshot, 80);
    assert!(lines[0].starts_with("2 batches "), "{lines:?}");
    assert_eq!(lines[1], "$24.81 spent, $3.60 reserved");
    for batch in &mut snapshot.status.batches {
        batch.budget = Some(usd(20_000_000));
    }
    assert_eq!(
        screen_lines(&snapshot, 80)[1],
        "$24.81 spent, $3.60 reserved, $11.59 left of $40.00"
    );
}

#[test]
fn an_empty_queue_is_shown_as_empty() {
    let mut snapshot = snapshot();
    snapshot.settings.budget = None;
    snapshot.status.batches.clear();
    let lines = screen_lines(&snapshot, 80);
    assert!(lines[0].starts_with("the queue is empty"), "{lines:?}");
}
