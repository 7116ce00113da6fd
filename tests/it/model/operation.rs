//! The random operations and their weights.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use overnight::domain::{JobState, PredictionHandle, ProviderName, ProviderSignal};
use overnight::queue::{Capacity, Decision, ProviderLimits};
use proptest::prelude::*;
use proptest::sample::{Index, select};

/// Unit of budgets, in micro-dollars; less than any clip costs, so budgets run out between clips.
const BUDGET_UNIT: i64 = 200_000;

/// Number of distinct prediction ids; few enough that a provider sometimes returns one twice.
const PREDICTIONS: u8 = 48;

pub(super) const BATCHES: [&str; 2] = ["spring", "summer"];

/// The provider lists that loads give their rows, in order of preference.
pub(super) const PROVIDER_LISTS: [&[ProviderName]; 4] = [
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
    Load {
        /// Index in [`BATCHES`].
        batch: usize,
        rows: u8,
        /// Bit `n` is the prompt of row `n`; a load that flips it changes the row.
        prompts: u8,
        /// Index in [`PROVIDER_LISTS`].
        providers: usize,
        budget: Option<i64>,
    },
    Claim(ClaimParams),
    /// Records the outcome of a step.
    RecordOutcome {
        lease: Index,
        /// Whether the lease may be one that has been lost.
        allow_lost: bool,
        outcome: Index,
        /// Selects the prediction id and the billed cost.
        variant: u8,
        /// Whether the outcome is one that the job's state allows, if there is any.
        is_legal: bool,
        due_in_ms: i64,
        signal: Option<ProviderSignal>,
        /// Whether the pool holds the lease further, if the job is running.
        holds_leases: bool,
    },
    Release {
        lease: Index,
        /// Whether the lease may be one that has been lost.
        allow_lost: bool,
    },
    Join {
        process: usize,
    },
    Heartbeat {
        pool: Index,
    },
    Leave {
        pool: Index,
    },
    TakeOver {
        process: usize,
    },
    ReopenProviders,
    /// A process and its pools die, and another process opens the file.
    RestartProcess {
        process: usize,
    },
    Retry(SelectionParams),
    /// Requeues the download of any job, whether it has succeeded or not.
    RequeueDownload {
        job: Index,
    },
    Cancel(SelectionParams),
    Resolve {
        job: Index,
        decision: Decision,
    },
    SetBudget {
        batch: usize,
        budget: Option<i64>,
    },
    AdvanceClock {
        millis: i64,
    },
}

/// The jobs that a decision of the user selects: one job, else all that match.
#[derive(Clone, Debug)]
pub(super) struct SelectionParams {
    pub(super) job: Option<Index>,
    /// Index in [`BATCHES`].
    pub(super) batch: Option<usize>,
    pub(super) state: Option<JobState>,
}

/// What a pool requests in a claim.
#[derive(Clone, Debug)]
pub(super) struct ClaimParams {
    pub(super) pool: Index,
    /// Index in [`BATCHES`].
    pub(super) batch: Option<usize>,
    pub(super) budget: Option<i64>,
    pub(super) capacity: Capacity,
    pub(super) providers: Vec<ProviderLimits>,
}

/// A budget that a few clips use up.
fn budget() -> impl Strategy<Value = Option<i64>> {
    prop::option::weighted(0.7, (0..16i64).prop_map(|units| units * BUDGET_UNIT))
}

fn selection_params() -> impl Strategy<Value = SelectionParams> {
    (
        prop::option::weighted(0.8, any::<Index>()),
        prop::option::of(0..2usize),
        prop::option::of(select(&JobState::ALL)),
    )
        .prop_map(|(job, batch, state)| SelectionParams { job, batch, state })
}

/// Returns one of [`PREDICTIONS`] predictions.
pub(super) fn prediction(variant: u8) -> PredictionHandle {
    PredictionHandle::from_id(format!("p{}", variant % PREDICTIONS))
}

