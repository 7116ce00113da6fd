//! Plans for views of every kind. Each property is a promise of docs/guarantees.md.

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use jiff::Timestamp;
use proptest::prelude::*;

use super::submissions::MAX_DEFERRED;
use super::*;
use crate::domain::{Catalog, Input, Job, JobCounts, JobId, JobState, Money, ProviderName};
use crate::policy::gate::ProviderGate;
use crate::policy::load;

static CATALOG: LazyLock<Arc<Catalog>> =
    LazyLock::new(|| Arc::new(crate::catalog::load(&[]).unwrap()));

/// The price of a five-second clip, at every provider.
const PRICE: Money = Money::from_micros(225_000);

/// Number of different inputs, so that some rows are identical.
const INPUTS: usize = 4;

fn now() -> Timestamp {
    "2026-08-20T22:00:00Z".parse().unwrap()
}

fn ago(seconds: i64) -> Timestamp {
    now() - jiff::SignedDuration::from_secs(seconds)
}

fn input(number: usize) -> Input {
    let text = format!(r#"{{"image":"https://e.com/{number}.png","prompt":"p"}}"#);
    serde_json::from_str(&text).unwrap()
}

fn queued(job_id: i64, number: usize, due: i64) -> QueuedJob {
    QueuedJob {
        job: Job {
            job_id: JobId(job_id),
            batch: "b".into(),
            row_key: format!("r{job_id}"),
            model: "kling-v1-standard".into(),
            input: input(number),
            folder: "/renders/b".into(),
            file_name: format!("r{job_id}.mp4"),
            absent_attempts: 0,
            progress: load::queued(ago(due)),
        },
        last_attempt_number: 0,
    }
}

/// Returns the request of an input at a provider.
fn prepared(number: usize, provider: ProviderName) -> PreparedRequest {
    let quote = CATALOG.quote("kling-v1-standard", &input(number), provider);
    quote.unwrap().into()
}

/// The numbers from which a view is built.
#[derive(Clone, Debug)]
struct Params {
    /// Slots, rate, slots in use, recent submissions, whether those are exact, and the gate.
    providers: Vec<(u32, u32, u32, u32, bool, u8)>,
    /// Budget in clips, spent and reserved clips, and the lanes.
    batches: Vec<(Option<u8>, u8, u8, Vec<LaneParams>)>,
    /// Provider and input of the unresolved requests.
    unresolved: Vec<(usize, usize)>,
    /// Step, provider and due time of the due steps.
    due: Vec<(u8, usize, i64)>,
    capacity: Capacity,
    budget: Option<u8>,
}

/// The providers as a bit set, and input and due time of each row.
type LaneParams = (u8, Vec<(usize, i64)>, bool);

fn params() -> impl Strategy<Value = Params> {
    // Mostly with room to submit, so that most plans have submissions.
    let provider = (0..7u32, 0..9u32, 0..3u32, 0..4u32, any::<bool>(), 0..20u8);
    let rows = prop::collection::vec((0..INPUTS, 0..3i64), 0..6);
    let lane = (1..8u8, rows, any::<bool>());
    let batch = (
        prop::option::weighted(0.3, 0..12u8),
        0..4u8,
        0..4u8,
        prop::collection::vec(lane, 0..3),
    );
    let capacity = (0..14usize, 0..6usize, 0..9usize, 0..4usize);
    (
        prop::collection::vec(provider, 3),
        prop::collection::vec(batch, 1..3),
        prop::collection::vec((0..3usize, 0..INPUTS), 0..5),
        prop::collection::vec((0..3u8, 0..3usize, 0..4i64), 0..6),
        capacity,
        prop::option::weighted(0.3, 0..20u8),
    )
        .prop_map(|(providers, batches, unresolved, due, capacity, budget)| {
            let (steps, polls, submits, downloads) = capacity;
            Params {
                providers,
                batches,
                unresolved,
                due,
                capacity: Capacity {
                    steps,
                    polls,
                    submits,
                    downloads,
                    uploads: 0,
                },
                budget,
            }
        })
}

fn clips(number: u8) -> Money {
    PRICE.saturating_mul(i64::from(number))
}

fn gate(kind: u8) -> ProviderGate {
    let soon = now() + jiff::SignedDuration::from_secs(5);
    let mut gate = ProviderGate::default();
    match kind {
        0 => gate.submits_held_until = soon,
        1 => gate.calls_held_until = soon,
        2 => gate.suspended = Some("no balance".into()),
        3 => {
            gate.suspended = Some("wrong key".into());
            gate.refuses_polls = true;
        }
        _ => {}
    }
    gate
}

impl Params {
    fn request(&self, view: &ClaimView) -> ClaimRequest {
        ClaimRequest {
            batch: None,
            budget: self.budget.map(clips),
            capacity: self.capacity,
            providers: view.providers.iter().map(|view| view.limits).collect(),
            catalog: Arc::clone(&CATALOG),
        }
    }

    fn view(&self) -> ClaimView {
        let providers = ProviderName::ALL.into_iter().zip(&self.providers);
        let providers = providers
            .map(
                |(provider, &(slots, rate, in_flight, recent, is_exact, kind))| ProviderView {
                    limits: ProviderLimits {
                        provider,
                        in_flight: slots,
                        creates_per_minute: rate,
                        history_delay: Duration::from_secs(900),
                        has_storage: false,
                    },
                    gate: gate(kind),
                    in_flight,
                    recent_submits: recent,
                    is_exact,
                },
            )
            .collect();
        let mut job_id = 0;
        let mut total_jobs = JobCounts::default();
        let mut batches = Vec::new();
        for (number, (budget, spent, reserved, lanes)) in self.batches.iter().enumerate() {
            let mut views: Vec<LaneView> = Vec::new();
            for (set, rows, is_complete) in lanes {
                let in_set = |index: usize| set & (1 << index) != 0;
                let names = ProviderName::ALL.into_iter().enumerate();
                let names = names.filter(|(index, _)| in_set(*index));
                let mut rows: Vec<QueuedJob> = rows
                    .iter()
                    .map(|(input, due)| {
                        job_id += 1;
                        queued(job_id, *input, *due)
                    })
                    .collect();
                rows.sort_by_key(|row| (row.job.progress.due_at, row.job.job_id));
                views.push(LaneView {
                    lane_id: 0,
                    providers: names.map(|(_, name)| name).collect(),
                    rows,
                    is_complete: *is_complete,
                    upcoming: Vec::new(),
                });
            }
            let mut jobs = JobCounts::default();
            let rows: usize = views.iter().map(|lane| lane.rows.len()).sum();
            jobs.set(JobState::Queued, rows as u64);
            total_jobs += jobs;
            batches.push(BatchView {
                batch_id: number as i64,
                name: format!("b{number}"),
                model: "kling-v1-standard".into(),
                folder: format!("/renders/b{number}"),
                budget: budget.map(clips),
                has_local_images: false,
                totals: BatchTotals {
                    spent: clips(*spent),
                    reserved: clips(*reserved),
                    at_risk: Money::ZERO,
                    jobs,
                },
                lanes: Some(views),
            });
        }
        let mut view = ClaimView::new(now(), batches, total_jobs, providers);
        view.unresolved = self
            .unresolved
            .iter()
            .map(|(provider, input)| {
                let provider = ProviderName::ALL[*provider];
                let prepared = prepared(*input, provider);
                UnresolvedRequest {
                    provider,
                    wire_model: prepared.quote.wire_model,
                    digest: prepared.digest,
                    is_held: *input % 2 == 0,
                }
            })
            .collect();
        view.due = self
            .due
            .iter()
            .zip(1000..)
            .map(|((step, provider, due), job_id)| DueStep {
                step: [Step::Poll, Step::Reconcile, Step::Download][usize::from(*step)],
                provider: ProviderName::ALL[*provider],
                due_at: ago(*due),
                job_id: JobId(job_id),
            })
            .collect();
        view
    }
}

/// Plans as a store does, which reads what is missing. A bound on recent submissions turns out to be
/// one too high, and lanes to have no more rows.
fn plan_fully(view: &mut ClaimView, request: &ClaimRequest) -> ClaimPlan {
    for _ in 0..20 {
        match plan(view, request) {
            Ok(plan) => return plan,
            Err(Missing::RecentSubmits(index)) => {
                let provider = &mut view.providers[index];
                provider.recent_submits = provider.recent_submits.saturating_sub(1);
                provider.is_exact = true;
            }
            Err(Missing::Lanes(batch)) => view.batches[batch].lanes = Some(Vec::new()),
            Err(Missing::Rows(batch, lane)) => {
                view.batches[batch].lanes.as_mut().unwrap()[lane].is_complete = true;
            }
        }
    }
    panic!("the plan asks for more and more");
}

fn count<T: Ord>(items: impl Iterator<Item = T>) -> BTreeMap<T, usize> {
    let mut counts = BTreeMap::new();
    items.for_each(|item| *counts.entry(item).or_default() += 1);
    counts
}

fn assert_money_stays_within_budgets(view: &ClaimView, request: &ClaimRequest, plan: &ClaimPlan) {
    let committed = |totals: &BatchTotals| totals.spent + totals.reserved;
    let mut reserved = vec![Money::ZERO; view.batches.len()];
    for planned in &plan.submissions {
        reserved[planned.batch] += planned.prepared.quote.price;
    }
    for (index, batch) in view.batches.iter().enumerate() {
        let before = committed(&batch.totals);
        assert_eq!(committed(&plan.totals[index]), before + reserved[index]);
        let may_reserve = reserved[index] == Money::ZERO
            || batch
                .budget
                .is_none_or(|budget| before + reserved[index] <= budget);
        assert!(may_reserve, "batch {index}");
    }
    let before: Money = view
        .batches
        .iter()
        .map(|batch| committed(&batch.totals))
        .sum();
    let planned: Money = reserved.into_iter().sum();
    let is_within = request
        .budget
        .is_none_or(|budget| before + planned <= budget);
    assert!(planned == Money::ZERO || is_within);
}

fn assert_provider_limits_hold(view: &ClaimView, plan: &ClaimPlan) {
    let submissions = count(plan.submissions.iter().map(|planned| planned.provider));
    for provider in &view.providers {
        let name = provider.limits.provider;
        let planned = submissions.get(&name).copied().unwrap_or(0) as u32;
        if planned == 0 {
            continue;
        }
        assert!(provider.gate.accepts_submits(view.now), "{name} is held");
        assert!(
            provider.in_flight + planned <= provider.limits.in_flight,
            "slots at {name}"
        );
        let recent = provider.recent_submits + planned;
        assert!(
            recent <= provider.limits.creates_per_minute,
            "rate at {name}"
        );
    }
}

fn assert_capacity_holds(capacity: Capacity, plan: &ClaimPlan) {
    let steps = count(plan.steps.iter().map(|due| due.step));
    let of = |step| steps.get(&step).copied().unwrap_or(0);
    assert!(plan.len() <= capacity.steps);
    assert!(of(Step::Poll) + of(Step::Reconcile) <= capacity.polls);
    assert!(of(Step::Download) <= capacity.downloads);
    assert!(plan.submissions.len() <= capacity.submits);
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_plan_stays_within_every_budget_limit_and_capacity(params in params()) {
        let mut view = params.view();
        let request = params.request(&view);
        let plan = plan_fully(&mut view, &request);
        assert_money_stays_within_budgets(&view, &request, &plan);
        assert_provider_limits_hold(&view, &plan);
        assert_capacity_holds(params.capacity, &plan);
    }

    #[test]
    fn no_two_identical_requests_are_unresolved_at_one_provider(params in params()) {
        let mut view = params.view();
        let request = params.request(&view);
        let plan = plan_fully(&mut view, &request);
        let planned = plan.submissions.iter().map(|planned| UnresolvedRequest {
            provider: planned.provider,
            wire_model: planned.prepared.quote.wire_model.clone(),
            digest: planned.prepared.digest,
            is_held: false,
        });
        let mut seen: Vec<UnresolvedRequest> = Vec::new();
        for request in planned {
            let held = UnresolvedRequest { is_held: true, ..request.clone() };
            let is_known = |other: &UnresolvedRequest| [&request, &held].contains(&other);
            prop_assert!(!view.unresolved.iter().any(is_known) && !seen.contains(&request));
            seen.push(request);
        }
    }

    #[test]
    fn each_job_is_planned_once_and_only_at_its_own_providers(params in params()) {
        let mut view = params.view();
        let request = params.request(&view);
        let plan = plan_fully(&mut view, &request);
        let steps = plan.steps.iter().map(|due| due.job_id);
        let submissions = plan.submissions.iter().map(|planned| planned.queued.job.job_id);
        let deferred = plan.deferred.iter().map(|(job_id, _)| *job_id);
        let jobs = count(steps.chain(submissions).chain(deferred));
        prop_assert!(jobs.values().all(|times| *times == 1), "{jobs:?}");
        for planned in &plan.submissions {
            let lanes = view.batches[planned.batch].lanes.as_ref().unwrap();
            let is_permitted = |lane: &LaneView| {
                lane.providers.contains(&planned.provider)
                    && lane.rows.iter().any(|row| row.job.job_id == planned.queued.job.job_id)
            };
            prop_assert!(lanes.iter().any(is_permitted));
        }
    }

    #[test]
    fn no_job_overtakes_another_of_its_lane_that_is_neither_submitted_nor_deferred(params in params()) {
        let mut view = params.view();
        let request = params.request(&view);
        let plan = plan_fully(&mut view, &request);
        let is_planned = |job: &QueuedJob| {
            let mut submitted = plan.submissions.iter().map(|planned| planned.queued.job.job_id);
            let mut deferred = plan.deferred.iter().map(|(job_id, _)| *job_id);
            submitted.any(|job_id| job_id == job.job.job_id) || deferred.any(|job_id| job_id == job.job.job_id)
        };
        for lane in view.batches.iter().flat_map(|batch| batch.lanes.iter().flatten()) {
            let planned = lane.rows.iter().take_while(|job| is_planned(job)).count();
            prop_assert!(lane.rows[planned..].iter().all(|job| !is_planned(job)));
        }
    }

    #[test]
    fn a_free_slot_that_is_left_has_no_payable_job_that_could_use_it(params in params()) {
        let mut view = params.view();
        let request = params.request(&view);
        let plan = plan_fully(&mut view, &request);
        let is_full = plan.len() == params.capacity.steps
            || plan.submissions.len() == params.capacity.submits;
        if is_full || plan.deferred.len() == MAX_DEFERRED {
            return Ok(());
        }
        let committed = |totals: &BatchTotals| totals.spent + totals.reserved;
        let total: Money = plan.totals.iter().map(committed).sum();
        for (index, batch) in view.batches.iter().enumerate() {
            let fits = |budget: Option<Money>, committed: Money, price: Money| {
                budget.is_none_or(|budget| committed + price <= budget)
            };
            for lane in batch.lanes.iter().flatten() {
                let is_left = |job: &&QueuedJob| {
                    plan.submissions.iter().all(|planned| planned.queued.job.job_id != job.job.job_id)
                        && plan.deferred.iter().all(|(job_id, _)| *job_id != job.job.job_id)
                };
                let could_submit = plan.providers.iter().any(|provider| {
                    let name = provider.limits.provider;
                    let price = prepared(0, name).quote.price;
                    lane.providers.contains(&name)
                        && provider.available_submits(view.now) > 0
                        && fits(batch.budget, committed(&plan.totals[index]), price)
                        && fits(request.budget, total, price)
                });
                let left = lane.rows.iter().find(is_left);
                prop_assert!(left.is_none() || !could_submit, "{left:?}");
            }
        }
    }

    #[test]
    fn due_steps_start_in_order_and_only_where_calls_are_permitted(params in params()) {
        let mut view = params.view();
        let request = params.request(&view);
        let plan = plan_fully(&mut view, &request);
        for step in [Step::Poll, Step::Reconcile, Step::Download] {
            let of_step = |due: &&DueStep| due.step == step;
            let started: Vec<&DueStep> = plan.steps.iter().filter(of_step).collect();
            let left: Vec<&DueStep> = view.due.iter().filter(of_step)
                .filter(|due| !plan.steps.contains(due))
                .filter(|due| step == Step::Download || view.providers.iter().any(|provider| {
                    provider.limits.provider == due.provider && provider.gate.accepts_polls(view.now)
                }))
                .collect();
            let last = started.iter().map(|due| due.due_at).max();
            prop_assert!(left.iter().all(|due| last.is_none_or(|last| due.due_at >= last)));
            for due in started.iter().filter(|_| step != Step::Download) {
                let provider = plan.provider(due.provider).unwrap();
                prop_assert!(provider.gate.accepts_polls(view.now));
            }
        }
    }
}
