//! Reads the jobs of a queue page by page, and finds single ones.

use std::vec;

use crate::domain::{JobId, JobState};

use super::{JobFilter, JobRecord, Queue, Result};

/// Number of jobs that are read at once, so that a list of any length needs the memory of one page.
const PAGE_SIZE: usize = 500;

/// Reads the jobs that match a filter, in ascending order of their numbers.
pub struct JobReader<'a> {
    queue: &'a dyn Queue,
    filter: JobFilter,
    page: vec::IntoIter<JobRecord>,
    /// The last job of the current page.
    last: Option<JobId>,
}

impl<'a> JobReader<'a> {
    /// Creates a reader that starts with the first job.
    pub fn new(queue: &'a dyn Queue, filter: JobFilter) -> Self {
        Self {
            queue,
            filter,
            page: Vec::new().into_iter(),
            last: None,
        }
    }

    /// Returns the next job, or `None` after the last one.
    ///
    /// # Errors
    /// As [`Reports::jobs`](super::Reports::jobs).
    pub async fn next(&mut self) -> Result<Option<JobRecord>> {
        if self.page.as_slice().is_empty() {
            let filter = self.filter.clone();
            let page = self.queue.jobs(filter, self.last, PAGE_SIZE).await?;
            self.last = page.last().map(|job| job.job_id).or(self.last);
            self.page = page.into_iter();
        }
        Ok(self.page.next())
    }
}

/// Finds a job by its number alone. [`Reports::find`](super::Reports::find) prefers a row whose id
/// looks like the number.
///
/// # Errors
/// As [`Reports::jobs`](super::Reports::jobs).
pub async fn find_by_number(queue: &dyn Queue, job_id: JobId) -> Result<Option<JobRecord>> {
    let before = JobId(job_id.0 - 1);
    let found = queue.jobs(JobFilter::default(), Some(before), 1).await?;
    Ok(found.into_iter().find(|job| job.job_id == job_id))
}

/// Returns the first job in doubt, of one batch or of all, that waits for the user's decision.
///
/// # Errors
/// As [`Reports::jobs`](super::Reports::jobs).
pub async fn first_held(queue: &dyn Queue, batch: Option<&str>) -> Result<Option<JobRecord>> {
    let filter = JobFilter {
        batch: batch.map(str::to_owned),
        state: Some(JobState::InDoubt),
    };
    let mut jobs = JobReader::new(queue, filter);
    while let Some(job) = jobs.next().await? {
        // A job with a due time is still reconciled.
        if job.due_at.is_none() {
            return Ok(Some(job));
        }
    }
    Ok(None)
}