fn provider_signal() -> impl Strategy<Value = Option<ProviderSignal>> {
    let later = |seconds: i64| start_time() + SignedDuration::from_secs(seconds);
    let hold_submits = move |seconds| {
        Some(ProviderSignal::HoldSubmits {
            until: later(seconds),
        })
    };
    let hold_all = move |seconds| {
        Some(ProviderSignal::HoldAll {
            until: later(seconds),
        })
    };
    let suspend = |polls_too| {
        Some(ProviderSignal::Suspend {
            reason: "no key".into(),
            polls_too,
        })
    };
    prop_oneof![
        30 => Just(None),
        1 => Just(Some(ProviderSignal::Healthy)),
        1 => (0..600i64).prop_map(hold_submits),
        1 => (0..600i64).prop_map(hold_all),
        1 => any::<bool>().prop_map(suspend),
    ]
}

/// Capacity for up to six steps, some kinds of which may have a lower bound of their own.
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

fn claim_params() -> impl Strategy<Value = ClaimParams> {
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
                    history_delay: Duration::from_secs(900),
                    has_storage: false,
                },
            );
            ClaimParams {
                pool,
                batch,
                budget,
                capacity,
                providers: limits.collect(),
            }
        })
}

fn load() -> impl Strategy<Value = Operation> {
    (
        0..2usize,
        0..7u8,
        any::<u8>(),
        0..PROVIDER_LISTS.len(),
        budget(),
    )
        .prop_map(
            |(batch, rows, prompts, providers, budget)| Operation::Load {
                batch,
                rows,
                prompts,
                providers,
                budget,
            },
        )
}

fn record_outcome() -> impl Strategy<Value = Operation> {
    (
        any::<Index>(),
        prop::bool::weighted(0.05),
        any::<Index>(),
        any::<u8>(),
        prop::bool::weighted(0.9),
        select(vec![0, 0, 0, 0, 1_000, 30_000, 90_000]),
        provider_signal(),
    )
        .prop_map(
            |(lease, allow_lost, outcome, variant, is_legal, due_in_ms, signal)| {
                Operation::RecordOutcome {
                    lease,
                    allow_lost,
                    outcome,
                    variant,
                    is_legal,
                    due_in_ms,
                    signal,
                    holds_leases: variant % 3 == 0,
                }
            },
        )
}

fn release() -> impl Strategy<Value = Operation> {
    (any::<Index>(), prop::bool::weighted(0.05))
        .prop_map(|(lease, allow_lost)| Operation::Release { lease, allow_lost })
}

fn resolve() -> impl Strategy<Value = Operation> {
    let decision = prop_oneof![
        any::<u8>().prop_map(|variant| Decision::Adopt(prediction(variant))),
        Just(Decision::Resubmit),
        Just(Decision::Fail),
    ];
    (any::<Index>(), decision).prop_map(|(job, decision)| Operation::Resolve { job, decision })
}

fn set_budget() -> impl Strategy<Value = Operation> {
    (0..2usize, budget()).prop_map(|(batch, budget)| Operation::SetBudget { batch, budget })
}

pub(super) fn operation() -> impl Strategy<Value = Operation> {
    let millis = select(vec![1, 400, 1_000, 20_000, 30_000, 59_999, 60_000, 120_000]);
    prop_oneof![
        3 => load(),
        20 => claim_params().prop_map(Operation::Claim),
        40 => record_outcome(),
        3 => release(),
        4 => (0..2usize).prop_map(|process| Operation::Join { process }),
        6 => any::<Index>().prop_map(|pool| Operation::Heartbeat { pool }),
        2 => any::<Index>().prop_map(|pool| Operation::Leave { pool }),
        6 => (0..2usize).prop_map(|process| Operation::TakeOver { process }),
        4 => Just(Operation::ReopenProviders),
        1 => (0..2usize).prop_map(|process| Operation::RestartProcess { process }),
        4 => selection_params().prop_map(Operation::Retry),
        3 => any::<Index>().prop_map(|job| Operation::RequeueDownload { job }),
        2 => selection_params().prop_map(Operation::Cancel),
        4 => resolve(),
        2 => set_budget(),
        12 => millis.prop_map(|millis| Operation::AdvanceClock { millis }),
    ]
}

/// The time at which every case starts.
pub(super) fn start_time() -> Timestamp {
    "2026-08-20T10:00:00Z".parse().expect("a time")
}
