//! What the user decides, in a transaction that the caller commits, or rolls back after an error. The
//! rules are in [`policy::operator`](crate::policy::operator).

use jiff::Timestamp;

use crate::domain::{AttemptProgress, JobId, JobProgress, JobState, Location, ProviderName};
use crate::policy::Change;
use crate::policy::claim::BatchView;
use crate::policy::operator::{self, Decision, NotApplicable};

use super::staging::ensure_folder_is_free;
use super::storage::{JobSet, Snapshot, StoredJob, Transaction};
use super::{
    BatchClips, CancelResult, KeyNote, LiveSetting, PoolRecord, QueueError, Result, RunSetup,
    Selection, SettingChange, lookup, pools,
};

/// What a command changes in a job and its attempt.
type Command = fn(
    &JobProgress,
    Option<&AttemptProgress>,
    Timestamp,
) -> std::result::Result<Change, NotApplicable>;

/// Retries the selected failed and cancelled jobs; without states, only failed ones. Returns how
/// many.
pub(super) fn retry(
    tx: &mut dyn Transaction,
    selection: &Selection,
    now: Timestamp,
) -> Result<usize> {
    let jobs = select_jobs(tx, selection, JobState::Failed)?;
    apply(tx, &jobs, operator::retry, now)?;
    tx.clear_rejected_uploads()?;
    Ok(jobs.len())
}

/// Cancels the selected jobs; without states, only queued ones.
pub(super) fn cancel(
    tx: &mut dyn Transaction,
    selection: &Selection,
    now: Timestamp,
) -> Result<CancelResult> {
    let jobs = select_jobs(tx, selection, JobState::Queued)?;
    apply(tx, &jobs, operator::cancel, now)?;
    let count = jobs.len();
    let running = jobs
        .into_iter()
        .filter(|job| job.progress.state == JobState::Running);
    Ok(CancelResult {
        jobs: count,
        in_progress: running.filter_map(|job| job.attempt).collect(),
    })
}

/// Cancels those of these jobs that are queued. Returns how many.
pub(super) fn cancel_queued(
    tx: &mut dyn Transaction,
    jobs: &[JobId],
    now: Timestamp,
) -> Result<usize> {
    let mut queued = Vec::new();
    for job in jobs {
        queued.extend(tx.stored_jobs(JobSet::Number(*job))?);
    }
    queued.retain(|job| job.progress.state == JobState::Queued);
    apply(tx, &queued, operator::cancel, now)?;
    Ok(queued.len())
}

/// Requeues the downloads of succeeded jobs whose files are lost, and skips the others. Returns how
/// many.
pub(super) fn requeue_downloads(
    tx: &mut dyn Transaction,
    jobs: &[JobId],
    now: Timestamp,
) -> Result<usize> {
    let mut requeued = 0;
    for job_id in jobs {
        for job in tx.stored_jobs(JobSet::Number(*job_id))? {
            if let Ok(change) = operator::download_again(&job.progress, progress(&job), now) {
                tx.write(&job, &change)?;
                requeued += 1;
            }
        }
    }
    Ok(requeued)
}

/// Resolves a job in doubt and returns its new state.
pub(super) fn resolve(
    tx: &mut dyn Transaction,
    job_id: JobId,
    decision: &Decision,
    now: Timestamp,
) -> Result<JobState> {
    // By number only: another row may have this number as its key.
    let job = tx.stored_jobs(JobSet::Number(job_id))?.pop();
    let job = job.ok_or_else(|| QueueError::NoSuchJob {
        job: job_id.to_string(),
        batch: None,
        nearest: None,
    })?;
    if job.progress.state != JobState::InDoubt {
        return Err(not_applicable(&job, NotApplicable::NotInDoubt));
    }
    let attempt = job.current_attempt()?;
    if let Decision::Adopt(prediction) = decision {
        let id = &prediction.prediction_id;
        if let Some(job) = tx.prediction_owner(id, attempt)? {
            return Err(QueueError::PredictionTaken {
                prediction_id: id.clone(),
                job,
            });
        }
    }
    let change = operator::resolve(&job.progress, &attempt.progress, decision, now)
        .map_err(|reason| not_applicable(&job, reason))?;
    tx.write(&job, &change)?;
    tx.resume_parked()?;
    Ok(change.job.state)
}

