//! What changes jobs in the model from outside: pools that are gone, and a person's decisions.

use std::collections::HashSet;
use std::mem;

use jiff::Timestamp;
use overnight::domain::{AttemptState, JobId, JobState, Lease, Outcome, PoolId};
use overnight::queue::Decision;

use JobState::{Cancelled, Downloading, Failed, InDoubt, Queued, Running, Submitting};

use super::reference::{Model, Pool, Refusal};

impl Model {
    /// Removes the pools that a process finds gone; those that are only late are given until its next look.
    pub(super) fn take_over(&mut self, process: usize, now: Timestamp) -> usize {
        let is_gone =
            |pool: &Pool| pool.is_dead || (pool.process != process && pool.expires_at <= now);
        let gone = self.pools.iter().filter(|(_, pool)| is_gone(pool));
        let gone: HashSet<_> = gone
            .map(|(pool_id, pool)| (pool_id.clone(), pool.expires_at))
            .collect();
        let before = mem::replace(&mut self.suspects[process], gone.clone());
        let for_good =
            |late: &&(PoolId, Timestamp)| self.pools[&late.0].is_dead || before.contains(late);
        let for_good: Vec<PoolId> = gone
            .iter()
            .filter(for_good)
            .map(|(pool_id, _)| pool_id.clone())
            .collect();
        for_good
            .iter()
            .map(|pool_id| self.remove_pool(pool_id, now))
            .sum()
    }

    /// Removes a pool, and counts the jobs it held.
    pub(super) fn remove_pool(&mut self, pool_id: &PoolId, now: Timestamp) -> usize {
        self.pools.remove(pool_id);
        let mut freed = 0;
        for job in self.jobs.values_mut() {
            if job.lease.take_if(|(_, holder)| holder == pool_id).is_none() {
                continue;
            }
            freed += 1;
            job.crashes += 1;
            let attempt = &mut self.attempts[job.attempt.expect("an attempt")];
            let is_poison = job.crashes >= 10;
            // At once after the first, then 1, 2, 4, … seconds later.
            let pause = (1_i64 << (job.crashes - 1).min(6)) / 2;
            job.due_at = (!is_poison).then(|| now + jiff::SignedDuration::from_secs(pause));
            if job.state == Submitting {
                (job.state, job.paid) = (InDoubt, job.paid + 1);
                (attempt.state, attempt.answered_at) = (AttemptState::InDoubt, Some(now));
            } else if is_poison && job.state != InDoubt {
                job.state = Failed;
                attempt.abandon();
            }
        }
        freed
    }

    pub(super) fn reopen_providers(&mut self) {
        for gates in self.gates.values_mut() {
            (gates.paused, gates.refuses_looks) = (false, false);
        }
    }

    pub(super) fn retry(&mut self, job_ids: &[JobId], now: Timestamp) -> Result<usize, Refusal> {
        if job_ids
            .iter()
            .any(|id| !matches!(self.jobs[id].state, Failed | Cancelled))
        {
            return Err(Refusal::Conflict);
        }
        for job_id in job_ids {
            let job = self.jobs.get_mut(job_id).expect("a job of the model");
            (job.due_at, job.crashes) = (Some(now), 0);
            let attempt = job.attempt.map(|attempt| &mut self.attempts[attempt]);
            match attempt.filter(|attempt| {
                attempt.prediction.is_some() && attempt.state != AttemptState::Failed
            }) {
                Some(attempt) => {
                    job.state = Running;
                    if attempt.state == AttemptState::Abandoned {
                        attempt.end(AttemptState::Accepted, 0);
                    }
                }
                None => (job.state, job.attempt) = (Queued, None),
            }
        }
        Ok(job_ids.len())
    }

    /// Sends a success back to fetch its clip again; nothing of its attempt changes.
    pub(super) fn lose_file(&mut self, job_id: JobId, now: Timestamp) -> usize {
        let job = self.jobs.get_mut(&job_id).expect("a job of the model");
        if job.state != JobState::Succeeded {
            return 0;
        }
        (job.state, job.due_at, job.crashes) = (Downloading, Some(now), 0);
        1
    }

    pub(super) fn cancel(&mut self, job_ids: &[JobId]) -> Result<usize, Refusal> {
        if job_ids
            .iter()
            .any(|id| !matches!(self.jobs[id].state, Queued | Running | Downloading))
        {
            return Err(Refusal::Conflict);
        }
        for job_id in job_ids {
            let job = self.jobs.get_mut(job_id).expect("a job of the model");
            (job.state, job.due_at, job.lease) = (Cancelled, None, None);
            if let Some(attempt) = job.attempt {
                self.attempts[attempt].abandon();
            }
        }
        Ok(job_ids.len())
    }

    /// Takes a person's word for the step's outcome, whoever holds the lease.
    pub(super) fn resolve(
        &mut self,
        job_id: JobId,
        decision: &Decision,
        now: Timestamp,
    ) -> Result<JobState, Refusal> {
        let outcome = match decision {
            Decision::Adopt(prediction) => Outcome::Adopted {
                prediction: prediction.clone(),
                due_at: now,
            },
            Decision::Resubmit => Outcome::ProvenAbsent { due_at: now },
            Decision::Fail => Outcome::GaveUp {
                reason: String::new(),
            },
        };
        let mut settled = self.clone();
        let job = settled.jobs.get_mut(&job_id).expect("a job of the model");
        if job.state != InDoubt {
            return Err(Refusal::Conflict);
        }
        job.lease = Some((0, PoolId("a person".into())));
        let state = settled.record_outcome(&Lease { job_id, token: 0 }, &outcome, None, now)?;
        *self = settled;
        Ok(state)
    }
}
