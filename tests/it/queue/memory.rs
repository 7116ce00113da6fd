//! A store in memory, for this suite alone: the proof that a second adapter is storage and no rule. It
//! keeps lists, and answers what it is asked by going through them.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard};

use jiff::Timestamp;
use overnight::clock::{Clock, ManualClock};
use overnight::domain::*;
use overnight::policy::Change;
use overnight::policy::claim::*;
use overnight::policy::gate::ProviderGate;
use overnight::policy::load;
use overnight::policy::route_gate::RouteGate;
use overnight::policy::tally::Tally;
use overnight::policy::upload::*;
use overnight::queue::claim_reads::*;
use overnight::queue::load::*;
use overnight::queue::storage::*;
use overnight::queue::*;

use super::{Store, bills};

/// A queue in memory, as one of the "processes" that use it has it open.
pub(crate) struct MemoryStore {
    state: Arc<Mutex<State>>,
    clock: Arc<ManualClock>,
    process: Process,
}

/// A manifest that is being loaded. Its rows are loaded into a copy of the state to tell what they
/// change, and into the state itself when they are committed.
struct MemoryStaging {
    store: MemoryStore,
    batch: NewBatch,
    rows: Vec<NewJob>,
    plan: LoadPlan,
}

#[derive(Clone, Default)]
struct State {
    /// The batches, without their totals and lanes.
    batches: Vec<BatchView>,
    rows: Vec<Row>,
    /// The uploads, each with its lease. A number is never used again.
    uploads: BTreeMap<i64, (Upload, Option<(i64, PoolId)>)>,
    /// The gates of the providers that were called.
    gates: Gates,
    /// The gates of the routes that have one.
    routes: RouteGates,
    pools: Vec<(PoolId, PoolRecord)>,
    settings: Vec<SettingChange>,
    last_heartbeat: Option<Timestamp>,
    generation: u64,
    doubt_since: Option<Timestamp>,
    unclaimed_since: Option<Timestamp>,
    fresh: BTreeMap<String, Timestamp>,
    key_marks: BTreeMap<ProviderName, (String, Option<Timestamp>)>,
    run_setup: Option<String>,
    clock_changed_at: Option<Timestamp>,
    last_upload_id: i64,
}

#[derive(Clone)]
struct Row {
    job: Job,
    new: NewJob,
    queued_at: Timestamp,
    attempts: Vec<Attempt>,
    /// What was asked for by each attempt, whose clip it takes, and the clip that it keeps.
    clips: Vec<(Fingerprint, Option<AttemptId>, Option<SavedFile>)>,
    /// Whether the last attempt is one at the present input.
    is_submitted: bool,
    lease: Option<(Lease, PoolId)>,
}

impl Store for MemoryStore {
    fn create(clock: Arc<ManualClock>) -> Self {
        let state = Arc::default();
        let process = Process::default();
        Self {
            state,
            clock,
            process,
        }
    }

    fn open(&self) -> Arc<dyn Queue> {
        Arc::new(self.reopen())
    }
}

impl MemoryStore {
    fn reopen(&self) -> Self {
        let state = Arc::clone(&self.state);
        Self {
            state,
            ..Self::create(Arc::clone(&self.clock))
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("the state")
    }

    /// Runs a write on a copy of the state, which replaces it if the write succeeds.
    fn try_write<T>(&self, write: impl FnOnce(&mut State, Timestamp) -> Result<T>) -> Result<T> {
        let mut state = self.state();
        let mut copy = state.clone();
        let result = write(&mut copy, self.clock.now())?;
        *state = copy;
        Ok(result)
    }
}

impl Storage for MemoryStore {
    fn process(&self) -> &Process {
        &self.process
    }

    fn host(&self) -> String {
        "memory".into()
    }

    async fn write<T: Send + 'static>(&self, write: impl WriteOperation<T>) -> Result<T> {
        self.try_write(|state, now| write(state, now))
    }

    async fn read<T: Send + 'static>(&self, read: impl ReadOperation<T>) -> Result<T> {
        read(&*self.state(), self.clock.now())
    }
}

impl Row {
    /// Returns the current or last attempt at the present input.
    fn attempt(&self) -> Option<&Attempt> {
        self.attempts.last().filter(|_| self.is_submitted)
    }

    /// Returns the clips of earlier inputs.
    fn kept_clips(&self) -> Vec<KeptClip> {
        let kept = self.attempts.iter().zip(&self.clips);
        let kept = kept.filter_map(|(attempt, (_, _, clip))| {
            Some(KeptClip {
                number: attempt.number,
                file: clip.clone()?,
            })
        });
        kept.collect()
    }

    /// Returns whether the job waits for the user's decision.
    fn is_held(&self) -> bool {
        let progress = &self.job.progress;
        let is_due = progress.due_at.is_some() || self.lease.is_some();
        progress.state == JobState::InDoubt && !is_due
    }

    /// Writes a change and ends the lease, unless it is held further.
    fn write(&mut self, change: &Change, held: bool) {
        self.job.progress = change.job.clone();
        if let (Some(attempt), Some(progress)) = (self.attempts.last_mut(), &change.attempt) {
            attempt.progress = progress.clone();
        }
        let absent = |attempt: &&Attempt| {
            let state = attempt.progress.state;
            matches!(state, AttemptState::Absent | AttemptState::PresumedAbsent)
        };
        self.job.absent_attempts = self.attempts.iter().filter(absent).count() as u32;
        self.lease.take_if(|_| !held);
    }

