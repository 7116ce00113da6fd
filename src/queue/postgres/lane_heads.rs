//! Where the queued jobs of each lane begin. A claimed job leaves a dead entry at the head of their index until the
//! server cleans it up: after 100,000 claims, a claim that reads from the top reads some hundred pages.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use jiff::Timestamp;

use super::posted::Values;
use super::row::values;
use crate::domain::JobId;

/// How long a head counts. Another process may have put a job back before it, which nobody claims until then.
const MAX_AGE: Duration = Duration::from_secs(1);

/// The first queued job of some lanes: its time and number.
#[derive(Default)]
pub(super) struct LaneHeads {
    heads: HashMap<i64, (i64, i64)>,
    /// When the first of them was read.
    since: Option<Instant>,
}

impl LaneHeads {
    /// Returns the least time and number that a queued job of a lane has.
    pub(super) fn of(&self, lane_id: i64) -> (i64, i64) {
        self.heads.get(&lane_id).copied().unwrap_or_default()
    }

    /// Returns the lanes, times and numbers as columns.
    pub(super) fn columns(&self) -> Values {
        let lanes: Vec<i64> = self.heads.keys().copied().collect();
        let (times, jobs): (Vec<i64>, Vec<i64>) = self.heads.values().copied().unzip();
        values![lanes, times, jobs]
    }

    /// Notes the first queued job of a lane, which was read from the last known head on.
    pub(super) fn note(&mut self, lane_id: i64, due_at: Timestamp, JobId(job_id): JobId) {
        self.since.get_or_insert_with(Instant::now);
        self.heads
            .insert(lane_id, (due_at.as_millisecond(), job_id));
    }

    /// Forgets all heads if they are old.
    pub(super) fn forget_old(&mut self) {
        if self.since.is_some_and(|since| since.elapsed() > MAX_AGE) {
            *self = Self::default();
        }
    }
}
