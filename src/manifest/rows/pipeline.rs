//! Passes rows from the thread that reads and checks them to the thread that stores them. The
//! reader works a bounded number of rows ahead.

use std::collections::BTreeMap;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::domain::NewJob;

use super::row_sink::RowSink;
use crate::manifest::columns::row_mapper::RowMapper;
use crate::manifest::problem::{Mistake, Problem};
use crate::manifest::remark::Remark;
use crate::manifest::row::{ID_FIELD, Row};

/// Number of jobs or of problems after which a chunk is sent: enough that sending takes hardly any of the
/// time, few enough to take little memory.
const MAX_CHUNK_ITEMS: usize = 1024;

/// Length of the jobs' texts, in bytes, after which a chunk is sent.
const MAX_CHUNK_BYTES: usize = 1 << 20;

/// Time after which a chunk is sent: reading is slow then, and the receiver learns that.
const MAX_CHUNK_TIME: Duration = Duration::from_millis(100);

/// Maximum number of chunks that were sent but not received yet.
const MAX_WAITING_CHUNKS: usize = 2;

/// What some consecutive rows of a manifest gave.
#[derive(Default)]
struct Chunk {
    jobs: Vec<NewJob>,
    problems: Vec<Problem>,
    /// What was done with rows that is no mistake, with the number of them and the line of the first.
    remarks: BTreeMap<Remark, (u64, u64)>,
}

/// The reading end of the pipeline.
pub(in crate::manifest) struct Producer<'a> {
    file: &'a str,
    /// The chunk that is being filled.
    chunk: Chunk,
    /// Length of the texts of the chunk's jobs, in bytes.
    chunk_bytes: usize,
    /// When the last chunk was sent.
    sent_at: Instant,
    sender: SyncSender<Chunk>,
}

/// The storing end of the pipeline.
pub(in crate::manifest) struct Consumer<'a> {
    file: &'a str,
    receiver: Receiver<Chunk>,
}

/// Creates both ends for the rows of a file. Problems are reported under the name of that file.
pub(in crate::manifest) fn channel(file: &str) -> (Producer<'_>, Consumer<'_>) {
    let (sender, receiver) = sync_channel(MAX_WAITING_CHUNKS);
    let producer = Producer {
        file,
        chunk: Chunk::default(),
        chunk_bytes: 0,
        sent_at: Instant::now(),
        sender,
    };
    (producer, Consumer { file, receiver })
}

impl Producer<'_> {
    /// Adds a row that was read, or the reason why it could not be. Returns whether the row counts:
    /// one that is left out because it lacks a field does not.
    ///
    /// # Errors
    /// Returns an error if the consumer has stopped.
    pub(super) fn add_row(
        &mut self,
        line: u64,
        row: Result<Row, Mistake>,
        mapper: &RowMapper<'_>,
    ) -> anyhow::Result<bool> {
        match row {
            Ok(row) if let Some(field) = mapper.skip_reason(&row) => {
                self.add_remark(Remark::WithoutField(field.to_owned()), line);
                return Ok(false);
            }
            Ok(row) => match mapper.build_job(self.file, row) {
                Ok((job, remarks)) => {
                    for remark in remarks {
                        self.add_remark(remark, line);
                    }
                    self.add_job(job);
                }
                Err(problems) => self.chunk.problems.extend(problems),
            },
            Err(mistake) => self.add_problem(line, mistake),
        }
        let is_full = self.chunk.jobs.len() >= MAX_CHUNK_ITEMS
            || self.chunk.problems.len() >= MAX_CHUNK_ITEMS
            || self.chunk_bytes >= MAX_CHUNK_BYTES;
        if is_full || self.sent_at.elapsed() >= MAX_CHUNK_TIME {
            self.flush()?;
        }
        Ok(true)
    }

    /// Adds something that was done and is no mistake.
    pub(super) fn add_remark(&mut self, remark: Remark, line: u64) {
        let (count, _) = self.chunk.remarks.entry(remark).or_insert((0, line));
        *count += 1;
    }

    /// Adds a problem that concerns a whole line.
    pub(super) fn add_problem(&mut self, line: u64, mistake: Mistake) {
        self.chunk.problems.push(Problem {
            file: self.file.to_owned(),
            line,
            field: None,
            mistake,
        });
    }

    fn add_job(&mut self, job: NewJob) {
        self.chunk_bytes += job
            .input
            .0
            .values()
            .filter_map(Value::as_str)
            .map(str::len)
            .sum::<usize>();
        self.chunk.jobs.push(job);
    }

    /// Sends the current chunk. Blocks while [`MAX_WAITING_CHUNKS`] others wait to be received.
    ///
    /// # Errors
    /// Returns an error if the consumer has stopped.
    pub(in crate::manifest) fn flush(&mut self) -> anyhow::Result<()> {
        self.chunk_bytes = 0;
        let chunk = std::mem::take(&mut self.chunk);
        let sent = self.sender.send(chunk);
        self.sent_at = Instant::now();
        sent.map_err(|_| anyhow::anyhow!("the rows are no longer being received"))
    }
}

impl Consumer<'_> {
    /// Passes everything to a sink, chunk by chunk, until the producer is dropped. Within a chunk,
    /// problems are passed in the order of their lines.
    ///
    /// # Errors
    /// Returns the error of the sink.
    pub(in crate::manifest) fn drain_into(self, sink: &mut dyn RowSink) -> anyhow::Result<()> {
        for Chunk {
            jobs,
            mut problems,
            remarks,
        } in self.receiver
        {
            remarks
                .iter()
                .for_each(|(remark, (count, line))| sink.remark(remark, *count, *line));
            for (line, mistake) in sink.rows(jobs)? {
                problems.push(Problem {
                    file: self.file.to_owned(),
                    line,
                    field: Some(ID_FIELD.to_owned()),
                    mistake,
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
