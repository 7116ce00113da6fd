//! When predictions are polled: how much longer than the ideal a run takes, and how many polls a
//! clip costs.
//!
//! Runs are simulated in virtual time with the worker's own code (`overnight::rehearsal`): a
//! thousand rows, ten slots, a hundred submissions a minute, and normally distributed processing
//! times. The ideal starts each prediction the instant a slot is free, with calls that take no
//! time. The script for comparison is what one writes in an afternoon: ten threads, each of which
//! submits a row, polls every 15 seconds, downloads the clip, and takes the next row.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use overnight::clock::SystemClock;
use overnight::domain::{Backoff, ProviderName, RetryPolicy};
use overnight::queue::ProviderLimits;
use overnight::queue::sqlite::SqliteQueue;
use overnight::rehearsal::{
    Latency, RehearsalReport, Scenario, SimulatedHost, TimeDistribution, simulate,
};
use overnight::worker::ProcessingTimes;
use tempfile::tempdir;
use tokio::sync::watch;

use crate::Scale;
use crate::fixture;
use crate::measure::{Comparison, median};
use crate::plot::{self, Group};
use crate::table::{Goal, Table};

/// Number of predictions that the provider runs concurrently.
const SLOTS: u32 = 10;

/// Maximum number of submissions per minute.
const SUBMITS_PER_MINUTE: u32 = 100;

/// Interval at which the script polls.
const SCRIPT_POLL_INTERVAL: Duration = Duration::from_secs(15);

/// Number of submissions kept queued at a provider that queues them, beyond its slots.
const QUEUED_AT_PROVIDER: u32 = 4;

/// A distribution of processing times, with its goals.
struct Workload {
    /// Mean, in seconds.
    mean: u64,
    /// Standard deviation, in seconds.
    deviation: u64,
    /// Maximum makespan divided by the ideal, if the provider refuses submissions beyond its slots.
    max_ratio_refusing: f64,
    /// Maximum number of polls per clip at that provider.
    max_polls_per_clip: f64,
    /// Maximum makespan divided by the ideal, if the provider queues submissions.
    max_ratio_queueing: f64,
}

const WORKLOADS: [Workload; 3] = [
    Workload {
        mean: 270,
        deviation: 40,
        max_ratio_refusing: 1.015,
        max_polls_per_clip: 13.0,
        max_ratio_queueing: 1.005,
    },
    Workload {
        mean: 60,
        deviation: 10,
        max_ratio_refusing: 1.035,
        max_polls_per_clip: 8.0,
        max_ratio_queueing: 1.01,
    },
    Workload {
        mean: 10,
        deviation: 3,
        max_ratio_refusing: 1.12,
        max_polls_per_clip: 5.0,
        max_ratio_queueing: 1.04,
    },
];

pub(crate) fn measure(scale: Scale, table: &mut Table) -> anyhow::Result<()> {
    let (rows, seeds) = scale.pick((200, 2), (1000, 15));
    let mut groups = Vec::new();
    for workload in WORKLOADS {
        let Workload {
            mean, deviation, ..
        } = workload;
        let times = TimeDistribution::Normal {
            mean: Duration::from_secs(mean),
            deviation: Duration::from_secs(deviation),
        };
        let in_flight = SLOTS + QUEUED_AT_PROVIDER;
        let refusing = simulate_runs(ProviderName::Eachlabs, SLOTS, &times, rows, seeds)?;
        let queueing = simulate_runs(ProviderName::Fal, in_flight, &times, rows, seeds)?;
        let name = format!("makespan: {rows} rows of {mean} ± {deviation} s, {seeds} seeds");

        let refusing_makespan = compare_with_ideal(&refusing);
        table.add_comparison(
            format_args!("{name}: provider refuses submissions beyond its slots"),
            refusing_makespan,
            "s",
            Goal::AtMost(workload.max_ratio_refusing),
        );
        let polls_per_clip: Vec<f64> = refusing
            .iter()
            .map(|report| report.providers[0].polls_per_clip())
            .collect();
        table.add_figure(
            format_args!("{name}: polls per clip"),
            median(&polls_per_clip),
            "",
            Goal::AtMost(workload.max_polls_per_clip),
        );
        let queueing_makespan = compare_with_ideal(&queueing);
        table.add_comparison(
            format_args!("{name}: provider queues {QUEUED_AT_PROVIDER} submissions"),
            queueing_makespan,
            "s",
            Goal::AtMost(workload.max_ratio_queueing),
        );
        let script_makespan = compare_script_with_ideal(&times, rows, seeds);
        table.add_comparison(
            format_args!("{name}: script"),
            script_makespan,
            "s",
            Goal::None,
        );
        groups.push(Group {
            mean,
            deviation,
            ratios: [
                refusing_makespan.ratio,
                queueing_makespan.ratio,
                script_makespan.ratio,
            ],
        });
    }
    if scale == Scale::Full {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("makespan.svg");
        fs::write(path, plot::draw(&groups))?;
    }
    Ok(())
}

