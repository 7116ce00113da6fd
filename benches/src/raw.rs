//! The bare work below a queue: what SQLite itself takes for the rows and commits that cannot be avoided.
//!
//! One connection, the same SQLite and the same durability (WAL, `synchronous = FULL`), the data of a job's row, and
//! two indexes; no leases, no attempts, no money, no counts, nothing that is kept beside the rows.

use std::path::Path;

use rusqlite::{Connection, params};

const SCHEMA: &str = "
    CREATE TABLE jobs (
        id INTEGER PRIMARY KEY, batch INTEGER NOT NULL, row_key TEXT NOT NULL, line INTEGER NOT NULL,
        model TEXT NOT NULL, input TEXT NOT NULL, fingerprint TEXT NOT NULL, providers TEXT NOT NULL,
        estimate INTEGER NOT NULL, file_name TEXT NOT NULL, state TEXT NOT NULL, due INTEGER NOT NULL,
        queued_at INTEGER NOT NULL
    ) STRICT;
    CREATE UNIQUE INDEX jobs_key ON jobs (batch, row_key);
    CREATE INDEX jobs_due ON jobs (state, due, id);";

const INSERT: &str = "
    INSERT INTO jobs (batch, row_key, line, model, input, fingerprint, providers, estimate, file_name, state, due,
                      queued_at)
    VALUES (1, ?1, ?2, 'kling-v1-standard', ?3, ?4, 'eachlabs', 225000, ?5, 'queued', ?6, ?6)";

const CLAIM: &str = "
    UPDATE jobs SET state = 'running'
    WHERE id = (SELECT id FROM jobs WHERE state = 'queued' ORDER BY due, id LIMIT 1) RETURNING id, input";

const COMPLETE: &str = "UPDATE jobs SET state = 'done' WHERE id = ?1";

/// A row with everything in it worked out beforehand.
#[derive(Debug)]
pub(crate) struct RawJob {
    /// Its key.
    pub(crate) row_key: String,
    /// Its line.
    pub(crate) line: u64,
    /// Its input as JSON.
    pub(crate) input: String,
    /// The input's hash.
    pub(crate) fingerprint: String,
    /// Its clip's name.
    pub(crate) file_name: String,
}

/// A table of jobs.
#[derive(Debug)]
pub(crate) struct RawQueue(Connection);

impl RawQueue {
    /// Makes an empty one.
    pub(crate) fn create(path: &Path) -> anyhow::Result<Self> {
        let connection = Connection::open(path)?;
        connection.pragma_update_and_check(None, "journal_mode", "WAL", |_| Ok(()))?;
        connection.pragma_update(None, "synchronous", "FULL")?;
        connection.execute_batch(SCHEMA)?;
        Ok(Self(connection))
    }

    /// Adds a row; a commit of its own unless in a transaction.
    pub(crate) fn enqueue(&self, job: &RawJob, now: i64) -> anyhow::Result<()> {
        let RawJob {
            row_key,
            line,
            input,
            fingerprint,
            file_name,
        } = job;
        self.0.prepare_cached(INSERT)?.execute(params![
            row_key,
            line,
            input,
            fingerprint,
            file_name,
            now
        ])?;
        Ok(())
    }

    /// Adds rows in one transaction.
    pub(crate) fn enqueue_all(
        &self,
        jobs: impl IntoIterator<Item = RawJob>,
        now: i64,
    ) -> anyhow::Result<()> {
        let transaction = self.0.unchecked_transaction()?;
        for job in jobs {
            self.enqueue(&job, now)?;
        }
        Ok(transaction.commit()?)
    }

    /// Claims the first job that is due, and completes it: two commits.
    pub(crate) fn claim_and_complete(&self) -> anyhow::Result<()> {
        let (id, _input): (i64, String) = self
            .0
            .prepare_cached(CLAIM)?
            .query_row([], |row| Ok((row.get(0)?, row.get(1)?)))?;
        self.0.prepare_cached(COMPLETE)?.execute([id])?;
        Ok(())
    }
}
