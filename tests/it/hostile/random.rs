//! Random responses of providers that break the protocol, and random stops in the middle of them; ten
//! thousand with `OVERNIGHT_HOSTILE=10000 cargo test --release --test it random_responses -- --nocapture`.
//!
//! `OVERNIGHT_SEED` repeats the choice of responses; which request gets which depends on the timing.

#![expect(
    clippy::print_stdout,
    reason = "the printed figures are a result of this test"
)]

use std::collections::BTreeMap;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use overnight_simulator::Limits;
use serde_json::{Value, json};

use super::{HostileProxy, MAX_STOP, Request, Response, Upstream, command_through};
use crate::support::{
    CommandOutput, TestEnv, at_each_provider, high_limits, number_from_env, wait_until,
};

/// Number of hostile responses of all providers together, without `OVERNIGHT_HOSTILE`.
const RESPONSES: u64 = 100;

/// Number of responses about other predictions to choose from.
const MAX_REMEMBERED: usize = 100;

/// Breaks responses at random.
struct Breaker {
    rng: fastrand::Rng,
    /// Responses to polls: a cache may give them to others.
    polls: Vec<Response>,
}

impl Breaker {
    /// Returns the response that is sent, and whether it is a hostile one.
    fn answer(&mut self, request: &Request, response: Response) -> (Response, bool) {
        if request.is_poll() && self.polls.len() < MAX_REMEMBERED {
            self.polls.push(response.clone());
        }
        if self.rng.u8(..3) > 0 {
            return (response, false);
        }
        // Submissions are lost seldom: each that is lost waits for the history.
        if request.is_submission() && self.rng.u8(..8) > 0 {
            return (response, false);
        }
        if request.is_poll() && self.rng.u8(..4) == 0 {
            let other = self.rng.choice(&self.polls).expect("at least this one");
            return (other.clone(), true);
        }
        (broken(&mut self.rng, &response), true)
    }
}

/// Returns a response that cannot be taken for another true one: what a provider says is broken, not
/// turned into a lie.
fn broken(rng: &mut fastrand::Rng, response: &Response) -> Response {
    let mut broken = response.clone();
    match rng.u8(..10) {
        0 => broken.body.truncate(rng.usize(..=response.body.len() / 2)),
        1 => broken.body = b"<html><body>busy</body></html>".to_vec(),
        2 => broken.body.clear(),
        3 => broken.body = "[".repeat(rng.usize(1..100_000)).into_bytes(),
        4 => {
            broken.body = json!({ "status": { "a": [1, null] }, "id": [], "output": 7 })
                .to_string()
                .into_bytes()
        }
        5 => broken.body = (0..rng.usize(..4_000)).map(|_| rng.u8(..)).collect(),
        6 => broken = Response::json(*rng.choice(&[502, 504, 520]).expect("one"), &json!({})),
        7 => {
            let name = format!("x-{}", "n".repeat(rng.usize(1..2_000)));
            broken.headers.push((name, "\u{1b}[2J".repeat(50)));
            broken.body = b"null".to_vec();
        }
        8 => {
            broken.body = json!("\u{202e}\u{1b}]0;x\u{7}".repeat(200))
                .to_string()
                .into_bytes()
        }
        _ => {
            let nested = (0..rng.usize(1..100)).fold(Value::Null, |inner, _| json!([inner]));
            broken.body = json!({ "error": nested, "id": 1e308, "status": -1 })
                .to_string()
                .into_bytes();
        }
    }
    broken
}

/// What became of a run that was stopped, or ended, among hostile responses.
struct Run {
    output: CommandOutput,
    /// How long it took to end after Ctrl-C; `None` if it had ended before.
    stop: Option<Duration>,
}

/// Runs the binary, and interrupts it once `is_due` holds.
fn run(command: &mut Command, is_due: impl Fn() -> bool) -> Run {
    let command = command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let run = command.spawn().expect("the binary starts");
    let pid = run.id().to_string();
    // Its output is read meanwhile, so that it never waits for that.
    let reader = thread::spawn(move || run.wait_with_output().expect("it ends"));
    wait_until("an end or enough responses", || {
        reader.is_finished() || is_due()
    });
    let interrupted = (!reader.is_finished()).then(Instant::now);
    if interrupted.is_some() {
        // It may have ended by itself since.
        let sent = Command::new("kill").args(["-INT", &pid]).output();
        sent.expect("`kill` starts");
    }
    let output = CommandOutput::from_output(reader.join().expect("the output"));
    Run {
        output,
        stop: interrupted.map(|interrupted| interrupted.elapsed()),
    }
}

