//! The server: one address on loopback for the three APIs, their storage and their clips.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use tokio::net::TcpSocket;
use tokio::task::JoinHandle;

use crate::fault::Faults;
use crate::ledger::{Entry, Ledger, Requests};
use crate::options::SimulatorOptions;
use crate::world::World;

use super::base_urls::BaseUrls;
use super::connection;
use super::routes;
use super::state::SharedState;

/// Connections that wait to be accepted, at most.
const BACKLOG: u32 = 1024;

/// A simulator that has its port, which nobody else can take, and refuses every connection until it
/// serves.
#[derive(Debug)]
pub struct BoundSimulator {
    socket: TcpSocket,
    address: SocketAddr,
    options: SimulatorOptions,
}

/// A running simulator of the three APIs on loopback. Dropping it stops the server.
#[derive(Debug)]
pub struct Simulator {
    address: SocketAddr,
    shared: Arc<SharedState>,
    server: JoinHandle<()>,
}

impl BoundSimulator {
    /// Returns the address that it will listen on.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Returns the base URLs that the three APIs will have.
    pub fn base_urls(&self) -> BaseUrls {
        BaseUrls::new(self.address)
    }

    /// Starts the three APIs.
    pub async fn serve(self) -> io::Result<Simulator> {
        let listener = self.socket.listen(BACKLOG)?;
        let shared = Arc::new(SharedState::new(self.address, World::new(self.options)));
        let router = routes::router(Arc::clone(&shared));
        let server = tokio::spawn(connection::accept(listener, router));
        Ok(Simulator {
            address: self.address,
            shared,
            server,
        })
    }
}

impl Simulator {
    /// Starts the three APIs. Fails if the port cannot be bound.
    pub async fn start(options: SimulatorOptions) -> io::Result<Self> {
        Self::bind(options)?.serve().await
    }

    /// Binds the port without listening on it, so that connections are refused until
    /// [`serve`](BoundSimulator::serve). Fails if the port cannot be bound.
    pub fn bind(options: SimulatorOptions) -> io::Result<BoundSimulator> {
        let socket = TcpSocket::new_v4()?;
        // A given port may be taken again right after the simulator that had it; a free one that
        // the system picks must be ours alone.
        socket.set_reuseaddr(options.port != 0)?;
        socket.bind((Ipv4Addr::LOCALHOST, options.port).into())?;
        Ok(BoundSimulator {
            address: socket.local_addr()?,
            socket,
            options,
        })
    }

    /// Returns the listening address.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Returns the base URLs of the three APIs.
    pub fn base_urls(&self) -> BaseUrls {
        BaseUrls::new(self.address)
    }

    /// Returns the environment variables, with their values, that point Overnight here. They
    /// include keys.
    pub fn environment(&self) -> [(&'static str, String); 8] {
        self.base_urls().environment()
    }

    /// Returns what was accepted, billed and refused so far.
    pub fn ledger(&self) -> Ledger {
        self.shared.world().ledger()
    }

    /// Returns the calls received and the faults injected so far.
    pub fn requests(&self) -> Requests {
        self.shared.world().requests()
    }

    /// Waits until the three APIs have accepted `count` submissions in total.
    pub async fn await_submissions(&self, count: usize) {
        self.shared.await_submissions(count).await;
    }

    /// Replaces the faults to inject from now on.
    pub fn set_faults(&self, faults: Faults) {
        self.shared.world().options_mut().faults = faults;
    }

    /// Changes any options from now on, except the port.
    pub fn update_options(&self, update: impl FnOnce(&mut SimulatorOptions)) {
        update(self.shared.world().options_mut());
    }

    /// Adds the predictions in the ledger of an earlier simulator, which have ended since.
    pub fn restore(&self, entries: Vec<Entry>) {
        self.shared.apply(|world| world.restore(entries));
    }

    /// Expires all clip links that were issued so far. The next poll returns a new one.
    pub fn expire_links(&self) {
        self.shared.world().expire_all_links();
    }
}

impl Drop for Simulator {
    fn drop(&mut self) {
        self.server.abort();
    }
}
