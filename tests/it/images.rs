//! Images on disk: resolved from the manifest, then uploaded once or sent inside the request, even
//! if uploads fail or the run is killed.

use std::collections::BTreeSet;
use std::fs;

use overnight_simulator::{Api, Call, Fault, Faults, SimulatorOptions, StoredFile};
use serde_json::Value;

use crate::support::{CommandOutput, TestEnv, high_limits, png};

/// Writes `shop/catalogue.csv` with this many rows, which name the pictures in `shop/photos` in
/// turn.
fn write_catalogue(env: &TestEnv, rows: usize, pictures: usize) {
    let folder = env.dir.path().join("shop/photos");
    fs::create_dir_all(&folder).expect("a folder");
    for picture_number in 0..pictures {
        let path = folder.join(format!("no {picture_number}.png"));
        fs::write(path, png(&picture_number.to_string())).expect("the file is written");
    }
    let mut text = String::from("id,image,prompt\n");
    for row in 0..rows {
        text.push_str(&format!(
            "row-{row},photos/no {}.png,Turn number {row}\n",
            row % pictures
        ));
    }
    env.write("shop/catalogue.csv", &text);
}

fn load(env: &TestEnv, via: &str) {
    let loaded = env.run(&[
        "load",
        "shop/catalogue.csv",
        "--model",
        "kling-v1-standard",
        "--via",
        via,
    ]);
    assert_eq!(loaded.code, 0, "{loaded:?}");
}

fn image_link(entry: &Value) -> &str {
    entry["image_url"].as_str().expect("a link")
}

/// Returns the distinct files, each with the provider that stores it.
fn distinct_files(files: &[StoredFile]) -> BTreeSet<(Api, &str)> {
    files
        .iter()
        .map(|file| (file.api, file.sha256.as_str()))
        .collect()
}

#[test]
fn each_file_is_uploaded_once_and_every_row_that_names_it_sends_its_link() {
    let env = TestEnv::new(high_limits());
    write_catalogue(&env, 24, 6);
    load(&env, "eachlabs,fal");
    let run = env.run(&["run"]);
    assert_eq!(run.code, 0, "{run:?}");
    env.assert_all_rendered_once(24);
    let ledger = env.ledger();
    assert_eq!(
        distinct_files(&ledger.files).len(),
        ledger.files.len(),
        "{:?}",
        ledger.files
    );
    assert!(
        ledger.files.len() <= 12
            && ledger
                .files
                .iter()
                .all(|file| file.content_type == "image/png")
    );
    for entry in &ledger.entries {
        let host = format!(
            "https://files.{}.example/",
            format!("{:?}", entry.api).to_lowercase()
        );
        assert!(image_link(&entry.input).starts_with(&host), "{entry:?}");
    }
    let links: BTreeSet<&str> = ledger
        .entries
        .iter()
        .map(|entry| image_link(&entry.input))
        .collect();
    assert!(links.len() <= ledger.files.len());
}

#[test]
fn a_provider_without_storage_gets_the_image_inside_the_request() {
    let env = TestEnv::new(high_limits());
    write_catalogue(&env, 3, 2);
    load(&env, "aimlapi");
    let run = env.run(&["run"]);
    assert_eq!(run.code, 0, "{run:?}");
    env.assert_all_rendered_once(3);
    let ledger = env.ledger();
    assert_eq!(ledger.files, []);
    for entry in &ledger.entries {
        assert!(
            image_link(&entry.input).starts_with("data:image/png;base64,iVBORw0KGgo"),
            "{entry:?}"
        );
    }
    // The queue stores the path and the hash of an image, not its content.
    let queue = fs::read(env.dir.path().join("overnight.db")).expect("a queue");
    assert!(!String::from_utf8_lossy(&queue).contains("base64"));
}

