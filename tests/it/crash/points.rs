//! Aborts the program at every fail point, that is wherever something becomes durable or leaves the
//! machine, and then resumes the run.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::Stdio;

use overnight_simulator::{Call, Fault, Faults, SimulatorOptions};

use crate::postgres_server;
use crate::support::{TestEnv, high_limits, load_args};

const ROWS: usize = 4;

const SIGABRT: i32 = 6;

/// Every fail point, with the fault that is needed to reach it; `None` if it is reached without
/// one.
const FAIL_POINTS: [(&str, Option<(Call, Fault)>); 44] = [
    ("load written", None),
    ("load committed", None),
    ("run counted", None),
    ("join committed", None),
    ("takeover committed", None),
    ("Submit written", None),
    ("Submit committed", None),
    ("submit unsent", None),
    ("response started", None),
    ("submit read", None),
    ("Accept written", None),
    ("Accept committed", None),
    ("Refuse written", Some((Call::Create, Fault::RateLimited))),
    ("Refuse committed", Some((Call::Create, Fault::RateLimited))),
    (
        "LoseResponse written",
        Some((Call::Create, Fault::DropAfter)),
    ),
    (
        "LoseResponse committed",
        Some((Call::Create, Fault::DropAfter)),
    ),
    ("history unsent", Some((Call::Create, Fault::DropAfter))),
    ("history read", Some((Call::Create, Fault::DropAfter))),
    ("Adopt written", Some((Call::Create, Fault::DropAfter))),
    ("Adopt committed", Some((Call::Create, Fault::DropAfter))),
    (
        "ProveAbsent written",
        Some((Call::Create, Fault::DropBefore)),
    ),
    (
        "ProveAbsent committed",
        Some((Call::Create, Fault::DropBefore)),
    ),
    ("poll unsent", None),
    ("poll read", None),
    ("Wait written", Some((Call::Poll, Fault::ServerError))),
    ("Wait committed", Some((Call::Poll, Fault::ServerError))),
    (
        "FailUnbilled written",
        Some((Call::Create, Fault::FailedPrediction)),
    ),
    (
        "FailUnbilled committed",
        Some((Call::Create, Fault::FailedPrediction)),
    ),
    ("Finish written", None),
    ("Finish committed", None),
    ("download unsent", None),
    ("download started", None),
    ("ExpireLink written", Some((Call::Download, Fault::Expired))),
    (
        "ExpireLink committed",
        Some((Call::Download, Fault::Expired)),
    ),
    ("file started", None),
    ("file written", None),
    ("file synced", None),
    ("file renamed", None),
    ("folder synced", None),
    ("Save written", None),
    ("Save committed", None),
    ("Save committed#2", None),
    ("Accept committed#3", None),
    ("response started#9", None),
];

/// Fail points that are reached only when a clip takes the place of an earlier one, or of another job's.
const REUSE_FAIL_POINTS: [&str; 2] = ["earlier clip moved", "clip reused"];

/// Fail points that are reached only if clips are on a disk.
const DISK_FAIL_POINTS: [&str; 5] = [
    "file started",
    "file written",
    "file synced",
    "file renamed",
    "folder synced",
];

/// Fail points that are reached only if clips are in object storage.
const STORAGE_FAIL_POINTS: [&str; 3] = ["clip spooled", "object stored", "parts stored"];

/// Those that are reached only when a clip takes the place of another there.
const CHANGE_FAIL_POINTS: [&str; 2] = ["earlier object kept", "place cleared"];

/// Fail points that are reached only if the queue is in a database.
const DATABASE_FAIL_POINTS: [&str; 1] = ["write sent"];

/// Fail points of `queue copy`, which `database` tests.
const COPY_FAIL_POINTS: [&str; 2] = ["copy committed", "original marked"];

/// Fail points of the commands that move and copy, which `moved` tests.
const MOVE_FAIL_POINTS: [&str; 5] = [
    "backup written",
    "backup renamed",
    "clip at its new place",
    "clip moved",
    "clips moved",
];

/// Fail points that are reached only for rows with image files, at a provider with storage.
const UPLOAD_FAIL_POINTS: [&str; 3] = ["upload unsent", "upload read", "upload committed"];

#[test]
fn a_run_on_eachlabs_aborted_at_any_fail_point_pays_for_each_row_once_and_loses_nothing() {
    abort_at_every_point("eachlabs");
}

#[test]
fn a_run_on_aimlapi_aborted_at_any_fail_point_pays_for_each_row_once_and_loses_nothing() {
    abort_at_every_point("aimlapi");
}

#[test]
fn a_run_on_fal_aborted_at_any_fail_point_pays_for_each_row_once_and_loses_nothing() {
    abort_at_every_point("fal");
}

#[test]
fn a_run_on_a_database_aborted_at_any_fail_point_pays_for_each_row_once_and_loses_nothing() {
    if !postgres_server::is_available() {
        return;
    }
    let own = DATABASE_FAIL_POINTS.map(|point| (point, None));
    for chunk in [FAIL_POINTS.as_slice(), &own].concat().chunks(8) {
        std::thread::scope(|scope| {
            for (point, fault) in chunk {
                let url = postgres_server::create_database();
                let place = |env: TestEnv| env.on_database(url);
                scope.spawn(|| abort_and_resume("fal", point, *fault, place));
            }
        });
    }
}

