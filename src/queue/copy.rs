//! Copies a queue from one store into another: every table, column by column, and the queue's id with them, so
//! that what was submitted from the one is recognized by the other.
//!
//! Only one of the two may be worked on afterwards: both would pay for the same rows. The copy is therefore
//! unusable until the original is marked as moved, and a copy that was interrupted is finished by another one.

use crate::failpoint::fail_point;

use Kind::{Bytes, Flag, Image, Input, Integer, Path, Text};

use super::{QueueError, Result, StoreError, StoreErrorKind};

/// The version of a copy whose original is not marked yet: newer than any program knows, so that none uses it.
pub(super) const UNFINISHED: usize = 1_000_000;

/// The version of a queue that was copied elsewhere.
pub(super) const MOVED: usize = 2_000_000;

/// The key in `meta` of where a queue was moved to.
pub(super) const MOVED_TO: &str = "moved_to";

/// A value of a column.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// Nothing.
    Null,
    /// A number, a time or money.
    Integer(i64),
    /// A text.
    Text(String),
    /// Bytes.
    Bytes(Vec<u8>),
}

/// What a column holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A number, a time or money.
    Integer,
    /// 0 or 1.
    Flag,
    /// A text.
    Text,
    /// Bytes.
    Bytes,
    /// An absolute path, or the URL of an object.
    Path,
    /// The input of a job, which may name local images by absolute paths.
    Input,
    /// A local image, by its absolute path.
    Image,
}

/// A table, as both stores have it.
#[derive(Debug)]
pub struct Table {
    /// Its name.
    pub name: &'static str,
    /// The number that orders its rows; `None` if there are few of them.
    pub key: Option<&'static str>,
    /// Its columns.
    pub columns: &'static [(&'static str, Kind)],
}

/// What is copied, so that each row comes after those that it refers to. Pools and their settings are not: no run
/// is active. Sums are computed from the rows.
pub(super) const TABLES: &[Table] = &[
    Table {
        name: "batches",
        key: Some("batch_id"),
        columns: &[
            ("batch_id", Integer),
            ("name", Text),
            ("model", Text),
            ("folder", Path),
            ("budget", Integer),
            ("has_files", Flag),
            ("created_at", Integer),
            ("fresh_at", Integer),
        ],
    },
    Table {
        name: "lanes",
        key: Some("lane_id"),
        columns: &[
            ("lane_id", Integer),
            ("batch_id", Integer),
            ("providers", Text),
        ],
    },
    Table {
        name: "jobs",
        key: Some("job_id"),
        columns: &[
            ("job_id", Integer),
            ("batch_id", Integer),
            ("row_key", Text),
            ("line", Integer),
            ("input", Input),
            ("fingerprint", Bytes),
            ("lane_id", Integer),
            ("estimate", Integer),
            ("file_stem", Text),
            ("file_key", Text),
            ("state", Text),
            ("state_since", Integer),
            ("due_at", Integer),
            ("at_provider", Text),
            ("attempt_id", Integer),
            ("failures", Integer),
            ("attempts", Integer),
            ("refusals", Integer),
            ("polls", Integer),
            ("downloads", Integer),
            ("crashes", Integer),
            ("output", Path),
            ("bytes", Integer),
            ("sha256", Text),
            ("error", Text),
            ("queued_at", Integer),
            ("submitted_at", Integer),
            ("finished_at", Integer),
        ],
    },
    Table {
        name: "attempts",
        key: Some("attempt_id"),
        columns: &[
            ("attempt_id", Integer),
            ("job_id", Integer),
            ("batch_id", Integer),
            ("number", Integer),
            ("state", Text),
            ("provider", Text),
            ("wire_model", Text),
            ("request", Text),
            ("request_digest", Integer),
            ("clip_s", Integer),
            ("fingerprint", Bytes),
            ("reuses", Integer),
            ("output", Path),
            ("bytes", Integer),
            ("sha256", Text),
            ("client_token", Text),
            ("estimate", Integer),
            ("cost", Integer),
            ("cost_source", Text),
            ("early_cost", Text),
            ("prediction_id", Text),
            ("prediction", Text),
            ("output_url", Text),
            ("processing_ms", Integer),
            ("error", Text),
            ("submitted_at", Integer),
            ("answered_at", Integer),
            ("finished_at", Integer),
        ],
    },
    Table {
        name: "providers",
        key: None,
        columns: &[
            ("provider", Text),
            ("creates_from", Integer),
            ("calls_from", Integer),
            ("failures", Integer),
            ("paused", Text),
            ("refuses_looks", Flag),
            ("hold_reason", Text),
            ("alone", Flag),
            ("alone_until", Integer),
            ("waits_below", Integer),
            ("lost_responses", Integer),
            ("lost_at", Integer),
        ],
    },
    Table {
        name: "routes",
        key: None,
        columns: &[
            ("provider", Text),
            ("wire_model", Text),
            ("held_until", Integer),
            ("alone_until", Integer),
            ("hold_reason", Text),
            ("priced", Integer),
            ("billed", Integer),
            ("learned_at", Integer),
            ("price_accepted", Flag),
        ],
    },
    Table {
        name: "uploads",
        key: Some("upload_id"),
        columns: &[
            ("upload_id", Integer),
            ("provider", Text),
            ("sha256", Text),
            ("file", Image),
            ("url", Text),
            ("expires_at", Integer),
            ("due_at", Integer),
            ("failures", Integer),
            ("error", Text),
        ],
    },
    Table {
        name: "meta",
        key: None,
        columns: &[("key", Text), ("value", Text)],
    },
];