#[test]
fn fal_gets_the_image_inside_the_request_if_no_storage_is_configured() {
    let env = TestEnv::new(high_limits());
    write_catalogue(&env, 2, 2);
    load(&env, "fal");
    let run = env
        .command(&["run"])
        .env_remove("OVERNIGHT_FAL_STORAGE_URL")
        .output()
        .expect("the binary starts");
    assert_eq!(run.status.code(), Some(0), "{run:?}");
    let ledger = env.ledger();
    assert!(
        ledger
            .entries
            .iter()
            .all(|entry| image_link(&entry.input).starts_with("data:image/png;base64,"))
    );
    assert_eq!(ledger.files, []);
}

#[test]
fn failed_uploads_are_retried_and_cost_nothing() {
    let env = TestEnv::new(high_limits());
    write_catalogue(&env, 16, 16);
    load(&env, "eachlabs,fal");
    let mut faults = Faults::default();
    for api in [Api::Eachlabs, Api::Fal] {
        for fault in [
            Fault::DropBefore,
            Fault::DropAfter,
            Fault::ServerError,
            Fault::BadGateway,
        ] {
            faults = faults.at(api, Call::Upload, fault, 0.15);
        }
    }
    env.simulator.set_faults(faults);
    let run = env.run(&["run"]);
    assert_eq!(run.code, 0, "{run:?}");
    env.assert_all_rendered_once(16);
}

#[test]
fn a_run_killed_during_uploads_resumes_without_repeating_completed_uploads() {
    let env = TestEnv::new(high_limits());
    write_catalogue(&env, 40, 40);
    load(&env, "eachlabs");
    let mut run = env.start(&["run"]);
    env.await_submissions(4);
    run.kill().expect("the run is killed");
    run.wait().expect("the run has ended");
    let before = env.ledger().files;
    let run = env.run(&["run"]);
    assert_eq!(run.code, 0, "{run:?}");
    env.assert_all_rendered_once(40);
    let after = env.ledger().files;
    assert_eq!(distinct_files(&after).len(), 40);
    // Only uploads that were in progress at that moment may be repeated.
    assert!(
        after.len() <= 40 + 4,
        "{} uploads, {} of them before the kill",
        after.len(),
        before.len()
    );
}

#[test]
fn two_concurrent_runs_share_their_uploads() {
    let env = TestEnv::new(high_limits());
    write_catalogue(&env, 40, 20);
    load(&env, "eachlabs,fal");
    for mut run in [env.start(&["run"]), env.start(&["run"])] {
        assert_eq!(run.wait().expect("the run ends").code(), Some(0));
    }
    env.assert_all_rendered_once(40);
    let files = env.ledger().files;
    assert_eq!(distinct_files(&files).len(), files.len(), "{files:?}");
}

#[test]
fn every_mistake_with_an_image_file_is_reported_at_load_with_its_line() {
    let env = TestEnv::new(high_limits());
    write_catalogue(&env, 1, 1);
    env.write("shop/photos/text.jpg", "no picture");
    let large = fs::File::create(env.dir.path().join("shop/photos/large.png")).expect("a file");
    large.set_len(200_000_000).expect("it grows");
    let rows = "id,image,prompt\na,photos/no 0.png,x\nb,photos/none.png,x\nc,photos/text.jpg,x\n\
        d,photos/large.png,x\ne,photos,x\n";
    env.write("shop/catalogue.csv", rows);
    let load = env.run(&["load", "shop/catalogue.csv", "--model", "kling-v1-standard"]);
    assert_eq!(load.code, 2, "{load:?}");
    for message in [
        "shop/catalogue.csv:3: image: there is no file ",
        "shop/catalogue.csv:4: image: ",
        "text.jpg is not a JPEG, PNG or WebP image",
        "shop/catalogue.csv:5: image: ",
        "large.png is 200 MB; the limit is 10 MB",
        "shop/catalogue.csv:6: image: ",
        "4 mistakes in 5 rows; nothing was loaded",
    ] {
        assert!(load.stderr.contains(message), "{message}: {}", load.stderr);
    }
}

