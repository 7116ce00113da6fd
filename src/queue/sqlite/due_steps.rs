//! Reads the jobs whose next poll, reconciliation or download is due.

use rusqlite::{Connection, params};

use crate::domain::{JobId, ProviderName};
use crate::policy::claim::{ClaimRequest, ClaimView, DueStep, Reads, Step};
use crate::queue::Result;

use super::row::{select, sql_limit};

/// Reads the due steps of a request into a view.
pub(super) fn read_due_steps(
    tx: &Connection,
    view: &mut ClaimView,
    request: &ClaimRequest,
    reads: &Reads,
) -> Result<()> {
    let polled_batch = view.polled_batch(request);
    let requested = request.providers.iter();
    let polled: Vec<ProviderName> = requested.map(|limits| limits.provider).collect();
    for (step, limit) in [
        (Step::Poll, reads.polls),
        (Step::Reconcile, reads.reconciles),
        (Step::Download, reads.downloads),
    ] {
        if limit == 0 {
            continue;
        }
        let (batch, providers) = if step == Step::Download {
            (request.batch.as_deref(), ProviderName::ALL.as_slice())
        } else {
            (polled_batch, polled.as_slice())
        };
        for provider in providers {
            let due = DueQuery {
                step,
                provider: *provider,
                from: i64::MIN,
                to: view.now.as_millisecond(),
                batch,
                limit,
            };
            view.due.extend(due.run(tx)?);
        }
    }
    Ok(())
}

/// A query for the first unleased jobs of a provider whose next step is due in a period.
pub(super) struct DueQuery<'a> {
    /// A poll, a reconciliation or a download.
    pub(super) step: Step,
    pub(super) provider: ProviderName,
    /// The period, both ends included, in milliseconds.
    pub(super) from: i64,
    pub(super) to: i64,
    /// Only jobs of this batch; `None` for every batch.
    pub(super) batch: Option<&'a str>,
    pub(super) limit: usize,
}

impl DueQuery<'_> {
    /// Returns the jobs, earliest first.
    pub(super) fn run(&self, tx: &Connection) -> Result<Vec<DueStep>> {
        macro_rules! select_due {
            ($state:literal) => {
                concat!(
                    "SELECT due_at, job_id FROM jobs
                     WHERE state = '",
                    $state,
                    "' AND at_provider = ?1 AND lease_token IS NULL AND due_at BETWEEN ?2 AND ?3
                       AND (?4 IS NULL OR batch_id = (SELECT batch_id FROM batches WHERE name = ?4))
                     ORDER BY due_at LIMIT ?5"
                )
            };
        }
        // SQLite matches a partial index against the literals of a statement, never against bound
        // values, so the state is written out.
        let sql = match self.step {
            Step::Poll => select_due!("running"),
            Step::Reconcile => select_due!("in_doubt"),
            Step::Download => select_due!("downloading"),
            Step::Submit => return Ok(Vec::new()),
        };
        select(
            tx,
            sql,
            params![
                self.provider.as_str(),
                self.from,
                self.to,
                self.batch,
                sql_limit(self.limit)
            ],
            |columns| {
                Ok(DueStep {
                    step: self.step,
                    provider: self.provider,
                    due_at: columns.time("due_at")?,
                    job_id: JobId(columns.get("job_id")?),
                })
            },
        )
    }
}
