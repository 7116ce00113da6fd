//! What may happen to a queue, and how likely it is.

use jiff::{SignedDuration, Timestamp};
use overnight::domain::{JobState, PredictionHandle, ProviderName, ProviderSignal};
use overnight::queue::{Capacity, Decision, ProviderLimits};
use proptest::prelude::*;
use proptest::sample::{Index, select};

/// Less than any clip costs, so that budgets end between two of them.
const CLIP: i64 = 200_000;

pub(super) const BATCHES: [&str; 2] = ["spring", "summer"];
/// Who may run a row, as loads name it.
pub(super) const VIAS: [&[ProviderName]; 4] = [
    &[ProviderName::Eachlabs],
    &[ProviderName::Fal, ProviderName::Eachlabs],
    &[
        ProviderName::Aimlapi,
        ProviderName::Fal,
        ProviderName::Eachlabs,
    ],
    &[ProviderName::Aimlapi],
];

#[derive(Clone, Debug)]
pub(super) enum Operation {
    /// Bit `n` of `prompts` is row `n`'s prompt: another bit makes it a changed row.
    Load {
        batch: usize,
        rows: u8,
        prompts: u8,
        via: usize,
        budget: Option<i64>,
    },
    Claim(Ask),
    /// A step's end: mostly one that its state allows, under a lease that mostly holds.
    Advance {
        lease: Index,
        is_late: bool,
        outcome: Index,
        chance: u8,
        fits: bool,
        due_in: i64,
        gate: Option<ProviderSignal>,
    },
    Release {
        lease: Index,
        is_late: bool,
    },
    Join {
        process: usize,
    },
    Renew {
        pool: Index,
    },
    Leave {
        pool: Index,
    },
    Reap {
        process: usize,
    },
    Unpause,
    /// A process dies, and with it its pools; another one opens the file.
    Reopen {
        process: usize,
    },
    Retry(Choice),
    /// The file of a job is found lost, which may not be a success any more.
    Redownload {
        job: Index,
    },
    Cancel(Choice),
    Resolve {
        job: Index,
        decision: Decision,
    },
    SetBudget {
        batch: usize,
        budget: Option<i64>,
    },
    Pass {
        millis: i64,
    },
}

/// Which jobs a person means.
#[derive(Clone, Debug)]
pub(super) struct Choice {
    pub(super) job: Option<Index>,
    pub(super) batch: Option<usize>,
    pub(super) state: Option<JobState>,
}

/// What a pool asks for.
#[derive(Clone, Debug)]
pub(super) struct Ask {
    pub(super) pool: Index,
    pub(super) batch: Option<usize>,
    pub(super) budget: Option<i64>,
    pub(super) capacity: Capacity,
    pub(super) providers: Vec<ProviderLimits>,
}

/// A budget that a few clips use up.
fn budget() -> impl Strategy<Value = Option<i64>> {
    prop::option::weighted(0.7, (0..16i64).prop_map(|clips| clips * CLIP))
}

fn choice() -> impl Strategy<Value = Choice> {
    (
        prop::option::weighted(0.8, any::<Index>()),
        prop::option::of(0..2usize),
        prop::option::of(select(&JobState::ALL)),
    )
        .prop_map(|(job, batch, state)| Choice { job, batch, state })
}

/// One of so few predictions that a provider seems to give one twice now and then.
pub(super) fn prediction_of(chance: u8) -> PredictionHandle {
    PredictionHandle::from_id(format!("p{}", chance % 48))
}

fn gate() -> impl Strategy<Value = Option<ProviderSignal>> {
    let later = |seconds: i64| start() + SignedDuration::from_secs(seconds);
    prop_oneof![
        30 => Just(None),
        1 => Just(Some(ProviderSignal::Healthy)),
        1 => (0..600i64).prop_map(move |seconds| Some(ProviderSignal::HoldSubmits { until: later(seconds) })),
        1 => (0..600i64).prop_map(move |seconds| Some(ProviderSignal::HoldAll { until: later(seconds) })),
        1 => any::<bool>().prop_map(|polls_too| Some(ProviderSignal::Suspend { reason: "no key".into(), polls_too })),
    ]
}

