//! Submissions whose responses are lost or of no use, at providers whose histories are late, wrong or
//! another account's. The judge is the simulator's ledger.

use std::collections::BTreeMap;

use overnight_simulator::{Call, Fault, Faults, HistoryScope, SimulatorOptions};

use crate::support::{
    CommandOutput, TestEnv, at_each_provider, high_limits, load_args, micros, micros_as_f64,
    wait_until,
};

/// Returns options with a fault of this probability in every create.
fn with_fault(fault: Fault, probability: f64) -> SimulatorOptions {
    SimulatorOptions {
        faults: Faults::default().with(Some(Call::Create), fault, probability),
        ..high_limits()
    }
}

/// Returns how often each row was accepted, by its prompt.
fn accepted(env: &TestEnv) -> BTreeMap<String, usize> {
    let mut accepted = BTreeMap::new();
    for entry in env.ledger().entries {
        *accepted
            .entry(entry.input["prompt"].to_string())
            .or_default() += 1;
    }
    accepted
}

/// Loads rows with clips of the same price and runs them with a budget.
fn run(env: &TestEnv, rows: usize, via: &str, budget: &str) -> CommandOutput {
    let row = |row| format!("row-{row},https://images.example.com/{row}.png,Turn number {row}\n");
    let rows: String = (0..rows).map(row).collect();
    env.write("batch.csv", &format!("id,image,prompt\n{rows}"));
    let loaded = env.run(&load_args(via));
    assert_eq!(loaded.code, 0, "{loaded:?}");
    env.run(&["run", "--budget", budget])
}

/// Asserts that what the providers charge is within a budget, and that the books cover it.
fn assert_covered(env: &TestEnv, budget: f64) {
    let status = env.status();
    let batch = &status["batches"][0];
    let covered = micros(&batch["spent_usd"]) + micros(&batch["reserved_usd"]);
    let charged = micros_as_f64(env.ledger().charged());
    assert!(
        charged <= covered && covered <= budget * 1e6,
        "{charged} of {status}"
    );
}

#[test]
fn a_submission_that_a_history_lists_late_is_found_and_not_repeated() {
    at_each_provider(|provider| {
        let env = TestEnv::new(SimulatorOptions {
            history_lag_s: 0.8,
            ..with_fault(Fault::DropAfter, 1.0)
        });
        let run = run(&env, 2, provider, "1");
        assert_eq!(run.code, 0, "{provider}: {run:?}");
        env.assert_all_rendered_once(2);
    });
}

#[test]
fn a_history_that_is_later_than_expected_proves_nothing_while_it_omits_what_was_accepted() {
    at_each_provider(|provider| {
        let env = TestEnv::new(SimulatorOptions {
            seed: 3,
            // Three times as long as the run is told to wait.
            history_lag_s: 3.0,
            history_lists_running: true,
            ..with_fault(Fault::DropAfter, 0.4)
        });
        let run = run(&env, 10, provider, "9");
        assert_eq!(run.code, 0, "{provider}: {run:?}");
        env.assert_all_rendered_once(10);
    });
}

#[test]
fn a_submission_that_is_taken_after_its_call_has_ended_is_found_and_not_repeated() {
    at_each_provider(|provider| {
        let mut options = with_fault(Fault::TakenLate, 1.0);
        options.faults.slow_s = 0.4;
        options.history_lag_s = 0.4;
        let env = TestEnv::new(options);
        let run = run(&env, 2, provider, "1");
        assert_eq!(run.code, 0, "{provider}: {run:?}");
        env.assert_all_rendered_once(2);
    });
}

#[test]
fn the_history_of_another_account_proves_nothing_absent() {
    at_each_provider(|provider| {
        let env = TestEnv::new(SimulatorOptions {
            history_scope: HistoryScope::OtherAccount,
            history_lists_running: true,
            ..with_fault(Fault::DropAfter, 1.0)
        });
        let run = run(&env, 2, provider, "1");
        assert_eq!(run.code, 3, "{provider}: {run:?}");
        assert!(
            accepted(&env).values().all(|count| *count <= 2),
            "{provider}"
        );
        assert_covered(&env, 1.0);
        let held = env.export();
        let reason = held[0]["error"].as_str().expect("a reason");
        let is_known = ["may be paid", "cannot be compared"];
        assert!(
            is_known.iter().any(|known| reason.contains(known)),
            "{reason}"
        );
    });
}

#[test]
fn answers_that_cannot_be_used_stop_the_submissions_of_a_provider() {
    for fault in [Fault::Page, Fault::SameId] {
        at_each_provider(|provider| {
            let env = TestEnv::new(SimulatorOptions {
                history_scope: HistoryScope::Answered,
                ..with_fault(fault, 1.0)
            });
            env.write(
                "overnight.toml",
                &format!(
                    "[provider.{provider}]\nin_flight = 4\ntypical_s = 0.3\nhistory_delay_s = 0.3\n"
                ),
            );
            let run = run(&env, 12, provider, "1");
            assert_eq!(run.code, 4, "{provider}: {run:?}");
            let accepted = accepted(&env);
            assert!(accepted.values().all(|count| *count <= 2), "{accepted:?}");
            assert_covered(&env, 1.0);
            let held = "several responses in a row were lost or of no use";
            let status = env.run(&["status"]).stdout;
            let is_held = status.contains(held) || fault == Fault::SameId;
            assert!(is_held, "{run:?}, {status}");
        });
    }
}

#[test]
fn a_changed_key_is_told_and_proves_nothing_absent() {
    let env = TestEnv::new(with_fault(Fault::DropBefore, 1.0));
    env.load(2, "eachlabs");
    let mut first = env.start(&["run"]);
    wait_until("lost submissions", || env.ledger().creates_seen >= 2);
    first.kill().expect("killed");
    first.wait().expect("ended");
    env.simulator.set_faults(Faults::default());
    let mut run = env.command(&["run"]);
    let run = run.env("EACHLABS_API_KEY", "another-simulated-key");
    let run = CommandOutput::from_output(run.output().expect("the binary starts"));
    assert_eq!(run.code, 3, "{run:?}");
    let told = "the key of eachlabs has changed";
    assert!(run.stderr.contains(told), "{run:?}");
    assert!(run.stdout.contains("key was changed since"), "{run:?}");
    assert_eq!(env.ledger().entries.len(), 0);
    let again = env.run(&["run"]);
    assert!(again.stderr.contains(told), "{again:?}");
}

#[test]
fn lost_responses_stop_no_run_whose_submissions_are_found() {
    let env = TestEnv::new(SimulatorOptions {
        history_lists_running: true,
        ..with_fault(Fault::DropAfter, 1.0)
    });
    env.run_all(24, "eachlabs,aimlapi,fal");
}

#[test]
fn a_history_that_hides_a_submission_has_it_paid_at_most_twice() {
    let env = TestEnv::new(SimulatorOptions {
        history_scope: HistoryScope::Answered,
        ..with_fault(Fault::DropAfter, 0.3)
    });
    let run = run(&env, 24, "eachlabs,aimlapi,fal", "20");
    assert!([0, 3].contains(&run.code), "{run:?}");
    let accepted = accepted(&env);
    assert!(accepted.values().any(|count| *count == 2), "{accepted:?}");
    assert!(accepted.values().all(|count| *count <= 2), "{accepted:?}");
}
