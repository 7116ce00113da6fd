//! Whole batches at the simulated providers: costs, retries, lost responses, limits.

use overnight_simulator::{Api, Call, Fault, Faults, Limits, SimulatorOptions};

use crate::support::{TestEnv, high_limits, load_args, micros};

#[test]
fn two_hundred_rows_at_eachlabs_are_rendered_and_accounted_for() {
    render_and_account_for_all_rows("eachlabs", 200);
}

#[test]
fn two_hundred_rows_at_aimlapi_are_rendered_and_accounted_for() {
    render_and_account_for_all_rows("aimlapi", 200);
}

#[test]
fn two_hundred_rows_at_fal_are_rendered_and_accounted_for() {
    render_and_account_for_all_rows("fal", 200);
}

#[test]
fn three_hundred_rows_are_spread_over_all_three_providers() {
    let env = render_and_account_for_all_rows("eachlabs,fal,aimlapi", 300);
    for api in Api::ALL {
        let share = env
            .ledger()
            .entries
            .iter()
            .filter(|entry| entry.api == api)
            .count();
        assert!(share >= 30, "{api:?} rendered {share}");
    }
}

#[test]
fn a_batch_that_fits_its_first_provider_uses_no_other() {
    for (via, preferred) in [("fal,eachlabs", Api::Fal), ("aimlapi,fal", Api::Aimlapi)] {
        let env = TestEnv::new(high_limits());
        env.load(5, via);
        assert_eq!(env.run(&["run"]).code, 0);
        assert!(
            env.ledger()
                .entries
                .iter()
                .all(|entry| entry.api == preferred),
            "{via}"
        );
        env.assert_all_rendered_once(5);
    }
}

fn render_and_account_for_all_rows(via: &str, rows: usize) -> TestEnv {
    let env = TestEnv::new(high_limits());
    env.run_all(rows, via);
    env
}

#[test]
fn costs_come_from_what_each_provider_reports() {
    for (via, source) in [
        ("eachlabs", "reported"),
        ("fal", "units"),
        ("aimlapi", "credits"),
    ] {
        let env = TestEnv::new(high_limits());
        env.load(4, via);
        assert_eq!(env.run(&["run"]).code, 0);
        assert!(
            env.export().iter().all(|job| job["cost_source"] == source),
            "{via}"
        );
    }
    let silent = SimulatorOptions {
        eachlabs_reports_cost: false,
        aimlapi_reports_credits: false,
        ..high_limits()
    };
    let env = TestEnv::new(silent);
    env.load(8, "eachlabs,aimlapi");
    assert_eq!(env.run(&["run"]).code, 0);
    assert!(env.export().iter().all(|job| job["cost_source"] == "rule"));
    env.assert_all_rendered_once(8);
}

#[test]
fn frequent_refusals_and_failed_polls_fail_no_job() {
    let faults = Faults::default()
        .with(None, Fault::RateLimited, 0.2)
        .with(Call::Poll, Fault::ServerError, 0.2)
        .with(Call::Poll, Fault::Garbage, 0.2)
        .with(Call::Poll, Fault::DropBefore, 0.2)
        .with(Call::Create, Fault::ServerError, 0.2);
    let env = TestEnv::new(SimulatorOptions {
        faults,
        ..high_limits()
    });
    env.run_all(40, "eachlabs,fal,aimlapi");
}

#[test]
fn a_server_error_during_a_poll_is_not_taken_for_a_failed_prediction() {
    for via in ["eachlabs", "fal", "aimlapi"] {
        let faults = Faults::default().with(Call::Poll, Fault::ServerError, 0.5);
        let env = TestEnv::new(SimulatorOptions {
            faults,
            ..high_limits()
        });
        env.run_all(15, via);
    }
}

#[test]
fn broken_and_expired_downloads_are_retried_without_paying() {
    let faults = Faults::default()
        // Eight failures in a row end a job; these rates reach eight once in thousands of runs.
        .with(Call::Download, Fault::Truncated, 0.1)
        .with(Call::Download, Fault::Expired, 0.1)
        .with(Call::Download, Fault::DropBefore, 0.05);
    let env = TestEnv::new(SimulatorOptions {
        faults,
        ..high_limits()
    });
    env.run_all(45, "eachlabs,fal,aimlapi");
}

