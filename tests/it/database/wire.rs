//! Connections that are cut: at each commit, and at any byte. More of the latter are cut by
//! `OVERNIGHT_CUTS=1000 OVERNIGHT_SEED=7 cargo test --test it any_byte -- --nocapture`.

#![expect(
    clippy::print_stdout,
    reason = "the printed figures are a result of this test"
)]

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::thread;

use fastrand::Rng;

use super::proxy::{self, Direction, Fate, Network};
use crate::postgres_server;
use crate::support::{TestEnv, high_limits, number_from_env};

const ROWS: usize = 4;

/// More commits than a run of [`ROWS`] rows makes.
const MAX_COMMITS: u32 = 24;

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
fn run_through(network: &Arc<impl Network>, what: &str) -> bool {
    let url = postgres_server::create_database();
    let (socket, database) = postgres_server::socket_and_database(&url).expect("a socket");
    let env = TestEnv::new(high_limits()).on_database(url);
    env.load(ROWS, "fal");
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

fn cut_each_commit(cut: Cut) {
    if !postgres_server::is_available() {
        return;
    }
    let numbers: Vec<u32> = (1..=MAX_COMMITS).collect();
    let were_cut = for_each(&numbers, |at| {
        let network = CutCommit {
            cut,
            at: *at,
            commits: AtomicU32::new(0),
        };
        let network = Arc::new(network);
        let what = format!("{cut:?} at commit {at}");
        assert!(run_through(&network, &what), "{what}");
        network.commits.load(Ordering::SeqCst) >= *at
    });
    let were_cut = were_cut.into_iter().filter(|is_cut| *is_cut).count();
    let is_each_cut = (10..numbers.len()).contains(&were_cut);
    assert!(is_each_cut, "{were_cut} commits were cut");
}

#[test]
fn a_run_goes_on_after_any_of_its_commits_whose_answer_was_lost() {
    cut_each_commit(Cut::Answer);
}

#[test]
fn a_run_goes_on_after_any_of_its_commits_that_never_arrived() {
    cut_each_commit(Cut::Request);
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
        assert!(run_through(&network, "not cut"));
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
        run_through(&Arc::new(network), &format!("{direction:?} at byte {at}"))
    });
    let went_on = went_on.into_iter().filter(|went_on| *went_on).count();
    let cut = cuts.len();
    println!(
        "{cut} connections cut, {went_on} runs went on, the others were run again; 0 paid twice, 0 lost"
    );
    assert!(went_on > cut / 2, "{went_on} of {cut} went on");
}
