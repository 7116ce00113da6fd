//! The baseline of the queue: the time that SQLite itself takes for the rows and commits that
//! cannot be avoided.
//!
//! One connection, with the same SQLite, the same durability (WAL, `synchronous = FULL`), the data
//! of a job's row, and two indexes. No leases, attempts, money or counters, and nothing stored
//! besides the rows.

use std::path::Path;

use rusqlite::{Connection, params};

const SCHEMA: &str = "
    CREATE TABLE jobs (
        id INTEGER PRIMARY KEY, batch INTEGER NOT NULL, row_key TEXT NOT NULL,
        line INTEGER NOT NULL, model TEXT NOT NULL, input TEXT NOT NULL, fingerprint TEXT NOT NULL,
        providers TEXT NOT NULL, estimate INTEGER NOT NULL, file_name TEXT NOT NULL,
        state TEXT NOT NULL, due INTEGER NOT NULL, queued_at INTEGER NOT NULL
    ) STRICT;
    CREATE UNIQUE INDEX jobs_key ON jobs (batch, row_key);
    CREATE INDEX jobs_due ON jobs (state, due, id);";

const INSERT: &str = "
    INSERT INTO jobs (batch, row_key, line, model, input, fingerprint, providers, estimate,
                      file_name, state, due, queued_at)
    VALUES (1, ?1, ?2, 'kling-v1-standard', ?3, ?4, 'eachlabs', 225000, ?5, 'queued', ?6, ?6)";

const CLAIM: &str = "
    UPDATE jobs SET state = 'running'
    WHERE id = (SELECT id FROM jobs WHERE state = 'queued' ORDER BY due, id LIMIT 1)
    RETURNING id, input";

const COMPLETE: &str = "UPDATE jobs SET state = 'done' WHERE id = ?1";

/// A row whose values are all computed in advance.
#[derive(Debug)]
pub(crate) struct RawJob {
    /// Key of the manifest row.
    pub(crate) row_key: String,
    /// Line of the manifest, from 1.
    pub(crate) line: u64,
    /// The input as JSON.
    pub(crate) input: String,
    /// Fingerprint of the input.
    pub(crate) fingerprint: String,
    /// File name of the clip.
    pub(crate) file_name: String,
}

/// A plain table of jobs.
#[derive(Debug)]
pub(crate) struct RawQueue(Connection);

impl RawQueue {
    /// Creates an empty table in a new file.
    pub(crate) fn create(path: &Path) -> anyhow::Result<Self> {
        let connection = Connection::open(path)?;
        connection.pragma_update_and_check(None, "journal_mode", "WAL", |_| Ok(()))?;
        connection.pragma_update(None, "synchronous", "FULL")?;
        connection.execute_batch(SCHEMA)?;
        Ok(Self(connection))
    }

    /// Adds a row, in a commit of its own unless a transaction is open.
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

    /// Claims the job that is due first and completes it, in two commits.
    pub(crate) fn claim_and_complete(&self) -> anyhow::Result<()> {
        let (id, _input): (i64, String) = self
            .0
            .prepare_cached(CLAIM)?
            .query_row([], |row| Ok((row.get(0)?, row.get(1)?)))?;
        self.0.prepare_cached(COMPLETE)?.execute([id])?;
        Ok(())
    }
}
