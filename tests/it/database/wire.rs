//! Connections that are cut: at each commit, and at any byte. More of the latter are cut by
//! `OVERNIGHT_CUTS=1000 OVERNIGHT_SEED=7 cargo test --test it any_byte -- --nocapture`.

#![expect(
    clippy::print_stdout,
    reason = "the printed figures are a result of this test"
)]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};

use fastrand::Rng;

use super::proxy::{self, Direction, Fate, Network};
use crate::postgres_server;
use crate::support::{TestEnv, high_limits, number_from_env};

const ROWS: usize = 4;

/// More commits than a run of [`ROWS`] rows makes in a busy queue.
const MAX_COMMITS: u32 = 56;

/// Runs at the same time.
const RUNS: usize = 8;

/// What becomes of a commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cut {
    /// The server never sees it.
    Request,
    /// The server makes it, and its answer is dropped.
    Answer,
}

/// Whether others write to a queue as well.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Traffic {
    Idle,
    Busy,
}

/// A thread that holds the lock of all writes of a queue again and again, until it is dropped.
struct Others {
    ends: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Others {
    fn start(url: String) -> Self {
        let ends = Arc::new(AtomicBool::new(false));
        let is_ended = Arc::clone(&ends);
        let thread = thread::spawn(move || {
            postgres_server::repeat(&url, HOLD_LOCK, move || !is_ended.load(Ordering::SeqCst));
        });
        Self {
            ends,
            thread: Some(thread),
        }
    }
}

impl Drop for Others {
    fn drop(&mut self) {
        self.ends.store(true, Ordering::SeqCst);
        let ended = self.thread.take().map(JoinHandle::join);
        assert!(ended.is_some_and(|ended| ended.is_ok()));
    }
}

/// Holds the lock for longer than a write has to wait for it to commit early.
const HOLD_LOCK: &str =
    "BEGIN; LOCK TABLE overnight.gate IN EXCLUSIVE MODE; SELECT pg_sleep(0.01); COMMIT";

/// A network that cuts one connection at a commit.
struct CutCommit {
    cut: Cut,
    /// The number of the commit, counted from 1.
    at: u32,
    /// Commits that passed so far.
    commits: AtomicU32,
}

impl Network for CutCommit {
    fn request(&self, message: &[u8]) -> Fate {
        let is_commit = message.starts_with(b"Q") && message.ends_with(b"COMMIT\0");
        if !is_commit || self.commits.fetch_add(1, Ordering::SeqCst) + 1 != self.at {
            return Fate::Arrives;
        }
        match self.cut {
            Cut::Request => Fate::Cut(0),
            Cut::Answer => Fate::Unanswered,
        }
    }
}

/// A network that cuts one connection after a number of bytes that went one way.
struct CutByte {
    direction: Direction,
    at: usize,
    /// Bytes that went this way so far.
    passed: AtomicUsize,
}

impl CutByte {
    /// Returns how many of the next bytes arrive.
    fn count(&self, direction: Direction, length: usize) -> usize {
        if direction != self.direction {
            return length;
        }
        let before = self.passed.fetch_add(length, Ordering::SeqCst);
        if (before..before + length).contains(&self.at) {
            self.at - before
        } else {
            length
        }
    }
}

impl Network for CutByte {
    fn request(&self, message: &[u8]) -> Fate {
        match self.count(Direction::ToServer, message.len()) {
            arriving if arriving == message.len() => Fate::Arrives,
            arriving => Fate::Cut(arriving),
        }
    }

