//! A turn as every store takes it: settle the records, plan, write the plan. The rules are in
//! [`policy`](crate::policy); a store only reads and writes.

use std::sync::Arc;

use jiff::Timestamp;

use crate::domain::{
    Attempt, JobId, JobProgress, Lease, Outcome, PoolId, ProviderName, ProviderSignal,
};
use crate::failpoint::fail_point;
use crate::policy::claim::{
    self, BacklogView, ClaimPlan, ClaimRequest, ClaimView, DueStep, Missing, PlannedSubmission,
    PlannedUpload,
};
use crate::policy::gate::ProviderGate;
use crate::policy::{Change, leased, outcome, taken_prediction};

use super::{
    Claim, ClaimResponse, Completed, Gates, QueueError, Recorded, Result, Turn, TurnResult,
    UploadClaim, UploadLease, UploadOutcome,
};

/// An open transaction of a store, which has the right to write until it is committed.
pub trait Transaction {
    /// Returns whether a pool is registered.
    fn is_registered(&mut self, pool: &PoolId) -> Result<bool>;

    /// Writes a change of a leased job, unless the lease is no longer current. Ends the lease unless
    /// it is `held` further. Returns whether it was written.
    ///
    /// Whoever changes a leased job in another way ends its lease. A current lease therefore proves
    /// that the job is as it was claimed, and nothing need be read before this.
    fn write_leased(&mut self, claim: &Claim, change: &Change, held: bool) -> Result<bool>;

    /// Returns whether a lease is still current.
    fn is_current(&mut self, lease: &Lease) -> Result<bool>;

    /// Returns whether a prediction belongs to an attempt other than this one.
    fn is_prediction_taken(&mut self, prediction_id: &str, attempt: &Attempt) -> Result<bool>;

    /// Returns the gate of a provider; an open one if the provider was never called.
    fn gate(&mut self, provider: ProviderName) -> Result<ProviderGate>;

    /// Writes the gate of a provider.
    fn set_gate(&mut self, provider: ProviderName, gate: &ProviderGate) -> Result<()>;

    /// Records the outcome of an upload and ends its lease, unless the lease is no longer current.
    fn write_upload(&mut self, lease: UploadLease, outcome: &UploadOutcome) -> Result<()>;

    /// Reads what a claim is planned from, as far as the request is known to need it.
    fn read_view(&mut self, request: &ClaimRequest) -> Result<ClaimView>;

    /// Reads into a view what a plan turned out to need as well.
    fn read_missing(&mut self, view: &mut ClaimView, missing: Missing) -> Result<()>;

    /// Moves the due time of a queued job.
    fn defer(&mut self, job: JobId, due_at: Timestamp) -> Result<()>;

    /// Leases a job for its next step.
    fn lease(&mut self, pool: &PoolId, due: &DueStep) -> Result<Claim>;

    /// Writes the intent to submit a job and leases it. The provider may be called only after this
    /// is committed: a crash in between then leaves the job in doubt instead of paying twice.
    fn start_attempt(
        &mut self,
        pool: &PoolId,
        view: &ClaimView,
        submission: PlannedSubmission,
    ) -> Result<Claim>;

    /// Queues an upload, or queues one again whose link expires too soon.
    fn queue_upload(&mut self, upload: &PlannedUpload, due_at: Timestamp) -> Result<()>;

    /// Leases a queued upload.
    fn lease_upload(&mut self, pool: &PoolId, upload: &PlannedUpload) -> Result<UploadClaim>;

    /// Reads what the backlog after a plan is computed from.
    fn read_backlog(
        &mut self,
        view: &ClaimView,
        plan: &ClaimPlan,
        request: &ClaimRequest,
    ) -> Result<BacklogView>;
}

/// Takes a turn inside a transaction, which the caller commits, or rolls back after an error.
pub fn take(tx: &mut impl Transaction, turn: &Turn, now: Timestamp) -> Result<TurnResult> {
    let mut recorded = Vec::with_capacity(turn.completed.len());
    let mut gates = Gates::new();
    for completed in &turn.completed {
        if let Some((provider, signal)) = signal_of(completed) {
            record_signal(tx, &mut gates, provider, signal)?;
        }
        recorded.push(record(tx, completed, &turn.holds_leases_at, now)?);
    }
    let claimed = match &turn.claim {
        Some(request) => claim(tx, &turn.pool_id, request)?,
        None => ClaimResponse::default(),
    };
    Ok(TurnResult {
        now,
        recorded,
        claimed,
        gates,
    })
}

/// Returns what a completed step revealed about its provider.
fn signal_of(completed: &Completed) -> Option<(ProviderName, &ProviderSignal)> {
    match completed {
        Completed::Step { claim, signal, .. } => Some((claim.attempt.provider, signal.as_ref()?)),
        Completed::Upload { claim, signal, .. } => Some((claim.provider, signal.as_ref()?)),
        Completed::NotStarted { .. } | Completed::Released { .. } => None,
    }
}

