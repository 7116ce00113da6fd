//! A host that is cut off from the server of the queue, but not from the providers, and comes back:
//! `OVERNIGHT_CUT_OFF_S=60 cargo test --test it partition -- --nocapture`, and as long as you like. Leases end after
//! 45 seconds, which no test of the suite waits for.

#![expect(
    clippy::print_stdout,
    reason = "the printed figures are a result of this test"
)]

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::Duration;

use crate::postgres_server::{self, Server};
use crate::support::{TestEnv, high_limits, number_from_env};

const ROWS: usize = 60;

/// What a network holds back, until it passes everything on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Held {
    Nothing,
    Requests,
    Answers,
    Everything,
}

/// A network between a host and the server.
struct Network {
    port: u16,
    held: Arc<(Mutex<Held>, Condvar)>,
}

impl Network {
    fn start(socket: &Path) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let held = Arc::new((Mutex::new(Held::Nothing), Condvar::new()));
        let shared = Arc::clone(&held);
        let socket = socket.to_owned();
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let Ok(server) = UnixStream::connect(&socket) else {
                    continue;
                };
                let held = Arc::clone(&shared);
                thread::spawn(move || pass_both_ways(client, server, &held));
            }
        });
        Self { port, held }
    }

    fn hold(&self, what: Held) {
        let (held, changed) = &*self.held;
        *held.lock().expect("no panic") = what;
        changed.notify_all();
    }
}

fn pass_both_ways(
    client: TcpStream,
    server: UnixStream,
    held: &Arc<(Mutex<Held>, Condvar)>,
) -> io::Result<()> {
    let from_server = server.try_clone()?;
    let to_client = client.try_clone()?;
    let answers_held = Arc::clone(held);
    let answers = thread::spawn(move || {
        let _ = pass(&from_server, &to_client, &answers_held, Held::Answers);
        to_client.shutdown(Shutdown::Both)
    });
    let _ = pass(&client, &server, held, Held::Requests);
    let _ = server.shutdown(Shutdown::Both);
    let _ = answers.join();
    Ok(())
}

/// Passes bytes on in one direction, unless and until they are not held back.
fn pass(
    mut from: impl Read,
    mut to: impl Write,
    held: &(Mutex<Held>, Condvar),
    direction: Held,
) -> io::Result<()> {
    let mut bytes = [0; 8192];
    loop {
        let length = from.read(&mut bytes)?;
        let is_held = |held: &mut Held| *held == direction || *held == Held::Everything;
        let (state, changed) = held;
        let guard = state.lock().expect("no panic");
        drop(changed.wait_while(guard, is_held).expect("no panic"));
        if length == 0 {
            return Ok(());
        }
        to.write_all(&bytes[..length])?;
    }
}

fn cut_off(what: Held) {
    let seconds = number_from_env("OVERNIGHT_CUT_OFF_S", 2);
    let server = Server::start();
    let url = server.create_database();
    let (socket, database) = postgres_server::socket_and_database(&url).expect("a socket");
    let env = TestEnv::new(high_limits()).on_database(url);
    env.set_config("history_delay_s = 1\n", "history_delay_s = 110\n");
    env.load(ROWS, "fal");
    let network = Network::start(&socket);
    let through = format!("postgres://overnight@127.0.0.1:{}/{database}", network.port);
    let far = env.start(&["run", "--queue", &through]);
    env.await_submissions(2);
    let near: Vec<_> = (0..3).map(|_| env.start(&["run"])).collect();
    env.await_submissions(ROWS / 4);
    network.hold(what);
    thread::sleep(Duration::from_secs(seconds));
    let meanwhile = env.ledger().entries.len();
    network.hold(Held::Nothing);
    for mut run in near.into_iter().chain([far]) {
        let status = run.wait().expect("the process exits");
        assert!(status.success(), "{status:?}");
    }
    let last = env.run(&["run"]);
    assert_eq!(last.code, 0, "{last:?}");
    env.assert_all_rendered_once(ROWS);
    println!(
        "{what:?} held back for {seconds} s: {meanwhile} of {ROWS} submitted by then; 0 paid twice, 0 lost"
    );
}

#[test]
fn a_host_that_is_cut_off_from_its_server_in_one_direction_or_both_pays_nothing_twice() {
    if postgres_server::is_available() {
        thread::scope(|scope| {
            for what in [Held::Requests, Held::Answers, Held::Everything] {
                scope.spawn(move || cut_off(what));
            }
        });
    }
}
