//! The predictions that a pool polls from memory, under leases that it holds. A poll that finds
//! nothing then writes nothing.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap, HashMap};
use std::sync::Arc;

use jiff::Timestamp;
use tokio::time::Instant;

use crate::domain::{JobId, Lease, Outcome, ProviderName};
use crate::policy::gate::ProviderGate;
use crate::policy::leased;
use crate::queue::{Claim, Completed, Gates};

use super::completed_step::CompletedStep;

/// A job whose lease the pool holds between two polls.
#[derive(Clone, Debug)]
pub(super) struct HeldJob {
    /// The claim, as the queue returned it last.
    pub(super) claim: Arc<Claim>,
    /// Number of polls since then that found nothing.
    pub(super) unrecorded_polls: u32,
    /// When the next poll is due.
    pub(super) due_at: Timestamp,
}

impl TryFrom<CompletedStep> for HeldJob {
    type Error = CompletedStep;

    /// Returns the job of a poll that found nothing, which need not be recorded; any other step
    /// unchanged.
    fn try_from(step: CompletedStep) -> Result<Self, CompletedStep> {
        match step.completed {
            Completed::Step {
                claim,
                unrecorded_polls,
                outcome:
                    Outcome::Wait {
                        due_at: Some(due_at),
                        failure: None,
                    },
                signal: None,
            } if leased::is_steady(&claim.job.progress) => Ok(Self {
                claim,
                unrecorded_polls,
                due_at,
            }),
            completed => Err(CompletedStep { completed, ..step }),
        }
    }
}

impl From<HeldJob> for CompletedStep {
    /// Gives up the lease of a held job.
    fn from(job: HeldJob) -> Self {
        Self {
            completed: Completed::Released {
                claim: job.claim,
                unrecorded_polls: job.unrecorded_polls,
                due_at: job.due_at,
            },
            fatal: None,
        }
    }
}

/// The held jobs, by provider and due time.
#[derive(Debug, Default)]
pub(super) struct HeldJobs {
    jobs: HashMap<JobId, HeldJob>,
    /// The due times; a job that is gone from `jobs` is skipped.
    due: BTreeMap<ProviderName, BinaryHeap<Reverse<(Instant, JobId)>>>,
}

impl HeldJobs {
    /// Holds a job until its next poll, `now` being the wall clock's time.
    pub(super) fn hold(&mut self, job: HeldJob, now: Timestamp) {
        let wait = job.due_at.duration_since(now).max(Default::default());
        let due = Instant::now() + wait.unsigned_abs();
        let provider = job.claim.attempt.provider;
        let job_id = job.claim.lease.job_id;
        self.due
            .entry(provider)
            .or_default()
            .push(Reverse((due, job_id)));
        self.jobs.insert(job_id, job);
    }

    /// Returns the number of held jobs.
    pub(super) fn len(&self) -> usize {
        self.jobs.len()
    }

    /// Removes and returns up to `limit` jobs whose poll is due and permitted.
    pub(super) fn take_due(&mut self, limit: usize, gates: &Gates, now: Timestamp) -> Vec<HeldJob> {
        let mut taken = Vec::new();
        for (provider, due) in &mut self.due {
            if !gate(gates, *provider).accepts_polls(now) {
                continue;
            }
            while taken.len() < limit
                && let Some(Reverse((at, job_id))) = due.peek()
                && *at <= Instant::now()
            {
                taken.extend(self.jobs.remove(job_id));
                due.pop();
            }
        }
        taken
    }

    /// Returns when the next poll is due and permitted; `None` if there is none.
    pub(super) fn next_due(&mut self, gates: &Gates, now: Timestamp) -> Option<Instant> {
        let mut next: Option<Instant> = None;
        for (provider, due) in &mut self.due {
            while let Some(Reverse((_, job_id))) = due.peek()
                && !self.jobs.contains_key(job_id)
            {
                due.pop();
            }
            let gate = gate(gates, *provider);
            let Some(Reverse((at, _))) = due.peek().filter(|_| !gate.refuses_polls) else {
                continue;
            };
            let held_for = gate.calls_held_until.duration_since(now);
            let permitted = Instant::now() + held_for.max(Default::default()).unsigned_abs();
            let at = (*at).max(permitted);
            next = Some(next.map_or(at, |next| next.min(at)));
        }
        next
    }

    /// Removes and returns the jobs at providers that refuse polls: no pool can poll them now, and
    /// a run must not wait for them.
    pub(super) fn take_refused(&mut self, gates: &Gates) -> Vec<HeldJob> {
        // Asked after every event, of thousands of jobs.
        if !gates.values().any(|gate| gate.refuses_polls) {
            return Vec::new();
        }
        let is_refused = |job: &HeldJob| gate(gates, job.claim.attempt.provider).refuses_polls;
        let refused: Vec<JobId> = self
            .jobs
            .iter()
            .filter(|(_, job)| is_refused(job))
            .map(|(job_id, _)| *job_id)
            .collect();
        refused
            .iter()
            .filter_map(|job_id| self.jobs.remove(job_id))
            .collect()
    }

    /// Removes and returns all jobs.
    pub(super) fn take_all(&mut self) -> Vec<HeldJob> {
        self.due.clear();
        self.jobs.drain().map(|(_, job)| job).collect()
    }

    /// Forgets the jobs whose leases are not among the current ones.
    pub(super) fn retain_leased(&mut self, leases: &[Lease]) {
        let tokens: BTreeSet<i64> = leases.iter().map(|lease| lease.token).collect();
        self.jobs
            .retain(|_, job| tokens.contains(&job.claim.lease.token));
    }
}

/// Returns the gate of a provider; an open one if the provider was never called.
fn gate(gates: &Gates, provider: ProviderName) -> ProviderGate {
    gates.get(&provider).cloned().unwrap_or_default()
}
