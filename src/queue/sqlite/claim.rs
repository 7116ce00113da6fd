//! Claims due steps. For a create, due time, slot, rate and money are checked and taken in the same transaction, so
//! any number of processes together stay within them.

use rusqlite::{Connection, named_params, params};

use crate::cut::cut;
use crate::domain::model::Quote;
use crate::domain::{Event, Input, JobId, JobState, Lease, Money, ProviderName};
use crate::queue::{Claim, ClaimRequest, Claimed, QueueError, Result, Step};

use super::pace::Pace;
use super::row::{JOB_AND_ATTEMPT, execute, job_and_attempt, select, value};

/// A batch that may have work, with its money.
pub(super) struct Batch {
    pub(super) batch_id: i64,
    name: String,
    budget: Option<Money>,
    spent: Money,
    reserved: Money,
}

/// Claims what is asked for and due.
pub(super) fn claim(tx: &Connection, request: &ClaimRequest) -> Result<Claimed> {
    if value::<i64>(tx, "SELECT pid FROM pools WHERE pool_id = ?1", [&request.pool_id.0])?.is_none() {
        return Err(QueueError::PoolLost(request.pool_id.clone()));
    }
    let batches = batches(tx, request.batch.as_deref())?;
    let mut paces = Vec::with_capacity(request.providers.len());
    for limits in &request.providers {
        paces.push(Pace::read(tx, *limits, request.now)?);
    }
    // Looks free slots, creates fill them, downloads can wait: in that order nothing of the provider's stands idle.
    let mut claims = moving(tx, request, JobState::Running, request.steps)?;
    claims.extend(moving(tx, request, JobState::InDoubt, request.steps - claims.len())?);
    let mut creates = Creates { tx, request, batches, paces, budget_reached: false, unroutable: None };
    claims.extend(creates.claim(request.steps - claims.len())?);
    let downloads = request.downloads.min(request.steps - claims.len());
    claims.extend(moving(tx, request, JobState::Downloading, downloads)?);
    let standing = creates.standing()?;
    Ok(Claimed { claims, standing })
}

/// Claims jobs between create and clip whose next step is due.
fn moving(tx: &Connection, request: &ClaimRequest, state: JobState, most: usize) -> Result<Vec<Claim>> {
    if most == 0 {
        return Ok(Vec::new());
    }
    let step = match state {
        JobState::Running => Step::Poll,
        JobState::InDoubt => Step::Reconcile,
        _ => Step::Download,
    };
    // A provider that said when to come back is left alone until then. Downloads are not its calls.
    let due: Vec<i64> = select(
        tx,
        "SELECT j.job_id FROM jobs j
         JOIN attempts a ON a.attempt_id = j.attempt_id
         LEFT JOIN providers p ON p.provider = a.provider
         WHERE j.state = :state AND j.due_at <= :now AND j.lease_token IS NULL
           AND (:batch IS NULL OR j.batch_id = (SELECT batch_id FROM batches WHERE name = :batch))
           AND (:download OR (ifnull(p.calls_from, 0) <= :now AND NOT ifnull(p.refuses_looks, 0)
                              AND instr(:providers, a.provider) > 0))
         ORDER BY j.due_at LIMIT :most",
        named_params! {
            ":state": state.as_str(),
            ":now": request.now.as_millisecond(),
            ":batch": request.batch,
            ":download": step == Step::Download,
            ":providers": providers_word(request),
            ":most": i64::try_from(most).unwrap_or(i64::MAX),
        },
        |columns| columns.get("job_id"),
    )?;
    due.into_iter().map(|job_id| lease(tx, request, job_id, step)).collect()
}

/// The names of the providers in question, in one word to search in.
pub(super) fn providers_word(request: &ClaimRequest) -> String {
    request.providers.iter().map(|limits| limits.provider.as_str()).collect::<Vec<_>>().join(",")
}

