//! Runs a pool and shows its progress, for `run` and `verify --fix`.

use std::sync::Arc;

use crate::worker::{Pool, PoolError, PoolEvent, PoolExit, PoolOptions, StepContext, StopSignal};

use super::args::Global;
use super::canary::CanaryReview;
use super::progress::Progress;
use super::screen::SnapshotReader;

/// Runs a pool and shows its progress. The context's observer is told of each event before that.
pub(super) async fn run_pool(
    global: &Global,
    reader: SnapshotReader,
    mut context: StepContext,
    options: PoolOptions,
    review: Option<CanaryReview>,
    stop: StopSignal,
) -> anyhow::Result<Result<PoolExit, PoolError>> {
    reader.queue.reopen_providers().await?;
    let progress = Progress::spawn(reader, global);
    let shown = progress.clone();
    let observer = Arc::clone(&context.observer);
    context.observer = Arc::new(move |event: PoolEvent| {
        observer(event.clone());
        match (event, &review) {
            (PoolEvent::CanaryReady { jobs }, Some(review)) => {
                review.clone().show(jobs, shown.clone());
            }
            (event, _) => shown.observe(event),
        }
    });
    let exit = Pool::run(Arc::new(context), options, stop).await;
    progress.finish().await;
    Ok(exit)
}
