//! Faults of the providers and of the network. The outcomes are those in docs/troubleshooting.md.

use std::process::Stdio;

use overnight_simulator::{Call, Fault, Faults, LinkDefect, Simulator, SimulatorOptions};

use crate::support::{CommandOutput, TestEnv, high_limits, micros, micros_as_f64, wait_until};

const ALL_PROVIDERS: &str = "eachlabs,fal,aimlapi";

const PROVIDERS: [&str; 3] = ["eachlabs", "fal", "aimlapi"];

/// Runs a batch in which each of these calls fails this way one time in five, and asserts that each
/// row is rendered and paid once.
fn assert_all_rendered_despite(faults: &[(Call, Fault)]) {
    let faults = faults.iter().fold(Faults::default(), |all, (call, fault)| {
        all.with(*call, *fault, 0.2)
    });
    let env = TestEnv::new(SimulatorOptions {
        faults,
        ..high_limits()
    });
    env.run_all(30, ALL_PROVIDERS);
    let faults: u64 = env
        .simulator
        .requests()
        .faults
        .values()
        .flat_map(|kinds| kinds.values())
        .sum();
    assert!(faults > 3, "only {faults} faults occurred");
}

#[test]
fn a_redirected_submission_is_not_followed_and_is_found_in_the_history() {
    assert_all_rendered_despite(&[(Call::Create, Fault::Redirect)]);
}

#[test]
fn redirected_polls_and_downloads_are_not_followed_to_untrusted_hosts() {
    assert_all_rendered_despite(&[
        (Call::Poll, Fault::Redirect),
        (Call::Download, Fault::Redirect),
    ]);
}

#[test]
fn huge_and_compressed_responses_are_abandoned_and_their_submissions_are_found() {
    assert_all_rendered_despite(&[
        (Call::Create, Fault::HugeBody),
        (Call::Create, Fault::GzipBomb),
    ]);
}

#[test]
fn huge_and_compressed_responses_to_polls_are_retried() {
    assert_all_rendered_despite(&[(Call::Poll, Fault::HugeBody), (Call::Poll, Fault::GzipBomb)]);
}

#[test]
fn a_web_page_in_place_of_a_clip_is_not_saved() {
    assert_all_rendered_despite(&[(Call::Download, Fault::Garbage)]);
}

#[test]
fn a_model_that_the_provider_does_not_know_fails_the_job_unpaid() {
    let env = TestEnv::new(high_limits());
    let model = "name = \"mine\"\n[fields.image]\ntype = \"image\"\nrequired = true\n[fields.prompt]\ntype = \"text\"\n";
    let routes = ["eachlabs", "aimlapi", "fal"].map(|provider| {
        format!("[[routes]]\nprovider = \"{provider}\"\nmodel = \"no/such/model\"\nprice = {{ base = \"0.30\" }}\n\
                 typical_s = 9\nfields = {{ image = \"image_url\", prompt = \"prompt\" }}\n")
    });
    env.write("mine.toml", &format!("{model}{}", routes.concat()));
    env.write("overnight.toml", "catalog = [\"mine.toml\"]\n");
    for via in ["eachlabs", "aimlapi", "fal"] {
        env.write(
            &format!("{via}.csv"),
            &format!("id,image,prompt\n{via},https://e.com/a.png,x\n"),
        );
        let manifest = format!("{via}.csv");
        assert_eq!(
            env.run(&["load", &manifest, "--model", "mine", "--via", via])
                .code,
            0
        );
    }
    let run = env.run(&["run"]);
    assert_eq!(run.code, 3, "{run:?}");
    for job in env.export() {
        assert_eq!(job["state"], "failed", "{job}");
        let error = job["error"].as_str().expect("a reason");
        assert!(
            error.contains("returned 404") && error.contains("not found"),
            "{error}"
        );
        assert!(job["cost_usd"].is_null() || job["cost_usd"] == "0", "{job}");
    }
    assert_eq!(env.ledger().entries.len(), 0);
}

/// Waits until the error of a job contains the text.
fn wait_for_error(env: &TestEnv, text: &str) {
    wait_until(text, || {
        let jobs = env.export();
        jobs.iter()
            .filter_map(|job| job["error"].as_str())
            .any(|error| error.contains(text))
    });
}

#[test]
fn an_unreachable_provider_is_waited_for_and_no_attempt_is_counted() {
    let env = TestEnv::new(high_limits());
    env.load(3, "eachlabs");
    let unreachable = Simulator::bind(high_limits()).expect("a port");
    let mut run = env
        .command(&["run"])
        .envs(unreachable.base_urls().environment())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("the binary starts");
    wait_for_error(&env, "cannot be reached");
    let late = env.serve(unreachable);
    assert!(run.wait().expect("it ended").success());
    assert_eq!(late.ledger().entries.len(), 3);
    assert!(
        env.export()
            .iter()
            .all(|job| job["state"] == "succeeded" && job["attempts"] == 1)
    );
}

