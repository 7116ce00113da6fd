//! State shared by all request handlers: the model behind a lock, the clock, and the client's
//! connection.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use tokio::sync::Notify;

use super::prediction::Prediction;
use super::world::World;

/// The path to which the redirect fault points. It belongs to no API, so a key that arrives there
/// has leaked.
pub(super) const REDIRECT_TRAP_PATH: &str = "/_simulator/redirect-trap";

/// State shared by all request handlers.
#[derive(Debug)]
pub(super) struct SharedState {
    world: Mutex<World>,
    /// The listening address, which clip links and follow-up URLs point to.
    pub(super) address: SocketAddr,
    started: Instant,
    /// The wall-clock time of `started`, in milliseconds since 1970.
    started_at: i64,
}

/// The connection on which a request arrived. Notifying it closes the connection without a
/// response.
#[derive(Clone, Debug)]
pub(super) struct Connection(pub(super) Arc<Notify>);

impl SharedState {
    pub(super) fn new(address: SocketAddr, world: World) -> Self {
        #[expect(
            clippy::disallowed_methods,
            reason = "the simulator has a clock of its own, read once at start"
        )]
        let started_at = jiff::Timestamp::now().as_millisecond();
        Self {
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

    pub(super) fn redirect_trap_url(&self) -> String {
        format!("http://{}{REDIRECT_TRAP_PATH}", self.address)
    }

    /// Returns a signed link to a prediction's clip that expires in `life_s` seconds.
    pub(super) fn clip_url(&self, prediction: &Prediction, life_s: u64, now: i64) -> String {
        let Prediction { api, id, .. } = prediction;
        let api = format!("{api:?}").to_lowercase();
        let expires = (now / 1000).saturating_add_unsigned(life_s);
        let signature = prediction.signature(expires);
        format!(
            "http://{}/cdn/{api}/{id}.mp4?expires={expires}&sig={signature}",
            self.address
        )
    }
}
