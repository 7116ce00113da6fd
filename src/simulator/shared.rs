//! What every call sees: the model behind a lock, the time, and the connection it came in on.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use tokio::sync::Notify;

use super::prediction::Prediction;
use super::world::World;

/// What every call sees.
#[derive(Debug)]
pub(super) struct Shared {
    world: Mutex<World>,
    /// Where the links of clips lead.
    pub(super) address: SocketAddr,
    began: Instant,
    began_at: i64,
}

/// The connection a call came in on; notified to close it without an answer.
#[derive(Clone, Debug)]
pub(super) struct Connection(pub(super) Arc<Notify>);

impl Shared {
    pub(super) fn new(address: SocketAddr, world: World) -> Self {
        #[expect(
            clippy::disallowed_methods,
            reason = "the simulator has the only clock of its side, read once"
        )]
        let began_at = jiff::Timestamp::now().as_millisecond();
        Self {
            world: Mutex::new(world),
            address,
            began: Instant::now(),
            began_at,
        }
    }

    pub(super) fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Now, in milliseconds since 1970.
    pub(super) fn now(&self) -> i64 {
        self.began_at + i64::try_from(self.began.elapsed().as_millis()).unwrap_or(i64::MAX)
    }

    /// Another address than any API's: whatever carries a key there has taken it too far.
    pub(super) fn elsewhere(&self) -> String {
        format!("http://{}/_simulator/elsewhere", self.address)
    }

    /// The link of a prediction's clip, good for so many seconds from now.
    pub(super) fn link(&self, prediction: &Prediction, life_s: u64, now: i64) -> String {
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
