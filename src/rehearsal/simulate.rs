//! Simulates one run.

use std::io;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use tokio::runtime::Builder;
use tracing::subscriber::NoSubscriber;

use crate::clock::Clock;
use crate::queue::{self, Queue, QueueError};
use crate::worker::{FilePorts, Pool, PoolError, PoolExit, PoolOptions, StepContext, StopSignal};

use super::clips::{SimulatedClips, SimulatedImages};
use super::provider::SimulatedProvider;
use super::sim_state::SimState;
use super::{RehearsalReport, Scenario};

/// Longer than any run, so that the pool's maintenance never runs. No other pool uses the queue of
/// a rehearsal, and maintenance in every virtual second of a long run would take longer than
/// everything else.
const NO_MAINTENANCE: Duration = Duration::from_secs(365 * 24 * 3600);

/// Why a run could not be simulated to its end.
#[derive(Debug, thiserror::Error)]
pub enum RehearsalError {
    /// The stop signal was set.
    #[error("the rehearsal was interrupted")]
    Interrupted,
    /// The thread or the runtime could not be created.
    #[error("cannot start the rehearsal: {0}")]
    Start(#[from] io::Error),
    /// The worker failed.
    #[error(transparent)]
    Pool(#[from] PoolError),
    /// The queue failed.
    #[error(transparent)]
    Queue(#[from] QueueError),
}

/// Simulates a run of the jobs in a queue and reports its results. The same seed gives the same
/// run.
///
/// Blocks until the run has ended. `open_queue` opens the queue with the virtual clock. It must be
/// used by nothing else, and do its work on the calling thread: virtual time would advance while
/// the run waits for another one.
pub fn simulate(
    scenario: &Arc<Scenario>,
    open_queue: impl FnOnce(Arc<dyn Clock>) -> queue::Result<Arc<dyn Queue>> + Send + 'static,
    seed: u64,
    stop: StopSignal,
) -> Result<RehearsalReport, RehearsalError> {
    let scenario = Arc::clone(scenario);
    let simulate = move || {
        // The worker uses the thread-local random generator.
        fastrand::seed(seed);
        let runtime = Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()?;
        // No log: messages about simulated jobs could be taken for messages about real ones.
        tracing::subscriber::with_default(NoSubscriber::new(), || {
            runtime.block_on(run_pool(scenario, open_queue, seed, stop))
        })
    };
    // A new thread, because the caller may be inside another runtime and has its own random
    // generator.
    let thread = thread::Builder::new()
        .name(format!("rehearsal {seed}"))
        .spawn(simulate)?;
    thread
        .join()
        .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

/// Runs the real pool against the simulated parts until it has drained the queue.
async fn run_pool(
    scenario: Arc<Scenario>,
    open_queue: impl FnOnce(Arc<dyn Clock>) -> queue::Result<Arc<dyn Queue>>,
    seed: u64,
    stop: StopSignal,
) -> Result<RehearsalReport, RehearsalError> {
    let state = Arc::new(SimState::new(Arc::clone(&scenario), seed));
    let queue = open_queue(Arc::new(state.clock))?;
    let hosts = scenario.hosts.iter().enumerate();
    let providers = hosts.map(|(index, host)| {
        let provider: Arc<dyn crate::provider::Provider> =
            Arc::new(SimulatedProvider::new(&state, index));
        (host.limits.provider, provider)
    });
    let clips = Arc::new(SimulatedClips(Arc::clone(&state)));
    let files = FilePorts {
        output: Arc::clone(&clips) as _,
        clips,
        images: Arc::new(SimulatedImages),
    };
    let context = StepContext {
        policy: scenario.policy,
        processing_times: scenario.processing_times.clone(),
        ..StepContext::new(
            Arc::clone(&queue) as _,
            providers.collect(),
            files,
            Arc::clone(&scenario.catalog),
            Arc::new(state.clock),
        )
    };
    let options = PoolOptions {
        workers: scenario.workers,
        batch: None,
        budget: scenario.budget,
        canary: None,
        watch: false,
        maintenance_interval: NO_MAINTENANCE,
        limits: scenario.hosts.iter().map(|host| host.limits).collect(),
    };
    match Pool::run(Arc::new(context), options, stop).await? {
        PoolExit::Interrupted | PoolExit::CanaryDeclined => Err(RehearsalError::Interrupted),
        PoolExit::Drained(backlog) => Ok(RehearsalReport::new(
            &state,
            &backlog,
            &queue.status(None).await?,
        )),
    }
}
