//! Finds batches and jobs by the names that the user gives them, and says what is similar to one that
//! does not exist.

use crate::domain::JobId;
use crate::domain::suggest::nearest;
use crate::policy::claim::BatchView;

use super::storage::{JobName, Snapshot};
use super::{QueueError, Result};

/// Maximum number of names that an unknown name is compared with. Comparing 50,000 takes a few
/// hundredths of a second.
pub(super) const MAX_COMPARED_NAMES: usize = 50_000;

/// Maximum number of batches that an error about an unknown batch lists.
const MAX_LISTED_BATCHES: usize = 10;

/// Returns the batch of this name, or every batch.
///
/// # Errors
///
/// [`QueueError::NoSuchBatch`] if there is no such batch.
pub(super) fn find_batches<S: Snapshot + ?Sized>(
    snapshot: &S,
    name: Option<&str>,
) -> Result<Vec<BatchView>> {
    let batches = snapshot.batches()?;
    let Some(name) = name else { return Ok(batches) };
    if batches.iter().any(|batch| batch.name == name) {
        return Ok(batches
            .into_iter()
            .filter(|batch| batch.name == name)
            .collect());
    }
    let latest = batches.into_iter().rev().map(|batch| batch.name);
    let mut existing: Vec<String> = latest.take(MAX_COMPARED_NAMES).collect();
    let nearest = nearest(name, existing.iter().map(String::as_str)).map(str::to_owned);
    existing.truncate(MAX_LISTED_BATCHES);
    Err(QueueError::NoSuchBatch {
        name: name.to_owned(),
        nearest,
        existing,
    })
}

/// Returns the number of the job with this row key or, if there is none, checks that it is a job's
/// number.
///
/// # Errors
///
/// - [`QueueError::NoSuchBatch`] if there is no such batch.
/// - [`QueueError::NoSuchJob`] if there is no such job.
/// - [`QueueError::AmbiguousJob`] if several batches have a job with this row key.
pub(super) fn find_job<S: Snapshot + ?Sized>(
    snapshot: &S,
    job: &str,
    batch: Option<&str>,
) -> Result<JobId> {
    let mut matches = snapshot.jobs_named(JobName::Key(job), batch)?;
    if matches.is_empty()
        && let Ok(number) = job.parse()
    {
        matches = snapshot.jobs_named(JobName::Number(JobId(number)), batch)?;
    }
    match matches.as_slice() {
        [] => {
            find_batches(snapshot, batch)?;
            let keys = snapshot.row_keys(batch, MAX_COMPARED_NAMES)?;
            Err(QueueError::NoSuchJob {
                job: job.to_owned(),
                batch: batch.map(str::to_owned),
                nearest: nearest(job, keys.iter().map(String::as_str)).map(str::to_owned),
            })
        }
        [(job_id, _)] => Ok(*job_id),
        _ => Err(QueueError::AmbiguousJob {
            job: job.to_owned(),
            batches: matches.into_iter().map(|(_, batch)| batch).collect(),
        }),
    }
}
