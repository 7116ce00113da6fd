//! Images on disk: found from the manifest, uploaded once or sent along, whatever is cut.

use std::collections::BTreeSet;
use std::fs;

use overnight::simulator::{Api, Call, Fault, Faults, SimulatorOptions, StoredFile};
use serde_json::Value;

use crate::support::{Run, TestEnv, high_limits, picture};

/// A manifest in a folder of its own beside `photos`: so many rows, that show so many different pictures in turn.
fn catalogue(workplace: &TestEnv, rows: usize, pictures: usize) {
    let folder = workplace.dir.path().join("shop/photos");
    fs::create_dir_all(&folder).expect("a folder");
    for picture_number in 0..pictures {
        let path = folder.join(format!("no {picture_number}.png"));
        fs::write(path, picture(&picture_number.to_string())).expect("written");
    }
    let mut text = String::from("id,image,prompt\n");
    for row in 0..rows {
        text.push_str(&format!(
            "row-{row},photos/no {}.png,Turn number {row}\n",
            row % pictures
        ));
    }
    workplace.write("shop/catalogue.csv", &text);
}

fn load(workplace: &TestEnv, via: &str) {
    let loaded = workplace.run(&[
        "load",
        "shop/catalogue.csv",
        "--model",
        "kling-v1-standard",
        "--via",
        via,
    ]);
    assert_eq!(loaded.code, 0, "{loaded:?}");
}

fn image_of(entry: &Value) -> &str {
    entry["image_url"].as_str().expect("a link")
}

fn contents(files: &[StoredFile]) -> BTreeSet<(Api, &str)> {
    files
        .iter()
        .map(|file| (file.api, file.sha256.as_str()))
        .collect()
}

#[test]
fn each_file_is_uploaded_once_and_every_row_that_shows_it_sends_its_link() {
    let workplace = TestEnv::new(high_limits());
    catalogue(&workplace, 24, 6);
    load(&workplace, "eachlabs,fal");
    let run = workplace.run(&["run"]);
    assert_eq!(run.code, 0, "{run:?}");
    workplace.assert_all_made(24);
    let ledger = workplace.ledger();
    assert_eq!(
        contents(&ledger.files).len(),
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
        assert!(image_of(&entry.input).starts_with(&host), "{entry:?}");
    }
    let links: BTreeSet<&str> = ledger
        .entries
        .iter()
        .map(|entry| image_of(&entry.input))
        .collect();
    assert!(links.len() <= ledger.files.len());
}

#[test]
fn a_provider_without_storage_gets_the_picture_itself() {
    let workplace = TestEnv::new(high_limits());
    catalogue(&workplace, 3, 2);
    load(&workplace, "aimlapi");
    let run = workplace.run(&["run"]);
    assert_eq!(run.code, 0, "{run:?}");
    workplace.assert_all_made(3);
    let ledger = workplace.ledger();
    assert_eq!(ledger.files, []);
    for entry in &ledger.entries {
        assert!(
            image_of(&entry.input).starts_with("data:image/png;base64,iVBORw0KGgo"),
            "{entry:?}"
        );
    }
    // What is kept is what it is, not its megabytes.
    let queue = fs::read(workplace.dir.path().join("overnight.db")).expect("a queue");
    assert!(!String::from_utf8_lossy(&queue).contains("base64"));
}

#[test]
fn fal_gets_the_picture_itself_where_no_storage_belongs_to_its_queue() {
    let workplace = TestEnv::new(high_limits());
    catalogue(&workplace, 2, 2);
    load(&workplace, "fal");
    let run = workplace
        .command(&["run"])
        .env_remove("OVERNIGHT_FAL_STORAGE_URL")
        .output()
        .expect("it runs");
    assert_eq!(run.status.code(), Some(0), "{run:?}");
    let ledger = workplace.ledger();
    assert!(
        ledger
            .entries
            .iter()
            .all(|entry| image_of(&entry.input).starts_with("data:image/png;base64,"))
    );
    assert_eq!(ledger.files, []);
}