#[test]
fn a_server_without_tls_gets_neither_the_key_nor_a_submission() {
    let env = TestEnv::new(high_limits());
    env.load(2, "eachlabs");
    let secure = env
        .simulator
        .base_urls()
        .eachlabs
        .replace("http:", "https:");
    let mut command = env.command(&["run"]);
    command
        .env("OVERNIGHT_EACHLABS_URL", secure)
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    let mut run = command.spawn().expect("the binary starts");
    wait_for_error(&env, "cannot be reached");
    run.kill().expect("it can be killed");
    run.wait().expect("it ended");
    let ledger = env.ledger();
    assert_eq!((ledger.creates_seen, ledger.unauthorized), (0, 0));
    assert_eq!(env.run(&["run"]).code, 0);
    env.assert_all_rendered_once(2);
}

#[test]
fn running_predictions_are_still_polled_and_downloaded_when_the_balance_is_empty() {
    let env = TestEnv::new(high_limits());
    env.load(30, "eachlabs");
    let run = env
        .command(&["run"])
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary starts");
    env.await_submissions(5);
    env.simulator
        .update_options(|options| options.no_balance = true);
    let run = run.wait_with_output().expect("it ended");
    assert_eq!(run.status.code(), Some(1));
    let accepted = env.ledger().entries.len();
    let jobs = &env.status()["batches"][0]["jobs"];
    assert_eq!(jobs["succeeded"].as_u64(), u64::try_from(accepted).ok());
    assert_eq!(jobs["queued"].as_u64(), u64::try_from(30 - accepted).ok());
}

/// Runs one row at each provider against links that are broken for `defect_s` seconds, and returns
/// the exit code.
fn run_with_broken_links(env: &TestEnv, defect: LinkDefect, defect_s: f64) -> i32 {
    env.simulator.update_options(|options| {
        options.link_defect = Some(defect);
        options.link_defect_s = defect_s;
    });
    for via in PROVIDERS {
        let manifest = format!("{via}.csv");
        let image = format!("https://images.example.com/{via}.png");
        env.write(
            &manifest,
            &format!("id,image,prompt\n{via},{image},Turn number {via}\n"),
        );
        let model = "kling-v1-standard";
        let loaded = env.run(&["load", &manifest, "--model", model, "--via", via]);
        assert_eq!(loaded.code, 0, "{loaded:?}");
    }
    env.run(&["run"]).code
}

#[test]
fn a_success_without_a_usable_link_fails_after_a_few_polls_and_stays_booked_with_its_id() {
    for defect in LinkDefect::ALL {
        let env = TestEnv::new(SimulatorOptions {
            quotes_secrets: true,
            ..high_limits()
        });
        assert_eq!(run_with_broken_links(&env, defect, f64::INFINITY), 3);
        let ledger = env.ledger();
        assert_eq!(ledger.entries.len(), PROVIDERS.len());
        for job in env.export() {
            let context = format!("{defect:?}: {job}");
            assert_eq!(job["state"], "failed", "{context}");
            let entry = ledger
                .entries
                .iter()
                .find(|entry| job["prediction_id"] == *entry.prediction_id);
            let entry = entry.unwrap_or_else(|| panic!("no submission: {context}"));
            assert!(entry.polls < 30, "{} polls: {context}", entry.polls);
            assert_eq!(micros(&job["cost_usd"]), micros_as_f64(entry.charged));
            let error = job["error"].as_str().expect("a reason");
            assert!(error.contains("without a usable link"), "{context}");
            assert!(error.contains(&entry.prediction_id), "{context}");
            assert!(error.contains("`{"), "{context}");
            for secret in ["Turn number", "sig="] {
                assert!(!error.contains(secret), "{secret}: {context}");
            }
        }
        let status = env.status();
        for provider in status["providers"].as_array().expect("the providers") {
            assert_eq!(provider["in_flight"], 0, "{defect:?}: {provider}");
        }
    }
}

#[test]
fn a_retry_after_a_success_without_a_link_polls_it_again_without_paying() {
    let env = TestEnv::new(high_limits());
    assert_eq!(
        run_with_broken_links(&env, LinkDefect::Absent, f64::INFINITY),
        3
    );
    env.simulator
        .update_options(|options| options.link_defect = None);
    assert_eq!(env.run(&["retry"]).code, 0);
    assert_eq!(env.run(&["run"]).code, 0);
    env.assert_clips_and_costs(PROVIDERS.len());
    assert_eq!(env.ledger().entries.len(), PROVIDERS.len());
}

#[test]
fn a_link_that_is_published_after_the_status_is_waited_for() {
    let env = TestEnv::new(high_limits());
    assert_eq!(run_with_broken_links(&env, LinkDefect::Null, 0.3), 0);
    env.assert_clips_and_costs(PROVIDERS.len());
    assert_eq!(env.ledger().entries.len(), PROVIDERS.len());
}

#[test]
fn each_log_line_about_a_missing_link_names_its_job() {
    let env = TestEnv::new(high_limits());
    env.simulator
        .update_options(|options| options.link_defect = Some(LinkDefect::EmptyList));
    env.load(2, ALL_PROVIDERS);
    let mut command = env.command(&["run", "--log-format", "json"]);
    let output = command.env("OVERNIGHT_LOG", "info").output();
    let run = CommandOutput::from_output(output.expect("the binary starts"));
    let lines: Vec<&str> = run
        .stderr
        .lines()
        .filter(|line| line.starts_with('{') && line.contains("usable link"))
        .collect();
    assert!((2..40).contains(&lines.len()), "{run:?}");
    for line in lines {
        assert!(line.contains("\"job.id\""), "{line}");
    }
}
