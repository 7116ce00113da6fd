//! Runs a pool and shows its progress, for `run` and `verify --fix`.

use std::sync::Arc;

use crate::worker::{Pool, PoolError, PoolEvent, PoolExit, PoolOptions, StepContext, StopSignal};

use super::args::Global;
use super::canary::CanaryReview;
use super::progress::Progress;
use super::run_markers::Markers;
use super::screen::SnapshotReader;

/// Runs a pool and shows its progress. The markers note what is submitted.
pub(super) async fn run_pool(
    global: &Global,
    reader: SnapshotReader,
    mut context: StepContext,
    options: PoolOptions,
    review: Option<CanaryReview>,
    markers: Option<Arc<Markers>>,
    stop: StopSignal,
) -> anyhow::Result<Result<PoolExit, PoolError>> {
    reader.queue.reopen_providers().await?;
    let progress = Progress::spawn(reader, global);
    let observer = progress.clone();
    context.observer = Arc::new(move |event: PoolEvent| match (event, &review) {
        (PoolEvent::CanaryReady { jobs }, Some(review)) => {
            review.clone().show(jobs, observer.clone());
        }
        (PoolEvent::Submitting { last_attempt }, _) => {
            if let Some(markers) = &markers {
                markers.note_submissions(last_attempt);
            }
        }
        (event, _) => observer.observe(event),
    });
    let exit = Pool::run(Arc::new(context), options, stop).await;
    progress.finish().await;
    Ok(exit)
}
