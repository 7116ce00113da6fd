//! Claims creates: due time, slot, rate and money are checked and taken in the same transaction, so any number of
//! processes together stay within them.

use std::collections::BTreeSet;
use std::time::Duration;

use rusqlite::{Connection, params};

use crate::cut::cut;
use crate::domain::model::Quote;
use crate::domain::{Event, Input, JobId, JobState, Lease, Money, ProviderName};
use crate::queue::{Claim, ClaimRequest, QueueError, Result, Step};

use super::pace::Pace;
use super::row::{JOB_AND_ATTEMPT, execute, job_and_attempt, select, value};

/// How long a job waits before it asks again whether its twin is still unsure.
const TWIN_WAIT: Duration = Duration::from_secs(1);

/// The most twins one claim puts behind: a manifest may hold one row a million times.
const MOST_TWINS: u32 = 64;

/// A batch that may have work, with its money.
pub(super) struct Batch {
    pub(super) batch_id: i64,
    pub(super) name: String,
    pub(super) budget: Option<Money>,
    pub(super) spent: Money,
    pub(super) reserved: Money,
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
    /// The batch whose predictions are looked at; all, while creates wait: the slots they wait for may be another's.
    pub(super) looks_at: Option<&'a str>,
    /// Jobs put behind others, because they have to wait for their twins.
    twins: u32,
    /// The budgets that a create had to wait for: a batch's, or the request's own, which is `None`.
    pub(super) walls: BTreeSet<Option<usize>>,
    pub(super) unroutable: Option<String>,
}

/// Where the next create of a batch can go.
enum Choice {
    /// To this provider.
    To(usize, Quote),
    /// Nowhere until a submission of the same input is known to have been taken or not.
    BehindTwin,
    /// Nowhere for now.
    Nowhere,
}

impl<'a> Creates<'a> {
    /// Reads what limits the creates of one claim.
    pub(super) fn begin(tx: &'a Connection, request: &'a ClaimRequest) -> Result<Self> {
        let batches = batches(tx, request.batch.as_deref())?;
        let paces = request.providers.iter().map(|limits| Pace::read(tx, *limits, request.now));
        let paces = paces.collect::<Result<_>>()?;
        let mut looks_at = request.batch.as_deref();
        if let Some(batch) = looks_at {
            let waiting: Option<i64> = value(
                tx,
                "SELECT jobs FROM job_counts WHERE state = 'queued' AND jobs > 0
                   AND batch_id = (SELECT batch_id FROM batches WHERE name = ?1)",
                [batch],
            )?;
            looks_at = looks_at.filter(|_| waiting.is_none());
        }
        Ok(Self { tx, request, batches, paces, looks_at, twins: 0, walls: BTreeSet::new(), unroutable: None })
    }

    /// Claims creates one at a time: each job in its turn, on the first of its providers that has room.
    pub(super) fn claim(&mut self, most: usize) -> Result<Vec<Claim>> {
        let mut claims = Vec::new();
        for batch in 0..self.batches.len() {
            while claims.len() < most
                && let Some(claim) = self.claim_from(batch)?
            {
                claims.push(claim);
            }
        }
        Ok(claims)
    }

    /// Claims the next create of a batch, if there is one that can be sent and paid for.
    fn claim_from(&mut self, batch: usize) -> Result<Option<Claim>> {
        if !self.paces.iter().any(|pace| pace.has_room(self.request.now)) {
            return Ok(None);
        }
        for head in self.heads(self.batches[batch].batch_id)? {
            match self.choose_provider(&head, batch)? {
                Choice::To(pace, quote) => {
                    self.batches[batch].reserved += quote.price;
                    self.paces[pace].in_flight += 1;
                    self.paces[pace].recent += 1;
                    let provider = self.paces[pace].limits.provider;
                    return self.begin_attempt(head.job_id, &self.batches[batch], provider, &quote).map(Some);
                }
                Choice::BehindTwin if self.twins < MOST_TWINS => {
                    self.twins += 1;
                    self.put_behind(&head)?;
                    return self.claim_from(batch);
                }
                Choice::BehindTwin | Choice::Nowhere => {}
            }
        }
        Ok(None)
    }

    /// Chooses the first of a job's providers that has room, a route, a price that can be paid, and no other submission
    /// of the same input that it may or may not have taken: its history could not tell the two apart.
    fn choose_provider(&mut self, head: &Head, batch: usize) -> Result<Choice> {
        let mut choice = Choice::Nowhere;
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
            let walls = self.walls_before(batch, quote.price);
            if !walls.is_empty() {
                self.walls.extend(walls);
            } else if self.has_unsure_twin(provider, &quote)? {
                choice = Choice::BehindTwin;
            } else {
                return Ok(Choice::To(index, quote));
            }
        }
        Ok(choice)
    }

    fn has_unsure_twin(&self, provider: ProviderName, quote: &Quote) -> Result<bool> {
        let twin: Option<i64> = value(
            self.tx,
            "SELECT attempt_id FROM attempts WHERE provider = ?1 AND wire_model = ?2
               AND state IN ('submitting', 'in_doubt') AND request = ?3 LIMIT 1",
            params![provider.as_str(), quote.wire_model, quote.request.to_string()],
        )?;
        Ok(twin.is_some())
    }

    /// Lets a job that has to wait for its twin stand back, so that those behind it need not wait as well.
    fn put_behind(&self, head: &Head) -> Result<()> {
        let later = self.request.now.saturating_add(TWIN_WAIT).unwrap_or(self.request.now);
        execute(
            self.tx,
            "UPDATE jobs SET due_at = ?2 WHERE job_id = ?1",
            params![head.job_id, later.as_millisecond()],
        )?;
        Ok(())
    }

    /// Tells the budgets that a create of this price would pass.
    fn walls_before(&self, batch: usize, price: Money) -> Vec<Option<usize>> {
        let taken = |batch: &Batch| batch.spent + batch.reserved;
        let all: Money = self.batches.iter().map(taken).sum();
        let own = &self.batches[batch];
        let limits = [(None, self.request.budget, all), (Some(batch), own.budget, taken(own))];
        let passed = |(_, budget, taken): &(_, Option<Money>, Money)| {
            budget.is_some_and(|budget| *taken + price > budget)
        };
        limits.into_iter().filter(passed).map(|(wall, ..)| wall).collect()
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
