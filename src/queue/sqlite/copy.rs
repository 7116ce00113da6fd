//! A queue file as what is copied, or as a copy.

use std::path::{Path, PathBuf};

use rusqlite::types::{ToSqlOutput, ValueRef};
use rusqlite::{Connection, ToSql, params_from_iter};

use super::{counters, open, paths};
use crate::queue::copy::{Content, CopyStore, Kind, MOVED, MOVED_TO, Table, UNFINISHED, Value};
use crate::queue::{QueueError, Result};

/// A queue file that is copied, or a copy. Its transaction is rolled back if it is dropped.
pub struct SqliteCopy {
    path: PathBuf,
    connection: Connection,
}

impl SqliteCopy {
    /// Opens a file, which is created if there is none. A queue of an older version is migrated.
    ///
    /// # Errors
    /// [`QueueError::Store`] if it cannot be used as a queue.
    pub fn open(path: &Path) -> Result<Self> {
        Ok(Self {
            path: path.to_owned(),
            connection: open::open_for_copy(path)?,
        })
    }

    fn run<T>(&self, run: impl FnOnce(&Connection) -> Result<T>) -> Result<T> {
        run(&self.connection).map_err(|error| open::add_path(&self.path, error))
    }

    fn meta(&self, key: &str) -> Result<String> {
        let sql = "SELECT ifnull((SELECT value FROM meta WHERE key = ?1), '')";
        Ok(self.connection.query_row(sql, [key], |row| row.get(0))?)
    }
}

impl CopyStore for SqliteCopy {
    fn address(&self) -> String {
        let path = std::path::absolute(&self.path);
        path.unwrap_or_else(|_| self.path.clone())
            .display()
            .to_string()
    }

    fn content(&self) -> Result<Content> {
        self.run(|connection| {
            let version = open::schema_version(connection)?;
            let queue_id = self.meta("queue_id")?;
            Ok(match version {
                UNFINISHED => Content::Unfinished { queue_id },
                MOVED => Content::Moved {
                    queue_id,
                    to: self.meta(MOVED_TO)?,
                },
                _ => {
                    let sql =
                        "SELECT EXISTS (SELECT 1 FROM batches) OR EXISTS (SELECT 1 FROM pools)";
                    Content::Queue {
                        is_used: connection.query_row(sql, [], |row| row.get(0))?,
                    }
                }
            })
        })
    }

    fn begin(&mut self) -> Result<()> {
        self.run(|connection| {
            // Jobs and attempts refer to each other.
            connection.execute_batch("BEGIN IMMEDIATE; PRAGMA defer_foreign_keys = ON")?;
            let sql = "SELECT EXISTS (SELECT 1 FROM pools)";
            if connection.query_row(sql, [], |row| row.get(0))? {
                return Err(QueueError::RunIsActive);
            }
            Ok(())
        })
    }

    fn read(&self, table: &Table, visit: &mut dyn FnMut(Vec<Value>) -> Result<()>) -> Result<()> {
        self.run(|connection| {
            let columns = table.columns.iter().map(|(name, _)| match *name {
                // Older rows have no name of their own.
                "file_stem" => "ifnull(file_stem, row_key)",
                "file_key" => "ifnull(file_key, lower(row_key))",
                name => name,
            });
            let columns: Vec<&str> = columns.collect();
            let order = table
                .key
                .map_or(String::new(), |key| format!("ORDER BY {key}"));
            let sql = format!("SELECT {} FROM {} {order}", columns.join(", "), table.name);
            let mut statement = connection.prepare(&sql)?;
            let mut rows = statement.query([])?;
            while let Some(row) = rows.next()? {
                let mut values = Vec::with_capacity(columns.len());
                for (index, (_, kind)) in table.columns.iter().enumerate() {
                    let value = match row.get_ref(index)? {
                        ValueRef::Null => Value::Null,
                        ValueRef::Integer(number) => Value::Integer(number),
                        ValueRef::Blob(bytes) => Value::Bytes(bytes.to_owned()),
                        ValueRef::Text(text) => {
                            let text = String::from_utf8_lossy(text).into_owned();
                            Value::Text(from_stored(connection, *kind, text)?)
                        }
                        ValueRef::Real(_) => return Err(QueueError::corrupt(table.name)),
                    };
                    values.push(value);
                }
                visit(values)?;
            }
            Ok(())
        })
    }

