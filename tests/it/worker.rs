//! Whole batches against the simulated providers.

use overnight::simulator::{Api, Call, Fault, Faults, Limits, SimulatorOptions};

use crate::support::{TestEnv, high_limits, micros};

#[test]
fn two_hundred_rows_through_eachlabs_are_made_and_booked() {
    every_row_is_made_and_booked("eachlabs", 200);
}

#[test]
fn two_hundred_rows_through_aimlapi_are_made_and_booked() {
    every_row_is_made_and_booked("aimlapi", 200);
}

#[test]
fn two_hundred_rows_through_fal_are_made_and_booked() {
    every_row_is_made_and_booked("fal", 200);
}

#[test]
fn three_hundred_rows_go_over_all_three_providers_at_once() {
    let workplace = every_row_is_made_and_booked("eachlabs,fal,aimlapi", 300);
    for api in [Api::Eachlabs, Api::Aimlapi, Api::Fal] {
        let share = workplace
            .ledger()
            .entries
            .iter()
            .filter(|entry| entry.api == api)
            .count();
        assert!(share >= 30, "{api:?} made {share}");
    }
}

#[test]
fn a_batch_that_fits_its_first_choice_goes_nowhere_else() {
    for (via, first) in [("fal,eachlabs", Api::Fal), ("aimlapi,fal", Api::Aimlapi)] {
        let workplace = TestEnv::new(high_limits());
        workplace.load(5, via);
        assert_eq!(workplace.run(&["run"]).code, 0);
        assert!(
            workplace
                .ledger()
                .entries
                .iter()
                .all(|entry| entry.api == first),
            "{via}"
        );
        workplace.assert_all_rendered_once(5);
    }
}

fn every_row_is_made_and_booked(via: &str, rows: usize) -> TestEnv {
    let workplace = TestEnv::new(high_limits());
    workplace.run_all(rows, via);
    workplace
}

#[test]
fn costs_are_taken_from_what_each_provider_reports() {
    for (via, source) in [
        ("eachlabs", "reported"),
        ("fal", "units"),
        ("aimlapi", "credits"),
    ] {
        let workplace = TestEnv::new(high_limits());
        workplace.load(4, via);
        assert_eq!(workplace.run(&["run"]).code, 0);
        assert!(
            workplace
                .export()
                .iter()
                .all(|job| job["cost_source"] == source),
            "{via}"
        );
    }
    let silent = SimulatorOptions {
        eachlabs_reports_cost: false,
        aimlapi_reports_credits: false,
        ..high_limits()
    };
    let workplace = TestEnv::new(silent);
    workplace.load(8, "eachlabs,aimlapi");
    assert_eq!(workplace.run(&["run"]).code, 0);
    assert!(
        workplace
            .export()
            .iter()
            .all(|job| job["cost_source"] == "rule")
    );
    workplace.assert_all_rendered_once(8);
}

#[test]
fn storms_of_refusals_and_broken_looks_fail_no_job() {
    let faults = Faults::default()
        .with(None, Fault::RateLimited, 0.2)
        .with(Call::Poll, Fault::ServerError, 0.2)
        .with(Call::Poll, Fault::Garbage, 0.2)
        .with(Call::Poll, Fault::DropBefore, 0.2)
        .with(Call::Create, Fault::ServerError, 0.2);
    let workplace = TestEnv::new(SimulatorOptions {
        faults,
        ..high_limits()
    });
    workplace.run_all(40, "eachlabs,fal,aimlapi");
}

#[test]
fn a_server_error_while_a_result_is_fetched_is_not_taken_for_the_predictions_failure() {
    for via in ["eachlabs", "fal", "aimlapi"] {
        let faults = Faults::default().with(Call::Poll, Fault::ServerError, 0.5);
        let workplace = TestEnv::new(SimulatorOptions {
            faults,
            ..high_limits()
        });
        workplace.run_all(15, via);
    }
}