#[test]
fn uploads_that_fail_are_repeated_and_nothing_is_paid_for_them() {
    let workplace = TestEnv::new(high_limits());
    catalogue(&workplace, 16, 16);
    load(&workplace, "eachlabs,fal");
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
    workplace.simulator.set_faults(faults);
    let run = workplace.run(&["run"]);
    assert_eq!(run.code, 0, "{run:?}");
    workplace.assert_all_made(16);
}

#[test]
fn a_run_that_is_killed_among_uploads_goes_on_and_uploads_none_again_that_it_has() {
    let workplace = TestEnv::new(high_limits());
    catalogue(&workplace, 40, 40);
    load(&workplace, "eachlabs");
    let mut run = workplace.start(&["run"]);
    workplace.wait_for_creates(4);
    run.kill().expect("killed");
    run.wait().expect("gone");
    let before = workplace.ledger().files;
    let run = workplace.run(&["run"]);
    assert_eq!(run.code, 0, "{run:?}");
    workplace.assert_all_made(40);
    let after = workplace.ledger().files;
    assert_eq!(contents(&after).len(), 40);
    // Only what was on its way in that instant may have been sent twice.
    assert!(
        after.len() <= 40 + 4,
        "{} uploads, {} of them before the kill",
        after.len(),
        before.len()
    );
}

#[test]
fn two_runs_at_once_share_what_either_has_uploaded() {
    let workplace = TestEnv::new(high_limits());
    catalogue(&workplace, 40, 20);
    load(&workplace, "eachlabs,fal");
    for mut run in [workplace.start(&["run"]), workplace.start(&["run"])] {
        assert_eq!(run.wait().expect("it ends").code(), Some(0));
    }
    workplace.assert_all_made(40);
    let files = workplace.ledger().files;
    assert_eq!(contents(&files).len(), files.len(), "{files:?}");
}

#[test]
fn every_mistake_with_a_file_is_told_at_load_with_its_line() {
    let workplace = TestEnv::new(high_limits());
    catalogue(&workplace, 1, 1);
    workplace.write("shop/photos/text.jpg", "no picture");
    let large =
        fs::File::create(workplace.dir.path().join("shop/photos/large.png")).expect("a file");
    large.set_len(200_000_000).expect("it grows");
    let rows = "id,image,prompt\na,photos/no 0.png,x\nb,photos/none.png,x\nc,photos/text.jpg,x\nd,photos/large.png,x\ne,photos,x\n";
    workplace.write("shop/catalogue.csv", rows);
    let refused = workplace.run(&["load", "shop/catalogue.csv", "--model", "kling-v1-standard"]);
    assert_eq!(refused.code, 2, "{refused:?}");
    for told in [
        "shop/catalogue.csv:3: image: there is no file ",
        "shop/catalogue.csv:4: image: ",
        "text.jpg is no JPEG, PNG or WebP image",
        "shop/catalogue.csv:5: image: ",
        "large.png has 200 MB, the most are 10 MB",
        "shop/catalogue.csv:6: image: ",
        "4 mistakes in 5 rows; nothing was loaded",
    ] {
        assert!(refused.stderr.contains(told), "{told}: {}", refused.stderr);
    }
}

#[test]
fn two_rows_with_pictures_and_one_id_are_told_with_both_lines() {
    let workplace = TestEnv::new(high_limits());
    catalogue(&workplace, 1, 1);
    workplace.write(
        "shop/catalogue.csv",
        "id,image,prompt\na,photos/no 0.png,x\nb,photos/no 0.png,x\na,photos/no 0.png,y\n",
    );
    let refused = workplace.run(&["load", "shop/catalogue.csv", "--model", "kling-v1-standard"]);
    assert_eq!(refused.code, 2, "{refused:?}");
    assert!(
        refused
            .stderr
            .contains("shop/catalogue.csv:4: id: `a` is on line 2 already"),
        "{refused:?}"
    );
    assert!(
        refused
            .stderr
            .contains("1 mistake in 3 rows; nothing was loaded"),
        "{refused:?}"
    );
}