/// Simulates one run for each seed.
fn simulate_runs(
    provider: ProviderName,
    in_flight: u32,
    times: &TimeDistribution,
    rows: u64,
    seeds: u64,
) -> anyhow::Result<Vec<RehearsalReport>> {
    (1..=seeds)
        .map(|seed| simulate_run(provider, in_flight, times, rows, seed))
        .collect()
}

fn simulate_run(
    provider: ProviderName,
    in_flight: u32,
    times: &TimeDistribution,
    rows: u64,
    seed: u64,
) -> anyhow::Result<RehearsalReport> {
    let dir = tempdir()?;
    let path = dir.path().join("queue.db");
    fixture::load_for(
        &SqliteQueue::open_or_create(&path, Arc::new(SystemClock))?,
        provider,
        dir.path(),
        0..rows,
    )?;
    let limits = ProviderLimits {
        provider,
        in_flight,
        creates_per_minute: SUBMITS_PER_MINUTE,
        history_delay: Duration::from_secs(900),
        has_storage: false,
    };
    let mut processing_times = ProcessingTimes::default();
    processing_times.poll_min = Duration::from_secs(2);
    // The typical time is configured correctly; the spread has to be learned during the run.
    if let TimeDistribution::Normal { mean, .. } = times {
        processing_times.typical = BTreeMap::from([(provider, *mean)]);
    }
    let scenario = Scenario {
        starts_at: fixture::now(),
        catalog: fixture::catalog()?,
        hosts: vec![SimulatedHost {
            limits,
            at_once: SLOTS,
            is_measured: false,
        }],
        policy: RetryPolicy {
            backoff: Backoff {
                base: Duration::from_secs(1),
                cap: Duration::from_secs(60),
            },
            max_attempts: 3,
            max_downloads: 8,
            ..RetryPolicy::default()
        },
        processing_times,
        times: Some(times.clone()),
        latency: Latency::default(),
        workers: 16,
        budget: None,
    };
    let (_stop, stopped) = watch::channel(false);
    let open = move |clock| Ok(Arc::new(SqliteQueue::for_rehearsal(&path, clock)?) as _);
    let report = simulate(&Arc::new(scenario), open, seed, stopped)?;
    anyhow::ensure!(
        report.clips == rows,
        "{} of {rows} jobs succeeded",
        report.clips
    );
    Ok(report)
}

fn compare_with_ideal(reports: &[RehearsalReport]) -> Comparison {
    let seconds = |duration: fn(&RehearsalReport) -> Duration| -> Vec<f64> {
        reports
            .iter()
            .map(|report| duration(report).as_secs_f64())
            .collect()
    };
    Comparison::from_rounds(
        &seconds(|report| report.makespan),
        &seconds(|report| report.ideal),
    )
}

/// Compares the script with the ideal, with new times of the same distribution for each seed.
fn compare_script_with_ideal(times: &TimeDistribution, rows: u64, seeds: u64) -> Comparison {
    let mut makespans = Vec::new();
    let mut ideals = Vec::new();
    for seed in 1..=seeds {
        let mut rng = fastrand::Rng::with_seed(seed);
        let times: Vec<Duration> = (0..rows).map(|_| times.draw(&mut rng)).collect();
        let ideal = overnight::rehearsal::ideal_makespan(&times, SLOTS, SUBMITS_PER_MINUTE);
        makespans.push(script_makespan(&times).as_secs_f64());
        ideals.push(ideal.as_secs_f64());
    }
    Comparison::from_rounds(&makespans, &ideals)
}

/// Returns the makespan of the script for the given processing times.
fn script_makespan(times: &[Duration]) -> Duration {
    let latency = Latency::default();
    let mut threads_free_at: BinaryHeap<Reverse<Duration>> =
        (0..SLOTS).map(|_| Reverse(Duration::ZERO)).collect();
    let mut makespan = Duration::ZERO;
    for time in times {
        let Some(Reverse(free_at)) = threads_free_at.pop() else {
            break;
        };
        let polls = (time.as_secs_f64() / SCRIPT_POLL_INTERVAL.as_secs_f64()).ceil();
        let until_seen = SCRIPT_POLL_INTERVAL.mul_f64(polls);
        let done_at = free_at + latency.create + until_seen + latency.look + latency.download;
        threads_free_at.push(Reverse(done_at));
        makespan = makespan.max(done_at);
    }
    makespan
}
