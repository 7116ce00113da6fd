//! State shared by all request handlers: the model behind a lock, and the clock.

use std::net::SocketAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use axum::http::HeaderMap;
use axum::http::header::AUTHORIZATION;
use tokio::sync::watch;

use crate::prediction::Prediction;
use crate::world::World;

/// The path to which the redirect fault points. It belongs to no API, so a key that arrives there
/// has leaked.
pub(super) const REDIRECT_TRAP_PATH: &str = "/_simulator/redirect-trap";

/// State shared by all request handlers.
#[derive(Debug)]
pub(super) struct SharedState {
    world: Mutex<World>,
    /// Number of submissions that the three APIs have accepted in total.
    submissions: watch::Sender<usize>,
    /// The listening address, which clip links and follow-up URLs point to.
    pub(super) address: SocketAddr,
    started: Instant,
    /// The wall-clock time of `started`, in milliseconds since 1970.
    started_at: i64,
}

impl SharedState {
    pub(super) fn new(address: SocketAddr, world: World) -> Self {
        #[expect(
            clippy::disallowed_methods,
            reason = "the simulator has a clock of its own, read once at start"
        )]
        let started_at = jiff::Timestamp::now().as_millisecond();
        Self {
            submissions: watch::Sender::new(world.predictions().len()),
            world: Mutex::new(world),
            address,
            started: Instant::now(),
            started_at,
        }
    }

    pub(super) fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the current time in milliseconds since 1970. It never goes back.
    pub(super) fn now(&self) -> i64 {
        self.started_at + i64::try_from(self.started.elapsed().as_millis()).unwrap_or(i64::MAX)
    }

    /// Applies a call to the world, and tells those who wait for submissions.
    pub(super) fn apply<T>(&self, effect: impl FnOnce(&mut World) -> T) -> T {
        let mut world = self.world();
        let result = effect(&mut world);
        let accepted = world.predictions().len();
        self.submissions.send_if_modified(|count| {
            let is_new = *count != accepted;
            *count = accepted;
            is_new
        });
        result
    }

    /// Waits until the three APIs have accepted `count` submissions in total.
    pub(super) async fn await_submissions(&self, count: usize) {
        let mut submissions = self.submissions.subscribe();
        // It fails only if the sender is gone, which this borrows.
        let _ = submissions.wait_for(|accepted| *accepted >= count).await;
    }

    /// Returns how late a create is taken by [`Fault::TakenLate`](crate::Fault::TakenLate), in
    /// milliseconds.
    pub(super) fn slow_ms(&self) -> i64 {
        let slow = Duration::from_secs_f64(self.world().options().faults.slow_s);
        i64::try_from(slow.as_millis()).unwrap_or(i64::MAX)
    }

    /// Waits as long as [`Fault::Slow`](crate::Fault::Slow) delays a response.
    pub(super) async fn wait_slowly(&self) {
        let slow_s = self.world().options().faults.slow_s;
        tokio::time::sleep(Duration::from_secs_f64(slow_s)).await;
    }

    /// Counts the key in a request to a host that takes none, and returns whether there is one.
    pub(super) fn record_leaked_key(&self, headers: &HeaderMap) -> bool {
        let is_leaked = headers.contains_key(AUTHORIZATION) || headers.contains_key("x-api-key");
        if is_leaked {
            self.world().increment(|ledger| &mut ledger.leaked_keys);
        }
        is_leaked
    }

    pub(super) fn redirect_trap_url(&self) -> String {
        format!("http://{}{REDIRECT_TRAP_PATH}", self.address)
    }

    /// Returns a signed link to a prediction's clip that expires in `life_s` seconds.
    pub(super) fn clip_url(&self, prediction: &Prediction, life_s: u64, now: i64) -> String {
        let Prediction { api, id, .. } = prediction;
        let api = api.name();
        let expires = (now / 1000).saturating_add_unsigned(life_s);
        let signature = prediction.signature(expires);
        format!(
            "http://{}/cdn/{api}/{id}.mp4?expires={expires}&sig={signature}",
            self.address
        )
    }
}
