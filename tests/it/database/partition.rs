//! A host that is cut off from the server of the queue, but not from the providers, and comes back:
//! `OVERNIGHT_CUT_OFF_S=60 cargo test --test it partition -- --nocapture`, and as long as you like. Leases end after
//! 45 seconds, which no test of the suite waits for.

#![expect(
    clippy::print_stdout,
    reason = "the printed figures are a result of this test"
)]

use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;
use std::{fs, thread};

use super::proxy::{self, Direction, Network};
use crate::postgres_server::{self, Server};
use crate::support::{TestEnv, high_limits, number_from_env, wait_until};

const ROWS: usize = 60;

/// What a network holds back, until it passes everything on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Held {
    #[default]
    Nothing,
    Requests,
    Answers,
    Everything,
}

/// A network that holds back what passes through it.
#[derive(Default)]
struct Holding {
    held: Mutex<Held>,
    changed: Condvar,
}

impl Holding {
    fn hold(&self, what: Held) {
        *self.held.lock().expect("no panic") = what;
        self.changed.notify_all();
    }
}

impl Network for Holding {
    fn wait(&self, direction: Direction) {
        let held_alone = match direction {
            Direction::ToServer => Held::Requests,
            Direction::ToClient => Held::Answers,
        };
        let is_held = |held: &mut Held| *held == held_alone || *held == Held::Everything;
        let held = self.held.lock().expect("no panic");
        drop(self.changed.wait_while(held, is_held).expect("no panic"));
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
    let network = Arc::new(Holding::default());
    let through = proxy::through(&network, &socket, &database);
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
fn a_run_whose_server_stops_answering_says_so_and_goes_on_once_it_answers() {
    if !postgres_server::is_available() {
        return;
    }
    let server = Server::start();
    let url = server.create_database();
    let (socket, database) = postgres_server::socket_and_database(&url).expect("a socket");
    let env = TestEnv::new(high_limits()).on_database(url);
    env.load(ROWS, "fal");
    let network = Arc::new(Holding::default());
    let through = proxy::through(&network, &socket, &database);
    let errors = env.dir.path().join("errors");
    let mut run = env.command(&["run", "--queue", &through]);
    let mut run = run
        .env("OVERNIGHT_SILENCE_MS", "300")
        .stderr(fs::File::create(&errors).expect("a file"))
        .spawn()
        .expect("the binary starts");
    env.await_submissions(2);
    network.hold(Held::Everything);
    let said = || fs::read_to_string(&errors).expect("the errors");
    wait_until("the run says so", || {
        said().contains("cannot reach the queue")
    });
    network.hold(Held::Nothing);
    let status = run.wait().expect("the process exits");
    assert!(status.success(), "{}", said());
    env.assert_all_rendered_once(ROWS);
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
