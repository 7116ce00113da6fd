//! What remains after a claim, and when more can be claimed.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};

use crate::domain::{JobState, ProviderName};
use crate::policy::route_gate::RouteGate;

use super::claim_plan::ClaimPlan;
use super::placement::PARKED_FROM;
use super::request::{Backlog, BudgetLimit, ClaimRequest, Step};
use super::view::{ClaimView, DueStep, ProviderView};

/// The window of the submission rate, `creates_per_minute`.
pub(super) const RATE_WINDOW: SignedDuration = SignedDuration::from_secs(60);

/// What the rest of the queue looks like after a claim was written.
#[derive(Clone, Debug, Default)]
pub struct BacklogView {
    /// Number of jobs in doubt of the requested batches that wait for the user's decision.
    pub held: u64,
    /// Whether a job of the [polled batch](ClaimView::polled_batch) or an upload is leased, by any
    /// pool.
    pub has_leased: bool,
    /// When the next step of each kind at each provider is due, after
    /// [`ProviderView::due_after`]; those that are due already and could be claimed are left out.
    pub next_steps: Vec<DueStep>,
    /// When the first job of each lane of the requested batches is due.
    pub next_submits: Vec<NextSubmit>,
    /// When the oldest submission that counts against the rate was answered, for the providers
    /// whose rate is used up; none if all of them are still unanswered.
    pub oldest_submits: BTreeMap<ProviderName, Timestamp>,
    /// When the first unleased upload to each provider is due.
    pub next_uploads: BTreeMap<ProviderName, Timestamp>,
}

/// When the first job of a lane is due.
#[derive(Clone, Debug)]
pub struct NextSubmit {
    /// Name of the model that the batch requests.
    pub model: String,
    /// The lane's providers.
    pub providers: Vec<ProviderName>,
    /// When its first job is due.
    pub due_at: Timestamp,
}

impl ProviderView {
    /// Returns whether the submissions of the last minute use up the provider's rate.
    pub fn is_rate_used_up(&self) -> bool {
        self.recent_submits >= self.limits.creates_per_minute
    }

    /// Returns the time after which the due time of a poll or search at this provider is news: now,
    /// unless its calls are held, because then those that are due already wait as well.
    pub fn due_after(&self, now: Timestamp) -> Timestamp {
        if self.gate.calls_held_until > now {
            Timestamp::UNIX_EPOCH
        } else {
            now
        }
    }
}

/// Returns the earliest time of a submission that still counts against the rate at `now`: one that
/// was answered exactly one window ago still does, because stored times are truncated.
pub fn rate_window_start(now: Timestamp) -> Timestamp {
    now.saturating_sub(RATE_WINDOW).unwrap_or(Timestamp::MIN)
}

/// Returns the work that remains after a plan was written, and when more of it can be claimed.
pub fn backlog(
    view: &ClaimView,
    plan: &ClaimPlan,
    rest: &BacklogView,
    request: &ClaimRequest,
) -> Backlog {
    let mut backlog = Backlog {
        unroutable: plan.unroutable.clone(),
        held: rest.held,
        has_leased: rest.has_leased,
        ..Backlog::default()
    };
    for totals in &plan.totals {
        backlog.queued += totals.jobs.count(JobState::Queued);
        backlog.in_progress += JobState::ALL
            .into_iter()
            .filter(|state| state.is_in_progress())
            .map(|state| totals.jobs.count(state))
            .sum::<u64>();
    }
    backlog.in_progress = backlog.in_progress.saturating_sub(rest.held);
    backlog.exceeded_budgets = plan
        .exceeded_budgets
        .iter()
        .filter_map(|batch| budget_limit(view, plan, request, *batch))
        .collect();
    let due_times = [
        next_step(plan, rest),
        next_submit(view.now, plan, rest, request),
        next_upload(view.now, plan, rest),
    ];
    backlog.next_due = due_times.into_iter().flatten().min();
    backlog
}

