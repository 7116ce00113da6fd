//! Loading a manifest: rows are compared with what the queue holds and put beside it, all in one transaction.

use std::path::PathBuf;

use jiff::Timestamp;

use crate::domain::{Money, NewJob};

use super::Result;

/// The batch a manifest makes.
#[derive(Clone, Debug)]
pub struct NewBatch {
    /// Its name.
    pub name: String,
    /// The model its jobs ask for.
    pub model: String,
    /// Absolute folder its clips go to.
    pub folder: PathBuf,
    /// What it may cost; `None` leaves it as it is.
    pub budget: Option<Money>,
}

/// What became of a row that was added.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RowChange {
    /// The batch does not have it yet: its job is queued with the commit.
    New,
    /// It differs from its job, which is queued again with the commit.
    Changed,
    /// It differs from its job, which is under way and left alone.
    InProgress,
    /// It is in the batch as it is.
    Unchanged,
    /// An earlier row has the same key.
    Duplicate {
        /// That row's line.
        line: u64,
    },
}

/// How a staged manifest differs from what the queue held of the batch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LoadPlan {
    /// Rows the batch does not have yet.
    pub new: u64,
    /// Rows whose input differs from their job's; the job starts again.
    pub changed: u64,
    /// Rows whose input differs, but whose job is under way: left alone until it is over.
    pub in_progress: u64,
    /// Rows that are in the batch as they are.
    pub unchanged: u64,
    /// Jobs of the batch that have no row any more; left alone.
    pub removed: u64,
    /// What the new and changed rows cost at most, each on its dearest provider.
    pub estimate: Money,
}

/// A manifest on its way into the queue. Dropping it leaves the queue as it was after the last commit.
///
/// From the first row on nobody else can write to the queue, until the commit or the drop.
pub trait Staging: Send {
    /// Adds rows, and tells what became of each. Many at a time are added faster.
    fn add(&mut self, jobs: &[NewJob], now: Timestamp) -> Result<Vec<RowChange>>;

    /// Tells how what was added differs from what the queue held.
    fn plan(&self) -> LoadPlan;

    /// Queues the difference, and tells what it was. More rows can be added then, for another commit.
    fn commit(&mut self, now: Timestamp) -> Result<LoadPlan>;
}
