//! Loads a manifest: rows go to a temporary table of this connection's own, so that the queue is locked only while
//! the difference is copied, and a manifest with a mistake leaves no trace.

use std::path::{Path, PathBuf};

use jiff::Timestamp;
use rusqlite::{Connection, ErrorCode, params};

use crate::cut::cut;
use crate::domain::{Event, JobState, Money, NewJob, file_name};
use crate::queue::{Addition, LoadPlan, NewBatch, QueueError, Result, Staging};

use super::advance::move_job;
use super::open;
use super::row::{execute, select, value};

const STAGED: &str = "
    PRAGMA temp.synchronous = OFF;
    CREATE TEMP TABLE staged (
        row_key       TEXT    PRIMARY KEY,
        line          INTEGER NOT NULL,
        input         TEXT    NOT NULL,
        fingerprint   TEXT    NOT NULL,
        providers     TEXT    NOT NULL,
        estimate      INTEGER NOT NULL,
        file_name     TEXT    NOT NULL,
        file_name_key TEXT    NOT NULL UNIQUE
    ) STRICT;";

/// The states a job may be in while it waits or is over: only then may its row change.
const AT_REST: &str = "('queued', 'succeeded', 'failed', 'cancelled')";

/// A manifest on its way into a SQLite queue.
pub(super) struct SqliteStaging {
    path: PathBuf,
    connection: Connection,
    batch: NewBatch,
    /// The batch's number, where it exists already.
    batch_id: Option<i64>,
}

impl SqliteStaging {
    /// Makes the temporary table, and checks that the batch fits what the queue has of it.
    pub(super) fn begin(path: &Path, batch: NewBatch) -> Result<Self> {
        let connection = open::for_writing(path)?;
        let begin = || {
            connection.execute_batch(STAGED)?;
            // One transaction over the temporary table: a commit a row would cost a system call each.
            connection.execute_batch("BEGIN")?;
            check_batch(&connection, &batch)
        };
        let batch_id = begin().map_err(|error| open::at(path, error))?;
        Ok(Self { path: path.to_owned(), connection, batch, batch_id })
    }

    fn stage(&self, job: &NewJob) -> Result<Addition> {
        let stem = file_name::safe_stem(&job.row_key);
        let clash = match self.insert(job, &stem) {
            Ok(()) => return Ok(Addition::Staged),
            Err(error) if error.sqlite_error_code() == Some(ErrorCode::ConstraintViolation) => error,
            Err(error) => return Err(error.into()),
        };
        let earlier: Option<u64> =
            value(&self.connection, "SELECT line FROM temp.staged WHERE row_key = ?1", [&job.row_key])?;
        if let Some(line) = earlier {
            return Ok(Addition::Duplicate { line });
        }
        // Another key folds to the same file name.
        if self.insert(job, &file_name::distinct_stem(&stem, &job.row_key)).is_err() {
            return Err(clash.into());
        }
        Ok(Addition::Staged)
    }

    fn insert(&self, job: &NewJob, stem: &str) -> rusqlite::Result<()> {
        let file_name = format!("{stem}.mp4");
        let providers: Vec<&str> = job.providers.iter().map(|provider| provider.as_str()).collect();
        self.connection
            .prepare_cached("INSERT INTO temp.staged VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)")?
            .execute(params![
                job.row_key,
                i64::try_from(job.line).unwrap_or(i64::MAX),
                serde_json::Value::Object(job.input.0.clone()).to_string(),
                job.input.fingerprint(&self.batch.model),
                providers.join(","),
                job.estimate.micros(),
                file_name,
                file_name::folded(&file_name),
            ])
            .map(|_| ())
    }

    /// Gives rows whose file name belongs to another job of the batch a name of their own.
    fn rename_clashes(&self, batch_id: i64) -> Result<()> {
        let clashes: Vec<String> = select(
            &self.connection,
            "SELECT s.row_key FROM temp.staged s JOIN jobs j
                 ON j.batch_id = ?1 AND j.file_name_key = s.file_name_key AND j.row_key <> s.row_key",
            [batch_id],
            |columns| columns.get("row_key"),
        )?;
        for key in clashes {
            let name = format!("{}.mp4", file_name::distinct_stem(&file_name::safe_stem(&key), &key));
            execute(
                &self.connection,
                "UPDATE temp.staged SET file_name = ?2, file_name_key = ?3 WHERE row_key = ?1",
                params![key, name, file_name::folded(&name)],
            )?;
        }
        Ok(())
    }

    fn compare(&self) -> Result<LoadPlan> {
        let batch_id = self.batch_id.unwrap_or(-1);
        let plan = select(
            &self.connection,
            &format!(
                "SELECT count(*) AS rows, ifnull(sum(j.job_id IS NULL), 0) AS new,
                        ifnull(sum(j.fingerprint <> s.fingerprint AND j.state IN {AT_REST}), 0) AS changed,
                        ifnull(sum(j.fingerprint <> s.fingerprint AND j.state NOT IN {AT_REST}), 0) AS busy,
                        ifnull(sum(CASE WHEN j.job_id IS NULL OR (j.fingerprint <> s.fingerprint AND j.state IN {AT_REST})
                                   THEN s.estimate END), 0) AS estimate,
                        (SELECT count(*) FROM jobs g WHERE g.batch_id = ?1
                            AND NOT EXISTS (SELECT 1 FROM temp.staged t WHERE t.row_key = g.row_key)) AS gone
                 FROM temp.staged s LEFT JOIN jobs j ON j.batch_id = ?1 AND j.row_key = s.row_key"
            ),
            [batch_id],
            |columns| {
                let mut plan = LoadPlan {
                    new: columns.get("new")?,
                    changed: columns.get("changed")?,
                    busy: columns.get("busy")?,
                    same: 0,
                    gone: columns.get("gone")?,
                    estimate: columns.money("estimate")?,
                };
                plan.same = columns.get::<u64>("rows")? - plan.new - plan.changed - plan.busy;
                Ok(plan)
            },
        )?;
        plan.into_iter().next().ok_or_else(|| QueueError::Corrupt("a count gave no row".into()))
    }

