//! Random responses of providers that break the protocol, with a seed that repeats them.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};

use super::{HostileProxy, Request, Response, Upstream, command_through};
use crate::support::{CommandOutput, TestEnv, at_each_provider, high_limits};

/// Number of hostile responses of all providers together, without `OVERNIGHT_HOSTILE`.
const RESPONSES: usize = 100;

/// Rows of each run.
const ROWS: usize = 12;

fn setting(name: &str, default: usize) -> usize {
    let set = std::env::var(name).ok();
    set.map_or(default, |text| text.parse().expect("a number"))
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

#[test]
fn random_responses_that_break_the_protocol_cost_no_clip_and_no_second_payment() {
    let seed = setting("OVERNIGHT_SEED", 1);
    let wanted = setting("OVERNIGHT_HOSTILE", RESPONSES);
    let sent = Arc::new(AtomicUsize::new(0));
    let seeds = AtomicUsize::new(seed);
    at_each_provider(|provider| {
        while sent.load(Ordering::Relaxed) < wanted {
            let seed = seeds.fetch_add(1, Ordering::Relaxed) as u64;
            let env = TestEnv::new(high_limits());
            env.load(ROWS, provider);
            let rng = Mutex::new(fastrand::Rng::with_seed(seed));
            let count = Arc::clone(&sent);
            let rule = move |request: &Request, simulator: &Upstream| {
                let response = simulator.forward();
                let mut rng = rng.lock().unwrap();
                if rng.u8(..3) > 0 {
                    return response;
                }
                // Submissions are lost seldom: each that is lost waits for the history.
                if request.is_submission() && rng.u8(..8) > 0 {
                    return response;
                }
                count.fetch_add(1, Ordering::Relaxed);
                broken(&mut rng, &response)
            };
            let proxy = HostileProxy::start(env.simulator.address(), rule);
            let mut command = command_through(&env, &proxy, &["run"]);
            let run = CommandOutput::from_output(command.output().expect("the binary starts"));
            let said = format!("seed {seed} at {provider}: {run:?}");
            assert!(!run.stderr.contains("panicked"), "{said}");
            assert!(!run.stdout.contains("had a fault"), "{said}");
            // What is left was held or gave up after too many broken responses: nothing is lost.
            env.run(&["retry"]);
            let run = env.run(&["run"]);
            let held = env.resolve_jobs_in_doubt("--fail");
            let jobs = env.export();
            let ledger = env.ledger();
            for entry in &ledger.entries {
                let same = |other: &&overnight_simulator::Entry| {
                    other.input["prompt"] == entry.input["prompt"] && other.charged > 0
                };
                let paid = ledger.entries.iter().filter(same).count();
                assert!(paid <= 1, "paid {paid} times; {said}; {run:?}");
            }
            for job in jobs.iter().filter(|job| job["state"] == "succeeded") {
                let id = &job["prediction_id"];
                let clip = std::fs::read(job["output"].as_str().expect("a path")).expect("a clip");
                let id = id.as_str().expect("an id").as_bytes();
                assert!(
                    clip.windows(id.len()).any(|part| part == id),
                    "{job}: {said}"
                );
            }
            let done = jobs
                .iter()
                .filter(|job| job["state"] == "succeeded")
                .count();
            assert!(
                done + held + 2 >= ROWS,
                "{done} done, {held} held; {said}; {run:?}"
            );
        }
    });
}