#[test]
fn broken_and_expired_downloads_are_fetched_again_without_paying() {
    let faults = Faults::default()
        // Eight failures in a row end a job: together they are to come up once in thousands of runs.
        .with(Call::Download, Fault::Truncated, 0.1)
        .with(Call::Download, Fault::Expired, 0.1)
        .with(Call::Download, Fault::DropBefore, 0.05);
    let workplace = TestEnv::new(SimulatorOptions {
        faults,
        ..high_limits()
    });
    workplace.run_all(45, "eachlabs,fal,aimlapi");
}

#[test]
fn creates_whose_answer_is_lost_are_found_in_the_history_and_not_sent_again() {
    let faults = Faults::default().with(Call::Create, Fault::DropAfter, 0.3);
    let workplace = TestEnv::new(SimulatorOptions {
        faults,
        ..high_limits()
    });
    workplace.run_all(30, "eachlabs,fal,aimlapi");
}

#[test]
fn equal_rows_whose_answers_are_lost_are_told_apart() {
    let faults = Faults::default().with(Call::Create, Fault::DropAfter, 0.5);
    for via in ["eachlabs", "fal"] {
        let workplace = TestEnv::new(SimulatorOptions {
            faults: faults.clone(),
            ..high_limits()
        });
        let rows = (0..6).map(|row| format!("row-{row},https://e.com/a.png,The same\n"));
        workplace.write(
            "batch.csv",
            &format!("id,image,prompt\n{}", rows.collect::<String>()),
        );
        let load = [
            "load",
            "batch.csv",
            "--model",
            "kling-v1-standard",
            "--via",
            via,
        ];
        assert_eq!(workplace.run(&load).code, 0);
        let run = workplace.run(&["run"]);
        assert_eq!(run.code, 0, "{run:?}");
        workplace.assert_clips_and_costs(6);
        assert_eq!(workplace.ledger().entries.len(), 6);
    }
}

#[test]
fn creates_that_never_arrived_are_sent_again_once_their_absence_is_proven() {
    let faults = Faults::default().with(Call::Create, Fault::DropBefore, 0.3);
    let workplace = TestEnv::new(SimulatorOptions {
        faults,
        ..high_limits()
    });
    workplace.run_all(20, "eachlabs");
}

#[test]
fn without_a_history_nothing_is_sent_twice_and_the_risk_is_shown() {
    let faults = Faults::default().with(Call::Create, Fault::DropAfter, 0.5);
    let workplace = TestEnv::new(SimulatorOptions {
        faults,
        history: false,
        ..high_limits()
    });
    workplace.load(10, "eachlabs");
    let run = workplace.run(&["run"]);
    assert_eq!(run.code, 3, "{run:?}");
    assert_eq!(workplace.ledger().entries.len(), 10);
    let batch = &workplace.status()["batches"][0];
    let held = batch["jobs"]["in_doubt"].as_f64().expect("a count");
    assert!(held > 0.0);
    assert!(micros(&batch["at_risk_usd"]) >= held * 225_000.0);
    let at_risk = batch["at_risk_usd"].as_str().expect("money");
    let said = format!(
        "{held} {} in doubt, ${at_risk} at risk",
        if held == 1.0 { "job" } else { "jobs" }
    );
    let (status, export) = (
        workplace.run(&["status"]),
        workplace.run(&["export", "--format", "csv"]),
    );
    assert!(run.stdout.contains(&said), "{run:?}");
    assert!(status.stdout.contains(&said), "{status:?}");
    assert!(
        export.stderr.contains(&said) && !export.stdout.contains("at risk"),
        "{export:?}"
    );
}

#[test]
fn predictions_that_fail_unbilled_are_made_anew_as_often_as_allowed() {
    let faults = Faults::default().with(Call::Create, Fault::FailedPrediction, 1.0);
    for (attempts, creates) in [("1", 2), ("4", 8)] {
        let workplace = TestEnv::new(SimulatorOptions {
            faults: faults.clone(),
            ..high_limits()
        });
        workplace.load(2, "fal");
        assert_eq!(workplace.run(&["run", "--attempts", attempts]).code, 3);
        assert_eq!(workplace.ledger().entries.len(), creates);
        let shown = workplace.run(&["show", "row-0", "--json"]).stdout;
        let shown: serde_json::Value = serde_json::from_str(&shown).expect("JSON");
        assert_eq!(
            shown["attempt_list"].as_array().map(Vec::len),
            Some(creates / 2),
            "{shown}"
        );
    }
}

