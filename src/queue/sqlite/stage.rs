//! Loads a manifest: one transaction on a connection of its own, in which each row goes straight to its place.
//!
//! A million rows come and go in seconds, and in the memory of a few: what a row differs in is found by its key, that it
//! came twice by the key's uniqueness, and what has a mistake is rolled back as a whole.

use std::path::{Path, PathBuf};

use jiff::Timestamp;
use rusqlite::{Connection, params};

use crate::domain::{JobEvent, JobState, Money, NewJob, file_name};
use crate::failpoint::fail_point;
use crate::queue::{LoadPlan, NewBatch, QueueError, Result, RowChange, Staging};

use super::insert::{self, line, providers};
use super::open;
use super::record::move_job;
use super::row::{JobCounts, execute, select, value};
use super::uploads;

/// What a load keeps of the file in memory, in KiB: enough that pages which fill up one after the other are written once.
const CACHE_KIB: i64 = 16 << 10;

/// A manifest on its way into a SQLite queue.
pub(super) struct SqliteStaging {
    path: PathBuf,
    connection: Connection,
    batch: NewBatch,
    /// The transaction that is open.
    open: Option<OpenLoad>,
}

/// What a transaction has added so far.
struct OpenLoad {
    batch_id: i64,
    /// The last job there was before; 0 where the batch is new.
    last_job: i64,
    /// How many jobs the batch had before.
    had: u64,
    /// Which of those a row was added for, by number.
    seen: Vec<u64>,
    /// Whether a row names an image on disk.
    has_local_images: bool,
    plan: LoadPlan,
}

/// What the batch has under a row's key.
struct ExistingJob {
    job_id: i64,
    line: u64,
    state: JobState,
    fingerprint: String,
    providers: String,
}

impl SqliteStaging {
    /// Checks that the batch fits what the queue has of it. Nothing is locked yet.
    pub(super) fn begin(path: &Path, batch: NewBatch) -> Result<Self> {
        let connection = open::open_for_writing(path)?;
        let begin = || {
            connection.pragma_update(None, "cache_size", -CACHE_KIB)?;
            // What a new job points at is its batch, which stands in the same transaction.
            connection.pragma_update(None, "foreign_keys", false)?;
            check_batch(&connection, &batch)
        };
        begin().map_err(|error| open::at(path, error))?;
        Ok(Self {
            path: path.to_owned(),
            connection,
            batch,
            open: None,
        })
    }

    fn stage(&mut self, jobs: &[NewJob], now: Timestamp) -> Result<Vec<RowChange>> {
        let Self {
            connection,
            batch,
            open,
            ..
        } = self;
        OpenLoad::of(open, connection, batch, now)?.add_all(connection, jobs, now)
    }

    fn commit_open(&mut self, now: Timestamp) -> Result<LoadPlan> {
        let Self {
            connection,
            batch,
            open,
            ..
        } = self;
        let OpenLoad {
            batch_id,
            has_local_images,
            ..
        } = *OpenLoad::of(open, connection, batch, now)?;
        let plan = self.plan();
        execute(
            &self.connection,
            "UPDATE batches SET queued = queued + ?2, has_files = max(has_files, ?3) WHERE batch_id = ?1",
            params![
                batch_id,
                i64::try_from(plan.new).unwrap_or(i64::MAX),
                has_local_images
            ],
        )?;
        if has_local_images {
            uploads::forget_refused(&self.connection)?;
        }
        fail_point!("load written");
        self.connection.prepare_cached("COMMIT")?.execute([])?;
        fail_point!("load committed");
        self.open = None;
        Ok(plan)
    }
}

impl Staging for SqliteStaging {
    fn add(&mut self, jobs: &[NewJob], now: Timestamp) -> Result<Vec<RowChange>> {
        self.stage(jobs, now)
            .map_err(|error| open::at(&self.path, error))
    }

    fn plan(&self) -> LoadPlan {
        self.open
            .as_ref()
            .map_or_else(LoadPlan::default, OpenLoad::plan)
    }

    fn commit(&mut self, now: Timestamp) -> Result<LoadPlan> {
        self.commit_open(now)
            .map_err(|error| open::at(&self.path, error))
    }
}