    fn record(&self) -> JobRecord {
        let attempt = self.attempt().cloned().map(AttemptRecord::from);
        let attempt = attempt.as_ref();
        let attempts = self.attempts.iter();
        let costs: Vec<Cost> = attempts
            .filter_map(|attempt| attempt.progress.cost)
            .collect();
        let progress = &self.job.progress;
        let output = progress.output.as_ref();
        JobRecord {
            job_id: self.job.job_id,
            batch: self.job.batch.clone(),
            id: self.job.row_key.clone(),
            line: self.new.line,
            state: progress.state,
            model: self.job.model.clone(),
            provider: attempt.map(|attempt| attempt.provider),
            prediction_id: attempt.and_then(|attempt| attempt.prediction_id.clone()),
            attempts: progress.attempts,
            estimate_usd: attempt.map_or(self.new.estimate, |attempt| attempt.estimate_usd),
            cost_usd: (!costs.is_empty()).then(|| costs.iter().map(|cost| cost.amount).sum()),
            cost_source: costs.last().map(|cost| cost.source),
            output: output.map(|file| file.location.to_string()),
            bytes: output.map(|file| file.bytes),
            sha256: output.map(|file| file.sha256.clone()),
            error: progress.error.clone(),
            queued_at: self.queued_at,
            submitted_at: self.attempts.last().map(|attempt| attempt.submitted_at),
            finished_at: progress.finished_at,
            versions: ClipVersion::list(
                output,
                attempt
                    .map(|attempt| attempt.number)
                    .filter(|_| progress.state == JobState::Succeeded),
                &self.kept_clips(),
            ),
            input: self.job.input.clone(),
            due_at: progress.due_at,
            attempt_state: attempt.map(|attempt| attempt.state),
        }
    }
}

impl State {
    fn row(&self, job: JobId) -> Option<&Row> {
        self.rows.iter().find(|row| row.job.job_id == job)
    }

    fn row_mut(&mut self, job: JobId) -> &mut Row {
        let mut rows = self.rows.iter_mut();
        rows.find(|row| row.job.job_id == job).expect("the job")
    }

    /// Returns the clip of an attempt: its job's, or the one that is kept.
    fn clip_of(&self, source: AttemptId) -> Option<KeptClip> {
        let of_row = |row: &Row| {
            let attempts = row.attempts.iter();
            let mut attempts = attempts.zip(&row.clips);
            let (attempt, (_, _, kept)) = attempts.find(|(a, _)| a.attempt_id == source)?;
            let is_current = row.attempt().is_some_and(|a| a.attempt_id == source)
                && row.job.progress.state == JobState::Succeeded;
            let current = row.job.progress.output.clone().filter(|_| is_current);
            Some(KeptClip {
                number: attempt.number,
                file: kept.clone().or(current)?,
            })
        };
        self.rows.iter().find_map(of_row)
    }

    fn leased_by(&self, pool: &PoolId) -> impl Iterator<Item = &Row> {
        let is_holder = move |(_, holder): &(Lease, PoolId)| holder == pool;
        let rows = self.rows.iter();
        rows.filter(move |row| row.lease.as_ref().is_some_and(is_holder))
    }

    /// Returns the jobs of a batch, or of every batch.
    fn rows(&self, batch: Option<&str>) -> impl Iterator<Item = &Row> {
        let is_in = move |row: &&Row| batch.is_none_or(|name| row.job.batch == name);
        self.rows.iter().filter(is_in)
    }

    fn in_state(&self, state: JobState, batch: Option<&str>) -> impl Iterator<Item = &Row> {
        let rows = self.rows(batch);
        rows.filter(move |row| row.job.progress.state == state)
    }

    /// Returns the queued jobs of a batch in the order in which they are submitted.
    fn queued(&self, batch: &BatchView) -> Vec<&Row> {
        let mut queued: Vec<_> = self.in_state(JobState::Queued, Some(&batch.name)).collect();
        queued.sort_by_key(|row| (row.job.progress.due_at, row.job.job_id));
        queued
    }

    /// Returns the queued jobs of a lane in the order in which they are submitted.
    fn lane(&self, lane: Lane<'_>) -> impl Iterator<Item = &Row> {
        let rows = self.queued(lane.batch).into_iter();
        rows.filter(move |row| row.new.providers == lane.providers)
    }

    /// Returns the jobs that succeeded or failed, newest first.
    fn ended(&self, batch: Option<&str>) -> Vec<&Row> {
        let succeeded = self.in_state(JobState::Succeeded, batch);
        let ended = succeeded.chain(self.in_state(JobState::Failed, batch));
        let mut ended: Vec<_> = ended.collect();
        ended.sort_by_key(|row| Reverse((row.job.progress.finished_at, row.job.job_id)));
        ended
    }

    fn attempts_at(&self, provider: ProviderName) -> impl Iterator<Item = &Attempt> {
        let attempts = self.rows.iter().flat_map(|row| &row.attempts);
        attempts.filter(move |attempt| attempt.provider == provider)
    }

