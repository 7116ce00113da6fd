//! A queue in a database as what is copied, or as a copy.

use std::fmt::Write;

use super::connection::Connection;
use super::row::params;
use super::{Database, meta, schema, tallies, write};
use crate::queue::copy::{Content, CopyStore, Kind, MOVED, MOVED_TO, Table, UNFINISHED, Value};
use crate::queue::{QueueError, Result};

/// Rows that are read at a time.
const PAGE: usize = 2000;

/// Bytes of rows that are collected before they are sent.
const CHUNK: usize = 1 << 20;

/// A database whose queue is copied, or that a queue is copied to. Its transaction is rolled back if it is
/// dropped. Its methods wait for the server, and so may not be called by asynchronous code.
pub struct PostgresCopy {
    database: Database,
    connection: Connection,
    /// Whether its transaction is open.
    is_open: bool,
    /// The rows of a table that are not sent yet, as text.
    open: Option<(&'static Table, String)>,
}

impl PostgresCopy {
    /// Connects to a database.
    ///
    /// # Errors
    /// [`QueueError::Store`] if the server cannot be reached.
    pub fn open(database: Database) -> Result<Self> {
        let connection = Connection::open(&database.config);
        let connection = connection.map_err(|error| database.add_address(error))?;
        Ok(Self {
            database,
            connection,
            is_open: false,
            open: None,
        })
    }

    fn run<T>(&self, run: impl FnOnce(&Connection) -> Result<T>) -> Result<T> {
        run(&self.connection).map_err(|error| self.database.add_address(error))
    }

    /// Sends the rows that were added.
    fn send(&mut self) -> Result<()> {
        let Some((table, rows)) = self.open.take() else {
            return Ok(());
        };
        self.run(|tx| {
            // Rows and jobs are two tables here.
            let name = if table.name == "jobs" {
                "copied_jobs"
            } else {
                table.name
            };
            let sql = format!("COPY {name} ({}) FROM STDIN", table.column_list());
            tx.copy_in(&sql, rows)
        })
    }

    /// Sends the last rows of a table, and puts copied jobs in their two tables.
    fn end_table(&mut self) -> Result<()> {
        let table = self.open.as_ref().map(|(table, _)| table.name);
        self.send()?;
        if table != Some("jobs") {
            return Ok(());
        }
        self.run(|tx| {
            tx.batch(
                "INSERT INTO rows (job_id, batch_id, row_key, line, input, fingerprint, estimate, file_stem,
                                   file_key, output, bytes, sha256, queued_at)
                 SELECT job_id, batch_id, row_key, line, input, fingerprint, estimate, file_stem, file_key,
                        output, bytes, sha256, queued_at
                 FROM copied_jobs ORDER BY job_id;
                 INSERT INTO jobs (job_id, batch_id, lane_id, state, state_since, due_at, at_provider, attempt_id,
                                   failures, attempts, refusals, polls, downloads, crashes, error, submitted_at,
                                   finished_at)
                 SELECT job_id, batch_id, lane_id, state, state_since, due_at, at_provider, attempt_id, failures,
                        attempts, refusals, polls, downloads, crashes, error, submitted_at, finished_at
                 FROM copied_jobs ORDER BY job_id;
                 DROP TABLE copied_jobs",
            )
        })
    }
}

impl CopyStore for PostgresCopy {
    fn address(&self) -> String {
        self.database.address().to_owned()
    }

    fn content(&self) -> Result<Content> {
        self.run(|tx| {
            if !schema::exists(tx)? {
                return Ok(Content::Queue { is_used: false });
            }
            if self.is_open {
                return read_content(tx);
            }
            schema::in_transaction(tx, || {
                tx.batch(schema::SEARCH_PATH)?;
                read_content(tx)
            })
        })
    }

    fn begin(&mut self) -> Result<()> {
        self.is_open = true;
        self.run(|tx| {
            tx.batch(&write::begin_anywhere())?;
            if schema::exists(tx)? {
                let sql = "SELECT EXISTS (SELECT 1 FROM pools)";
                if tx.value(sql, params![])? == Some(true) {
                    return Err(QueueError::RunIsActive);
                }
            }
            Ok(())
        })
    }

