//! Runs whose clips are in object storage, from the outside.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use hyper::{Method, StatusCode};

use super::clip;
use crate::support::{TestEnv, high_limits, wait_until};

const ROWS: usize = 6;

fn in_storage() -> TestEnv {
    TestEnv::new(high_limits()).in_storage()
}

#[test]
fn a_batch_is_rendered_into_storage_and_verified_there() {
    let env = in_storage();
    env.run_all(ROWS, "eachlabs,fal");
    let mut expected: Vec<_> = (0..ROWS).map(|row| format!("row-{row}.mp4")).collect();
    expected.insert(0, ".overnight.json".into());
    assert_eq!(env.clip_names("batch"), expected);
    for job in env.export() {
        let output = job["output"].as_str().expect("a URL");
        assert!(
            output.starts_with("s3://clips/renders/batch/row-"),
            "{output}"
        );
    }
    for args in [&["verify"][..], &["verify", "--deep"]] {
        let checked = env.run(args);
        assert_eq!(checked.code, 0, "{checked:?}");
    }
    let doctor = env.run(&["doctor"]);
    assert_eq!(doctor.code, 0, "{doctor:?}");
    for part in [
        "clips can be written to s3://clips/renders, which replaces nothing unasked",
        "for clips on their way to storage, 16 workers may need",
    ] {
        assert!(doctor.stdout.contains(part), "{doctor:?}");
    }
}

#[test]
fn clips_that_were_lost_or_have_rotted_in_storage_are_downloaded_again_for_nothing() {
    let env = in_storage();
    env.run_all(ROWS, "fal");
    let name = |row: usize| format!("renders/batch/row-{row}.mp4");
    env.storage().remove(&name(0));
    let mut rotten = env.storage().content(&name(1));
    rotten[500] ^= 1;
    env.storage().overwrite(&name(1), rotten);
    let found = |args: &[&str]| {
        let verified = env.run(args);
        assert_eq!(verified.code, 3, "{verified:?}");
        verified
            .stdout
            .matches("s3://clips/renders/batch/row-")
            .count()
    };
    assert_eq!(found(&["verify"]), 1);
    assert_eq!(found(&["verify", "--deep"]), 2);
    let fixed = env.run(&["verify", "--deep", "--fix"]);
    assert_eq!(fixed.code, 0, "{fixed:?}");
    env.assert_all_rendered_once(ROWS);
    assert_eq!(env.run(&["verify", "--deep"]).code, 0);
}

#[test]
fn a_storage_that_cannot_be_asked_makes_no_clip_a_lost_one() {
    let env = in_storage();
    env.run_all(2, "fal");
    env.storage()
        .set_fault(|_, _| Some((StatusCode::FORBIDDEN, "AccessDenied")));
    let verified = env.run(&["verify", "--fix"]);
    assert_eq!(verified.code, 1, "{verified:?}");
    assert!(
        verified.stderr.contains("the storage refuses s3://clips/"),
        "{verified:?}"
    );
    env.storage().set_fault(|_, _| None);
    assert_eq!(env.run(&["verify", "--deep"]).code, 0);
    assert!(
        env.ledger()
            .entries
            .iter()
            .all(|entry| entry.downloads == 1)
    );
}

#[test]
fn a_storage_that_fails_for_longer_is_waited_for_and_no_clip_is_given_up() {
    let env = in_storage();
    let fails = Arc::new(AtomicBool::new(true));
    let is_failing = Arc::clone(&fails);
    env.storage().set_fault(move |method, _| {
        let is_clip = *method == Method::PUT && is_failing.load(Ordering::Relaxed);
        is_clip.then_some((StatusCode::SERVICE_UNAVAILABLE, "SlowDown"))
    });
    env.load(ROWS, "fal");
    let mut run = env.start(&["run"]);
    env.await_submissions(ROWS);
    let count = |word: &str| {
        env.export()
            .iter()
            .filter(|job| job["error"].to_string().contains(word))
            .count()
    };
    wait_until("a clip waits for the storage", || count("SlowDown") > 0);
    fails.store(false, Ordering::Relaxed);
    assert!(run.wait().expect("the run ends").success());
    env.assert_all_rendered_once(ROWS);
}