    /// Returns the sums over all rows.
    fn tally(&self) -> Tally {
        let mut tally = Tally::default();
        for Row { job, attempts, .. } in &self.rows {
            let batch = tally.batches.entry(job.batch.clone()).or_default();
            batch.jobs[job.progress.state as usize] += 1;
            for attempt in attempts {
                tally.add_attempt(&job.batch, attempt.provider, None, &attempt.progress);
            }
        }
        tally
    }
}

impl ClaimReads for State {
    fn batches(&self) -> Result<Vec<BatchView>> {
        let tally = self.tally();
        let mut batches = self.batches.clone();
        for batch in &mut batches {
            batch.totals = batch.totals.after(&tally.of_batch(&batch.name));
        }
        Ok(batches)
    }

    fn providers(&self) -> Result<BTreeMap<ProviderName, ProviderUse>> {
        let tally = self.tally();
        let used = self.gates.iter().map(|(name, gate)| {
            let in_flight = tally.of_provider(*name) as u32;
            let gate = gate.clone();
            (*name, ProviderUse { in_flight, gate })
        });
        Ok(used.collect())
    }

    fn routes(&self) -> Result<RouteGates> {
        Ok(self.routes.clone())
    }

    fn due_steps(&self, queries: &[DueQuery<'_>]) -> Result<Vec<DueStep>> {
        let mut steps = Vec::new();
        for query in queries {
            let due = self
                .in_state(query.step.state(), query.batch)
                .filter_map(|row| {
                    let due_at = row.job.progress.due_at.filter(|_| row.lease.is_none())?;
                    let is_due = query.after < due_at && due_at <= query.until;
                    let is_there = row.attempt()?.provider == query.provider;
                    (is_due && is_there).then(|| query.found(row.job.job_id, due_at))
                });
            let mut due: Vec<_> = due.collect();
            due.sort_by_key(|step| step.due_at);
            steps.extend(due.into_iter().take(query.limit));
        }
        Ok(steps)
    }

    fn lanes(&self, batch: &BatchView) -> Result<Vec<WaitingLane>> {
        let mut lanes = BTreeMap::new();
        for row in self.queued(batch) {
            let due_at = row.job.progress.due_at.expect("a due time");
            lanes.entry(row.new.providers.clone()).or_insert(due_at);
        }
        let lanes = lanes.into_iter().map(|(providers, due_at)| WaitingLane {
            lane_id: 0,
            providers,
            due_at,
        });
        Ok(lanes.collect())
    }

    fn queued_jobs(&self, lane: Lane<'_>, now: Timestamp, limit: usize) -> Result<Vec<QueuedJob>> {
        let rows = self.lane(lane);
        let due = rows.filter(|row| row.job.progress.due_at <= Some(now));
        let jobs = due.take(limit).map(|row| QueuedJob {
            job: row.job.clone(),
            last_attempt_number: row.attempts.len() as u32,
        });
        Ok(jobs.collect())
    }

    fn unresolved(&self) -> Result<Vec<UnresolvedRequest>> {
        let attempts = self
            .rows
            .iter()
            .filter_map(|row| Some((row, row.attempt()?)));
        let unresolved = attempts.filter(|(_, attempt)| attempt.progress.state.is_unresolved());
        let requests = unresolved.map(|(row, attempt)| UnresolvedRequest {
            is_held: row.is_held(),
            provider: attempt.provider,
            wire_model: attempt.wire_model.clone(),
            digest: attempt_digest(attempt),
        });
        Ok(requests.collect())
    }

    fn last_attempt_id(&self) -> Result<i64> {
        Ok(self.rows.iter().map(|row| row.attempts.len() as i64).sum())
    }

    fn recent_submits(&self, provider: ProviderName, since: Timestamp) -> Result<RecentSubmits> {
        let attempts = self.attempts_at(provider);
        let called = attempts.filter(|attempt| {
            attempt.progress.state.is_open() || attempt.progress.answered_at.is_some()
        });
        let mut recent: Vec<_> = called.map(|attempt| attempt.progress.answered_at).collect();
        recent.retain(|at| at.is_none_or(|at| at >= since));
        Ok((recent.len() as u32, recent.into_iter().flatten().min()))
    }

    fn uploads(&self, keys: &BTreeSet<UploadKey>) -> Result<BTreeMap<UploadKey, UploadProgress>> {
        let uploads = self.uploads.values();
        let uploads = uploads.map(|(upload, _)| (upload.key(), upload.progress.clone()));
        Ok(uploads.filter(|(key, _)| keys.contains(key)).collect())
    }

    fn waiting_uploads(&self, provider: ProviderName, limit: usize) -> Result<Vec<(i64, Upload)>> {
        let mut waiting = Vec::new();
        for (id, (upload, lease)) in &self.uploads {
            let waits = lease.is_none() && upload.progress.due_at.is_some();
            if waits && upload.provider == provider {
                waiting.push((*id, upload.clone()));
            }
        }
        waiting.sort_by_key(|(_, upload)| upload.progress.due_at);
        waiting.truncate(limit);
        Ok(waiting)
    }

    fn count_held(&self, batch: Option<&str>) -> Result<u64> {
        let in_doubt = self.in_state(JobState::InDoubt, batch);
        Ok(in_doubt.filter(|row| row.is_held()).count() as u64)
    }

    fn has_leased_job(&self, batch: Option<&str>) -> Result<bool> {
        Ok(self.rows(batch).any(|row| row.lease.is_some()))
    }

    fn has_leased_upload(&self) -> Result<bool> {
        Ok(self.uploads.values().any(|(_, lease)| lease.is_some()))
    }
}

impl Snapshot for State {
    fn pools(&self) -> Result<Vec<(PoolId, PoolRecord)>> {
        Ok(self.pools.clone())
    }

