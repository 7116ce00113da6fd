//! A run ends soon after Ctrl-C, whatever a provider does with its requests.

use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use serde_json::json;

use super::{HostileProxy, MAX_STOP, Request, Response, Upstream, command_through};
use crate::support::{TestEnv, at_each_provider, high_limits, send_signal, wait_until};

/// Never answers. The proxy's threads end with the test's process.
fn hang() -> ! {
    loop {
        std::thread::park();
    }
}

/// Interrupts a run once `reached` holds, and returns how long it took to end.
fn interrupt(
    env: &TestEnv,
    rule: impl Fn(&Request, &Upstream) -> Response + Send + Sync + 'static,
    reached: impl Fn() -> bool,
) -> Duration {
    let proxy = HostileProxy::start(env.simulator.address(), rule);
    let mut run = command_through(env, &proxy, &["run"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("the binary starts");
    wait_until("the request", reached);
    let interrupted = Instant::now();
    send_signal("INT", run.id());
    run.wait().expect("it ends");
    interrupted.elapsed()
}

#[test]
fn a_run_whose_calls_hang_stops_within_two_seconds_and_the_next_one_pays_nothing_twice() {
    type Kind = fn(&Request) -> bool;
    let kinds: [Kind; 3] = [
        Request::is_submission,
        Request::is_poll,
        Request::is_download,
    ];
    std::thread::scope(|scope| {
        for kind in kinds {
            scope.spawn(move || {
                at_each_provider(|provider| {
                    let env = TestEnv::new(high_limits());
                    env.load(3, provider);
                    let hanging = Arc::new(AtomicUsize::new(0));
                    let count = Arc::clone(&hanging);
                    // Links of clips lead to the proxy in the next run, too.
                    let is_well = Arc::new(AtomicBool::new(false));
                    let is_well_now = Arc::clone(&is_well);
                    let rule = move |request: &Request, simulator: &Upstream| {
                        let response = simulator.forward();
                        if kind(request) && !is_well_now.load(Ordering::Relaxed) {
                            count.fetch_add(1, Ordering::Relaxed);
                            hang();
                        }
                        response
                    };
                    let took = interrupt(&env, rule, || hanging.load(Ordering::Relaxed) > 0);
                    assert!(took < MAX_STOP, "{provider}: {took:?}");
                    is_well.store(true, Ordering::Relaxed);
                    let run = env.run(&["run"]);
                    assert_eq!(run.code, 0, "{provider}: {run:?}");
                    env.assert_all_rendered_once(3);
                });
            });
        }
    });
}

#[test]
fn a_history_whose_entries_are_never_answered_keeps_no_run_from_stopping() {
    let env = TestEnv::new(high_limits());
    env.load(1, "eachlabs");
    let reads = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&reads);
    let is_next_lost = AtomicBool::new(true);
    let rule = move |request: &Request, simulator: &Upstream| {
        if request.target.contains("/executions") {
            let execution = |id| json!({ "id": format!("other-{id}"), "status": "success" });
            let executions: Vec<_> = (0..100).map(execution).collect();
            return Response::json(200, &json!({ "executions": executions }));
        }
        if request.target.contains("other-") {
            count.fetch_add(1, Ordering::Relaxed);
            hang();
        }
        if request.is_submission() && is_next_lost.swap(false, Ordering::Relaxed) {
            return Response::json(502, &json!({}));
        }
        simulator.forward()
    };
    let took = interrupt(&env, rule, || reads.load(Ordering::Relaxed) > 0);
    assert!(took < MAX_STOP, "{took:?}");
}
