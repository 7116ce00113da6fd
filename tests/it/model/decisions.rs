//! Changes to the jobs of the model from outside a step: removed pools and decisions of the user.

use std::collections::HashSet;
use std::mem;

use jiff::{SignedDuration, Timestamp};
use overnight::domain::{AttemptState, JobId, JobState, Outcome, PoolId};
use overnight::queue::Decision;

use JobState::{Cancelled, Downloading, Failed, InDoubt, Queued, Running, Submitting};

use super::reference::{Model, ModelError, Pool};

impl Model {
    /// Removes the pools that a process finds dead, and returns how many jobs were released.
    ///
    /// A pool that has only expired is removed if the process found it expired before.
    pub(super) fn take_over(&mut self, process: usize, now: Timestamp) -> usize {
        let is_suspect =
            |pool: &Pool| pool.is_dead || (pool.process != process && pool.expires_at <= now);
        let suspects: HashSet<_> = self
            .pools
            .iter()
            .filter(|(_, pool)| is_suspect(pool))
            .map(|(pool_id, pool)| (pool_id.clone(), pool.expires_at))
            .collect();
        let suspects_before = mem::replace(&mut self.suspects[process], suspects.clone());
        let is_removed = |suspect: &&(PoolId, Timestamp)| {
            self.pools[&suspect.0].is_dead || suspects_before.contains(suspect)
        };
        let removed: Vec<PoolId> = suspects
            .iter()
            .filter(is_removed)
            .map(|(pool_id, _)| pool_id.clone())
            .collect();
        removed
            .iter()
            .map(|pool_id| self.remove_pool(pool_id, now))
            .sum()
    }

    /// Removes a pool, and returns how many jobs it had leased.
    pub(super) fn remove_pool(&mut self, pool_id: &PoolId, now: Timestamp) -> usize {
        self.pools.remove(pool_id);
        let mut released = 0;
        for job in self.jobs.values_mut() {
            if job.lease.take_if(|(_, holder)| holder == pool_id).is_none() {
                continue;
            }
            released += 1;
            // Held between two polls: no step was under way.
            if job.due_at.is_some_and(|due_at| due_at > now) {
                continue;
            }
            job.crashes += 1;
            let attempt = &mut self.attempts[job.attempt.expect("an attempt")];
            let is_quarantined = job.crashes >= 10;
            // Due at once after the first crash, then 1, 2, 4, … seconds later.
            let backoff_s = (1_i64 << (job.crashes - 1).min(6)) / 2;
            job.due_at = (!is_quarantined).then(|| now + SignedDuration::from_secs(backoff_s));
            if job.state == Submitting {
                job.state = InDoubt;
                job.paid_attempts += 1;
                attempt.state = AttemptState::InDoubt;
                attempt.answered_at = Some(now);
            } else if is_quarantined && job.state != InDoubt {
                job.state = Failed;
                attempt.abandon();
            }
        }
        released
    }

    pub(super) fn reopen_providers(&mut self) {
        for provider in self.providers.values_mut() {
            provider.is_suspended = false;
            provider.refuses_polls = false;
        }
    }

    pub(super) fn retry(&mut self, job_ids: &[JobId], now: Timestamp) -> Result<usize, ModelError> {
        if job_ids
            .iter()
            .any(|id| !matches!(self.jobs[id].state, Failed | Cancelled))
        {
            return Err(ModelError::Conflict);
        }
        for job_id in job_ids {
            let job = self.jobs.get_mut(job_id).expect("a job of the model");
            job.due_at = Some(now);
            job.crashes = 0;
            let attempt = job.attempt.map(|attempt| &mut self.attempts[attempt]);
            match attempt.filter(|attempt| {
                attempt.prediction.is_some() && attempt.state != AttemptState::Failed
            }) {
                Some(attempt) => {
                    job.state = Running;
                    if attempt.state == AttemptState::Abandoned {
                        attempt.settle(AttemptState::Accepted, 0);
                    }
                }
                None => {
                    job.state = Queued;
                    job.attempt = None;
                }
            }
        }
        Ok(job_ids.len())
    }

    /// Requeues the download of a succeeded job; its attempt does not change.
    pub(super) fn requeue_download(&mut self, job_id: JobId, now: Timestamp) -> usize {
        let job = self.jobs.get_mut(&job_id).expect("a job of the model");
        if job.state != JobState::Succeeded {
            return 0;
        }
        job.state = Downloading;
        job.due_at = Some(now);
        job.crashes = 0;
        1
    }

    pub(super) fn cancel(&mut self, job_ids: &[JobId]) -> Result<usize, ModelError> {
        if job_ids
            .iter()
            .any(|id| !matches!(self.jobs[id].state, Queued | Running | Downloading))
        {
            return Err(ModelError::Conflict);
        }
        for job_id in job_ids {
            let job = self.jobs.get_mut(job_id).expect("a job of the model");
            job.state = Cancelled;
            job.due_at = None;
            job.lease = None;
            if let Some(attempt) = job.attempt {
                self.attempts[attempt].abandon();
            }
        }
        Ok(job_ids.len())
    }

    /// Resolves a job in doubt by recording the matching outcome, whichever pool holds the lease.
    pub(super) fn resolve(
        &mut self,
        job_id: JobId,
        decision: &Decision,
        now: Timestamp,
    ) -> Result<JobState, ModelError> {
        let outcome = match decision {
            Decision::Adopt(prediction) => Outcome::Adopted {
                prediction: prediction.clone(),
                due_at: now,
            },
            Decision::Resubmit => Outcome::Absent {
                due_at: now,
                is_proven: true,
            },
            Decision::Fail => Outcome::GaveUp {
                reason: String::new(),
            },
        };
        if self.jobs[&job_id].state != InDoubt {
            return Err(ModelError::Conflict);
        }
        self.apply(job_id, &outcome, now)
    }
}