#[test]
fn a_run_aborted_at_any_fail_point_of_an_upload_pays_for_each_row_once_and_loses_nothing() {
    for via in ["eachlabs", "fal"] {
        std::thread::scope(|scope| {
            for point in UPLOAD_FAIL_POINTS {
                scope.spawn(move || abort_and_resume(via, point, None, |env| env));
            }
        });
    }
}

#[test]
fn a_run_aborted_while_clips_change_places_keeps_all_of_them_and_pays_for_none_again() {
    let env = TestEnv::new(high_limits());
    let load = |sheet: &str, prompt: &str| {
        env.write(
            sheet,
            &format!("id,image,prompt\na,https://e.com/a.png,{prompt}\n"),
        );
        let loaded = env.run(&["load", sheet, "--model", "kling-v1-standard"]);
        assert_eq!(loaded.code, 0, "{loaded:?}");
    };
    let [moved, reused] = REUSE_FAIL_POINTS;
    let clip = |name: &str| fs::read(env.dir.path().join("renders").join(name)).expect("a clip");
    load("spring.csv", "Turn left");
    assert_eq!(env.run(&["run"]).code, 0);
    let left = clip("spring/a.mp4");
    load("spring.csv", "Turn right");
    assert!(aborts_at(&env, &["run"], moved));
    assert_eq!(clip("spring/earlier/a.1.mp4"), left);
    assert_eq!(env.run(&["run"]).code, 0);
    let right = clip("spring/a.mp4");
    load("spring.csv", "Turn left");
    load("autumn.csv", "Turn right");
    assert!(aborts_at(&env, &["run"], reused));
    assert!(aborts_at(&env, &["run"], reused));
    let run = env.run(&["run"]);
    assert_eq!(run.code, 0, "{run:?}");
    for (name, content) in [
        ("spring/a.mp4", &left),
        ("spring/earlier/a.1.mp4", &left),
        ("spring/earlier/a.2.mp4", &right),
        ("autumn/a.mp4", &right),
    ] {
        assert_eq!(&clip(name), content, "{name}");
    }
    assert_eq!(env.ledger().entries.len(), 2);
    assert_eq!(env.run(&["verify"]).code, 0);
}

#[test]
fn a_run_with_clips_in_storage_aborted_at_any_fail_point_pays_for_each_row_once_and_loses_nothing()
{
    let is_shared = |(name, _): &(&str, _)| !DISK_FAIL_POINTS.contains(name);
    let shared = FAIL_POINTS.into_iter().filter(is_shared);
    let own = STORAGE_FAIL_POINTS.map(|point| (point, None));
    let points: Vec<_> = shared.chain(own).collect();
    for chunk in points.chunks(8) {
        std::thread::scope(|scope| {
            for (point, fault) in chunk {
                scope.spawn(|| abort_and_resume("fal", point, *fault, TestEnv::in_storage));
            }
        });
    }
}

#[test]
fn a_clip_that_was_stored_before_an_abort_is_not_downloaded_again() {
    let env = TestEnv::new(high_limits()).in_storage();
    env.load(1, "fal");
    assert!(aborts_at(&env, &["run"], "object stored"));
    assert_eq!(env.run(&["run"]).code, 0);
    env.assert_all_rendered_once(1);
    assert_eq!(env.ledger().entries[0].downloads, 1);
}

#[test]
fn a_run_aborted_while_clips_change_places_in_storage_keeps_all_of_them_and_pays_for_none_again() {
    let env = TestEnv::new(high_limits()).in_storage();
    let load = |sheet: &str, prompt: &str| {
        let row = format!("id,image,prompt\na,https://e.com/a.png,{prompt}\n");
        env.write(sheet, &row);
        let loaded = env.run(&["load", sheet, "--model", "kling-v1-standard"]);
        assert_eq!(loaded.code, 0, "{loaded:?}");
    };
    let clip = |name: &str| env.storage().content(&format!("renders/{name}"));
    load("spring.csv", "Turn left");
    assert_eq!(env.run(&["run"]).code, 0);
    let left = clip("spring/a.mp4");
    load("spring.csv", "Turn right");
    for point in CHANGE_FAIL_POINTS {
        assert!(aborts_at(&env, &["run"], point), "{point}");
    }
    assert_eq!(clip("spring/a.mp4"), left);
    assert_eq!(env.run(&["run"]).code, 0);
    let right = clip("spring/a.mp4");
    load("spring.csv", "Turn left");
    load("autumn.csv", "Turn right");
    let [_, reused] = REUSE_FAIL_POINTS;
    assert!(aborts_at(&env, &["run"], reused));
    assert!(aborts_at(&env, &["run"], reused));
    let run = env.run(&["run"]);
    assert_eq!(run.code, 0, "{run:?}");
    for (name, content) in [
        ("spring/a.mp4", &left),
        ("spring/earlier/a.1.mp4", &left),
        ("spring/earlier/a.2.mp4", &right),
        ("autumn/a.mp4", &right),
    ] {
        assert_eq!(&clip(name), content, "{name}");
    }
    assert_eq!(env.ledger().entries.len(), 2);
    let verified = env.run(&["verify", "--deep"]);
    assert_eq!(verified.code, 0, "{verified:?}");
}