/// Records a signal. `gates` are those after the turn's earlier signals.
fn record_signal(
    tx: &mut impl Transaction,
    gates: &mut Gates,
    provider: ProviderName,
    signal: &ProviderSignal,
) -> Result<()> {
    let before = match gates.remove(&provider) {
        Some(gate) => gate,
        None => tx.gate(provider)?,
    };
    let after = before.after(signal);
    if after != before {
        tx.set_gate(provider, &after)?;
    }
    gates.insert(provider, after);
    Ok(())
}

fn record(
    tx: &mut impl Transaction,
    completed: &Completed,
    holds_leases_at: &[ProviderName],
    now: Timestamp,
) -> Result<Recorded> {
    match completed {
        Completed::Step {
            claim,
            unrecorded_polls,
            outcome,
            ..
        } => record_outcome(tx, claim, *unrecorded_polls, outcome, holds_leases_at, now),
        Completed::NotStarted { claim } => {
            let change = leased::release(&claim.job.progress, &claim.attempt.progress, now)?;
            write(tx, claim, change, None, false)
        }
        Completed::Released {
            claim,
            unrecorded_polls,
            due_at,
        } => {
            let mut job = with_polls(&claim.job.progress, *unrecorded_polls);
            job.due_at = Some(*due_at);
            let change = Change {
                job,
                attempt: Some(claim.attempt.progress.clone()),
            };
            write(tx, claim, change, None, false)
        }
        Completed::Upload { claim, outcome, .. } => {
            tx.write_upload(claim.lease, outcome)?;
            Ok(Recorded::Upload)
        }
    }
}

/// Returns a job with the polls that were not recorded when they were made.
fn with_polls(job: &JobProgress, unrecorded_polls: u32) -> JobProgress {
    JobProgress {
        polls: job.polls + unrecorded_polls,
        ..job.clone()
    }
}

fn record_outcome(
    tx: &mut impl Transaction,
    claim: &Claim,
    unrecorded_polls: u32,
    outcome: &Outcome,
    holds_leases_at: &[ProviderName],
    now: Timestamp,
) -> Result<Recorded> {
    let prediction = match outcome {
        Outcome::Accepted { prediction, .. } | Outcome::Adopted { prediction, .. } => {
            Some(&prediction.prediction_id)
        }
        _ => None,
    };
    let mut instead = None;
    if let Some(id) = prediction
        && tx.is_prediction_taken(id, &claim.attempt)?
    {
        let reason = format!("prediction {id} already belongs to another job");
        instead = taken_prediction::outcome_instead(outcome, reason, now);
    }
    let outcome = instead.as_ref().unwrap_or(outcome);
    let job = with_polls(&claim.job.progress, unrecorded_polls);
    let change = match outcome::apply(&job, &claim.attempt.progress, outcome, now) {
        Ok(change) => change,
        // A lease that was lost comes first: the job may be in any state.
        Err(_) if !tx.is_current(&claim.lease)? => return Ok(Recorded::LeaseLost),
        Err(error) => return Err(QueueError::IllegalTransition(error)),
    };
    let event = outcome.event();
    let holds_leases = holds_leases_at.contains(&claim.attempt.provider);
    let held = holds_leases && leased::may_be_held(&change.job);
    let recorded = write(tx, claim, change, instead, held)?;
    fail_point!("{event:?} written");
    Ok(recorded)
}

fn write(
    tx: &mut impl Transaction,
    claim: &Claim,
    change: Change,
    instead: Option<Outcome>,
    held: bool,
) -> Result<Recorded> {
    if !tx.write_leased(claim, &change, held)? {
        return Ok(Recorded::LeaseLost);
    }
    Ok(Recorded::Job {
        state: change.job.state,
        instead,
        held: held.then(|| Arc::new(claim.to_poll(change))),
    })
}

fn claim(
    tx: &mut impl Transaction,
    pool: &PoolId,
    request: &ClaimRequest,
) -> Result<ClaimResponse> {
    if !tx.is_registered(pool)? {
        return Err(QueueError::PoolLost(pool.clone()));
    }
    let mut view = tx.read_view(request)?;
    let mut plan = loop {
        match claim::plan(&view, request) {
            Ok(plan) => break plan,
            Err(missing) => tx.read_missing(&mut view, missing)?,
        }
    };
    let is_full = plan.len() >= request.capacity.steps;
    for (job, due_at) in &plan.deferred {
        tx.defer(*job, *due_at)?;
    }
    let steps = plan.steps.iter().map(|due| tx.lease(pool, due));
    let mut claims = steps.collect::<Result<Vec<Claim>>>()?;
    for submission in std::mem::take(&mut plan.submissions) {
        claims.push(tx.start_attempt(pool, &view, submission)?);
        fail_point!("Submit written");
    }
    for upload in &plan.new_uploads {
        tx.queue_upload(upload, view.now)?;
    }
    let uploads = plan
        .uploads
        .iter()
        .map(|upload| tx.lease_upload(pool, upload));
    let uploads = uploads.collect::<Result<Vec<UploadClaim>>>()?;
    let backlog = if is_full {
        None
    } else {
        let rest = tx.read_backlog(&view, &plan, request)?;
        Some(claim::backlog(&view, &plan, &rest, request))
    };
    Ok(ClaimResponse {
        claims,
        uploads,
        backlog,
    })
}