    fn settings(&self) -> Result<Vec<SettingChange>> {
        Ok(self.settings.clone())
    }

    fn lineage(&self) -> Result<Lineage> {
        Ok(Lineage {
            has_other_server: false,
            queue_id: "memory".into(),
            generation: self.generation,
            last_attempt: self.last_attempt_id()?,
            last_seen: self.last_heartbeat,
            doubt_since: self.doubt_since,
            unclaimed_since: self.unclaimed_since,
            providers: self.key_marks.keys().copied().collect(),
            fresh: self.fresh.clone(),
        })
    }

    fn key_mark(&self, provider: ProviderName) -> Result<Option<(String, Option<Timestamp>)>> {
        Ok(self.key_marks.get(&provider).cloned())
    }

    fn run_setup(&self) -> Result<Option<String>> {
        Ok(self.run_setup.clone())
    }

    fn last_clock_change(&self) -> Result<Option<Timestamp>> {
        Ok(self.clock_changed_at)
    }

    fn jobs_named(&self, name: JobName<'_>, batch: Option<&str>) -> Result<Vec<(JobId, String)>> {
        let named = self.rows(batch).filter(|row| match name {
            JobName::Key(key) => row.job.row_key == key,
            JobName::Number(number) => row.job.job_id == number,
        });
        let named = named.map(|row| (row.job.job_id, row.job.batch.clone()));
        Ok(named.collect())
    }

    fn row_keys(&self, batch: Option<&str>, limit: usize) -> Result<Vec<String>> {
        let keys = self.rows(batch).map(|row| row.job.row_key.clone());
        let mut keys: Vec<String> = keys.collect();
        keys.reverse();
        keys.truncate(limit);
        Ok(keys)
    }

    fn stored_jobs(&self, set: JobSet<'_>) -> Result<Vec<StoredJob>> {
        let rows: Vec<&Row> = match set {
            JobSet::Number(number) => self.row(number).into_iter().collect(),
            JobSet::InState(state, batch) => self.in_state(state, batch).collect(),
            JobSet::LeasedBy(pool) => self.leased_by(pool).collect(),
        };
        let jobs = rows.into_iter().map(|row| StoredJob {
            job_id: row.job.job_id,
            batch: row.job.batch.clone(),
            lease: row.lease.clone().map(|(lease, _)| lease),
            progress: row.job.progress.clone(),
            attempt: row.attempt().cloned(),
        });
        Ok(jobs.collect())
    }

    fn jobs(&self, filter: &JobFilter, after: JobId, limit: usize) -> Result<Vec<JobRecord>> {
        let rows = self.rows(filter.batch.as_deref());
        let records = rows.map(Row::record).filter(|job| job.job_id > after);
        let matching = records.filter(|job| filter.state.is_none_or(|state| job.state == state));
        Ok(matching.take(limit).collect())
    }

    fn latest(&self, batch: Option<&str>, limit: usize) -> Result<Vec<JobRecord>> {
        let ended = self.ended(batch).into_iter();
        Ok(ended.take(limit).map(Row::record).collect())
    }

    fn batch_clips(&self, batch: &BatchView) -> Result<Vec<KeptClip>> {
        let mut clips = Vec::new();
        for row in self.rows(Some(&batch.name)) {
            let current = row.job.progress.output.clone();
            clips.extend(current.map(|file| KeptClip { number: 0, file }));
            clips.extend(row.kept_clips());
        }
        Ok(clips)
    }

    fn attempts(&self, job: JobId) -> Result<Vec<Attempt>> {
        Ok(self.row(job).map_or(Vec::new(), |row| row.attempts.clone()))
    }

    fn bill(&self, by: BillGrouping, batch: Option<&str>) -> Result<Vec<BillLine>> {
        let rows = self.rows(batch);
        let attempts = rows.flat_map(|row| row.attempts.iter().map(|attempt| (&row.job, attempt)));
        let is_billed = |known: &&BatchView| batch.is_none_or(|name| known.name == name);
        let batches = self.batches.iter().filter(is_billed);
        Ok(bills::bill(by, batches, attempts))
    }

    fn queued_estimate(&self, batch: Option<&str>) -> Result<Money> {
        let queued = self.in_state(JobState::Queued, batch);
        Ok(queued.map(|row| row.new.estimate).sum())
    }

    fn absent_attempts(
        &self,
        provider: ProviderName,
        since: Timestamp,
    ) -> Result<Vec<AbsentAttempt>> {
        let is_absent = |attempt: &&Attempt| {
            let state = attempt.progress.state;
            attempt.provider == provider
                && attempt.submitted_at >= since
                && matches!(state, AttemptState::PresumedAbsent | AttemptState::Absent)
        };
        let absent = self.rows.iter().flat_map(|row| {
            let attempts = row.attempts.iter().filter(is_absent);
            attempts.map(|attempt| AbsentAttempt {
                job: row.job.job_id,
                batch: row.job.batch.clone(),
                attempt: attempt.clone(),
            })
        });
        let mut absent: Vec<_> = absent.collect();
        absent.sort_by_key(|absent| absent.attempt.submitted_at);
        Ok(absent)
    }