/// Resumes every suspended provider and the parked jobs, and removes the rejected uploads.
///
/// Called when a run starts: the user may have fixed the key, the balance or the file.
pub(super) fn reopen_providers(tx: &mut dyn Transaction) -> Result<()> {
    tx.resume_parked()?;
    for (provider, used) in tx.providers()? {
        let reopened = used.gate.reopened();
        if reopened != used.gate {
            tx.set_gate(provider, &reopened)?;
        }
    }
    tx.clear_rejected_uploads()
}

/// What is between the marks of keys of one account.
const MARK_SEPARATOR: char = ',';

/// Returns whether a key is the one that is used at a provider, or of the same account. `None` if none was used
/// yet.
pub(super) fn is_key_known<S: Snapshot + ?Sized>(
    snapshot: &S,
    provider: ProviderName,
    mark: &str,
) -> Result<Option<bool>> {
    let known = snapshot.key_mark(provider)?;
    Ok(known.map(|(marks, _)| marks.split(MARK_SEPARATOR).any(|known| known == mark)))
}

/// Stores the mark of a provider's key, unless an active run uses another one.
pub(super) fn note_key(
    tx: &mut dyn Transaction,
    provider: ProviderName,
    mark: &str,
    host: &str,
    now: Timestamp,
) -> Result<KeyNote> {
    let is_known = is_key_known(tx, provider, mark)?;
    if is_known == Some(true) {
        return Ok(KeyNote::Known);
    }
    if is_known.is_some() && !pools::list_active(tx, host, now)?.is_empty() {
        return Ok(KeyNote::DiffersFromActive);
    }
    let is_changed = is_known.is_some();
    tx.set_key_mark(provider, mark, is_changed.then_some(now))?;
    Ok(if is_changed {
        KeyNote::Changed
    } else {
        KeyNote::Known
    })
}

/// Notes what all runs should agree on, and returns what the active runs have otherwise.
pub(super) fn note_setup(
    tx: &mut dyn Transaction,
    setup: &RunSetup,
    host: &str,
    now: Timestamp,
) -> Result<RunSetup> {
    let mut known = RunSetup::new();
    if !pools::list_active(tx, host, now)?.is_empty()
        && let Some(text) = tx.run_setup()?
    {
        known = serde_json::from_str(&text)
            .map_err(|error| QueueError::unparsable("run_setup", error))?;
    }
    let differs = |(name, value): (&String, &String)| {
        let other = known.get(name).filter(|other| *other != value)?;
        Some((name.clone(), other.clone()))
    };
    let different = setup.iter().filter_map(differs).collect();
    let mut all = setup.clone();
    all.extend(known);
    let text = serde_json::to_string(&all).map_err(|error| QueueError::Fault(error.to_string()))?;
    tx.set_run_setup(&text)?;
    Ok(different)
}

/// Adds the mark of a key that is of the same account as those that are known.
pub(super) fn add_key(tx: &mut dyn Transaction, provider: ProviderName, mark: &str) -> Result<()> {
    match tx.key_mark(provider)? {
        Some(_) if is_key_known(tx, provider, mark)? == Some(true) => Ok(()),
        Some((known, changed_at)) => {
            let marks = format!("{known}{MARK_SEPARATOR}{mark}");
            tx.set_key_mark(provider, &marks, changed_at)
        }
        None => tx.set_key_mark(provider, mark, None),
    }
}

/// Accepts the price that was learned of a route. Returns whether there is one.
pub(super) fn accept_price(
    tx: &mut dyn Transaction,
    provider: ProviderName,
    wire_model: &str,
) -> Result<bool> {
    let route = (provider, wire_model.to_owned());
    let Some(gate) = tx.routes()?.remove(&route) else {
        return Ok(false);
    };
    if gate.price.is_none() {
        return Ok(false);
    }
    tx.set_route(&route, &gate.accepted())?;
    Ok(true)
}

/// Changes settings of the active runs, and returns the pools of those runs.
pub(super) fn set_live_settings(
    tx: &mut dyn Transaction,
    settings: &[LiveSetting],
    set_by: &str,
    host: &str,
    now: Timestamp,
) -> Result<Vec<PoolRecord>> {
    let active_pools = pools::list_active(tx, host, now)?;
    if active_pools.is_empty() && settings.iter().any(LiveSetting::is_run_setting) {
        return Err(QueueError::NoActiveRun);
    }
    let mut changes = tx.settings()?;
    for setting in settings {
        let is_same = |change: &SettingChange| change.setting.name() == setting.name();
        let previous = match setting {
            LiveSetting::BatchBudget(name, budget) => {
                let batch = lookup::find_batches(tx, Some(name))?.pop();
                if let Some(batch) = &batch {
                    tx.set_budget(batch, *budget)?;
                }
                batch.map(|batch| LiveSetting::BatchBudget(batch.name, batch.budget))
            }
            _ => {
                let last = changes.iter().find(|change| is_same(change));
                last.map(|change| change.setting.clone())
            }
        };
        changes.retain(|change| !is_same(change));
        changes.push(SettingChange {
            setting: setting.clone(),
            previous,
            set_by: set_by.to_owned(),
            set_at: now,
        });
    }
    tx.set_settings(&changes)?;
    Ok(active_pools)
}