#[test]
fn a_storage_that_refuses_stops_the_run_which_says_why_and_nothing_is_lost() {
    let env = in_storage();
    env.load(ROWS, "fal");
    env.storage().set_fault(|method, path| {
        let is_clip = *method == Method::PUT && path.contains("row-");
        is_clip.then_some((StatusCode::BAD_REQUEST, "ExpiredToken"))
    });
    let run = env.run(&["run"]);
    assert_eq!(run.code, 1, "{run:?}");
    assert!(run.stderr.contains("ExpiredToken: it is a test"), "{run:?}");
    assert!(run.stderr.contains("`AWS_` variables"), "{run:?}");
    env.storage().set_fault(|_, _| None);
    let run = env.run(&["run"]);
    assert_eq!(run.code, 0, "{run:?}");
    env.assert_all_rendered_once(ROWS);
}

#[test]
fn nothing_is_submitted_while_the_storage_refuses_to_be_read() {
    let env = in_storage();
    env.load(ROWS, "fal");
    env.storage()
        .set_fault(|_, _| Some((StatusCode::FORBIDDEN, "InvalidAccessKeyId")));
    let run = env.run(&["run"]);
    assert_eq!(run.code, 1, "{run:?}");
    assert!(run.stderr.contains("InvalidAccessKeyId"), "{run:?}");
    assert!(!run.stderr.contains("AKTEST"), "{run:?}");
    assert_eq!(env.ledger().entries.len(), 0);
}

#[test]
fn a_second_queue_whose_clips_would_be_in_the_same_place_of_the_storage_notices_the_first() {
    let env = in_storage();
    env.run_all(2, "fal");
    let other = env.run(&[
        "load",
        "batch.csv",
        "--model",
        "kling-v1-standard",
        "--queue",
        "other.db",
    ]);
    assert_eq!(other.code, 2, "{other:?}");
    assert!(
        other.stderr.contains("s3://clips/renders/batch/row-"),
        "{other:?}"
    );
    let adopted = env.run(&[
        "load",
        "batch.csv",
        "--model",
        "kling-v1-standard",
        "--queue",
        "other.db",
        "--adopt-files",
    ]);
    assert_eq!(adopted.code, 0, "{adopted:?}");
    let run = env.run(&["run", "--queue", "other.db"]);
    assert!(
        run.stderr
            .contains("s3://clips/renders/batch holds the clips of another queue"),
        "{run:?}"
    );
    assert_eq!(env.ledger().entries.len(), 2);
}

#[test]
fn clips_that_are_in_storage_already_are_adopted_and_rubbish_is_not() {
    let env = in_storage();
    env.write_manifest("batch.csv", 2);
    env.storage()
        .put_blocking("renders/batch/row-0.mp4", &clip("by hand"));
    env.storage()
        .put_blocking("renders/batch/row-1.mp4", b"no clip");
    let load = [
        "load",
        "batch.csv",
        "--model",
        "kling-v1-standard",
        "--via",
        "fal",
        "--adopt-files",
    ];
    let refused = env.run(&load);
    assert_eq!(refused.code, 2, "{refused:?}");
    assert!(
        refused.stderr.contains("row-1.mp4 is no complete clip"),
        "{refused:?}"
    );
    env.storage().remove("renders/batch/row-1.mp4");
    let loaded = env.run(&load);
    assert_eq!(loaded.code, 0, "{loaded:?}");
    assert_eq!(env.run(&["run"]).code, 0);
    assert_eq!(env.ledger().entries.len(), 1);
    assert_eq!(
        env.storage().content("renders/batch/row-0.mp4"),
        clip("by hand")
    );
    assert_eq!(env.run(&["verify", "--deep"]).code, 0);
}