/// Some workers, of which some kinds of steps may use only a part.
fn capacity() -> impl Strategy<Value = Capacity> {
    let kinds = [0..4usize, 0..4usize, 0..4usize].map(prop::option::of);
    (0..7usize, kinds).prop_map(|(steps, kinds)| {
        let [polls, submits, downloads] = kinds.map(|kind| kind.unwrap_or(steps).min(steps));
        Capacity {
            steps,
            polls,
            submits,
            downloads,
            uploads: 0,
        }
    })
}

fn ask() -> impl Strategy<Value = Ask> {
    let providers = prop::sample::subsequence(ProviderName::ALL.to_vec(), 2..=3);
    let limits = [(1..5u32, 1..8u32), (1..5u32, 1..8u32), (1..5u32, 1..8u32)];
    (
        any::<Index>(),
        prop::option::weighted(0.2, 0..2usize),
        budget(),
        capacity(),
        providers,
        limits,
    )
        .prop_map(|(pool, batch, budget, capacity, providers, limits)| {
            let limits = providers.into_iter().zip(limits).map(
                |(provider, (in_flight, creates_per_minute))| ProviderLimits {
                    provider,
                    in_flight,
                    creates_per_minute,
                    has_storage: false,
                },
            );
            let budget = budget.map(|clips| clips * CLIP);
            Ask {
                pool,
                batch,
                budget,
                capacity,
                providers: limits.collect(),
            }
        })
}

pub(super) fn operation() -> impl Strategy<Value = Operation> {
    let often = || prop::bool::weighted(0.9);
    let rarely = || prop::bool::weighted(0.05);
    let due_in = select(vec![0, 0, 0, 0, 1_000, 30_000, 90_000]);
    let millis = select(vec![1, 400, 1_000, 20_000, 30_000, 59_999, 60_000, 120_000]);
    prop_oneof![
        3 => (0..2usize, 0..7u8, any::<u8>(), 0..VIAS.len(), budget()).prop_map(
            |(batch, rows, prompts, via, budget)| Operation::Load { batch, rows, prompts, via, budget }),
        20 => ask().prop_map(Operation::Claim),
        40 => (any::<Index>(), rarely(), any::<Index>(), any::<u8>(), often(), due_in, gate()).prop_map(
            |(lease, is_late, outcome, chance, fits, due_in, gate)|
                Operation::Advance { lease, is_late, outcome, chance, fits, due_in, gate }),
        3 => (any::<Index>(), rarely()).prop_map(|(lease, is_late)| Operation::Release { lease, is_late }),
        4 => (0..2usize).prop_map(|process| Operation::Join { process }),
        6 => any::<Index>().prop_map(|pool| Operation::Renew { pool }),
        2 => any::<Index>().prop_map(|pool| Operation::Leave { pool }),
        6 => (0..2usize).prop_map(|process| Operation::Reap { process }),
        4 => Just(Operation::Unpause),
        1 => (0..2usize).prop_map(|process| Operation::Reopen { process }),
        4 => choice().prop_map(Operation::Retry),
        3 => any::<Index>().prop_map(|job| Operation::Redownload { job }),
        2 => choice().prop_map(Operation::Cancel),
        4 => (any::<Index>(), prop_oneof![
                any::<u8>().prop_map(|chance| Decision::Adopt(prediction_of(chance))), Just(Decision::Resubmit), Just(Decision::Fail)])
            .prop_map(|(job, decision)| Operation::Resolve { job, decision }),
        2 => (0..2usize, budget()).prop_map(|(batch, budget)| Operation::SetBudget { batch, budget }),
        12 => millis.prop_map(|millis| Operation::Pass { millis }),
    ]
}

/// When every case begins.
pub(super) fn start() -> Timestamp {
    "2026-08-20T10:00:00Z".parse().expect("a time")
}