#[test]
fn two_rows_with_images_and_the_same_id_are_reported_with_both_lines() {
    let env = TestEnv::new(high_limits());
    write_catalogue(&env, 1, 1);
    env.write(
        "shop/catalogue.csv",
        "id,image,prompt\na,photos/no 0.png,x\nb,photos/no 0.png,x\na,photos/no 0.png,y\n",
    );
    let load = env.run(&["load", "shop/catalogue.csv", "--model", "kling-v1-standard"]);
    assert_eq!(load.code, 2, "{load:?}");
    assert!(
        load.stderr
            .contains("shop/catalogue.csv:4: id: `a` is on line 2 already"),
        "{load:?}"
    );
    assert!(
        load.stderr
            .contains("1 mistake in 3 rows; nothing was loaded"),
        "{load:?}"
    );
}

#[test]
fn moving_the_images_changes_no_row_and_replacing_an_image_changes_its_row() {
    let env = TestEnv::new(high_limits());
    write_catalogue(&env, 4, 4);
    load(&env, "eachlabs");
    fs::rename(env.dir.path().join("shop"), env.dir.path().join("moved")).expect("moved");
    fs::write(env.dir.path().join("moved/photos/no 2.png"), png("other"))
        .expect("the file is written");
    let again = env.run(&[
        "load",
        "moved/catalogue.csv",
        "--model",
        "kling-v1-standard",
        "--via",
        "eachlabs",
    ]);
    assert!(
        again.stdout.contains("4 rows: 0 new, 1 changed, 3 same"),
        "{again:?}"
    );
    let run = env.run(&["run"]);
    assert_eq!(run.code, 0, "{run:?}");
    env.assert_all_rendered_once(4);
}

#[test]
fn a_missing_or_changed_image_fails_its_rows_unpaid_and_retry_succeeds_once_it_is_restored() {
    for via in ["eachlabs", "aimlapi"] {
        let env = TestEnv::new(high_limits());
        write_catalogue(&env, 6, 3);
        load(&env, via);
        let photos = env.dir.path().join("shop/photos");
        fs::rename(photos.join("no 0.png"), photos.join("away.png")).expect("moved");
        fs::write(photos.join("no 1.png"), png("other")).expect("the file is written");
        let run = env.run(&["run"]);
        assert_eq!(run.code, 3, "{run:?}");
        assert!(run.stdout.contains("4 jobs failed"), "{run:?}");
        assert!(
            run.stdout.contains("there is no file ")
                && run.stdout.contains("has changed since it was loaded")
        );
        assert_eq!(env.ledger().entries.len(), 2);

        fs::rename(photos.join("away.png"), photos.join("no 0.png")).expect("moved back");
        fs::write(photos.join("no 1.png"), png("1")).expect("the file is written");
        let retried = env.run(&["retry", "--state", "failed"]);
        assert_eq!(retried.code, 0, "{retried:?}");
        let run = env.run(&["run"]);
        assert_eq!(run.code, 0, "{via}: {run:?}");
        env.assert_all_rendered_once(6);
    }
}

#[test]
fn a_row_waits_for_its_upload_instead_of_using_a_more_expensive_provider_without_uploads() {
    let env = TestEnv::new(high_limits());
    write_catalogue(&env, 8, 8);
    load(&env, "eachlabs,aimlapi");
    let run = env.run(&["run"]);
    assert_eq!(run.code, 0, "{run:?}");
    env.assert_all_rendered_once(8);
    assert!(
        env.ledger()
            .entries
            .iter()
            .all(|entry| entry.api == Api::Eachlabs)
    );
}

#[test]
fn a_file_that_cannot_be_uploaded_goes_to_a_provider_that_takes_it_inside_the_request() {
    let env = TestEnv::new(high_limits());
    write_catalogue(&env, 4, 2);
    load(&env, "eachlabs,aimlapi");
    env.simulator.set_faults(Faults::default().at(
        Api::Eachlabs,
        Call::Upload,
        Fault::Garbage,
        1.0,
    ));
    let run = env.run(&["run"]);
    assert_eq!(run.code, 0, "{run:?}");
    env.assert_all_rendered_once(4);
    assert!(
        env.ledger()
            .entries
            .iter()
            .all(|entry| entry.api == Api::Aimlapi)
    );
}