#[test]
fn submissions_with_a_lost_response_are_found_in_the_history_and_not_repeated() {
    let faults = Faults::default().with(Call::Create, Fault::DropAfter, 0.3);
    let env = TestEnv::new(SimulatorOptions {
        faults,
        ..high_limits()
    });
    env.run_all(30, "eachlabs,fal,aimlapi");
}

#[test]
fn identical_rows_with_lost_responses_are_distinguished() {
    let faults = Faults::default().with(Call::Create, Fault::DropAfter, 0.5);
    for via in ["eachlabs", "fal"] {
        let env = TestEnv::new(SimulatorOptions {
            faults: faults.clone(),
            ..high_limits()
        });
        let rows = (0..6).map(|row| format!("row-{row},https://e.com/a.png,The same\n"));
        env.write(
            "batch.csv",
            &format!("id,image,prompt\n{}", rows.collect::<String>()),
        );
        let load = load_args(via);
        assert_eq!(env.run(&load).code, 0);
        let run = env.run(&["run"]);
        assert_eq!(run.code, 0, "{run:?}");
        env.assert_clips_and_costs(6);
        assert_eq!(env.ledger().entries.len(), 6);
    }
}

#[test]
fn submissions_that_never_arrived_are_repeated_once_their_absence_is_proven() {
    let faults = Faults::default().with(Call::Create, Fault::DropBefore, 0.3);
    let env = TestEnv::new(SimulatorOptions {
        faults,
        ..high_limits()
    });
    env.load(20, "eachlabs");
    assert_eq!(env.run(&["run"]).code, 3, "some are lost twice");
    let held = env.resolve_jobs_in_doubt("--resubmit");
    assert!((1..10).contains(&held), "{held} held");
    env.simulator.set_faults(Faults::default());
    assert_eq!(env.run(&["run"]).code, 0);
    env.assert_all_rendered_once(20);
}

#[test]
fn without_a_history_nothing_is_submitted_twice_and_the_amount_at_risk_is_shown() {
    let faults = Faults::default().with(Call::Create, Fault::DropAfter, 0.5);
    let env = TestEnv::new(SimulatorOptions {
        faults,
        history: false,
        ..high_limits()
    });
    env.load(10, "eachlabs");
    let run = env.run(&["run"]);
    assert_eq!(run.code, 3, "{run:?}");
    assert_eq!(env.ledger().entries.len(), 10);
    let batch = &env.status()["batches"][0];
    let held = batch["jobs"]["in_doubt"].as_f64().expect("a count");
    assert!(held > 0.0);
    assert!(micros(&batch["at_risk_usd"]) >= held * 225_000.0);
    let at_risk = batch["at_risk_usd"].as_str().expect("money");
    let summary = format!(
        "{held} {} in doubt, ${at_risk} at risk",
        if held == 1.0 { "job" } else { "jobs" }
    );
    let status = env.run(&["status"]);
    let export = env.run(&["export", "--format", "csv"]);
    assert!(run.stdout.contains(&summary), "{run:?}");
    assert!(status.stdout.contains(&summary), "{status:?}");
    assert!(
        export.stderr.contains(&summary) && !export.stdout.contains("at risk"),
        "{export:?}"
    );
}

#[test]
fn predictions_that_fail_unbilled_are_submitted_as_often_as_allowed() {
    let faults = Faults::default().with(Call::Create, Fault::FailedPrediction, 1.0);
    for (attempts, submissions) in [("1", 2), ("4", 8)] {
        let env = TestEnv::new(SimulatorOptions {
            faults: faults.clone(),
            ..high_limits()
        });
        env.load(2, "fal");
        assert_eq!(env.run(&["run", "--attempts", attempts]).code, 3);
        assert_eq!(env.ledger().entries.len(), submissions);
        let job = env.run(&["show", "row-0", "--json"]).stdout;
        let job: serde_json::Value = serde_json::from_str(&job).expect("JSON");
        assert_eq!(
            job["attempt_list"].as_array().map(Vec::len),
            Some(submissions / 2),
            "{job}"
        );
    }
}