    fn owned_predictions(
        &self,
        (provider, wire_model): RouteName<'_>,
        since: Timestamp,
    ) -> Result<BTreeMap<String, OwnedPrediction>> {
        let attempts = self.attempts_at(provider);
        let recent = attempts.filter(|attempt| {
            attempt.wire_model == wire_model && attempt.progress.answered_at >= Some(since)
        });
        let owned = recent.filter_map(|attempt| {
            let prediction = attempt.progress.prediction.as_ref()?;
            let owned = OwnedPrediction {
                submitted_at: attempt.submitted_at,
                request_digest: Some(attempt_digest(attempt)),
            };
            Some((prediction.prediction_id.clone(), owned))
        });
        Ok(owned.collect())
    }

    fn processing_times(&self, route: RouteName<'_>, limit: usize) -> Result<ProcessingTimes> {
        let mut times = Vec::new();
        for Row { job, attempts, .. } in &self.rows {
            for attempt in attempts {
                let is_route = (attempt.provider, attempt.wire_model.as_str()) == route;
                let took = attempt.progress.processing.filter(|_| is_route);
                let time = took.map(|took| (job.input.duration(), took));
                times.extend(time.map(|time| (attempt.progress.finished_at, time)));
            }
        }
        times.sort_by_key(|(finished_at, _)| Reverse(*finished_at));
        let times = times.into_iter().map(|(_, time)| time);
        Ok(times.take(limit).collect())
    }

    fn leases_unless(&self, pool: &PoolId, expected: usize) -> Result<Option<Vec<Lease>>> {
        let leases = self.leased_by(pool).filter_map(|row| row.lease.as_ref());
        let leases: Vec<Lease> = leases.map(|(lease, _)| lease.clone()).collect();
        Ok(Some(leases).filter(|leases| leases.len() != expected))
    }

    fn check(&self) -> Result<(usize, usize)> {
        Ok((1, 1))
    }
}

impl Transaction for State {
    fn put_pool(&mut self, pool: &PoolId, record: &PoolRecord) -> Result<()> {
        self.pools.retain(|(pool_id, _)| pool_id != pool);
        self.pools.push((pool.clone(), record.clone()));
        Ok(())
    }

    fn remove_pool(&mut self, pool: &PoolId) -> Result<()> {
        for (_, lease) in self.uploads.values_mut() {
            lease.take_if(|(_, holder)| holder == pool);
        }
        self.pools.retain(|(pool_id, _)| pool_id != pool);
        Ok(())
    }

    fn write_leased(&mut self, claim: &Claim, change: &Change, held: bool) -> Result<bool> {
        let row = self.row_mut(claim.lease.job_id);
        let mut lease = row.lease.iter();
        let is_current = lease.any(|(current, _)| *current == claim.lease);
        if is_current {
            row.write(change, held);
        }
        Ok(is_current)
    }

    fn write(&mut self, job: &StoredJob, change: &Change) -> Result<()> {
        self.row_mut(job.job_id).write(change, false);
        Ok(())
    }

    fn write_attempt(
        &mut self,
        job: &StoredJob,
        attempt: &Attempt,
        new: &AttemptProgress,
    ) -> Result<()> {
        let row = self.row_mut(job.job_id);
        let mut attempts = row.attempts.iter_mut();
        let known = attempts.find(|known| known.attempt_id == attempt.attempt_id);
        known.expect("the attempt").progress = new.clone();
        Ok(())
    }

    fn prediction_owner(&self, prediction_id: &str, attempt: &Attempt) -> Result<Option<JobId>> {
        let is_owner = |other: &Attempt| {
            let prediction = other.progress.prediction.as_ref();
            prediction.is_some_and(|prediction| prediction.prediction_id == prediction_id)
                && other.provider == attempt.provider
                && other.attempt_id != attempt.attempt_id
        };
        let mut rows = self.rows.iter();
        let owner = rows.find(|row| row.attempts.iter().any(is_owner));
        Ok(owner.map(|row| row.job.job_id))
    }

    fn set_gate(&mut self, provider: ProviderName, gate: &ProviderGate) -> Result<()> {
        self.gates.insert(provider, gate.clone());
        Ok(())
    }

    fn set_route(&mut self, route: &RouteId, gate: &RouteGate) -> Result<()> {
        self.routes.insert(route.clone(), gate.clone());
        Ok(())
    }

    fn resume_parked(&mut self) -> Result<()> {
        for row in &mut self.rows {
            let due_at = &mut row.job.progress.due_at;
            *due_at = due_at.map(|at| {
                if at < PARKED_FROM {
                    at
                } else {
                    at - PARKED_FOR
                }
            });
        }
        Ok(())
    }

    fn defer(&mut self, job: JobId, due_at: Timestamp) -> Result<()> {
        self.row_mut(job).job.progress.due_at = Some(due_at);
        Ok(())
    }