#[test]
fn a_missing_image_fails_its_own_row_and_delays_no_other() {
    let env = TestEnv::new(high_limits());
    write_catalogue(&env, 6, 6);
    load(&env, "eachlabs,fal,aimlapi");
    fs::remove_file(env.dir.path().join("shop/photos/no 0.png")).expect("removed");
    // Without the other keys, eachlabs is the only provider of this run.
    let mut run = env.command(&["run"]);
    let run = CommandOutput::from_output(
        run.env_remove("FAL_KEY")
            .env_remove("AIML_API_KEY")
            .output()
            .expect("the binary starts"),
    );
    assert_eq!(run.code, 3, "{run:?}");
    assert!(
        run.stdout.contains("1 job failed") && run.stdout.contains("row-0: there is no file "),
        "{run:?}"
    );
    assert_eq!(env.ledger().entries.len(), 5);
}

#[test]
fn images_are_uploaded_with_any_number_of_workers() {
    for workers in 1..=5 {
        let env = TestEnv::new(high_limits());
        write_catalogue(&env, 4, 4);
        load(&env, "eachlabs");
        let run = env.run(&["run", "--workers", &workers.to_string()]);
        assert_eq!(run.code, 0, "{workers}: {run:?}");
        env.assert_all_rendered_once(4);
    }
}

#[test]
fn a_rejected_key_pauses_its_provider_at_the_first_upload() {
    let env = TestEnv::new(SimulatorOptions {
        key: Some("another".into()),
        ..high_limits()
    });
    write_catalogue(&env, 3, 3);
    load(&env, "eachlabs");
    let run = env.run(&["run"]);
    assert_eq!(run.code, 1, "{run:?}");
    assert!(
        run.stderr.contains("eachlabs is paused: ") && run.stderr.contains("EACHLABS_API_KEY"),
        "{run:?}"
    );
    assert!(
        env.ledger().unauthorized < 10,
        "{}",
        env.ledger().unauthorized
    );
}

#[test]
fn a_storage_that_only_returns_garbage_is_reported_and_fails_its_rows() {
    let env = TestEnv::new(high_limits());
    write_catalogue(&env, 2, 1);
    load(&env, "eachlabs");
    env.simulator.set_faults(Faults::default().at(
        Api::Eachlabs,
        Call::Upload,
        Fault::Garbage,
        1.0,
    ));
    let run = env.run(&["run"]);
    assert_eq!(run.code, 3, "{run:?}");
    assert!(run.stderr.contains("image upload failed: "), "{run:?}");
    assert!(
        run.stdout
            .contains("cannot be uploaded: eachlabs returned a body that has no upload URL"),
        "{run:?}"
    );
    assert_eq!(env.ledger().creates_seen, 0);
}

#[test]
fn a_failing_storage_does_not_keep_a_run_from_stopping_at_its_budget() {
    let env = TestEnv::new(high_limits());
    write_catalogue(&env, 3, 3);
    load(&env, "eachlabs");
    env.simulator.set_faults(Faults::default().at(
        Api::Eachlabs,
        Call::Upload,
        Fault::ServerError,
        1.0,
    ));
    let run = env.run(&["run", "--budget", "0.1"]);
    assert_eq!(run.code, 4, "{run:?}");
}

#[test]
fn a_submission_with_an_image_and_a_lost_response_is_found_and_paid_once() {
    for (via, api) in [
        ("aimlapi", Api::Aimlapi),
        ("eachlabs", Api::Eachlabs),
        ("fal", Api::Fal),
    ] {
        let env = TestEnv::new(high_limits());
        write_catalogue(&env, 2, 2);
        load(&env, via);
        env.simulator
            .set_faults(Faults::default().at(api, Call::Create, Fault::DropAfter, 1.0));
        let mut run = env.start(&["run"]);
        env.await_submissions(2);
        env.simulator.set_faults(Faults::default());
        assert_eq!(run.wait().expect("the run ends").code(), Some(0), "{via}");
        env.assert_all_rendered_once(2);
    }
}