#[test]
fn the_same_pictures_in_another_folder_are_the_same_rows_and_another_picture_is_a_changed_one() {
    let workplace = TestEnv::new(high_limits());
    catalogue(&workplace, 4, 4);
    load(&workplace, "eachlabs");
    fs::rename(
        workplace.dir.path().join("shop"),
        workplace.dir.path().join("moved"),
    )
    .expect("moved");
    fs::write(
        workplace.dir.path().join("moved/photos/no 2.png"),
        picture("other"),
    )
    .expect("written");
    let again = workplace.run(&[
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
    let run = workplace.run(&["run"]);
    assert_eq!(run.code, 0, "{run:?}");
    workplace.assert_all_made(4);
}

#[test]
fn a_picture_that_is_gone_or_changed_fails_its_rows_unpaid_and_retry_goes_on_once_it_is_back() {
    for via in ["eachlabs", "aimlapi"] {
        let workplace = TestEnv::new(high_limits());
        catalogue(&workplace, 6, 3);
        load(&workplace, via);
        let photos = workplace.dir.path().join("shop/photos");
        fs::rename(photos.join("no 0.png"), photos.join("away.png")).expect("moved");
        fs::write(photos.join("no 1.png"), picture("other")).expect("written");
        let run = workplace.run(&["run"]);
        assert_eq!(run.code, 3, "{run:?}");
        assert!(run.stdout.contains("4 jobs failed"), "{run:?}");
        assert!(
            run.stdout.contains("there is no file ")
                && run.stdout.contains("has changed since it was loaded")
        );
        assert_eq!(workplace.ledger().entries.len(), 2);

        fs::rename(photos.join("away.png"), photos.join("no 0.png")).expect("back");
        fs::write(photos.join("no 1.png"), picture("1")).expect("written");
        let retried = workplace.run(&["retry", "--state", "failed"]);
        assert_eq!(retried.code, 0, "{retried:?}");
        let run = workplace.run(&["run"]);
        assert_eq!(run.code, 0, "{via}: {run:?}");
        workplace.assert_all_made(6);
    }
}

#[test]
fn a_row_waits_for_its_upload_rather_than_go_to_a_dearer_provider_that_needs_none() {
    let workplace = TestEnv::new(high_limits());
    catalogue(&workplace, 8, 8);
    load(&workplace, "eachlabs,aimlapi");
    let run = workplace.run(&["run"]);
    assert_eq!(run.code, 0, "{run:?}");
    workplace.assert_all_made(8);
    assert!(
        workplace
            .ledger()
            .entries
            .iter()
            .all(|entry| entry.api == Api::Eachlabs)
    );
}

#[test]
fn a_file_that_storage_does_not_get_goes_to_the_provider_that_takes_it_inside_the_call() {
    let workplace = TestEnv::new(high_limits());
    catalogue(&workplace, 4, 2);
    load(&workplace, "eachlabs,aimlapi");
    workplace.simulator.set_faults(Faults::default().at(
        Api::Eachlabs,
        Call::Upload,
        Fault::Garbage,
        1.0,
    ));
    let run = workplace.run(&["run"]);
    assert_eq!(run.code, 0, "{run:?}");
    workplace.assert_all_made(4);
    assert!(
        workplace
            .ledger()
            .entries
            .iter()
            .all(|entry| entry.api == Api::Aimlapi)
    );
}

#[test]
fn one_bad_picture_fails_its_own_row_and_holds_up_no_other() {
    let workplace = TestEnv::new(high_limits());
    catalogue(&workplace, 6, 6);
    load(&workplace, "eachlabs,fal,aimlapi");
    fs::remove_file(workplace.dir.path().join("shop/photos/no 0.png")).expect("removed");
    // Nobody else has a part in this run.
    let mut run = workplace.command(&["run"]);
    let run = Run::of(
        run.env_remove("FAL_KEY")
            .env_remove("AIML_API_KEY")
            .output()
            .expect("it runs"),
    );
    assert_eq!(run.code, 3, "{run:?}");
    assert!(
        run.stdout.contains("1 job failed") && run.stdout.contains("row-0: there is no file "),
        "{run:?}"
    );
    assert_eq!(workplace.ledger().entries.len(), 5);
}

#[test]
fn any_number_of_workers_uploads() {
    for workers in 1..=5 {
        let workplace = TestEnv::new(high_limits());
        catalogue(&workplace, 4, 4);
        load(&workplace, "eachlabs");
        let run = workplace.run(&["run", "--workers", &workers.to_string()]);
        assert_eq!(run.code, 0, "{workers}: {run:?}");
        workplace.assert_all_made(4);
    }
}

#[test]
fn a_refused_key_pauses_its_provider_at_the_first_upload() {
    let workplace = TestEnv::new(SimulatorOptions {
        key: Some("another".into()),
        ..high_limits()
    });
    catalogue(&workplace, 3, 3);
    load(&workplace, "eachlabs");
    let run = workplace.run(&["run"]);
    assert_eq!(run.code, 1, "{run:?}");
    assert!(
        run.stderr.contains("eachlabs is paused: ") && run.stderr.contains("EACHLABS_API_KEY"),
        "{run:?}"
    );
    assert!(
        workplace.ledger().unauthorized < 10,
        "{}",
        workplace.ledger().unauthorized
    );
}

#[test]
fn a_storage_that_never_answers_as_one_is_told_and_ends_in_failed_rows() {
    let workplace = TestEnv::new(high_limits());
    catalogue(&workplace, 2, 1);
    load(&workplace, "eachlabs");
    workplace.simulator.set_faults(Faults::default().at(
        Api::Eachlabs,
        Call::Upload,
        Fault::Garbage,
        1.0,
    ));
    let run = workplace.run(&["run"]);
    assert_eq!(run.code, 3, "{run:?}");
    assert!(run.stderr.contains("image upload failed: "), "{run:?}");
    assert!(
        run.stdout
            .contains("cannot be uploaded: eachlabs answered with something else"),
        "{run:?}"
    );
    assert_eq!(workplace.ledger().creates_seen, 0);
}

#[test]
fn a_storage_in_trouble_keeps_no_run_from_ending_at_its_budget() {
    let workplace = TestEnv::new(high_limits());
    catalogue(&workplace, 3, 3);
    load(&workplace, "eachlabs");
    workplace.simulator.set_faults(Faults::default().at(
        Api::Eachlabs,
        Call::Upload,
        Fault::ServerError,
        1.0,
    ));
    let run = workplace.run(&["run", "--budget", "0.1"]);
    assert_eq!(run.code, 4, "{run:?}");
}

#[test]
fn a_lost_create_with_a_picture_inside_is_found_again_and_paid_once() {
    for (via, api) in [
        ("aimlapi", Api::Aimlapi),
        ("eachlabs", Api::Eachlabs),
        ("fal", Api::Fal),
    ] {
        let workplace = TestEnv::new(high_limits());
        catalogue(&workplace, 2, 2);
        load(&workplace, via);
        workplace.simulator.set_faults(Faults::default().at(
            api,
            Call::Create,
            Fault::DropAfter,
            1.0,
        ));
        let mut run = workplace.start(&["run"]);
        workplace.wait_for_creates(2);
        workplace.simulator.set_faults(Faults::default());
        assert_eq!(run.wait().expect("it ends").code(), Some(0), "{via}");
        workplace.assert_all_made(2);
    }
}
