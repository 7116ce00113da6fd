//! What providers do to a batch on a bad night. The outcomes are those of the table in the README.

use std::net::TcpListener;
use std::process::Stdio;
use std::time::{Duration, Instant};

use overnight::simulator::{Call, Fault, Faults, SimulatorOptions};

use crate::support::{TestEnv, high_limits};

const EVERYWHERE: &str = "eachlabs,fal,aimlapi";

/// Runs a batch whose every call may meet one of these faults, and expects each row to be made and paid once.
fn survives(faults: &[(Call, Fault)]) {
    let faults = faults.iter().fold(Faults::default(), |all, (call, fault)| {
        all.with(*call, *fault, 0.2)
    });
    let workplace = TestEnv::new(SimulatorOptions {
        faults,
        ..high_limits()
    });
    workplace.run_all(30, EVERYWHERE);
    let faults: u64 = workplace
        .simulator
        .requests()
        .faults
        .values()
        .flat_map(|kinds| kinds.values())
        .sum();
    assert!(faults > 3, "only {faults} faults came up");
}

#[test]
fn a_redirect_is_not_followed_and_its_create_is_found_in_the_history() {
    survives(&[(Call::Create, Fault::Redirect)]);
}

#[test]
fn redirects_of_looks_and_downloads_are_not_followed_where_no_key_and_no_clip_may_go() {
    survives(&[
        (Call::Poll, Fault::Redirect),
        (Call::Download, Fault::Redirect),
    ]);
}

#[test]
fn huge_and_compressed_bodies_are_let_go_and_their_creates_are_found() {
    survives(&[
        (Call::Create, Fault::HugeBody),
        (Call::Create, Fault::GzipBomb),
    ]);
}

#[test]
fn huge_and_compressed_bodies_of_looks_pass() {
    survives(&[(Call::Poll, Fault::HugeBody), (Call::Poll, Fault::GzipBomb)]);
}

#[test]
fn a_web_page_in_place_of_a_clip_is_not_kept() {
    survives(&[(Call::Download, Fault::Garbage)]);
}

#[test]
fn a_model_the_provider_does_not_know_fails_the_job_unpaid() {
    let workplace = TestEnv::new(high_limits());
    let model = "name = \"mine\"\n[fields.image]\ntype = \"image\"\nrequired = true\n[fields.prompt]\ntype = \"text\"\n";
    let routes = ["eachlabs", "aimlapi", "fal"].map(|provider| {
        format!("[[routes]]\nprovider = \"{provider}\"\nmodel = \"no/such/model\"\nprice = {{ base = \"0.30\" }}\n\
                 typical_s = 9\nfields = {{ image = \"image_url\", prompt = \"prompt\" }}\n")
    });
    workplace.write("mine.toml", &format!("{model}{}", routes.concat()));
    workplace.write("overnight.toml", "catalog = [\"mine.toml\"]\n");
    for via in ["eachlabs", "aimlapi", "fal"] {
        workplace.write(
            &format!("{via}.csv"),
            &format!("id,image,prompt\n{via},https://e.com/a.png,x\n"),
        );
        let manifest = format!("{via}.csv");
        assert_eq!(
            workplace
                .run(&["load", &manifest, "--model", "mine", "--via", via])
                .code,
            0
        );
    }
    let run = workplace.run(&["run"]);
    assert_eq!(run.code, 3, "{run:?}");
    for job in workplace.export() {
        assert_eq!(job["state"], "failed", "{job}");
        let error = job["error"].as_str().expect("a reason");
        assert!(
            error.contains("returned 404") && error.contains("not found"),
            "{error}"
        );
        assert!(job["cost_usd"].is_null() || job["cost_usd"] == "0", "{job}");
    }
    assert_eq!(workplace.ledger().entries.len(), 0);
}

/// Waits until a job says what it waits for.
fn wait_for_error(workplace: &TestEnv, words: &str) {
    let patience = Instant::now() + Duration::from_secs(30);
    loop {
        let jobs = workplace.export();
        if jobs.iter().any(|job| {
            job["error"]
                .as_str()
                .is_some_and(|error| error.contains(words))
        }) {
            return;
        }
        assert!(
            Instant::now() < patience,
            "no job waits for `{words}`: {jobs:?}"
        );
    }
}

#[test]
fn a_provider_that_cannot_be_reached_is_waited_for_and_no_attempt_is_counted() {
    let workplace = TestEnv::new(high_limits());
    workplace.load(3, "eachlabs");
    // Nobody listens here; then somebody does.
    let port = TcpListener::bind("127.0.0.1:0")
        .expect("a port")
        .local_addr()
        .expect("its address")
        .port();
    let mut command = workplace.command(&["run"]);
    command.env(
        "OVERNIGHT_EACHLABS_URL",
        format!("http://127.0.0.1:{port}/v1"),
    );
    let mut run = command
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("the binary starts");
    wait_for_error(&workplace, "cannot be reached");
    let late = TestEnv::new(SimulatorOptions {
        port,
        ..high_limits()
    });
    assert!(run.wait().expect("it ended").success());
    assert_eq!(late.ledger().entries.len(), 3);
    assert!(
        workplace
            .export()
            .iter()
            .all(|job| job["state"] == "succeeded" && job["attempts"] == 1)
    );
}

#[test]
fn a_server_without_tls_gets_neither_key_nor_create() {
    let workplace = TestEnv::new(high_limits());
    workplace.load(2, "eachlabs");
    let secure = workplace
        .simulator
        .base_urls()
        .eachlabs
        .replace("http:", "https:");
    let mut command = workplace.command(&["run"]);
    command
        .env("OVERNIGHT_EACHLABS_URL", secure)
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    let mut run = command.spawn().expect("the binary starts");
    wait_for_error(&workplace, "cannot be reached");
    run.kill().expect("it can be killed");
    run.wait().expect("it ended");
    let ledger = workplace.ledger();
    assert_eq!((ledger.creates_seen, ledger.unauthorized), (0, 0));
    assert_eq!(workplace.run(&["run"]).code, 0);
    workplace.assert_all_rendered_once(2);
}

#[test]
fn what_runs_when_the_balance_ends_is_still_looked_at_and_fetched() {
    let workplace = TestEnv::new(high_limits());
    workplace.load(30, "eachlabs");
    let run = workplace
        .command(&["run"])
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary starts");
    workplace.wait_for_submissions(5);
    workplace
        .simulator
        .update_options(|options| options.no_balance = true);
    let run = run.wait_with_output().expect("it ended");
    assert_eq!(run.status.code(), Some(1));
    let made = workplace.ledger().entries.len();
    let jobs = &workplace.status()["batches"][0]["jobs"];
    assert_eq!(jobs["succeeded"].as_u64(), u64::try_from(made).ok());
    assert_eq!(jobs["queued"].as_u64(), u64::try_from(30 - made).ok());
}