    fn read_job(&self, job: JobId) -> Result<(Job, Attempt)> {
        let row = self.row(job).expect("the job");
        Ok((row.job.clone(), row.attempt().expect("an attempt").clone()))
    }

    fn clips(&self, job: JobId) -> Result<JobClips> {
        let row = self.row(job).expect("the job");
        let source = row.clips.last().and_then(|(_, source, _)| *source);
        Ok(JobClips {
            kept: row.kept_clips(),
            reused: source.and_then(|source| self.clip_of(source)),
        })
    }

    fn forget_clip(&mut self, job: JobId, attempt: u32) -> Result<()> {
        let row = self.row_mut(job);
        let attempts = row.attempts.iter().zip(&mut row.clips);
        for (_, (_, _, kept)) in attempts.filter(|(known, _)| known.number == attempt) {
            *kept = None;
        }
        Ok(())
    }

    fn lease(&mut self, pool: &PoolId, lease: &Lease, job: &JobProgress) -> Result<()> {
        let row = self.row_mut(lease.job_id);
        row.lease = Some((lease.clone(), pool.clone()));
        row.job.progress = job.clone();
        Ok(())
    }

    fn start_attempt(&mut self, new: &NewAttempt<'_>) -> Result<AttemptId> {
        let attempt_id = AttemptId(self.last_attempt_id()? + 1);
        self.gates.entry(new.attempt.provider).or_default();
        self.lease(new.pool, new.lease, new.job)?;
        let row = self.row_mut(new.lease.job_id);
        row.is_submitted = true;
        row.clips.push((row.new.fingerprint, None, None));
        row.attempts.push(Attempt {
            attempt_id,
            ..new.attempt.clone()
        });
        Ok(attempt_id)
    }

    fn put_upload(&mut self, upload: &Upload, lease: Option<(&PoolId, i64)>) -> Result<i64> {
        let mut known = self.uploads.iter();
        let known = known.find(|(_, (known, _))| known.key() == upload.key());
        self.last_upload_id += 1;
        let id = known.map_or(self.last_upload_id, |(id, _)| *id);
        let lease = lease.map(|(pool, token)| (token, pool.clone()));
        self.uploads.insert(id, (upload.clone(), lease));
        Ok(id)
    }

    fn write_upload(&mut self, lease: UploadLease, new: Option<&UploadProgress>) -> Result<()> {
        let Some((upload, current)) = self.uploads.get_mut(&lease.upload_id) else {
            return Ok(());
        };
        let ended = current.take_if(|(token, _)| *token == lease.token);
        if let Some(new) = new.filter(|_| ended.is_some()) {
            upload.progress = new.clone();
        }
        Ok(())
    }

    fn clear_rejected_uploads(&mut self) -> Result<()> {
        let uploads = &mut self.uploads;
        uploads.retain(|_, (upload, lease)| lease.is_some() || !upload.progress.is_rejected());
        Ok(())
    }

    fn set_folder(&mut self, batch: &BatchView, folder: &Location) -> Result<()> {
        let move_file = |file: &mut SavedFile| {
            let place = file.location.to_string();
            if let Some(name) = place.strip_prefix(&format!("{}/", batch.folder)) {
                file.location = folder.join(name);
            }
        };
        let rows = self.rows.iter_mut();
        for row in rows.filter(|row| row.job.batch == batch.name) {
            row.job.folder = folder.clone();
            row.job.progress.output.iter_mut().for_each(move_file);
            let kept = row.clips.iter_mut();
            kept.flat_map(|(_, _, kept)| kept).for_each(move_file);
        }
        let mut batches = self.batches.iter_mut();
        let known = batches.find(|known| known.name == batch.name);
        known.expect("the batch").folder = folder.to_string();
        Ok(())
    }

    fn set_budget(&mut self, batch: &BatchView, budget: Option<Money>) -> Result<()> {
        self.batches[batch.batch_id as usize].budget = budget;
        Ok(())
    }

    fn set_settings(&mut self, settings: &[SettingChange]) -> Result<()> {
        self.settings = settings.to_vec();
        Ok(())
    }

    fn set_key_mark(
        &mut self,
        provider: ProviderName,
        mark: &str,
        changed_at: Option<Timestamp>,
    ) -> Result<()> {
        self.key_marks
            .insert(provider, (mark.to_owned(), changed_at));
        Ok(())
    }

    fn set_run_setup(&mut self, setup: &str) -> Result<()> {
        self.run_setup = Some(setup.to_owned());
        Ok(())
    }

    fn set_doubt(&mut self, since: Option<Timestamp>) -> Result<()> {
        self.doubt_since = since;
        Ok(())
    }

    fn set_unclaimed(&mut self, since: Option<Timestamp>) -> Result<()> {
        self.unclaimed_since = since;
        Ok(())
    }

    fn set_generation(&mut self, generation: u64) -> Result<()> {
        self.generation = generation;
        Ok(())
    }

    fn replace_last_heartbeat(&mut self, now: Timestamp) -> Result<Option<Timestamp>> {
        Ok(self.last_heartbeat.replace(now))
    }

