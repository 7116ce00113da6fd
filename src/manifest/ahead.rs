//! Rows are read and checked on a thread of their own, some way ahead of whoever takes them.

use std::collections::BTreeMap;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use serde_json::Value;

use crate::domain::NewJob;

use super::{ID, Problem, Sink};

/// Handed over together: enough that hardly any time goes into it, few enough to take little memory.
const MOST_ROWS: usize = 1024;
const MOST_BYTES: usize = 1 << 20;

/// How many such lots are read ahead.
const LOTS: usize = 2;

/// What was found on some lines.
#[derive(Default)]
struct Lot {
    jobs: Vec<NewJob>,
    problems: Vec<Problem>,
    /// Rows that were left out, by the field they lack.
    skipped: BTreeMap<String, u64>,
}

/// The end that reads.
pub(super) struct Ahead {
    lot: Lot,
    bytes: usize,
    lots: SyncSender<Lot>,
}

/// The end that takes what was read.
pub(super) struct Behind(Receiver<Lot>);

/// Makes both ends.
pub(super) fn ends() -> (Ahead, Behind) {
    let (lots, read) = sync_channel(LOTS);
    (Ahead { lot: Lot::default(), bytes: 0, lots }, Behind(read))
}

impl Ahead {
    /// Hands a good row over.
    pub(super) fn row(&mut self, job: NewJob) -> anyhow::Result<()> {
        self.bytes += job.input.0.values().filter_map(Value::as_str).map(str::len).sum::<usize>();
        self.lot.jobs.push(job);
        if self.lot.jobs.len() >= MOST_ROWS || self.bytes >= MOST_BYTES { self.hand_over() } else { Ok(()) }
    }

    /// Hands a problem over.
    pub(super) fn problem(&mut self, problem: Problem) {
        self.lot.problems.push(problem);
    }

    /// Counts a row that is left out because it lacks a field.
    pub(super) fn skip(&mut self, field: &str) {
        *self.lot.skipped.entry(field.to_owned()).or_default() += 1;
    }

    /// Hands over what is left.
    pub(super) fn hand_over(&mut self) -> anyhow::Result<()> {
        self.bytes = 0;
        let lot = std::mem::take(&mut self.lot);
        self.lots.send(lot).map_err(|_| anyhow::anyhow!("nobody takes the rows any more"))
    }
}

impl Behind {
    /// Gives everything to a sink, in order.
    pub(super) fn give_to(self, file: &str, sink: &mut dyn Sink) -> anyhow::Result<()> {
        for Lot { jobs, mut problems, skipped } in self.0 {
            skipped.iter().for_each(|(field, rows)| sink.skipped(field, *rows));
            for (line, message) in sink.rows(jobs)? {
                problems.push(Problem { file: file.to_owned(), line, field: Some(ID.to_owned()), message });
            }
            problems.sort_by_key(|problem| problem.line);
            problems.into_iter().for_each(|problem| sink.problem(problem));
        }
        Ok(())
    }
}
