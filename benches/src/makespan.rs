//! When predictions are looked at: how much longer than the ideal a night takes, and how many looks a clip costs.
//!
//! Nights are played in virtual time by the worker's own code (`overnight::rehearsal`): a thousand rows, ten slots, a
//! hundred creates a minute, times drawn from a normal distribution. The ideal begins each prediction the instant a slot
//! is free, with calls that take no time. The script beside it is what people write in an afternoon: ten threads, each
//! of which creates, asks every 15 seconds, fetches the clip, and takes the next row.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use overnight::domain::{Backoff, ProviderName, RetryPolicy};
use overnight::queue::sqlite::SqliteQueue;
use overnight::queue::{ProviderLimits, Queue};
use overnight::rehearsal::{
    Latency, RehearsalReport, Scenario, SimulatedHost, TimeDistribution, simulate,
};
use overnight::worker::ProcessingTimes;
use tempfile::tempdir;
use tokio::sync::watch;

use crate::Scale;
use crate::fixture;
use crate::measure::{Pair, median};
use crate::plot::{self, Group};
use crate::table::{Goal, Table};

const SLOTS: u32 = 10;
const CREATES_PER_MINUTE: u32 = 100;

/// How often the script asks.
const SCRIPT_ASKS: Duration = Duration::from_secs(15);

/// Mean and standard deviation in seconds; the goals where the provider refuses what exceeds its slots (makespan, looks)
/// and where it lets that wait (makespan).
const TIMES: [(u64, u64, f64, f64, f64); 3] = [
    (270, 40, 1.015, 13.0, 1.005),
    (60, 10, 1.035, 8.0, 1.01),
    (10, 3, 1.12, 5.0, 1.04),
];

/// What is kept at a provider that lets creates wait, beyond what it works on.
const WAITING: u32 = 4;

pub(crate) fn measure(scale: Scale, table: &mut Table) -> anyhow::Result<()> {
    let (rows, seeds) = scale.pick((200, 2), (1000, 15));
    let mut groups = Vec::new();
    for (mean, deviation, refusing_goal, looks_goal, waiting_goal) in TIMES {
        let times = TimeDistribution::Normal {
            mean: Duration::from_secs(mean),
            deviation: Duration::from_secs(deviation),
        };
        let refusing = nights(ProviderName::Eachlabs, SLOTS, &times, rows, seeds)?;
        let waiting = nights(ProviderName::Fal, SLOTS + WAITING, &times, rows, seeds)?;
        let what = format!("pace: {rows} rows of {mean} ± {deviation} s, {seeds} seeds");
        let pair = against_ideal(&refusing);
        table.compare(
            format_args!("{what}: makespan, slots only"),
            pair,
            "s",
            Goal::AtMost(refusing_goal),
        );
        let looks: Vec<f64> = refusing
            .iter()
            .map(|night| night.providers[0].polls_per_clip())
            .collect();
        table.tell(
            format_args!("{what}: looks a clip"),
            median(&looks),
            "",
            Goal::AtMost(looks_goal),
        );
        let queued = against_ideal(&waiting);
        let what_waits = format_args!("{what}: makespan, {WAITING} more wait there");
        table.compare(what_waits, queued, "s", Goal::AtMost(waiting_goal));
        let script = script(&times, rows, seeds);
        table.compare(
            format_args!("{what}: makespan of the script"),
            script,
            "s",
            Goal::None,
        );
        groups.push(Group {
            mean,
            deviation,
            ratios: [pair.ratio, queued.ratio, script.ratio],
        });
    }
    if scale == Scale::Full {
        fs::write(
            Path::new(env!("CARGO_MANIFEST_DIR")).join("pace.svg"),
            plot::draw(&groups),
        )?;
    }
    Ok(())
}

fn nights(
    provider: ProviderName,
    in_flight: u32,
    times: &TimeDistribution,
    rows: u64,
    seeds: u64,
) -> anyhow::Result<Vec<RehearsalReport>> {
    (1..=seeds)
        .map(|seed| night(provider, in_flight, times, rows, seed))
        .collect()
}

fn night(
    provider: ProviderName,
    in_flight: u32,
    times: &TimeDistribution,
    rows: u64,
    seed: u64,
) -> anyhow::Result<RehearsalReport> {
    let dir = tempdir()?;
    let path = dir.path().join("night.db");
    fixture::load_for(
        &SqliteQueue::open_or_create(&path)?,
        provider,
        dir.path(),
        0..rows,
    )?;
    let queue = SqliteQueue::for_rehearsal(&path)?;
    let limits = ProviderLimits {
        provider,
        in_flight,
        creates_per_minute: CREATES_PER_MINUTE,
        has_storage: false,
    };
    let mut processing_times = ProcessingTimes::default();
    processing_times.poll_min = Duration::from_secs(2);
    // What is said of the route is right; how its times spread is for the plan to find out.
    if let TimeDistribution::Normal { mean, .. } = times {
        processing_times.typical = BTreeMap::from([(provider, *mean)]);
    }
    let night = Scenario {
        begins_at: fixture::now(),
        catalog: fixture::catalog()?,
        hosts: vec![SimulatedHost {
            limits,
            at_once: SLOTS,
        }],
        policy: RetryPolicy {
            backoff: Backoff {
                base: Duration::from_secs(1),
                cap: Duration::from_secs(60),
            },
            attempts: 3,
            downloads: 8,
        },
        processing_times,
        times: Some(times.clone()),
        latency: Latency::default(),
        workers: 16,
        budget: None,
    };
    let (_stop, stopped) = watch::channel(false);
    let queue: Arc<dyn Queue> = Arc::new(queue);
    let report = simulate(&Arc::new(night), queue, seed, stopped)?;
    anyhow::ensure!(
        report.clips == rows,
        "{} of {rows} clips were made",
        report.clips
    );
    Ok(report)
}

fn against_ideal(nights: &[RehearsalReport]) -> Pair {
    let of = |figure: fn(&RehearsalReport) -> Duration| -> Vec<f64> {
        nights
            .iter()
            .map(|night| figure(night).as_secs_f64())
            .collect()
    };
    Pair::of(&of(|night| night.makespan), &of(|night| night.ideal))
}

/// The script's nights, each over times of the same distribution.
fn script(times: &TimeDistribution, rows: u64, seeds: u64) -> Pair {
    let (mut ours, mut ideals) = (Vec::new(), Vec::new());
    for seed in 1..=seeds {
        let mut chance = fastrand::Rng::with_seed(seed);
        let drawn: Vec<Duration> = (0..rows).map(|_| times.draw(&mut chance)).collect();
        ours.push(script_night(&drawn).as_secs_f64());
        ideals.push(overnight::rehearsal::ideal(&drawn, SLOTS, CREATES_PER_MINUTE).as_secs_f64());
    }
    Pair::of(&ours, &ideals)
}

fn script_night(times: &[Duration]) -> Duration {
    let latency = Latency::default();
    let mut threads: BinaryHeap<Reverse<Duration>> =
        (0..SLOTS).map(|_| Reverse(Duration::ZERO)).collect();
    let mut last = Duration::ZERO;
    for time in times {
        let Some(Reverse(free_at)) = threads.pop() else {
            break;
        };
        let asks = time.as_secs_f64() / SCRIPT_ASKS.as_secs_f64();
        let until_seen = SCRIPT_ASKS.mul_f64(asks.ceil());
        let done = free_at + latency.create + until_seen + latency.look + latency.download;
        threads.push(Reverse(done));
        last = last.max(done);
    }
    last
}