    fn change_clock(&mut self, now: Timestamp, latest: Timestamp) -> Result<()> {
        self.clock_changed_at = Some(now);
        for row in &mut self.rows {
            let due_at = &mut row.job.progress.due_at;
            if *due_at < Some(PARKED_FROM) {
                *due_at = (*due_at).min(Some(latest));
            }
            for attempt in &mut row.attempts {
                let progress = &mut attempt.progress;
                progress.answered_at = progress.answered_at.min(Some(now));
                if progress.state.is_unresolved() {
                    attempt.submitted_at = attempt.submitted_at.min(now);
                }
            }
        }
        for (_, pool) in &mut self.pools {
            pool.expires_at = pool.expires_at.min(latest);
        }
        for gate in self.gates.values_mut() {
            gate.submits_held_until = gate.submits_held_until.min(latest);
            gate.calls_held_until = gate.calls_held_until.min(latest);
            gate.alone_until = gate.alone_until.min(latest);
            gate.lost_at = gate.lost_at.min(latest);
        }
        for gate in self.routes.values_mut() {
            gate.held_until = gate.held_until.min(latest);
            gate.alone_until = gate.alone_until.min(latest);
            if let Some(price) = &mut gate.price {
                price.learned_at = price.learned_at.min(latest);
            }
        }
        Ok(())
    }
}

impl Loader for MemoryStore {
    fn stage(&self, batch: NewBatch) -> Result<Box<dyn Staging>> {
        batch.find(&self.state().batches)?;
        Ok(Box::new(MemoryStaging {
            store: self.reopen(),
            batch,
            rows: Vec::new(),
            plan: LoadPlan::default(),
        }))
    }
}

impl Staging for MemoryStaging {
    fn discard(&mut self) -> Result<()> {
        self.rows.clear();
        self.plan = LoadPlan::default();
        Ok(())
    }

    fn add(&mut self, jobs: &[NewJob]) -> Result<Vec<RowChange>> {
        let earlier = self.rows.len();
        self.rows.extend_from_slice(jobs);
        let mut copy = self.store.state().clone();
        let now = self.store.clock.now();
        let (plan, mut changes) = copy.load(&self.batch, &self.rows, RemovedRows::Keep, now)?;
        self.plan = plan;
        Ok(changes.split_off(earlier))
    }

    fn plan(&mut self) -> Result<LoadPlan> {
        Ok(self.plan.clone())
    }

    fn commit(&mut self, removed: RemovedRows) -> Result<LoadPlan> {
        let rows = std::mem::take(&mut self.rows);
        self.plan = LoadPlan::default();
        let load = |state: &mut State, now| state.load(&self.batch, &rows, removed, now);
        Ok(self.store.try_write(load)?.0)
    }
}

impl State {
    fn load(
        &mut self,
        new: &NewBatch,
        rows: &[NewJob],
        removed: RemovedRows,
        now: Timestamp,
    ) -> Result<(LoadPlan, Vec<RowChange>)> {
        if new.find(&self.batches)?.is_none() {
            self.batches.push(BatchView {
                batch_id: self.batches.len() as i64,
                name: new.name.clone(),
                model: new.model.clone(),
                folder: new.folder.to_string(),
                ..BatchView::default()
            });
        }
        let mut batches = self.batches.iter_mut();
        let batch = batches
            .find(|batch| batch.name == new.name)
            .expect("the batch");
        batch.budget = new.budget.or(batch.budget);
        if !new.reuses_clips {
            self.fresh.insert(new.name.clone(), now);
        }
        if rows.iter().any(|row| row.has_local_images) {
            batch.has_local_images = true;
            self.clear_rejected_uploads()?;
        }
        let jobs_before = self.rows(Some(&new.name)).count() as u64;
        let last_job = JobId(self.rows.len() as i64);
        let mut load = Load::new(new, now, last_job, jobs_before);
        let mut tx = RowTransaction {
            state: self,
            batch: new,
            now,
        };
        let changes = load.add(&mut tx, rows)?;
        let mut plan = load.plan(&mut tx)?;
        if removed == RemovedRows::Cancel {
            load.cancel_removed(&mut tx, &mut plan)?;
        }
        Ok((plan, changes))
    }
}

struct RowTransaction<'a> {
    state: &'a mut State,
    batch: &'a NewBatch,
    now: Timestamp,
}