impl OpenLoad {
    /// The transaction that is open, else a new one.
    fn of<'a>(
        open: &'a mut Option<Self>,
        connection: &Connection,
        batch: &NewBatch,
        now: Timestamp,
    ) -> Result<&'a mut Self> {
        match open {
            Some(open) => Ok(open),
            none => {
                connection.prepare_cached("BEGIN IMMEDIATE")?.execute([])?;
                Ok(none.insert(Self::enter(connection, batch, now)?))
            }
        }
    }

    /// Enters the batch, where it is new. Another load may have made it since this one began.
    fn enter(tx: &Connection, batch: &NewBatch, now: Timestamp) -> Result<Self> {
        let (seen, plan) = (Vec::new(), LoadPlan::default());
        let Some(batch_id) = check_batch(tx, batch)? else {
            execute(
                tx,
                "INSERT INTO batches (name, model, folder, budget, created_at) VALUES (?1, ?2, ?3, ?4, ?5)",
                params![
                    batch.name,
                    batch.model,
                    batch.folder.to_string_lossy(),
                    batch.budget.map(Money::micros),
                    now.as_millisecond(),
                ],
            )?;
            return Ok(Self {
                batch_id: tx.last_insert_rowid(),
                last_job: 0,
                had: 0,
                seen,
                has_local_images: false,
                plan,
            });
        };
        if let Some(budget) = batch.budget {
            execute(
                tx,
                "UPDATE batches SET budget = ?2 WHERE batch_id = ?1",
                params![batch_id, budget.micros()],
            )?;
        }
        let had = select(
            tx,
            "SELECT * FROM batches WHERE batch_id = ?1",
            [batch_id],
            JobCounts::read,
        )?;
        let had = had.first().map_or(0, JobCounts::all);
        let last_job = value(tx, "SELECT max(job_id) FROM jobs", [])?.unwrap_or(0);
        Ok(Self {
            batch_id,
            last_job,
            had,
            seen,
            has_local_images: false,
            plan,
        })
    }

    fn plan(&self) -> LoadPlan {
        let LoadPlan {
            changed,
            in_progress,
            unchanged,
            ..
        } = self.plan;
        LoadPlan {
            removed: self.had.saturating_sub(changed + in_progress + unchanged),
            ..self.plan
        }
    }

    fn add_all(
        &mut self,
        tx: &Connection,
        jobs: &[NewJob],
        now: Timestamp,
    ) -> Result<Vec<RowChange>> {
        let mut additions = Vec::with_capacity(jobs.len());
        self.has_local_images |= jobs.iter().any(|job| job.has_local_images);
        for lot in jobs.chunks(insert::TOGETHER) {
            // None of a new batch's rows is known, unless it came twice.
            let is_new = self.last_job == 0;
            let inserted = if is_new {
                insert::together(tx, self.batch_id, lot, now)?
            } else {
                0
            };
            let (inserted, others) = lot.split_at(inserted);
            additions.extend(inserted.iter().map(|job| self.count_new(job)));
            for job in others {
                additions.push(self.add(tx, job, now)?);
            }
        }
        Ok(additions)
    }

    fn add(&mut self, tx: &Connection, job: &NewJob, now: Timestamp) -> Result<RowChange> {
        let known = if self.last_job > 0 {
            self.known(tx, job)?
        } else {
            None
        };
        let Some(known) = known else {
            return self.add_new(tx, job, now);
        };
        if known.job_id > self.last_job || !self.see(known.job_id) {
            return Ok(RowChange::Duplicate { line: known.line });
        }
        let may_change = known.state == JobState::Queued || known.state.is_final();
        if known.fingerprint == job.fingerprint {
            self.plan.unchanged += 1;
            keep(tx, &known, job)?;
            Ok(RowChange::Unchanged)
        } else if may_change {
            self.plan.changed += 1;
            self.plan.estimate += job.estimate;
            restart(tx, &known, job, now)?;
            Ok(RowChange::Changed)
        } else {
            self.plan.in_progress += 1;
            set_line(tx, &known, job)?;
            Ok(RowChange::InProgress)
        }
    }

    fn add_new(&mut self, tx: &Connection, job: &NewJob, now: Timestamp) -> Result<RowChange> {
        if insert::one(tx, self.batch_id, job, &job.stem, now)? {
            return Ok(self.count_new(job));
        }
        if let Some(known) = self.known(tx, job)? {
            return Ok(RowChange::Duplicate { line: known.line });
        }
        // Another key folds to the same file name.
        let stem = file_name::disambiguated_file_stem(&job.stem, &job.row_key);
        if !insert::one(tx, self.batch_id, job, &stem, now)? {
            return Err(QueueError::Store(format!(
                "there is a clip {stem}.mp4 already"
            )));
        }
        Ok(self.count_new(job))
    }

    fn count_new(&mut self, job: &NewJob) -> RowChange {
        self.plan.new += 1;
        self.plan.estimate += job.estimate;
        RowChange::New
    }

    fn known(&self, tx: &Connection, job: &NewJob) -> Result<Option<ExistingJob>> {
        let known = select(
            tx,
            "SELECT job_id, line, state, fingerprint, providers FROM jobs WHERE batch_id = ?1 AND row_key = ?2",
            params![self.batch_id, job.row_key],
            |columns| {
                Ok(ExistingJob {
                    job_id: columns.get("job_id")?,
                    line: columns.get("line")?,
                    state: columns.word("state")?,
                    fingerprint: columns.get("fingerprint")?,
                    providers: columns.get("providers")?,
                })
            },
        )?;
        Ok(known.into_iter().next())
    }

    /// Notes that there is a row for a job; tells whether it is the first one.
    fn see(&mut self, job_id: i64) -> bool {
        let place = usize::try_from(job_id).unwrap_or(0);
        let (word, bit) = (place / 64, 1 << (place % 64));
        if self.seen.len() <= word {
            self.seen.resize(word + 1, 0);
        }
        let is_first = self.seen[word] & bit == 0;
        self.seen[word] |= bit;
        is_first
    }
}