#[test]
fn predictions_that_fail_unbilled_are_submitted_at_most_three_times_by_default() {
    let faults = Faults::default().with(Call::Create, Fault::FailedPrediction, 1.0);
    let env = TestEnv::new(SimulatorOptions {
        faults,
        ..high_limits()
    });
    env.load(2, "eachlabs");
    assert_eq!(env.run(&["run"]).code, 3);
    assert_eq!(env.ledger().entries.len(), 6);
    assert!(
        env.export()
            .iter()
            .all(|job| job["state"] == "failed" && job["cost_usd"] == "0")
    );
    env.simulator.set_faults(Faults::default());
    assert_eq!(env.run(&["retry"]).code, 0);
    assert_eq!(env.run(&["run"]).code, 0);
    assert_eq!(micros(&env.status()["batches"][0]["spent_usd"]), 450_000.0);
}

#[test]
fn an_empty_balance_pauses_the_provider_and_keeps_its_jobs_queued() {
    for via in ["eachlabs", "fal", "aimlapi"] {
        let env = TestEnv::new(SimulatorOptions {
            no_balance: true,
            ..high_limits()
        });
        env.load(3, via);
        let run = env.run(&["run"]);
        assert_eq!(run.code, 1, "{run:?}");
        assert!(
            run.stderr.contains(&format!("{via} is paused")) && run.stderr.contains("balance"),
            "{run:?}"
        );
        let status = env.status();
        assert_eq!(status["batches"][0]["jobs"]["queued"], 3);
        assert_eq!(status["batches"][0]["reserved_usd"], "0");
        env.simulator
            .update_options(|options| options.no_balance = false);
        assert_eq!(env.run(&["run"]).code, 0);
        env.assert_all_rendered_once(3);
    }
}

#[test]
fn a_wrong_key_pauses_one_provider_and_the_others_continue() {
    let env = TestEnv::new(high_limits());
    env.load(6, "eachlabs,fal");
    // The simulator accepts only the key of fal, so each::labs refuses its own.
    env.simulator
        .update_options(|options| options.key = Some("simulated:fal-key".into()));
    let run = env.run(&["run"]);
    assert_eq!(run.code, 0, "{run:?}");
    assert!(run.stderr.contains("EACHLABS_API_KEY"), "{run:?}");
    assert!(
        env.ledger()
            .entries
            .iter()
            .all(|entry| entry.api == Api::Fal)
    );
    env.assert_all_rendered_once(6);
}

#[test]
fn a_providers_slots_are_never_exceeded() {
    let limits = Limits {
        creates_per_minute: 60_000,
        at_once: 3,
    };
    let env = TestEnv::new(high_limits().with_limits(limits));
    let config = "[pace]\npoll_min_s = 0.05\n[provider.eachlabs]\nin_flight = 3\ncreates_per_minute = 60000\ntypical_s = 0.3\n";
    env.write("overnight.toml", config);
    env.load(12, "eachlabs");
    assert_eq!(env.run(&["run", "--workers", "16"]).code, 0);
    env.assert_all_rendered_once(12);
}

#[test]
fn retry_after_holds_every_call_with_the_same_key() {
    let mut faults = Faults::default().with(Call::Create, Fault::RateLimited, 0.3);
    faults.retry_after_s = 1;
    let env = TestEnv::new(SimulatorOptions {
        faults,
        ..high_limits()
    });
    env.load(12, "eachlabs");
    // With one worker, no other call is already in flight when one is told to wait.
    let run = env.run(&["run", "--workers", "1"]);
    assert_eq!(run.code, 0, "{run:?}");
    env.assert_all_rendered_once(12);
    assert_eq!(env.ledger().ignored_retry_after, 0);
}