impl LoadTransaction for RowTransaction<'_> {
    fn find(&mut self, row_key: &str) -> Result<Option<KnownJob>> {
        let mut rows = self.state.rows(Some(&self.batch.name));
        let row = rows.find(|row| row.job.row_key == row_key);
        Ok(row.map(|row| KnownJob {
            job_id: row.job.job_id,
            line: row.new.line,
            state: row.job.progress.state,
            fingerprint: row.new.fingerprint,
            lane_id: 0,
        }))
    }

    fn input(&mut self, job: JobId) -> Result<Input> {
        Ok(self.state.row(job).expect("the job").job.input.clone())
    }

    fn queued_elsewhere(&mut self) -> Result<BTreeMap<String, u64>> {
        let mut elsewhere = BTreeMap::new();
        let mine = self
            .state
            .in_state(JobState::Queued, Some(&self.batch.name));
        for row in mine {
            let others = self.state.rows(None).filter(|other| {
                other.job.batch != self.batch.name
                    && other.new.fingerprint == row.new.fingerprint
                    && !other.job.progress.state.is_final()
            });
            let batches: BTreeSet<&String> = others.map(|other| &other.job.batch).collect();
            for batch in batches {
                *elsewhere.entry(batch.clone()).or_default() += 1;
            }
        }
        Ok(elsewhere)
    }

    fn for_each_queued(&mut self, visit: &mut dyn FnMut(JobId, Money)) -> Result<()> {
        let queued = self
            .state
            .in_state(JobState::Queued, Some(&self.batch.name));
        queued.for_each(|row| visit(row.job.job_id, row.new.estimate));
        Ok(())
    }

    fn stored(&mut self, job: JobId) -> Result<StoredJob> {
        let stored = self.state.stored_jobs(JobSet::Number(job))?.pop();
        Ok(stored.expect("the job"))
    }

    fn insert(&mut self, rows: &[NewJob]) -> Result<usize> {
        for (index, row) in rows.iter().enumerate() {
            if self.find(&row.row_key)?.is_some() || !self.insert_as(row, &row.stem)? {
                return Ok(index);
            }
        }
        Ok(rows.len())
    }

    fn insert_as(&mut self, new: &NewJob, stem: &str) -> Result<bool> {
        let file_name = format!("{stem}.mp4");
        let folded = file_name::case_folded(&file_name);
        let is_taken = |row: &Row| file_name::case_folded(&row.job.file_name) == folded;
        if self.state.rows(Some(&self.batch.name)).any(is_taken) {
            return Ok(false);
        }
        let job = Job {
            job_id: JobId(self.state.rows.len() as i64 + 1),
            batch: self.batch.name.clone(),
            row_key: new.row_key.clone(),
            model: self.batch.model.clone(),
            input: new.input.clone(),
            folder: self.batch.folder.clone(),
            file_name,
            absent_attempts: 0,
            progress: load::queued(self.now),
        };
        self.state.rows.push(Row {
            job,
            new: new.clone(),
            queued_at: self.now,
            attempts: Vec::new(),
            clips: Vec::new(),
            is_submitted: false,
            lease: None,
        });
        Ok(true)
    }

    fn update(&mut self, job: &KnownJob, new: &NewJob, fields: RowFields) -> Result<()> {
        let row = self.state.row_mut(job.job_id);
        row.new.line = new.line;
        if fields.input {
            row.job.input = new.input.clone();
        }
        if fields.fingerprint {
            row.new.fingerprint = new.fingerprint;
            if let Some((fingerprint, _, _)) = row.clips.last_mut() {
                *fingerprint = new.fingerprint;
            }
        }
        if fields.providers {
            row.new.providers = new.providers.clone();
            row.new.estimate = new.estimate;
        }
        Ok(())
    }

    fn write(&mut self, job: &StoredJob, change: &Change) -> Result<()> {
        Transaction::write(self.state, job, change)
    }

    fn keep_clip(&mut self, job: JobId, clip: &SavedFile) -> Result<()> {
        if let Some((_, _, kept)) = self.state.row_mut(job).clips.last_mut() {
            *kept = Some(clip.clone());
        }
        Ok(())
    }

    fn has_made_clips(&mut self) -> Result<bool> {
        Ok(true)
    }

    fn find_made(&mut self, fingerprint: &Fingerprint, job: JobId) -> Result<Option<MadeClip>> {
        let is_taken = |attempt: &Attempt| {
            let mut others = self.state.rows(Some(&self.batch.name));
            let source = Some(attempt.attempt_id);
            others.any(|row| {
                let current = row.attempt().and(row.clips.last());
                row.job.job_id != job && current.is_some_and(|(_, taken, _)| *taken == source)
            })
        };
        let mut made = Vec::new();
        for row in &self.state.rows {
            for (attempt, (asked, source, _)) in row.attempts.iter().zip(&row.clips) {
                let is_done = attempt.progress.state == AttemptState::Done && source.is_none();
                if is_done && asked == fingerprint && !is_taken(attempt) {
                    let batch = row.job.batch.clone();
                    let attempt = attempt.clone();
                    made.push((row.job.job_id != job, MadeClip { batch, attempt }));
                }
            }
        }
        let made = made
            .into_iter()
            .min_by_key(|(is_other, made)| (*is_other, made.attempt.attempt_id));
        Ok(made.map(|(_, made)| made))
    }

    fn reuse(&mut self, job: &StoredJob, made: &MadeClip, reuse: &Reuse) -> Result<()> {
        let attempt_id = AttemptId(self.state.last_attempt_id()? + 1);
        let row = self.state.row_mut(job.job_id);
        row.job.progress = reuse.job.clone();
        row.is_submitted = true;
        let source = made.attempt.attempt_id;
        row.clips.push((row.new.fingerprint, Some(source), None));
        row.attempts.push(Attempt {
            attempt_id,
            number: row.attempts.len() as u32 + 1,
            submitted_at: self.now,
            progress: reuse.attempt.clone(),
            ..made.attempt.clone()
        });
        Ok(())
    }

    fn replace(&mut self, job: JobId, new: &NewJob) -> Result<()> {
        let row = self.state.row_mut(job);
        row.job.input = new.input.clone();
        row.new = new.clone();
        row.queued_at = self.now;
        row.is_submitted = false;
        Ok(())
    }
}
