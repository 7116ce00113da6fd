//! Reads that are made together with the lock of a write, before anybody has asked for them: each that is made
//! when it is asked for takes a round trip. They are those that the last claims of the connection made.
//!
//! What was read ahead is what there was before the transaction wrote anything. A write forgets what it
//! makes wrong.

use std::cell::RefCell;
use std::collections::HashMap;

use tokio_postgres::Row;

use super::connection::Connection;
use super::lane_heads::LaneHeads;
use super::posted::Values;
use super::row::{Columns, as_params};
use super::usual_reads::Read;
use crate::queue::Result;

/// What was read ahead in a transaction.
#[derive(Default)]
pub(super) struct ReadAhead(RefCell<HashMap<Read, (usize, Vec<Row>)>>);

impl ReadAhead {
    /// Returns the statements of reads.
    pub(super) fn statements(
        reads: &[(Read, usize)],
        heads: &LaneHeads,
    ) -> Vec<(&'static str, Values)> {
        let statement = |(read, limit): &(Read, usize)| (read.sql(), read.values(*limit, heads));
        reads.iter().map(statement).collect()
    }

    pub(super) fn new(reads: Vec<(Read, usize)>, rows: Vec<Vec<Row>>) -> Self {
        let results = reads.into_iter().zip(rows);
        let known = results.map(|((read, limit), rows)| (read, (limit, rows)));
        Self(RefCell::new(known.collect()))
    }

    /// Forgets what was read ahead of the reads for which this holds.
    pub(super) fn forget(&self, is_wrong: impl Fn(Read) -> bool) {
        self.0.borrow_mut().retain(|read, _| !is_wrong(*read));
    }

    /// Makes a read of at most `limit` rows, unless it was made ahead.
    pub(super) fn read<T>(
        &self,
        tx: &Connection,
        read: Read,
        limit: usize,
        mut map: impl FnMut(&Columns<'_>) -> Result<T>,
    ) -> Result<Vec<T>> {
        tx.usual().note(read, limit);
        if let Some((made, rows)) = self.0.borrow().get(&read)
            && (*made >= limit || rows.len() < *made)
        {
            let rows = rows.iter().take(limit);
            return rows.map(|row| map(&Columns(row))).collect();
        }
        let values = read.values(limit, &tx.usual().heads);
        tx.select(read.sql(), &as_params(&values), map)
    }
}