/// Leaves a job as it is. One that has not been sent yet may go where this load allows.
fn keep(tx: &Connection, known: &ExistingJob, job: &NewJob) -> Result<()> {
    let providers = providers(job);
    if known.state == JobState::Queued && known.providers != providers {
        execute(
            tx,
            "UPDATE jobs SET providers = ?2, estimate = ?3 WHERE job_id = ?1",
            params![known.job_id, providers, job.estimate.micros()],
        )?;
    }
    if job.has_local_images {
        // The same pictures may be elsewhere by now.
        execute(
            tx,
            "UPDATE jobs SET input = ?2 WHERE job_id = ?1 AND input <> ?2",
            params![known.job_id, job.input_text],
        )?;
    }
    set_line(tx, known, job)
}

fn set_line(tx: &Connection, known: &ExistingJob, job: &NewJob) -> Result<()> {
    if known.line != job.line {
        execute(
            tx,
            "UPDATE jobs SET line = ?2 WHERE job_id = ?1",
            params![known.job_id, line(job)],
        )?;
    }
    Ok(())
}

/// Takes the new input of a changed row, and queues its job again.
fn restart(tx: &Connection, known: &ExistingJob, job: &NewJob, now: Timestamp) -> Result<()> {
    move_job(
        tx,
        known.job_id,
        known.state,
        JobEvent::Restart,
        Some(now),
        None,
        now,
    )?;
    execute(
        tx,
        "UPDATE jobs SET line = ?2, input = ?3, fingerprint = ?4, providers = ?5, estimate = ?6, queued_at = ?7,
                crashes = 0, output = NULL, bytes = NULL, sha256 = NULL, attempt_id = NULL
         WHERE job_id = ?1",
        params![
            known.job_id,
            line(job),
            job.input_text,
            job.fingerprint,
            providers(job),
            job.estimate.micros(),
            now.as_millisecond(),
        ],
    )?;
    Ok(())
}

/// Finds the batch, and refuses one that differs in what cannot change.
fn check_batch(connection: &Connection, batch: &NewBatch) -> Result<Option<i64>> {
    let folder = batch.folder.to_string_lossy();
    let known = select(
        connection,
        "SELECT batch_id, name, model, folder FROM batches WHERE name = ?1 OR folder = ?2",
        params![batch.name, folder],
        |columns| {
            let id: i64 = columns.get("batch_id")?;
            Ok((
                id,
                columns.get::<String>("name")?,
                columns.get::<String>("model")?,
                columns.get::<String>("folder")?,
            ))
        },
    )?;
    for (_, name, _, _) in &known {
        if *name != batch.name {
            return Err(QueueError::Conflict(format!(
                "batch `{name}` already writes its clips to {folder}\nhint: choose another --batch or --out"
            )));
        }
    }
    let Some((batch_id, name, model, known_folder)) = known.into_iter().next() else {
        return Ok(None);
    };
    if model != batch.model {
        return Err(QueueError::Conflict(format!(
            "batch `{name}` was loaded for model {model}, not {}\nhint: choose another name with --batch",
            batch.model
        )));
    }
    if known_folder != folder {
        return Err(QueueError::Conflict(format!(
            "batch `{name}` writes its clips to {known_folder}, not {folder}\n\
             hint: leave --out away, or choose another name with --batch"
        )));
    }
    Ok(Some(batch_id))
}
