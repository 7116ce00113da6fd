//! Simulates runs with several seeds in parallel.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;

use super::RehearsalReport;

/// Simulates a run with each seed from 1 to `seeds`, as many in parallel as there are processors,
/// and returns the reports in the order of the seeds.
///
/// # Errors
/// Returns the first error of `simulate`. No further seed is started then, because it would fail
/// for the same reason.
pub fn simulate_seeds<E: Send>(
    seeds: u64,
    simulate: impl Fn(u64) -> Result<RehearsalReport, E> + Sync,
) -> Result<Vec<RehearsalReport>, E> {
    let next_seed = AtomicU64::new(1);
    let reports = Mutex::new(BTreeMap::new());
    let work = || {
        loop {
            let seed = next_seed.fetch_add(1, Ordering::Relaxed);
            if seed > seeds {
                return;
            }
            let report = simulate(seed);
            if report.is_err() {
                next_seed.store(seeds + 1, Ordering::Relaxed);
            }
            reports
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .insert(seed, report);
        }
    };
    thread::scope(|scope| {
        let processors =
            thread::available_parallelism().map_or(1, |processors| processors.get() as u64);
        for _ in 0..processors.min(seeds) {
            scope.spawn(work);
        }
    });
    reports
        .into_inner()
        .unwrap_or_else(PoisonError::into_inner)
        .into_values()
        .collect()
}