#[test]
fn a_clip_on_disk_is_taken_for_a_batch_in_storage_and_the_other_way_round() {
    let env = in_storage();
    let sheet = "id,image,prompt\na,https://e.com/a.png,Turn left\n";
    for (name, out) in [
        ("one", "here"),
        ("two", "s3://clips/there"),
        ("three", "back"),
    ] {
        let sheet_name = format!("{name}.csv");
        env.write(&sheet_name, sheet);
        let loaded = env.run(&[
            "load",
            &sheet_name,
            "--model",
            "kling-v1-standard",
            "--out",
            out,
        ]);
        assert_eq!(loaded.code, 0, "{loaded:?}");
        if name == "two" {
            // Its only source is the clip in storage from now on.
            assert_eq!(env.run(&["run"]).code, 0);
            std::fs::remove_dir_all(env.dir.path().join("here")).expect("removed");
        }
        let run = env.run(&["run"]);
        assert_eq!(run.code, 0, "{run:?}");
    }
    assert_eq!(env.ledger().entries.len(), 1);
    let stored = env.storage().content("there/two/a.mp4");
    let back = std::fs::read(env.dir.path().join("back/three/a.mp4")).expect("a clip");
    assert!(stored == back);
}

#[test]
fn earlier_clips_in_storage_are_removed_when_that_is_asked_for() {
    let env = in_storage();
    for prompt in ["left", "right"] {
        env.write(
            "batch.csv",
            &format!("id,image,prompt\na,https://e.com/a.png,Turn {prompt}\n"),
        );
        let loaded = env.run(&["load", "batch.csv", "--model", "kling-v1-standard"]);
        assert_eq!(loaded.code, 0, "{loaded:?}");
        assert_eq!(env.run(&["run"]).code, 0);
    }
    assert_eq!(
        env.clip_names("batch"),
        [".overnight.json", "a.mp4", "earlier/a.1.mp4"]
    );
    let cleaned = env.run(&["clean", "--earlier"]);
    assert_eq!(cleaned.code, 0, "{cleaned:?}");
    assert_eq!(env.clip_names("batch"), [".overnight.json", "a.mp4"]);
}

#[test]
fn a_batch_moves_into_storage_within_it_and_back_and_a_move_that_was_cut_goes_on() {
    let env = in_storage();
    for prompt in ["left", "right"] {
        let sheet = format!(
            "id,image,prompt\na,https://e.com/a.png,Turn {prompt}\nb,https://e.com/b.png,x\n"
        );
        env.write("batch.csv", &sheet);
        let load = [
            "load",
            "batch.csv",
            "--model",
            "kling-v1-standard",
            "--out",
            "here",
        ];
        assert_eq!(env.run(&load).code, 0);
        assert_eq!(env.run(&["run"]).code, 0);
    }
    let clips: Vec<Vec<u8>> = ["a.mp4", "b.mp4", "earlier/a.1.mp4"]
        .map(|name| std::fs::read(env.dir.path().join("here/batch").join(name)).expect("a clip"))
        .into();
    for to in ["s3://clips/one", "s3://clips/two", "back"] {
        for point in ["clip at its new place", "clip moved", "clips moved"] {
            let mut command = env.command(&["move", "batch", to]);
            let aborted = command.env("OVERNIGHT_FAILPOINT", point).output();
            assert!(
                !aborted.expect("the binary starts").status.success(),
                "{point}"
            );
        }
        let moved = env.run(&["move", "batch", to]);
        assert_eq!(moved.code, 0, "{moved:?}");
        let verified = env.run(&["verify", "--deep"]);
        assert_eq!(verified.code, 0, "{verified:?}");
        let mut outputs: Vec<String> = Vec::new();
        for job in env.export() {
            for version in job["versions"].as_array().expect("versions") {
                outputs.push(version["output"].as_str().expect("a place").to_owned());
            }
        }
        let found: Vec<Vec<u8>> = outputs.iter().map(|output| env.clip(output)).collect();
        for clip in &clips {
            assert!(found.contains(clip), "{to}: {outputs:?}");
        }
        let is_there = |output: &String| output.contains(to.trim_start_matches("s3://"));
        assert!(outputs.iter().all(is_there), "{outputs:?}");
    }
    assert_eq!(env.storage().names(), [""; 0]);
    assert!(!env.dir.path().join("here").join("batch").exists());
}

