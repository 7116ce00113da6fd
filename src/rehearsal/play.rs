//! Plays one night.

use std::io;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use tokio::runtime::Builder;
use tracing::subscriber::NoSubscriber;

use crate::queue::{Queue, QueueError};
use crate::worker::{Pool, PoolError, PoolOptions, Rest, StopSignal, Tools};

use super::clips::{PlayedClips, PlayedImages};
use super::provider::PlayedProvider;
use super::stage::Stage;
use super::{Night, Report};

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
pub fn play(
    night: &Arc<Night>,
    queue: Arc<dyn Queue>,
    seed: u64,
    stop: StopSignal,
) -> Result<Report, RehearsalError> {
    let night = Arc::clone(night);
    let play = move || {
        // The worker's chance is its thread's.
        fastrand::seed(seed);
        let runtime = Builder::new_current_thread().enable_time().start_paused(true).build()?;
        // What the worker tells of jobs that are only played would be taken for what it tells of real ones.
        tracing::subscriber::with_default(NoSubscriber::new(), || {
            runtime.block_on(play_through(night, queue, seed, stop))
        })
    };
    // On a thread of its own: the caller may be in another runtime, and has chance of its own.
    let thread = thread::Builder::new().name(format!("rehearsal {seed}")).spawn(play)?;
    thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

async fn play_through(
    night: Arc<Night>,
    queue: Arc<dyn Queue>,
    seed: u64,
    stop: StopSignal,
) -> Result<Report, RehearsalError> {
    let stage = Arc::new(Stage::set(Arc::clone(&night), seed));
    let hosts = night.hosts.iter().enumerate();
    let providers = hosts.map(|(index, host)| {
        let provider: Arc<dyn crate::provider::Provider> = Arc::new(PlayedProvider::new(&stage, index));
        (host.limits.provider, provider)
    });
    let clips = Arc::new(PlayedClips(Arc::clone(&stage)));
    let tools = Tools {
        queue: Arc::clone(&queue),
        providers: providers.collect(),
        output: Arc::clone(&clips) as _,
        clips,
        images: Arc::new(PlayedImages),
        catalog: Arc::clone(&night.catalog),
        clock: Arc::new(stage.clock),
        policy: night.policy,
        pace: night.pace.clone(),
        observer: Arc::new(|_| ()),
    };
    let options = PoolOptions {
        workers: night.workers,
        batch: None,
        budget: night.budget,
        first: None,
        watch: false,
        look_around: NEVER,
        limits: night.hosts.iter().map(|host| host.limits).collect(),
    };
    match Pool::run(Arc::new(tools), options, stop).await? {
        Rest::Stopped | Rest::Enough => Err(RehearsalError::Stopped),
        Rest::Done(standing) => Ok(Report::of(&stage, &standing, &queue.status(None).await?)),
    }
}
