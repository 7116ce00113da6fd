//! Plays one night.

use std::io;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use tokio::runtime::Builder;
use tracing::subscriber::NoSubscriber;

use crate::queue::{Queue, QueueError};
use crate::worker::{Pool, PoolError, PoolExit, PoolOptions, StepContext, StopSignal};

use super::clips::{SimulatedClips, SimulatedImages};
use super::provider::SimulatedProvider;
use super::sim_state::SimState;
use super::{RehearsalReport, Scenario};

/// The queue of a rehearsal is nobody else's; to look around each second of a long night would take longer than the rest.
const NEVER: Duration = Duration::from_secs(365 * 24 * 3600);

/// Why a night could not be played to its end.
#[derive(Debug, thiserror::Error)]
pub enum RehearsalError {
    /// It was told to stop.
    #[error("the rehearsal was interrupted")]
    Stopped,
    /// There is no thread or no runtime to play it on.
    #[error("cannot begin a rehearsal: {0}")]
    Start(#[from] io::Error),
    /// The worker could not go on.
    #[error(transparent)]
    Pool(#[from] PoolError),
    /// The queue failed.
    #[error(transparent)]
    Queue(#[from] QueueError),
}

/// Plays a night on a queue that was made for it, does everything on its caller's thread, and holds the night's jobs.
/// The same seed makes the same night.
pub fn simulate(
    scenario: &Arc<Scenario>,
    queue: Arc<dyn Queue>,
    seed: u64,
    stop: StopSignal,
) -> Result<RehearsalReport, RehearsalError> {
    let scenario = Arc::clone(scenario);
    let simulate = move || {
        // The worker's chance is its thread's.
        fastrand::seed(seed);
        let runtime = Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()?;
        // What the worker tells of jobs that are only played would be taken for what it tells of real ones.
        tracing::subscriber::with_default(NoSubscriber::new(), || {
            runtime.block_on(play_through(scenario, queue, seed, stop))
        })
    };
    // On a thread of its own: the caller may be in another runtime, and has chance of its own.
    let thread = thread::Builder::new()
        .name(format!("rehearsal {seed}"))
        .spawn(simulate)?;
    thread
        .join()
        .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

async fn play_through(
    scenario: Arc<Scenario>,
    queue: Arc<dyn Queue>,
    seed: u64,
    stop: StopSignal,
) -> Result<RehearsalReport, RehearsalError> {
    let state = Arc::new(SimState::set(Arc::clone(&scenario), seed));
    let hosts = scenario.hosts.iter().enumerate();
    let providers = hosts.map(|(index, host)| {
        let provider: Arc<dyn crate::provider::Provider> =
            Arc::new(SimulatedProvider::new(&state, index));
        (host.limits.provider, provider)
    });
    let clips = Arc::new(SimulatedClips(Arc::clone(&state)));
    let tools = StepContext {
        queue: Arc::clone(&queue),
        providers: providers.collect(),
        output: Arc::clone(&clips) as _,
        clips,
        images: Arc::new(SimulatedImages),
        catalog: Arc::clone(&scenario.catalog),
        clock: Arc::new(state.clock),
        policy: scenario.policy,
        processing_times: scenario.processing_times.clone(),
        observer: Arc::new(|_| ()),
    };
    let options = PoolOptions {
        workers: scenario.workers,
        batch: None,
        budget: scenario.budget,
        canary: None,
        watch: false,
        maintenance_interval: NEVER,
        limits: scenario.hosts.iter().map(|host| host.limits).collect(),
    };
    match Pool::run(Arc::new(tools), options, stop).await? {
        PoolExit::Interrupted | PoolExit::CanaryDeclined => Err(RehearsalError::Stopped),
        PoolExit::Drained(backlog) => Ok(RehearsalReport::of(
            &state,
            &backlog,
            &queue.status(None).await?,
        )),
    }
}