#[test]
fn random_responses_that_break_the_protocol_cost_no_clip_and_no_second_payment() {
    let seed = number_from_env("OVERNIGHT_SEED", 1);
    let wanted = number_from_env("OVERNIGHT_HOSTILE", RESPONSES);
    // Most of the time is spent in waiting.
    let (rows, at_once) = if wanted > RESPONSES {
        (150, 4)
    } else {
        (12, 1)
    };
    let sent = Arc::new(AtomicUsize::new(0));
    let seeds = AtomicU64::new(seed);
    let totals = Mutex::new(Totals::default());
    at_each_provider(|provider| {
        thread::scope(|scope| {
            for _ in 0..at_once {
                scope.spawn(|| {
                    while (sent.load(Ordering::Relaxed) as u64) < wanted {
                        let seed = seeds.fetch_add(1, Ordering::Relaxed);
                        let of_run = HostileRun::new(seed, rows, provider).run(&sent);
                        totals.lock().unwrap().add(&of_run);
                    }
                });
            }
        });
    });
    let totals = totals.into_inner().unwrap();
    println!(
        "{} hostile responses; {totals:?}",
        sent.load(Ordering::Relaxed)
    );
}

/// What was seen in all runs.
#[derive(Debug, Default)]
struct Totals {
    rows: usize,
    rendered: usize,
    held: usize,
    stops: usize,
    slowest_stop: Duration,
}

impl Totals {
    fn add(&mut self, other: &Self) {
        self.rows += other.rows;
        self.rendered += other.rendered;
        self.held += other.held;
        self.stops += other.stops;
        self.slowest_stop = self.slowest_stop.max(other.slowest_stop);
    }
}

/// Some rows at one provider whose responses are broken at random.
struct HostileRun {
    seed: u64,
    rows: usize,
    provider: String,
    env: TestEnv,
}

impl HostileRun {
    fn new(seed: u64, rows: usize, provider: &str) -> Self {
        let limits = Limits {
            creates_per_minute: 60_000,
            at_once: 40,
        };
        let env = TestEnv::new(high_limits().with_limits(limits));
        env.load(rows, provider);
        Self {
            seed,
            rows,
            provider: provider.to_owned(),
            env,
        }
    }

    fn run(&self, sent: &Arc<AtomicUsize>) -> Totals {
        let env = &self.env;
        let mut rng = fastrand::Rng::with_seed(self.seed);
        let stop_after = rng.usize(1..self.rows * 2);
        let here = Arc::new(AtomicUsize::new(0));
        let counters = [Arc::clone(sent), Arc::clone(&here)];
        let breaker = Mutex::new(Breaker {
            rng,
            polls: Vec::new(),
        });
        let rule = move |request: &Request, simulator: &Upstream| {
            let response = simulator.forward();
            let (response, is_hostile) = breaker
                .lock()
                .expect("the breaker")
                .answer(request, response);
            for counter in &counters {
                counter.fetch_add(usize::from(is_hostile), Ordering::Relaxed);
            }
            response
        };
        let proxy = HostileProxy::start(env.simulator.address(), rule);
        let mut totals = Totals {
            rows: self.rows,
            ..Totals::default()
        };
        let is_due = || here.load(Ordering::Relaxed) >= stop_after;
        let stopped = run(&mut command_through(env, &proxy, &["run"]), is_due);
        if let Some(stop) = stopped.stop {
            totals.stops = 1;
            totals.slowest_stop = stop;
        }
        assert!(totals.slowest_stop < MAX_STOP, "{totals:?}");
        let ended = command_through(env, &proxy, &["run"]).output();
        let ended = CommandOutput::from_output(ended.expect("the binary starts"));
        for output in [&stopped.output, &ended] {
            let said = self.describe(output);
            assert!(!output.stderr.contains("panicked"), "{said}");
            assert!(!output.stdout.contains("had a fault"), "{said}");
        }
        // What is left was held or gave up after too many broken responses: nothing is lost.
        env.run(&["retry"]);
        let last = env.run(&["run"]);
        totals.held = env.resolve_jobs_in_doubt("--fail");
        totals.rendered = self.assert_paid_once_and_own_clips(&last);
        let said = self.describe(&last);
        let settled = totals.rendered + totals.held;
        assert!(
            settled + self.rows / 6 >= self.rows,
            "{settled} settled; {said}"
        );
        totals
    }

    fn describe(&self, output: &CommandOutput) -> String {
        format!("seed {} at {}: {output:?}", self.seed, self.provider)
    }

    /// Returns the number of rows with a clip.
    fn assert_paid_once_and_own_clips(&self, last: &CommandOutput) -> usize {
        let ledger = self.env.ledger();
        let mut paid = BTreeMap::new();
        for entry in ledger.entries.iter().filter(|entry| entry.charged > 0) {
            let prompt = entry.input["prompt"].to_string();
            *paid.entry(prompt).or_insert(0) += 1;
        }
        let twice: Vec<_> = paid.iter().filter(|(_, times)| **times > 1).collect();
        assert!(twice.is_empty(), "{twice:?}; {}", self.describe(last));
        let mut jobs = self.env.export();
        assert_eq!(jobs.len(), self.rows, "{}", self.describe(last));
        jobs.retain(|job| job["state"] == "succeeded");
        for job in &jobs {
            let id = job["prediction_id"].as_str().expect("an id").as_bytes();
            let clip = std::fs::read(job["output"].as_str().expect("a path")).expect("a clip");
            let is_own = clip.windows(id.len()).any(|part| part == id);
            assert!(is_own, "{job}: {}", self.describe(last));
        }
        jobs.len()
    }
}
