//! Rows are read and checked on a thread of their own, some way ahead of whoever takes them.

use std::collections::BTreeMap;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use serde_json::Value;

use crate::domain::NewJob;

use super::row::Row;
use super::{ID, Problem, RowMapper, Sink};

/// Handed over together: enough that hardly any time goes into it, few enough to take little memory.
const MOST_ROWS: usize = 1024;
const MOST_BYTES: usize = 1 << 20;

/// How many such lots are read ahead.
const MAX_CHUNKS: usize = 2;

/// What was found on some lines.
#[derive(Default)]
struct Chunk {
    jobs: Vec<NewJob>,
    problems: Vec<Problem>,
    /// Rows that were left out, by the field they lack.
    skipped: BTreeMap<String, u64>,
}

/// The end that reads.
pub(super) struct Producer<'a> {
    file: &'a str,
    lot: Chunk,
    bytes: usize,
    lots: SyncSender<Chunk>,
}

/// The end that takes what was read.
pub(super) struct Consumer<'a> {
    file: &'a str,
    lots: Receiver<Chunk>,
}

/// Makes both ends, for what is read of a file.
pub(super) fn ends(file: &str) -> (Producer<'_>, Consumer<'_>) {
    let (lots, read) = sync_channel(MAX_CHUNKS);
    (
        Producer {
            file,
            lot: Chunk::default(),
            bytes: 0,
            lots,
        },
        Consumer { file, lots: read },
    )
}

impl Producer<'_> {
    /// Hands over a row that was read, or why it could not be. Tells whether it counts: one that is left out because it
    /// lacks a field does not.
    pub(super) fn row(
        &mut self,
        line: u64,
        row: Result<Row, String>,
        mapper: &RowMapper<'_>,
    ) -> anyhow::Result<bool> {
        match row {
            Ok(row) if let Some(field) = mapper.skips(&row) => {
                *self.lot.skipped.entry(field.to_owned()).or_default() += 1;
                return Ok(false);
            }
            Ok(row) => match mapper.build_job(self.file, row) {
                Ok(job) => self.job(job)?,
                Err(problems) => self.lot.problems.extend(problems),
            },
            Err(message) => self.problem(line, message),
        }
        Ok(true)
    }

    /// Hands over a problem of a whole line.
    pub(super) fn problem(&mut self, line: u64, message: String) {
        self.lot.problems.push(Problem {
            file: self.file.to_owned(),
            line,
            field: None,
            message,
        });
    }

    fn job(&mut self, job: NewJob) -> anyhow::Result<()> {
        self.bytes += job
            .input
            .0
            .values()
            .filter_map(Value::as_str)
            .map(str::len)
            .sum::<usize>();
        self.lot.jobs.push(job);
        if self.lot.jobs.len() >= MOST_ROWS || self.bytes >= MOST_BYTES {
            self.hand_over()
        } else {
            Ok(())
        }
    }

    /// Hands over what is left.
    pub(super) fn hand_over(&mut self) -> anyhow::Result<()> {
        self.bytes = 0;
        let lot = std::mem::take(&mut self.lot);
        self.lots
            .send(lot)
            .map_err(|_| anyhow::anyhow!("nobody takes the rows any more"))
    }
}

impl Consumer<'_> {
    /// Gives everything to a sink, in order.
    pub(super) fn give_to(self, sink: &mut dyn Sink) -> anyhow::Result<()> {
        for Chunk {
            jobs,
            mut problems,
            skipped,
        } in self.lots
        {
            skipped
                .iter()
                .for_each(|(field, rows)| sink.skipped(field, *rows));
            for (line, message) in sink.rows(jobs)? {
                let (file, field) = (self.file.to_owned(), Some(ID.to_owned()));
                problems.push(Problem {
                    file,
                    line,
                    field,
                    message,
                });
            }
            problems.sort_by_key(|problem| problem.line);
            problems
                .into_iter()
                .for_each(|problem| sink.problem(problem));
        }
        Ok(())
    }
}