/// Returns the state of a budget: a batch's, or the request's own over all its batches if `batch`
/// is `None`. `None` if there is no such budget.
fn budget_limit(
    view: &ClaimView,
    plan: &ClaimPlan,
    request: &ClaimRequest,
    batch: Option<usize>,
) -> Option<BudgetLimit> {
    let covered = batch.map_or(0..view.batches.len(), |batch| batch..batch + 1);
    let totals = &plan.totals[covered];
    Some(BudgetLimit {
        batch: batch.map(|batch| view.batches[batch].name.clone()),
        budget: batch.map_or(request.budget, |batch| view.batches[batch].budget)?,
        spent: totals.iter().map(|totals| totals.spent).sum(),
        reserved: totals.iter().map(|totals| totals.reserved).sum(),
        queued: totals
            .iter()
            .map(|totals| totals.jobs.count(JobState::Queued))
            .sum(),
    })
}

/// Returns when the next poll, reconciliation or download becomes due.
///
/// A step that is due already but was not claimed exceeded the capacity. It needs no time of its
/// own: the pool claims again as soon as a step completes.
fn next_step(plan: &ClaimPlan, rest: &BacklogView) -> Option<Timestamp> {
    let when = |next: &DueStep| {
        if next.step == Step::Download {
            return Some(next.due_at);
        }
        let provider = plan.provider(next.provider)?;
        let held_until = provider.gate.calls_held_until;
        (!provider.gate.refuses_polls).then_some(next.due_at.max(held_until))
    };
    rest.next_steps.iter().filter_map(when).min()
}

/// Returns when a submission becomes possible that is not possible now: its job is due, and its
/// provider's gate and rate permit it.
///
/// A submission that waits for a slot or for money has no time of its own: the step that frees them
/// wakes the pool.
fn next_submit(
    now: Timestamp,
    plan: &ClaimPlan,
    rest: &BacklogView,
    request: &ClaimRequest,
) -> Option<Timestamp> {
    let has_free_slot = |provider: &&ProviderView| {
        provider.gate.suspended.is_none()
            && provider.in_flight < provider.limits.in_flight
            && !provider.gate.waits_for_end(provider.in_flight)
    };
    let mut next: Option<Timestamp> = None;
    for provider in plan.providers.iter().filter(has_free_slot) {
        let name = provider.limits.provider;
        let mut available_at = provider
            .gate
            .submits_allowed_from()
            .max(provider.lost_until());
        if provider.is_rate_used_up() {
            let oldest = rest.oldest_submits.get(&name).copied().unwrap_or(now);
            // One more millisecond, because a submission answered exactly one window ago counts.
            available_at = available_at.max(oldest + RATE_WINDOW + SignedDuration::from_millis(1));
        }
        for lane in &rest.next_submits {
            let providers = &lane.providers;
            let model = request.catalog.model(&lane.model);
            let route = model.and_then(|model| model.route(name));
            let gate = route.and_then(|route| plan.routes.get(&(name, route.wire_model.clone())));
            if gate.is_some_and(|gate| gate.unaccepted_price().is_some()) {
                continue;
            }
            let route_from = gate.map_or(now, RouteGate::submits_allowed_from);
            let at = lane.due_at.max(available_at).max(route_from);
            // A job that is due at an available provider waits for money or exceeded the capacity.
            if providers.contains(&name) && at > now && lane.due_at < PARKED_FROM {
                next = Some(next.map_or(at, |next| next.min(at)));
            }
        }
    }
    next
}

/// Returns when the next upload that is not due yet becomes due.
fn next_upload(now: Timestamp, plan: &ClaimPlan, rest: &BacklogView) -> Option<Timestamp> {
    // Uploads that no affordable job waits for must not keep a run from ending.
    if !plan.awaits_upload {
        return None;
    }
    let receives =
        |provider: &&ProviderView| provider.receives_uploads() && !provider.gate.refuses_polls;
    plan.providers
        .iter()
        .filter(receives)
        .filter_map(|provider| {
            let due_at = rest.next_uploads.get(&provider.limits.provider)?;
            Some((*due_at).max(provider.gate.calls_held_until))
        })
        // An upload that is due already waits for a free step; the pool claims again as soon as a
        // step completes.
        .filter(|at| *at > now)
        .min()
}