    fn answer(&self, bytes: &[u8]) -> usize {
        self.count(Direction::ToClient, bytes.len())
    }
}

/// Runs a new batch through a network. The run may end because its server was away when it started, and say so;
/// the next one then goes on. Returns whether it did not.
fn run_through(network: &Arc<impl Network>, queue: Traffic, what: &str) -> bool {
    let url = postgres_server::create_database();
    let (socket, database) = postgres_server::socket_and_database(&url).expect("a socket");
    let env = TestEnv::new(high_limits()).on_database(url.clone());
    env.load(ROWS, "fal");
    let _others = (queue == Traffic::Busy).then(|| Others::start(url));
    let through = proxy::through(network, &socket, &database);
    let run = env.run(&["run", "--queue", &through]);
    if run.code != 0 {
        assert!(
            run.stderr.contains("cannot reach the queue"),
            "{what}: {run:?}"
        );
        let next = env.run(&["run"]);
        assert_eq!(next.code, 0, "{what}: {next:?}");
    }
    env.assert_all_rendered_once(ROWS);
    let doctor = env.run(&["doctor"]);
    let counters = "every stored counter agrees";
    assert!(doctor.stdout.contains(counters), "{what}: {doctor:?}");
    run.code == 0
}

/// Calls a test for each item, for some at the same time, and returns the results.
fn for_each<T: Sync, R: Send>(items: &[T], test: impl Fn(&T) -> R + Sync) -> Vec<R> {
    let chunks = items.chunks(RUNS).flat_map(|chunk| {
        thread::scope(|scope| {
            let runs = chunk.iter().map(|item| scope.spawn(|| test(item)));
            let runs: Vec<_> = runs.collect();
            let results = runs.into_iter().map(|run| run.join().expect("no panic"));
            results.collect::<Vec<R>>()
        })
    });
    chunks.collect()
}

/// Cuts one commit of a run after another, as `cut` says by its number, until a run makes fewer than that. Returns
/// how many were cut.
fn cut_each_commit(queue: Traffic, cut: impl Fn(u32) -> Cut + Sync) -> u32 {
    let mut were_cut = 0;
    for first in (1..=MAX_COMMITS).step_by(RUNS) {
        let numbers: Vec<u32> = (first..).take(RUNS).collect();
        let cut = for_each(&numbers, |at| {
            let cut = cut(*at);
            let network = CutCommit {
                cut,
                at: *at,
                commits: AtomicU32::new(0),
            };
            let network = Arc::new(network);
            let what = format!("{cut:?} at commit {at}, {queue:?}");
            assert!(run_through(&network, queue, &what), "{what}");
            network.commits.load(Ordering::SeqCst) >= *at
        });
        let cut = cut.into_iter().filter(|is_cut| *is_cut).count();
        were_cut += u32::try_from(cut).expect("a few");
        if cut < RUNS {
            return were_cut;
        }
    }
    panic!("more than {MAX_COMMITS} commits");
}

#[test]
fn a_run_goes_on_after_any_of_its_commits_whose_answer_was_lost() {
    if !postgres_server::is_available() {
        return;
    }
    let cut = cut_each_commit(Traffic::Idle, |_| Cut::Answer);
    assert!(cut > 10, "{cut} commits were cut");
}

#[test]
fn a_run_goes_on_after_any_of_its_commits_that_never_arrived() {
    if !postgres_server::is_available() {
        return;
    }
    let cut = cut_each_commit(Traffic::Idle, |_| Cut::Request);
    assert!(cut > 10, "{cut} commits were cut");
}

/// Every write waits for the lock, and so commits before the server has stored it, and then waits for another commit.
#[test]
fn a_run_beside_others_goes_on_after_any_of_its_commits_was_cut() {
    if !postgres_server::is_available() {
        return;
    }
    let cut = cut_each_commit(Traffic::Busy, |at| match at / 2 % 2 {
        0 => Cut::Answer,
        _ => Cut::Request,
    });
    // Those of an idle queue, and most of them twice.
    assert!(cut > 25, "{cut} commits were cut");
}

#[test]
fn a_connection_that_is_cut_at_any_byte_pays_nothing_twice_and_loses_nothing() {
    if !postgres_server::is_available() {
        return;
    }
    let mut bytes = [Direction::ToServer, Direction::ToClient].map(|direction| {
        let network = CutByte {
            direction,
            at: usize::MAX,
            passed: AtomicUsize::new(0),
        };
        let network = Arc::new(network);
        assert!(run_through(&network, Traffic::Idle, "not cut"));
        (direction, network.passed.load(Ordering::SeqCst))
    });
    let mut random = Rng::with_seed(number_from_env("OVERNIGHT_SEED", 1));
    let cuts: Vec<(Direction, usize)> = (0..number_from_env("OVERNIGHT_CUTS", 16))
        .map(|_| {
            bytes.reverse();
            let (direction, length) = bytes[0];
            (direction, random.usize(0..length))
        })
        .collect();
    let went_on = for_each(&cuts, |(direction, at)| {
        let network = CutByte {
            direction: *direction,
            at: *at,
            passed: AtomicUsize::new(0),
        };
        let what = format!("{direction:?} at byte {at}");
        run_through(&Arc::new(network), Traffic::Idle, &what)
    });
    let went_on = went_on.into_iter().filter(|went_on| *went_on).count();
    let cut = cuts.len();
    println!(
        "{cut} connections cut, {went_on} runs went on, the others were run again; 0 paid twice, 0 lost"
    );
    assert!(went_on > cut / 2, "{went_on} of {cut} went on");
}