#[test]
fn predictions_that_fail_unbilled_are_made_anew_at_most_three_times() {
    let faults = Faults::default().with(Call::Create, Fault::FailedPrediction, 1.0);
    let workplace = TestEnv::new(SimulatorOptions {
        faults,
        ..high_limits()
    });
    workplace.load(2, "eachlabs");
    assert_eq!(workplace.run(&["run"]).code, 3);
    assert_eq!(workplace.ledger().entries.len(), 6);
    assert!(
        workplace
            .export()
            .iter()
            .all(|job| job["state"] == "failed" && job["cost_usd"] == "0")
    );
    workplace.simulator.set_faults(Faults::default());
    assert_eq!(workplace.run(&["retry"]).code, 0);
    assert_eq!(workplace.run(&["run"]).code, 0);
    assert_eq!(
        micros(&workplace.status()["batches"][0]["spent_usd"]),
        450_000.0
    );
}

#[test]
fn an_empty_balance_pauses_the_provider_and_keeps_the_jobs() {
    for via in ["eachlabs", "fal", "aimlapi"] {
        let workplace = TestEnv::new(SimulatorOptions {
            no_balance: true,
            ..high_limits()
        });
        workplace.load(3, via);
        let run = workplace.run(&["run"]);
        assert_eq!(run.code, 1, "{run:?}");
        assert!(
            run.stderr.contains(&format!("{via} is paused")) && run.stderr.contains("balance"),
            "{run:?}"
        );
        let status = workplace.status();
        assert_eq!(status["batches"][0]["jobs"]["queued"], 3);
        assert_eq!(status["batches"][0]["reserved_usd"], "0");
        workplace
            .simulator
            .update_options(|options| options.no_balance = false);
        assert_eq!(workplace.run(&["run"]).code, 0);
        workplace.assert_all_rendered_once(3);
    }
}

#[test]
fn a_wrong_key_pauses_one_provider_and_the_others_go_on() {
    let workplace = TestEnv::new(high_limits());
    workplace.load(6, "eachlabs,fal");
    // The simulator takes fal's key only, so each::labs refuses its own.
    workplace
        .simulator
        .update_options(|options| options.key = Some("simulated:fal-key".into()));
    let run = workplace.run(&["run"]);
    assert_eq!(run.code, 0, "{run:?}");
    assert!(run.stderr.contains("EACHLABS_API_KEY"), "{run:?}");
    assert!(
        workplace
            .ledger()
            .entries
            .iter()
            .all(|entry| entry.api == Api::Fal)
    );
    workplace.assert_all_rendered_once(6);
}

#[test]
fn the_providers_slots_are_never_exceeded_although_it_would_refuse_more() {
    let limits = Limits {
        creates_per_minute: 60_000,
        at_once: 3,
    };
    let workplace = TestEnv::new(high_limits().with_limits(limits));
    let config = "[pace]\npoll_min_s = 0.05\n[provider.eachlabs]\nin_flight = 3\ncreates_per_minute = 60000\ntypical_s = 0.3\n";
    workplace.write("overnight.toml", config);
    workplace.load(12, "eachlabs");
    assert_eq!(workplace.run(&["run", "--workers", "16"]).code, 0);
    workplace.assert_all_rendered_once(12);
}

#[test]
fn retry_after_is_obeyed_by_every_call_of_the_key() {
    let mut faults = Faults::default().with(Call::Create, Fault::RateLimited, 0.3);
    faults.retry_after_s = 1;
    let workplace = TestEnv::new(SimulatorOptions {
        faults,
        ..high_limits()
    });
    workplace.load(12, "eachlabs");
    // With one worker no call is on its way already when another is told to wait.
    let run = workplace.run(&["run", "--workers", "1"]);
    assert_eq!(run.code, 0, "{run:?}");
    workplace.assert_all_rendered_once(12);
    assert_eq!(workplace.ledger().ignored_retry_after, 0);
}