impl Table {
    /// Returns the names of the columns, comma separated.
    pub(super) fn column_list(&self) -> String {
        let names: Vec<&str> = self.columns.iter().map(|(name, _)| *name).collect();
        names.join(", ")
    }
}

/// The keys of `meta` that say something of the store and not of the queue.
const STORE_KEYS: [&str; 4] = [
    "schema_version",
    "oldest_version_served",
    "server",
    MOVED_TO,
];

/// What a store holds before a copy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content {
    /// A queue, which may be empty.
    Queue {
        /// Whether it has a batch.
        is_used: bool,
    },
    /// A copy whose original may not be marked yet, of the queue with this id.
    Unfinished {
        /// The id of the queue.
        queue_id: String,
    },
    /// A queue that was moved.
    Moved {
        /// The id of the queue.
        queue_id: String,
        /// Where it is now.
        to: String,
    },
}

/// A store that a queue is copied from or to.
pub trait CopyStore: Send {
    /// Returns the store as messages name it, and as a moved queue names where it was moved to.
    fn address(&self) -> String;

    /// Returns what the store holds.
    fn content(&self) -> Result<Content>;

    /// Begins a transaction, which has the right to write. Returns an error if a pool is registered.
    fn begin(&mut self) -> Result<()>;

    /// Visits the rows of a table of the original, in order.
    fn read(&self, table: &Table, visit: &mut dyn FnMut(Vec<Value>) -> Result<()>) -> Result<()>;

    /// Removes what the copy holds.
    fn clear(&mut self) -> Result<()>;

    /// Adds a row to a table of the copy, after the tables before it.
    fn add(&mut self, table: &'static Table, row: Vec<Value>) -> Result<()>;

    /// Ends the transaction of the copy, which is unusable until it is [finished](Self::finish).
    fn commit_unfinished(&mut self) -> Result<()>;

    /// Marks the original as moved, and ends its transaction.
    fn mark_moved(&mut self, to: &str) -> Result<()>;

    /// Makes the copy usable, and ends its transaction.
    fn finish(&mut self) -> Result<()>;
}

/// Copies a queue, and marks the original as moved. Returns the number of its jobs.
///
/// # Errors
/// - [`QueueError::RunIsActive`] if a pool is registered in the original.
/// - [`QueueError::CopyExists`] if there is another queue where the copy would be.
/// - [`QueueError::Store`] if one of the stores cannot be used, or if the original was moved elsewhere.
///
/// The original stays as it is after an error, or is marked as moved to a copy that is complete; the same copy
/// again finishes that.
pub fn copy(from: &mut dyn CopyStore, to: &mut dyn CopyStore) -> Result<usize> {
    // What is refused needs no lock, for which it might wait.
    find_remaining(from, to)?;
    from.begin()?;
    to.begin()?;
    // Another copy may have been made meanwhile, or rows be loaded where this one would be.
    if find_remaining(from, to)? == Remaining::Finish {
        to.finish()?;
        return Ok(0);
    }
    to.clear()?;
    let mut jobs = 0;
    for table in TABLES {
        from.read(table, &mut |row| {
            if table.name == "meta" && is_of_the_store(&row) {
                return Ok(());
            }
            jobs += usize::from(table.name == "jobs");
            to.add(table, row)
        })?;
    }
    to.commit_unfinished()?;
    fail_point!("copy committed");
    from.mark_moved(&to.address())?;
    fail_point!("original marked");
    to.begin()?;
    to.finish()?;
    Ok(jobs)
}

/// What a copy has left to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Remaining {
    /// All of it.
    Copy,
    /// To make a copy usable that an earlier try has made.
    Finish,
}

/// Returns what there is to do, or an error if the queue can't be copied.
fn find_remaining(from: &dyn CopyStore, to: &dyn CopyStore) -> Result<Remaining> {
    let place = to.address();
    if from.address() == place {
        return Err(QueueError::CopyExists(place));
    }
    match (from.content()?, to.content()?) {
        (
            Content::Moved {
                queue_id,
                to: moved_to,
            },
            Content::Unfinished { queue_id: copied },
        ) if queue_id == copied && moved_to == place => Ok(Remaining::Finish),
        (Content::Moved { to: moved_to, .. }, _) => {
            let kind = StoreErrorKind::Moved { to: moved_to };
            Err(StoreError::new(from.address().as_ref(), kind).into())
        }
        (Content::Unfinished { .. }, _) => {
            let kind = StoreErrorKind::UnfinishedCopy;
            Err(StoreError::new(from.address().as_ref(), kind).into())
        }
        (_, Content::Queue { is_used: true } | Content::Moved { .. }) => {
            Err(QueueError::CopyExists(place))
        }
        (Content::Queue { .. }, Content::Queue { is_used: false } | Content::Unfinished { .. }) => {
            Ok(Remaining::Copy)
        }
    }
}

/// Returns whether a row of `meta` says something of the store and not of the queue.
fn is_of_the_store(row: &[Value]) -> bool {
    matches!(row.first(), Some(Value::Text(key)) if STORE_KEYS.contains(&key.as_str()))
}