    fn read(&self, table: &Table, visit: &mut dyn FnMut(Vec<Value>) -> Result<()>) -> Result<()> {
        self.run(|tx| {
            let columns = table.columns.iter().map(|(name, kind)| match kind {
                Kind::Flag => format!("{name}::INT::BIGINT AS {name}"),
                _ => (*name).to_owned(),
            });
            let columns = columns.collect::<Vec<String>>().join(", ");
            let source = if table.name == "jobs" {
                "rows JOIN jobs USING (job_id, batch_id)"
            } else {
                table.name
            };
            let read = |row: &super::row::Columns<'_>| {
                let values = table.columns.iter().map(|(name, kind)| {
                    let value = match kind {
                        Kind::Integer | Kind::Flag => {
                            row.get::<Option<i64>>(name)?.map(Value::Integer)
                        }
                        Kind::Bytes => row.get::<Option<Vec<u8>>>(name)?.map(Value::Bytes),
                        Kind::Text | Kind::Path | Kind::Input | Kind::Image => {
                            row.get::<Option<String>>(name)?.map(Value::Text)
                        }
                    };
                    Ok(value.unwrap_or(Value::Null))
                });
                values.collect::<Result<Vec<Value>>>()
            };
            let Some(key) = table.key else {
                let sql = format!("SELECT {columns} FROM {source}");
                for row in tx.select(&sql, params![], read)? {
                    visit(row)?;
                }
                return Ok(());
            };
            let sql = format!(
                "SELECT {columns} FROM {source} WHERE {key} > $1 ORDER BY {key} LIMIT {PAGE}"
            );
            let mut after = i64::MIN;
            loop {
                let page = tx.select(&sql, params![after], read)?;
                let is_last = page.len() < PAGE;
                for row in page {
                    if let Some(Value::Integer(number)) = row.first() {
                        after = *number;
                    }
                    visit(row)?;
                }
                if is_last {
                    return Ok(());
                }
            }
        })
    }

    fn clear(&mut self) -> Result<()> {
        self.run(|tx| {
            tx.batch("DROP SCHEMA IF EXISTS overnight CASCADE")?;
            schema::create(tx)?;
            // What each row of a queue file has, before it is put in two tables.
            tx.batch(
                "CREATE TEMP TABLE copied_jobs ON COMMIT DROP AS
                 SELECT * FROM rows JOIN jobs USING (job_id, batch_id) LIMIT 0",
            )
        })
    }

    fn add(&mut self, table: &'static Table, row: Vec<Value>) -> Result<()> {
        match &self.open {
            Some((open, _)) if open.name != table.name => self.end_table()?,
            Some((_, rows)) if rows.len() >= CHUNK => self.send()?,
            _ => {}
        }
        let (_, text) = self.open.get_or_insert_with(|| (table, String::new()));
        for (index, value) in row.iter().enumerate() {
            if index > 0 {
                text.push('\t');
            }
            push_value(text, value);
        }
        text.push('\n');
        Ok(())
    }

    fn commit_unfinished(&mut self) -> Result<()> {
        self.end_table()?;
        self.run(|tx| {
            for (table, key) in [
                ("batches", "batch_id"),
                ("lanes", "lane_id"),
                ("rows", "job_id"),
                ("uploads", "upload_id"),
            ] {
                let sql = format!(
                    "SELECT setval(pg_get_serial_sequence('{table}', '{key}'), max({key})) FROM {table}
                     HAVING max({key}) IS NOT NULL"
                );
                tx.value::<i64>(&sql, params![])?;
            }
            tallies::correct(tx)?;
            schema::set_version(tx, UNFINISHED)?;
            tx.batch("COMMIT; ANALYZE overnight.rows, overnight.jobs, overnight.attempts")
        })
    }

    fn mark_moved(&mut self, to: &str) -> Result<()> {
        self.run(|tx| {
            meta::set_text(tx, MOVED_TO, to)?;
            schema::set_version(tx, MOVED)?;
            tx.batch("COMMIT")
        })
    }

    fn finish(&mut self) -> Result<()> {
        self.run(|tx| {
            schema::set_current(tx)?;
            tx.batch("COMMIT")
        })
    }
}

/// Returns what there is, in an open transaction.
fn read_content(tx: &Connection) -> Result<Content> {
    let queue_id = meta::text(tx, meta::QUEUE_ID)?.unwrap_or_default();
    Ok(match schema::version(tx)? {
        UNFINISHED => Content::Unfinished { queue_id },
        MOVED => Content::Moved {
            queue_id,
            to: meta::text(tx, MOVED_TO)?.unwrap_or_default(),
        },
        version => {
            schema::ensure_not_newer(tx, version)?;
            Content::Queue {
                is_used: schema::is_used(tx)?,
            }
        }
    })
}

/// Writes a value in the text form of COPY.
fn push_value(text: &mut String, value: &Value) {
    match value {
        Value::Null => text.push_str("\\N"),
        Value::Integer(number) => {
            // Writing to a text does not fail.
            let _ = write!(text, "{number}");
        }
        Value::Bytes(bytes) => {
            text.push_str("\\\\x");
            for byte in bytes {
                let _ = write!(text, "{byte:02x}");
            }
        }
        Value::Text(value) => {
            for character in value.chars() {
                match character {
                    '\\' => text.push_str("\\\\"),
                    '\t' => text.push_str("\\t"),
                    '\n' => text.push_str("\\n"),
                    '\r' => text.push_str("\\r"),
                    other => text.push(other),
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_value_survives_the_text_form_of_copy() {
        let written = |value| {
            let mut text = String::new();
            push_value(&mut text, &value);
            text
        };
        assert_eq!(written(Value::Null), "\\N");
        assert_eq!(written(Value::Integer(-7)), "-7");
        assert_eq!(written(Value::Bytes(vec![0, 255])), "\\\\x00ff");
        let odd = Value::Text("a\tb\\N\r\nπ".into());
        assert_eq!(written(odd), "a\\tb\\\\N\\r\\nπ");
    }
}
