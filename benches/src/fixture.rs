//! Jobs to measure with, and queues filled with them.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use overnight::catalog;
use overnight::clock::{Clock, SystemClock};
use overnight::domain::{Catalog, Input, InputComparison, Money, NewJob, ProviderName};
use overnight::queue::sqlite::SqliteQueue;
use overnight::queue::{Capacity, ClaimRequest, NewBatch, ProviderLimits, Queue, RemovedRows};

use crate::raw::RawJob;

/// The model of every job.
pub(crate) const MODEL: &str = "kling-v1-standard";

/// The provider of every job, unless a benchmark names another.
pub(crate) const PROVIDER: ProviderName = ProviderName::Eachlabs;

/// Limits that are never reached.
pub(crate) const UNLIMITED: ProviderLimits = ProviderLimits {
    provider: PROVIDER,
    in_flight: u32::MAX,
    creates_per_minute: u32::MAX,
    history_delay: Duration::from_secs(900),
    has_storage: false,
};

/// Returns a job that differs from those of all other numbers, because identical requests are
/// submitted one at a time.
pub(crate) fn job(number: u64) -> anyhow::Result<NewJob> {
    job_for(PROVIDER, number)
}

fn job_for(provider: ProviderName, number: u64) -> anyhow::Result<NewJob> {
    let prompt =
        format!("Slow turntable of product {number} on a linen cloth, soft light from the left");
    let input = serde_json::json!({
        "image": format!("https://images.example.com/catalogue/{number}.jpg"),
        "prompt": prompt,
        "duration": 5,
    });
    let input: Input = serde_json::from_value(input)?;
    Ok(NewJob::new(
        input.fingerprint(MODEL),
        format!("SKU-{number:07}"),
        number + 2,
        input,
        vec![provider],
        Money::from_micros(225_000),
    ))
}

/// Returns the same job for the plain table.
pub(crate) fn raw_job(number: u64) -> anyhow::Result<RawJob> {
    let job = job(number)?;
    Ok(RawJob {
        input: serde_json::to_string(&job.input.0)?,
        fingerprint: format!("{:032x}", u128::from_be_bytes(job.input.fingerprint(MODEL))),
        file_name: format!("{}.mp4", job.row_key),
        row_key: job.row_key,
        line: job.line,
    })
}

/// Returns the only batch of a queue, without a budget.
pub(crate) fn batch(folder: &Path) -> NewBatch {
    NewBatch {
        name: "benches".into(),
        model: MODEL.into(),
        folder: folder.to_owned().into(),
        budget: None,
        comparison: InputComparison::default(),
        reuses_clips: false,
    }
}

/// Loads jobs in one transaction.
pub(crate) fn load(
    queue: &dyn Queue,
    folder: &Path,
    numbers: impl Iterator<Item = u64>,
) -> anyhow::Result<()> {
    load_for(queue, PROVIDER, folder, numbers)
}

/// Loads jobs for one provider in one transaction.
pub(crate) fn load_for(
    queue: &dyn Queue,
    provider: ProviderName,
    folder: &Path,
    numbers: impl Iterator<Item = u64>,
) -> anyhow::Result<()> {
    let mut staging = queue.stage(batch(folder))?;
    let mut numbers = numbers.peekable();
    while numbers.peek().is_some() {
        let jobs: Vec<NewJob> = numbers
            .by_ref()
            .take(1000)
            .map(|number| job_for(provider, number))
            .collect::<Result<_, _>>()?;
        staging.add(&jobs)?;
    }
    staging.commit(RemovedRows::Keep)?;
    Ok(())
}

/// Creates a queue with the given number of jobs. Returns it with the path of its file.
pub(crate) fn queue(dir: &Path, name: &str, jobs: u64) -> anyhow::Result<(SqliteQueue, PathBuf)> {
    let path = dir.join(name);
    let queue = SqliteQueue::open_or_create(&path, Arc::new(SystemClock))?;
    load(&queue, &dir.join("renders"), 0..jobs)?;
    Ok((queue, path))
}

/// Returns a request for up to `steps` steps of any kind.
pub(crate) fn claim_request(catalog: &Arc<Catalog>, steps: usize) -> ClaimRequest {
    ClaimRequest {
        batch: None,
        budget: None,
        capacity: Capacity::uniform(steps),
        providers: vec![UNLIMITED],
        catalog: Arc::clone(catalog),
    }
}

/// Returns the built-in catalogue.
pub(crate) fn catalog() -> anyhow::Result<Arc<Catalog>> {
    Ok(Arc::new(catalog::load(&[]).map_err(anyhow::Error::msg)?))
}

/// Returns the current time, from the program's own clock.
pub(crate) fn now() -> Timestamp {
    SystemClock.now()
}
