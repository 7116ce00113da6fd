//! What a provider writes is shown, and must not be obeyed: not by a terminal, and not by a spreadsheet.

use serde_json::json;

use super::{Response, run_against};
use crate::support::{TestEnv, at_each_provider, high_limits, load_args};

/// Clears a terminal, turns the text and adds a line of its own.
const HOSTILE: &str =
    "no\u{1b}[2J\u{1b}]0;owned\u{7}\u{9b}31m\u{202e}drawkcab\nrow-9 succeeded\r\u{2028}x";

/// Returns an error in the form of each provider, of a submission that will never be accepted.
fn rejection(message: &str) -> Response {
    let body = json!({
        "status": "error",
        "message": message,
        "detail": [{ "loc": ["body", message], "msg": message, "type": "x" }],
        "error": { "name": message, "message": message },
        "requestId": "r",
        "statusCode": 422,
    });
    Response::json(422, &body)
}

fn is_harmless(text: &str) -> bool {
    let is_hostile = |c: char| {
        (c.is_control() && c != '\n') || matches!(c, '\u{2028}' | '\u{202a}'..='\u{202e}')
    };
    !text.contains(is_hostile) && text.lines().all(|line| !line.starts_with("row-9"))
}

#[test]
fn what_a_provider_writes_neither_drives_the_terminal_nor_adds_a_line() {
    at_each_provider(|provider| {
        let env = TestEnv::new(high_limits());
        env.load(2, provider);
        let run = run_against(&env, |request, simulator| {
            if request.is_submission() {
                rejection(HOSTILE)
            } else {
                simulator.forward()
            }
        });
        assert_eq!(run.code, 3, "{provider}: {run:?}");
        assert!(run.stdout.contains("drawkcab"), "{provider}: {run:?}");
        assert!(
            is_harmless(&run.stdout) && is_harmless(&run.stderr),
            "{run:?}"
        );
        for args in [
            &["status"] as &[&str],
            &["jobs"],
            &["show", "row-0"],
            &["show", "row-0", "--json"],
            &["jobs", "--json"],
            &["export"],
            &["export", "--format", "jsonl"],
        ] {
            let shown = env.run(args);
            assert_eq!(shown.code, 0, "{args:?}: {shown:?}");
            assert!(is_harmless(&shown.stdout), "{provider} {args:?}: {shown:?}");
        }
    });
}

#[test]
fn a_cell_of_an_export_is_no_formula_unless_it_is_asked_for_as_it_is() {
    let env = TestEnv::new(high_limits());
    let rows = ["=1+1", "+1", "-1", "@SUM(A1)", "plain"];
    let rows = rows.map(|id| format!("{id},https://images.example.com/a.png,Turn {id}\n"));
    env.write("batch.csv", &format!("id,image,prompt\n{}", rows.concat()));
    let loaded = env.run(&load_args("fal"));
    assert_eq!(loaded.code, 0, "{loaded:?}");
    let ids = |args: &[&str]| -> Vec<String> {
        let export = env.run(args);
        let lines = export.stdout.lines().skip(1);
        lines
            .map(|line| line.split(',').nth(1).expect("an id").to_owned())
            .collect()
    };
    assert_eq!(
        ids(&["export"]),
        ["'=1+1", "'+1", "'-1", "'@SUM(A1)", "plain"]
    );
    let raw = ids(&["export", "--raw"]);
    assert_eq!(raw, ["=1+1", "+1", "-1", "@SUM(A1)", "plain"]);
}