/// Gives a job to the pool that asks, and reads it back.
fn lease(tx: &Connection, request: &ClaimRequest, job_id: i64, step: Step) -> Result<Claim> {
    let token = fastrand::i64(1..);
    execute(
        tx,
        "UPDATE jobs SET lease_token = ?2, lease_pool = ?3, polls = polls + ?4, downloads = downloads + ?5 WHERE job_id = ?1",
        params![job_id, token, request.pool_id.0, step == Step::Poll, step == Step::Download],
    )?;
    let (job, attempt) = select(tx, JOB_AND_ATTEMPT, [job_id], job_and_attempt)?
        .pop()
        .ok_or_else(|| QueueError::Corrupt(format!("job {job_id} has no attempt")))?;
    let failures =
        value(tx, "SELECT failures FROM providers WHERE provider = ?1", [attempt.provider.as_str()])?;
    let lease = Lease { job_id: JobId(job_id), token };
    Ok(Claim { lease, job, attempt, step, provider_failures: failures.unwrap_or(0) })
}

fn batches(tx: &Connection, only: Option<&str>) -> Result<Vec<Batch>> {
    select(
        tx,
        "SELECT batch_id, name, budget, spent, reserved FROM batches WHERE ?1 IS NULL OR name = ?1 ORDER BY batch_id",
        [only],
        |columns| {
            Ok(Batch {
                batch_id: columns.get("batch_id")?,
                name: columns.get("name")?,
                budget: columns.get::<Option<i64>>("budget")?.map(Money::from_micros),
                spent: columns.money("spent")?,
                reserved: columns.money("reserved")?,
            })
        },
    )
}

/// The first of the waiting jobs that the same providers may run.
struct Head {
    due_at: i64,
    job_id: i64,
    model: String,
    input: Input,
    /// Who may run it, in order of preference.
    providers: String,
}

/// The creates of one claim.
pub(super) struct Creates<'a> {
    pub(super) tx: &'a Connection,
    pub(super) request: &'a ClaimRequest,
    pub(super) batches: Vec<Batch>,
    pub(super) paces: Vec<Pace>,
    pub(super) budget_reached: bool,
    pub(super) unroutable: Option<String>,
}