/// Returns the clips of a batch that are to be moved to another folder.
pub(super) fn clips_to_move<S: Snapshot + ?Sized>(
    snapshot: &S,
    batch: &str,
    folder: &Location,
    host: &str,
    now: Timestamp,
) -> Result<BatchClips> {
    let batch = find_movable(snapshot, batch, folder, host, now)?;
    clips_of(snapshot, &batch)
}

/// Sets the folder of a batch whose clips have been moved.
pub(super) fn set_folder(
    tx: &mut dyn Transaction,
    batch: &str,
    moved: &BatchClips,
    folder: &Location,
    host: &str,
    now: Timestamp,
) -> Result<()> {
    let batch = find_movable(tx, batch, folder, host, now)?;
    if clips_of(tx, &batch)? != *moved {
        return Err(QueueError::ClipsChanged);
    }
    tx.set_folder(&batch, folder)
}

fn clips_of<S: Snapshot + ?Sized>(snapshot: &S, batch: &BatchView) -> Result<BatchClips> {
    Ok(BatchClips {
        clips: snapshot.batch_clips(batch)?,
        folder: batch.folder.as_str().into(),
    })
}

/// Returns a batch whose folder may be changed to another one.
fn find_movable<S: Snapshot + ?Sized>(
    snapshot: &S,
    name: &str,
    folder: &Location,
    host: &str,
    now: Timestamp,
) -> Result<BatchView> {
    if !pools::list_active(snapshot, host, now)?.is_empty() {
        return Err(QueueError::RunIsActive);
    }
    let batches = lookup::find_batches(snapshot, None)?;
    ensure_folder_is_free(&batches, name, folder)?;
    let found = lookup::find_batches(snapshot, Some(name))?.pop();
    found.ok_or_else(|| QueueError::corrupt(format!("batch {name}")))
}

/// Applies a command to every job, or to none.
fn apply(
    tx: &mut dyn Transaction,
    jobs: &[StoredJob],
    command: Command,
    now: Timestamp,
) -> Result<()> {
    for job in jobs {
        let change = command(&job.progress, progress(job), now)
            .map_err(|reason| not_applicable(job, reason))?;
        tx.write(job, &change)?;
    }
    Ok(())
}

fn progress(job: &StoredJob) -> Option<&AttemptProgress> {
    job.attempt.as_ref().map(|attempt| &attempt.progress)
}

/// Returns the error for a command that does not apply to a job.
pub(super) fn not_applicable(job: &StoredJob, reason: NotApplicable) -> QueueError {
    QueueError::NotApplicable {
        job: job.job_id,
        state: job.progress.state,
        reason,
    }
}

/// Finds the jobs of a selection.
///
/// The default state applies if the selection names neither states nor jobs.
fn select_jobs(
    tx: &mut dyn Transaction,
    selection: &Selection,
    default_state: JobState,
) -> Result<Vec<StoredJob>> {
    let batch = selection.batch.as_deref();
    let mut jobs = Vec::new();
    if !selection.jobs.is_empty() {
        for job in &selection.jobs {
            let job_id = lookup::find_job(tx, job, batch)?;
            jobs.extend(tx.stored_jobs(JobSet::Number(job_id))?);
        }
        jobs.retain(|job| {
            selection.states.is_empty() || selection.states.contains(&job.progress.state)
        });
        return Ok(jobs);
    }
    // A misspelled batch is an error; without this check `retry --batch sprnig` would report that it
    // retried no jobs.
    lookup::find_batches(tx, batch)?;
    let states = if selection.states.is_empty() {
        &[default_state]
    } else {
        selection.states.as_slice()
    };
    for state in states {
        jobs.extend(tx.stored_jobs(JobSet::InState(*state, batch))?);
    }
    Ok(jobs)
}
