//! What is left after a claim, and when something can be claimed that could not be now.

use jiff::Timestamp;
use rusqlite::params;

use crate::domain::JobState;
use crate::queue::{Result, Standing, Wall};

use super::claim::providers_word;
use super::creates::Creates;
use super::row::{self, select, value};

impl Creates<'_> {
    /// Tells what is left, and when something can be claimed that could not be now.
    pub(super) fn standing(self) -> Result<Standing> {
        let mut standing = Standing { unroutable: self.unroutable.clone(), ..Standing::default() };
        let mut queued = vec![0; self.batches.len()];
        for (batch, queued) in self.batches.iter().zip(&mut queued) {
            let counts = select(
                self.tx,
                "SELECT state, jobs FROM job_counts WHERE batch_id = ?1",
                [batch.batch_id],
                |columns| Ok((columns.word::<JobState>("state")?, columns.get::<u64>("jobs")?)),
            )?;
            for (state, jobs) in counts {
                match state {
                    JobState::Queued => *queued = jobs,
                    state if !state.is_final() => standing.moving += jobs,
                    _ => {}
                }
            }
        }
        standing.queued = queued.iter().sum();
        standing.walls = self.walls.iter().filter_map(|wall| self.wall(*wall, &queued)).collect();
        let batch = self.request.batch.as_deref();
        standing.held = value(
            self.tx,
            "SELECT count(*) FROM jobs WHERE state = 'in_doubt' AND due_at IS NULL AND lease_token IS NULL
               AND (?1 IS NULL OR batch_id = (SELECT batch_id FROM batches WHERE name = ?1))",
            [batch],
        )?
        .unwrap_or(0);
        standing.moving -= standing.held;
        standing.leased = value(
            self.tx,
            "SELECT count(*) FROM jobs WHERE lease_pool IS NOT NULL
               AND (?1 IS NULL OR batch_id = (SELECT batch_id FROM batches WHERE name = ?1))",
            [self.looks_at],
        )?
        .unwrap_or(0);
        let due = [self.next_move()?, self.next_create()?];
        standing.next_due = due.into_iter().flatten().min();
        Ok(standing)
    }

    /// Tells how a budget stands: a batch's, or the request's own over all its batches.
    fn wall(&self, wall: Option<usize>, queued: &[u64]) -> Option<Wall> {
        let of = wall.map_or(0..self.batches.len(), |batch| batch..batch + 1);
        let batches = &self.batches[of.clone()];
        Some(Wall {
            batch: wall.map(|batch| self.batches[batch].name.clone()),
            budget: wall.map_or(self.request.budget, |batch| self.batches[batch].budget)?,
            spent: batches.iter().map(|batch| batch.spent).sum(),
            reserved: batches.iter().map(|batch| batch.reserved).sum(),
            queued: queued[of].iter().sum(),
        })
    }

    /// When the next step of a job between create and clip is due.
    fn next_move(&self) -> Result<Option<Timestamp>> {
        // What is due already was left for want of a worker, and a step's end is followed by another claim.
        let millis: Option<i64> = value(
            self.tx,
            "SELECT min(at) FROM (
                 SELECT CASE j.state WHEN 'downloading' THEN j.due_at ELSE max(j.due_at, ifnull(p.calls_from, 0)) END AS at
                 FROM jobs j JOIN attempts a ON a.attempt_id = j.attempt_id
                 LEFT JOIN providers p ON p.provider = a.provider
                 WHERE j.state IN ('in_doubt', 'running', 'downloading') AND j.lease_token IS NULL
                   AND (j.state = 'downloading' OR (instr(?2, a.provider) > 0 AND NOT ifnull(p.refuses_looks, 0)))
                   AND (j.state <> 'downloading' AND ?4 IS NULL OR ?1 IS NULL
                        OR j.batch_id = (SELECT batch_id FROM batches WHERE name = ?1)))
             WHERE at > ?3",
            params![self.request.batch, providers_word(self.request), self.request.now.as_millisecond(), self.looks_at],
        )?;
        millis.map(row::time).transpose()
    }

    /// When a create will be possible that is not now: its job is due, its provider's gate opens, its rate allows it.
    /// A slot or money that must be freed first has no time; the step that frees it wakes the pool.
    fn next_create(&self) -> Result<Option<Timestamp>> {
        let mut next: Option<Timestamp> = None;
        for pace in self.paces.iter().filter(|pace| !pace.paused && pace.in_flight < pace.limits.in_flight) {
            let mut open = pace.creates_from;
            if pace.recent >= pace.limits.creates_per_minute {
                open = open.max(pace.rate_frees_at(self.tx, self.request.now)?);
            }
            for batch in &self.batches {
                for providers in self.waiting_words(batch.batch_id)? {
                    if !providers.split(',').any(|word| word == pace.limits.provider.as_str()) {
                        continue;
                    }
                    let due: Option<i64> = value(
                        self.tx,
                        "SELECT due_at FROM jobs WHERE state = 'queued' AND batch_id = ?1 AND providers = ?2
                         ORDER BY due_at LIMIT 1",
                        params![batch.batch_id, providers],
                    )?;
                    let Some(due) = due else { continue };
                    let at = row::time(due)?.max(open);
                    // What is due and open already was left for want of money or of a worker.
                    if at > self.request.now {
                        next = Some(next.map_or(at, |next| next.min(at)));
                    }
                }
            }
        }
        Ok(next)
    }
}