    fn copy_and_commit(&mut self, now: Timestamp) -> Result<LoadPlan> {
        self.connection.execute_batch("COMMIT; BEGIN IMMEDIATE")?;
        let plan = self.copy(now)?;
        cut!("load written");
        self.connection.execute_batch("COMMIT")?;
        cut!("load committed");
        Ok(plan)
    }

    fn copy(&mut self, now: Timestamp) -> Result<LoadPlan> {
        let batch_id = self.enter_batch(now)?;
        self.batch_id = Some(batch_id);
        self.rename_clashes(batch_id)?;
        let plan = self.compare()?;
        let tx = &self.connection;
        self.restart_changed(batch_id, now)?;
        execute(
            tx,
            "INSERT INTO jobs (batch_id, row_key, line, model, input, fingerprint, providers, estimate, file_name,
                               file_name_key, state, state_since, due_at, queued_at)
             SELECT ?1, s.row_key, s.line, ?2, s.input, s.fingerprint, s.providers, s.estimate, s.file_name,
                    s.file_name_key, 'queued', ?3, ?3, ?3
             FROM temp.staged s
             WHERE NOT EXISTS (SELECT 1 FROM jobs j WHERE j.batch_id = ?1 AND j.row_key = s.row_key)
             ORDER BY s.rowid",
            params![batch_id, self.batch.model, now.as_millisecond()],
        )?;
        // An unchanged row that has not been sent yet may go where this load allows.
        execute(
            tx,
            "UPDATE jobs SET line = s.line,
                    providers = CASE WHEN jobs.state = 'queued' THEN s.providers ELSE jobs.providers END,
                    estimate = CASE WHEN jobs.state = 'queued' THEN s.estimate ELSE jobs.estimate END
             FROM temp.staged s
             WHERE jobs.batch_id = ?1 AND jobs.row_key = s.row_key AND jobs.fingerprint = s.fingerprint
               AND (jobs.line <> s.line OR (jobs.state = 'queued' AND jobs.providers <> s.providers))",
            [batch_id],
        )?;
        Ok(plan)
    }

    fn enter_batch(&self, now: Timestamp) -> Result<i64> {
        let tx = &self.connection;
        // Another load may have made the batch since this one began.
        if let Some(batch_id) = check_batch(tx, &self.batch)? {
            if let Some(budget) = self.batch.budget {
                execute(
                    tx,
                    "UPDATE batches SET budget = ?2 WHERE batch_id = ?1",
                    params![batch_id, budget.micros()],
                )?;
            }
            return Ok(batch_id);
        }
        execute(
            tx,
            "INSERT INTO batches (name, model, folder, budget, created_at) VALUES (?1, ?2, ?3, ?4, ?5)",
            params![
                self.batch.name,
                self.batch.model,
                self.batch.folder.to_string_lossy(),
                self.batch.budget.map(Money::micros),
                now.as_millisecond(),
            ],
        )?;
        Ok(tx.last_insert_rowid())
    }

    /// Takes the new input of changed rows, and queues their jobs again.
    fn restart_changed(&self, batch_id: i64, now: Timestamp) -> Result<()> {
        let tx = &self.connection;
        let changed = select(
            tx,
            &format!(
                "SELECT j.job_id, j.state FROM temp.staged s JOIN jobs j ON j.batch_id = ?1 AND j.row_key = s.row_key
                 WHERE j.fingerprint <> s.fingerprint AND j.state IN {AT_REST}"
            ),
            [batch_id],
            |columns| Ok((columns.get::<i64>("job_id")?, columns.word::<JobState>("state")?)),
        )?;
        for (job_id, state) in changed {
            move_job(tx, job_id, state, Event::Restart, Some(now), None, now)?;
            execute(
                tx,
                "UPDATE jobs SET line = s.line, input = s.input, fingerprint = s.fingerprint, providers = s.providers,
                        estimate = s.estimate, model = ?2, queued_at = ?3, crashes = 0, output = NULL, bytes = NULL,
                        sha256 = NULL, attempt_id = NULL
                 FROM temp.staged s WHERE jobs.job_id = ?1 AND s.row_key = jobs.row_key",
                params![job_id, self.batch.model, now.as_millisecond()],
            )?;
        }
        Ok(())
    }
}

impl Staging for SqliteStaging {
    fn add(&mut self, job: &NewJob) -> Result<Addition> {
        self.stage(job).map_err(|error| open::at(&self.path, error))
    }

    fn plan(&mut self) -> Result<LoadPlan> {
        self.compare().map_err(|error| open::at(&self.path, error))
    }

    fn commit(mut self: Box<Self>, now: Timestamp) -> Result<LoadPlan> {
        self.copy_and_commit(now).map_err(|error| open::at(&self.path, error))
    }
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
    let Some((batch_id, name, model, known_folder)) = known.into_iter().next() else { return Ok(None) };
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