    fn clear(&mut self) -> Result<()> {
        self.run(|connection| {
            let tables = [
                "attempts",
                "jobs",
                "lanes",
                "batches",
                "providers",
                "routes",
                "uploads",
                "controls",
                "meta",
            ];
            for table in tables {
                connection.execute(&format!("DELETE FROM {table}"), [])?;
            }
            Ok(())
        })
    }

    fn add(&mut self, table: &'static Table, row: Vec<Value>) -> Result<()> {
        self.run(|connection| {
            let places = vec!["?"; table.columns.len()].join(", ");
            let (name, columns) = (table.name, table.column_list());
            let sql = format!("INSERT INTO {name} ({columns}) VALUES ({places})");
            let values = row
                .into_iter()
                .zip(table.columns)
                .map(|(value, (_, kind))| match value {
                    Value::Text(text) => Value::Text(to_stored(connection, *kind, text)),
                    other => other,
                });
            connection
                .prepare_cached(&sql)?
                .execute(params_from_iter(values))?;
            Ok(())
        })
    }

    fn commit_unfinished(&mut self) -> Result<()> {
        self.run(|connection| {
            counters::correct(connection)?;
            connection.pragma_update(None, "user_version", UNFINISHED as i64)?;
            Ok(connection.execute_batch("COMMIT")?)
        })
    }

    fn mark_moved(&mut self, to: &str) -> Result<()> {
        self.run(|connection| {
            let sql = "INSERT OR REPLACE INTO meta (key, value) VALUES (?1, ?2)";
            connection.execute(sql, [MOVED_TO, to])?;
            connection.pragma_update(None, "user_version", MOVED as i64)?;
            Ok(connection.execute_batch("COMMIT")?)
        })
    }

    fn finish(&mut self) -> Result<()> {
        self.run(|connection| {
            let version = open::SCHEMA_VERSION as i64;
            connection.pragma_update(None, "user_version", version)?;
            Ok(connection.execute_batch("COMMIT")?)
        })
    }
}

/// Returns what a stored text stands for in every store.
fn from_stored(connection: &Connection, kind: Kind, text: String) -> Result<String> {
    Ok(match kind {
        Kind::Path => paths::from_stored(connection, &text).to_string(),
        Kind::Input => paths::absolute_input(connection, text)?,
        Kind::Image => match paths::upload_from_stored(connection, &text) {
            Some(image) => image.to_string(),
            None => text,
        },
        Kind::Integer | Kind::Flag | Kind::Text | Kind::Bytes => text,
    })
}

/// Returns the text to store in this file.
fn to_stored(connection: &Connection, kind: Kind, text: String) -> String {
    match kind {
        Kind::Path => paths::to_stored(connection, &text.as_str().into()),
        Kind::Input => paths::relative_input(connection, text),
        Kind::Image => paths::relative_image(connection, text),
        Kind::Integer | Kind::Flag | Kind::Text | Kind::Bytes => text,
    }
}

impl ToSql for Value {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(match self {
            Self::Null => ToSqlOutput::Borrowed(ValueRef::Null),
            Self::Integer(number) => ToSqlOutput::Borrowed(ValueRef::Integer(*number)),
            Self::Text(text) => ToSqlOutput::Borrowed(ValueRef::Text(text.as_bytes())),
            Self::Bytes(bytes) => ToSqlOutput::Borrowed(ValueRef::Blob(bytes)),
        })
    }
}