fn abort_at_every_point(via: &str) {
    // In parallel, because most of the time is spent waiting for the simulated providers.
    for chunk in FAIL_POINTS.chunks(8) {
        std::thread::scope(|scope| {
            for (point, fault) in chunk {
                // AI/ML API never reports a failure as retryable, so Overnight does not retry it.
                if !(via == "aimlapi" && point.starts_with("FailUnbilled")) {
                    scope.spawn(|| abort_and_resume(via, point, *fault, |env| env));
                }
            }
        });
    }
}

/// Aborts a load or a run at a fail point, runs again without faults, and expects each row to be
/// paid for once.
fn abort_and_resume(
    via: &str,
    point: &str,
    fault: Option<(Call, Fault)>,
    place: impl FnOnce(TestEnv) -> TestEnv,
) {
    let faults = fault.map_or_else(Faults::default, |(call, fault)| {
        Faults::default().with(call, fault, 1.0)
    });
    let clip_bytes = if point == "parts stored" { 9 << 20 } else { 0 };
    let env = place(TestEnv::new(SimulatorOptions {
        faults,
        clip_bytes,
        ..high_limits()
    }));
    if UPLOAD_FAIL_POINTS.contains(&point) {
        env.write_image_manifest("batch.csv", ROWS);
    } else {
        env.write_manifest("batch.csv", ROWS);
    }
    let load = load_args(via);
    if !aborts_at(&env, &load, point) {
        if point == "takeover committed" {
            assert!(
                aborts_at(&env, &["run"], "Accept committed"),
                "{via}: no run was left to take over"
            );
        }
        assert!(
            aborts_at(&env, &["run"], point),
            "{via}: `{point}` was not reached"
        );
    }
    env.simulator.set_faults(Faults::default());
    assert_eq!(env.run(&load).code, 0, "{via}, {point}");
    let mut run = env.run(&["run"]);
    // The transaction that records an absence may also submit the job again. An abort right after
    // it is the second loss of a response, which the user has to judge: nothing was sent.
    if point.starts_with("ProveAbsent") && env.resolve_jobs_in_doubt("--resubmit") > 0 {
        run = env.run(&["run"]);
    }
    assert_eq!(run.code, 0, "{via}, {point}: {run:?}");
    if point.starts_with("FailUnbilled") {
        env.assert_clips_and_costs(ROWS);
    } else {
        env.assert_all_rendered_once(ROWS);
    }
    let mut leftovers = env.clip_names("batch");
    leftovers.retain(|name| !name.ends_with(".mp4") && name != ".overnight.json");
    assert!(
        leftovers.is_empty(),
        "{via}, {point}: {leftovers:?} were left behind"
    );
}

/// Runs a command that may reach the fail point, and returns whether it was aborted there.
fn aborts_at(env: &TestEnv, args: &[&str], point: &str) -> bool {
    let mut command = env.command(args);
    command
        .env("OVERNIGHT_FAILPOINT", point)
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    command.status().expect("the binary starts").signal() == Some(SIGABRT)
}

#[test]
fn every_fail_point_in_the_sources_is_tested() {
    fn walk(folder: &Path, found: &mut BTreeSet<String>) {
        for entry in fs::read_dir(folder).expect("a source folder") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                walk(&path, found);
            } else if path.file_name().is_some_and(|name| name != "failpoint.rs") {
                let text = fs::read(&path).expect("a file");
                let text = String::from_utf8_lossy(&text);
                found.extend(
                    text.split("fail_point!(\"")
                        .skip(1)
                        .filter_map(|rest| Some(rest.split_once('"')?.0.to_owned())),
                );
            }
        }
    }
    let mut found = BTreeSet::new();
    walk(
        &Path::new(env!("CARGO_MANIFEST_DIR")).join("src"),
        &mut found,
    );
    assert!(found.len() > 20, "{found:?}");
    for point in found {
        // In the sources, the name of a transition's point contains a placeholder for the event.
        let matches = |(name, _): &(&str, _)| match point.split_once("} ") {
            Some((_, stage)) => name.ends_with(stage),
            None => *name == point,
        };
        let others = [
            &UPLOAD_FAIL_POINTS[..],
            &REUSE_FAIL_POINTS,
            &MOVE_FAIL_POINTS,
            &DATABASE_FAIL_POINTS,
            &COPY_FAIL_POINTS,
            &STORAGE_FAIL_POINTS,
            &CHANGE_FAIL_POINTS,
        ];
        let others = others.concat();
        let is_tested = FAIL_POINTS.iter().any(matches) || others.contains(&point.as_str());
        assert!(is_tested, "`{point}` is never tested");
    }
}