impl Creates<'_> {
    /// Claims creates one at a time: each job in its turn, on the first of its providers that has room.
    fn claim(&mut self, most: usize) -> Result<Vec<Claim>> {
        let mut claims = Vec::new();
        while claims.len() < most
            && let Some(claim) = self.claim_next()?
        {
            claims.push(claim);
        }
        Ok(claims)
    }

    /// Claims the next create, from the first batch that has one it can send and pay for.
    fn claim_next(&mut self) -> Result<Option<Claim>> {
        if !self.paces.iter().any(|pace| pace.has_room(self.request.now)) {
            return Ok(None);
        }
        for batch in 0..self.batches.len() {
            for head in self.heads(self.batches[batch].batch_id)? {
                if let Some((pace, quote)) = self.choose_provider(&head, batch) {
                    self.batches[batch].reserved += quote.price;
                    self.paces[pace].in_flight += 1;
                    self.paces[pace].recent += 1;
                    let provider = self.paces[pace].limits.provider;
                    return self.begin_attempt(head.job_id, &self.batches[batch], provider, &quote).map(Some);
                }
            }
        }
        Ok(None)
    }

    /// Chooses the first of a job's providers that has room, a route, and a price that can be paid.
    fn choose_provider(&mut self, head: &Head, batch: usize) -> Option<(usize, Quote)> {
        for word in head.providers.split(',') {
            let has_room =
                |pace: &Pace| pace.limits.provider.as_str() == word && pace.has_room(self.request.now);
            let Some(index) = self.paces.iter().position(has_room) else { continue };
            let provider = self.paces[index].limits.provider;
            let Some(quote) = self.request.catalog.quote(&head.model, &head.input, provider) else {
                let (job_id, model) = (head.job_id, &head.model);
                self.unroutable.get_or_insert_with(|| format!("job {job_id} ({model}) on {provider}"));
                continue;
            };
            if self.can_pay(batch, quote.price) {
                return Some((index, quote));
            }
            self.budget_reached = true;
        }
        None
    }

    fn can_pay(&self, batch: usize, price: Money) -> bool {
        let batch = &self.batches[batch];
        let all: Money = self.batches.iter().map(|batch| batch.spent + batch.reserved).sum();
        batch.budget.is_none_or(|budget| batch.spent + batch.reserved + price <= budget)
            && self.request.budget.is_none_or(|budget| all + price <= budget)
    }

    /// Finds the first due jobs of a batch, in order. Jobs are indexed by who may run them; there are only as many such
    /// words as orders of the providers, so each is asked for its first job.
    fn heads(&self, batch_id: i64) -> Result<Vec<Head>> {
        let mut heads = Vec::new();
        for providers in self.waiting_words(batch_id)? {
            heads.extend(select(
                self.tx,
                "SELECT due_at, job_id, model, input FROM jobs
                 WHERE state = 'queued' AND batch_id = ?1 AND providers = ?2 AND due_at <= ?3
                 ORDER BY due_at, job_id LIMIT 1",
                params![batch_id, providers, self.request.now.as_millisecond()],
                |columns| {
                    Ok(Head {
                        due_at: columns.get("due_at")?,
                        job_id: columns.get("job_id")?,
                        model: columns.get("model")?,
                        input: columns.json("input")?,
                        providers: providers.clone(),
                    })
                },
            )?);
        }
        heads.sort_by_key(|head| (head.due_at, head.job_id));
        Ok(heads)
    }

    /// Lists the different `providers` of a batch's waiting jobs, one index look-up each.
    pub(super) fn waiting_words(&self, batch_id: i64) -> Result<Vec<String>> {
        let mut words = Vec::new();
        let mut last = String::new();
        while let Some(next) = value::<String>(
            self.tx,
            "SELECT providers FROM jobs WHERE state = 'queued' AND batch_id = ?1 AND providers > ?2
             ORDER BY providers LIMIT 1",
            params![batch_id, last],
        )? {
            last.clone_from(&next);
            words.push(next);
        }
        Ok(words)
    }

    /// Writes the intent: the attempt with its reserved price, and the job's new state.
    fn begin_attempt(
        &self,
        job_id: i64,
        batch: &Batch,
        provider: ProviderName,
        quote: &Quote,
    ) -> Result<Claim> {
        let now = self.request.now.as_millisecond();
        let state = JobState::Queued.after(Event::Submit)?;
        let number: u32 =
            value(self.tx, "SELECT max(number) FROM attempts WHERE job_id = ?1", [job_id])?.unwrap_or(0) + 1;
        let queue_id: String =
            value(self.tx, "SELECT value FROM meta WHERE key = 'queue_id'", [])?.unwrap_or_default();
        execute(
            self.tx,
            "INSERT INTO attempts (job_id, batch_id, number, state, provider, wire_model, request, client_token, estimate,
                                   submitted_at)
             VALUES (?1, ?2, ?3, 'submitting', ?4, ?5, ?6, ?7, ?8, ?9)",
            params![
                job_id,
                batch.batch_id,
                number,
                provider.as_str(),
                quote.wire_model,
                quote.request.to_string(),
                format!("ovn-{queue_id}.job-{job_id}.attempt-{number}"),
                quote.price.micros(),
                now,
            ],
        )?;
        let attempt_id = self.tx.last_insert_rowid();
        let token = fastrand::i64(1..);
        execute(
            self.tx,
            "UPDATE jobs SET state = ?2, state_since = ?3, due_at = NULL, attempt_id = ?4, submitted_at = ?3,
                    lease_token = ?5, lease_pool = ?6
             WHERE job_id = ?1",
            params![job_id, state.as_str(), now, attempt_id, token, self.request.pool_id.0],
        )?;
        let (job, attempt) = select(self.tx, JOB_AND_ATTEMPT, [job_id], job_and_attempt)?
            .pop()
            .ok_or_else(|| QueueError::Corrupt(format!("job {job_id} of {} is gone", batch.name)))?;
        let failures =
            self.paces.iter().find(|pace| pace.limits.provider == provider).map_or(0, |pace| pace.failures);
        let lease = Lease { job_id: JobId(job_id), token };
        cut!("Submit written");
        Ok(Claim { lease, job, attempt, step: Step::Submit, provider_failures: failures })
    }
}
