//! Responses that are well-formed and wrong.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};

use super::{Response, run_against};
use crate::support::{TestEnv, at_each_provider, high_limits};

/// Returns the id of the simulated prediction in a target.
fn id_in(target: &str) -> Option<String> {
    let after = ["/prediction/", "/requests/", "generation_id="];
    let rest = after.iter().find_map(|start| target.split_once(start))?.1;
    let id: String = rest
        .chars()
        .take_while(|c| !matches!(c, '/' | '?' | '&'))
        .collect();
    Some(id)
}

#[test]
fn a_response_about_another_prediction_is_asked_for_again_and_never_recorded() {
    at_each_provider(|provider| {
        let env = TestEnv::new(high_limits());
        env.load(6, provider);
        // The first response of a kind that shows a finished prediction, and whose polls were answered
        // with it already.
        let cached: Mutex<BTreeMap<bool, (String, Response)>> = Mutex::default();
        let fooled: Arc<Mutex<BTreeSet<(String, bool)>>> = Arc::default();
        let sent = Arc::clone(&fooled);
        let run = run_against(&env, move |request, simulator| {
            let response = simulator.forward();
            let id = id_in(&request.target).filter(|_| request.is_poll());
            let Some(id) = id else {
                return response;
            };
            let is_status = request.target.contains("/status");
            let text = String::from_utf8_lossy(&response.body).into_owned();
            let is_finished = text.contains(".mp4") || text.contains("COMPLETED");
            if response.status != 200 || !is_finished {
                return response;
            }
            let mut cached = cached.lock().unwrap();
            let (of, other) = cached
                .entry(is_status)
                .or_insert_with(|| (id.clone(), response.clone()));
            if *of != id && fooled.lock().unwrap().insert((id, is_status)) {
                return other.clone();
            }
            response
        });
        assert_eq!(run.code, 0, "{provider}: {run:?}");
        assert!(sent.lock().unwrap().len() >= 5, "{provider}: {sent:?}");
        env.assert_all_rendered_once(6);
    });
}

#[test]
fn an_id_that_is_a_path_or_no_word_is_no_answer_to_a_submission() {
    let ids = [
        json!(".."),
        json!("../../v1/prediction/x"),
        json!("%2e%2e"),
        json!("a\u{1b}[2Jb"),
        json!("x".repeat(5_000)),
        json!({ "id": "x" }),
        json!(1e308),
    ];
    std::thread::scope(|scope| {
        for id in &ids {
            scope.spawn(move || at_each_provider(|provider| renders_despite_id(provider, id)));
        }
    });
}

/// Asserts that both rows of a batch are rendered and paid once although the first response has this id.
fn renders_despite_id(provider: &str, id: &Value) {
    let env = TestEnv::new(high_limits());
    env.load(2, provider);
    let bad = id.clone();
    let is_next_first = AtomicBool::new(true);
    let run = run_against(&env, move |request, simulator| {
        let response = simulator.forward();
        if !request.is_submission() || !is_next_first.swap(false, Ordering::Relaxed) {
            return response;
        }
        let mut body = response.to_json();
        for key in ["predictionID", "id", "request_id"] {
            if let Some(value) = body.get_mut(key) {
                *value = bad.clone();
            }
        }
        Response::json(response.status, &body)
    });
    assert_eq!(run.code, 0, "{provider} {id}: {run:?}");
    env.assert_all_rendered_once(2);
}