#[test]
fn a_move_into_storage_leaves_another_object_alone() {
    let env = in_storage();
    env.load(1, "fal");
    assert_eq!(env.run(&["run"]).code, 0);
    env.storage()
        .put_blocking("there/row-0.mp4", b"none of ours");
    let moved = env.run(&["move", "batch", "s3://clips/there"]);
    assert_eq!(moved.code, 1, "{moved:?}");
    assert!(
        moved
            .stderr
            .contains("s3://clips/there/row-0.mp4 is another file"),
        "{moved:?}"
    );
    assert_eq!(env.storage().content("there/row-0.mp4"), b"none of ours");
    env.assert_all_rendered_once(1);
}

#[test]
fn a_report_links_to_clips_in_storage_by_signed_links_or_by_a_public_address() {
    let env = in_storage();
    env.run_all(2, "fal");
    let page = |args: &[&str]| {
        let report = env.run(&[&["report", "--out", "page.html"], args].concat());
        assert_eq!(report.code, 0, "{report:?}");
        let page = std::fs::read_to_string(env.dir.path().join("page.html")).expect("a page");
        (page, report.stderr)
    };
    let (unlinked, hint) = page(&[]);
    assert!(!unlinked.contains("row-0.mp4"), "{unlinked}");
    assert!(hint.contains("`--links 7d` signs links"), "{hint}");

    let (signed, hint) = page(&["--links", "12h"]);
    assert!(!hint.contains("hint"), "{hint}");
    assert!(signed.contains("clips can be seen until"), "{signed}");
    assert!(!signed.contains("the-secret-of-the-storage"), "{signed}");
    let link = signed.split('"').find(|text| text.contains("row-0.mp4?"));
    let link = link.expect("a link").replace("\\u0026", "&");
    let origin = link.split("/clips/").next().expect("an origin");
    assert!(
        signed.contains(&format!("media-src 'self' file: {origin};")),
        "{signed}"
    );
    assert_eq!(get(&link), env.storage().content("renders/batch/row-0.mp4"));

    env.set_config(
        "renders\"",
        "renders\"\nout_public = \"https://cdn.example.com/r/\"",
    );
    let (public, _) = page(&["--batch", "batch"]);
    assert!(
        public.contains("https://cdn.example.com/r/batch/row-1.mp4"),
        "{public}"
    );
    assert!(!public.contains("X-Amz"), "{public}");
}

/// Reads a link as a browser does.
fn get(link: &str) -> Vec<u8> {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    // A second time, it is installed already.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let response = runtime.block_on(async {
        let response = reqwest::get(link).await.expect("a response");
        assert!(response.status().is_success(), "{response:?}");
        response.bytes().await
    });
    response.expect("a clip").into()
}

#[test]
fn an_address_of_a_storage_that_is_wrong_is_told_before_anything_is_loaded() {
    let env = in_storage();
    env.write_manifest("batch.csv", 1);
    let load = [
        "load",
        "batch.csv",
        "--model",
        "kling-v1-standard",
        "--out",
        "s3:///renders",
    ];
    let loaded = env.run(&load);
    assert_eq!(loaded.code, 2, "{loaded:?}");
    assert!(loaded.stderr.contains("names no bucket"), "{loaded:?}");
}
