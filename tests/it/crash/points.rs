//! The program cut off at every point where something becomes durable or leaves the machine; then gone on with.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::Stdio;

use overnight::simulator::{Call, Fault, Faults, SimulatorOptions};

use crate::support::{TestEnv, high_limits};

const ROWS: usize = 4;

/// Every point, with the fault that leads there, if one has to.
const POINTS: [(&str, Option<(Call, Fault)>); 43] = [
    ("load written", None),
    ("load committed", None),
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

/// Points that only rows with images on disk lead to, at a provider with storage.
const UPLOAD_POINTS: [&str; 3] = ["upload unsent", "upload read", "upload committed"];

#[test]
fn a_run_over_eachlabs_that_is_cut_at_any_point_pays_each_row_once_and_loses_nothing() {
    cut_everywhere("eachlabs");
}

#[test]
fn a_run_over_aimlapi_that_is_cut_at_any_point_pays_each_row_once_and_loses_nothing() {
    cut_everywhere("aimlapi");
}

#[test]
fn a_run_over_fal_that_is_cut_at_any_point_pays_each_row_once_and_loses_nothing() {
    cut_everywhere("fal");
}

#[test]
fn a_run_that_is_cut_at_any_point_of_an_upload_pays_each_row_once_and_loses_nothing() {
    for via in ["eachlabs", "fal"] {
        std::thread::scope(|scope| {
            for point in UPLOAD_POINTS {
                scope.spawn(move || cut_and_go_on(via, point, None));
            }
        });
    }
}

fn cut_everywhere(via: &str) {
    // Most of the time goes by in waiting for the simulated providers.
    for together in POINTS.chunks(8) {
        std::thread::scope(|scope| {
            for (point, fault) in together {
                // AI/ML API never says that another try would fare better, so none is made by itself.
                if !(via == "aimlapi" && point.starts_with("FailUnbilled")) {
                    scope.spawn(|| cut_and_go_on(via, point, *fault));
                }
            }
        });
    }
}

fn cut_and_go_on(via: &str, point: &str, fault: Option<(Call, Fault)>) {
    let faults = fault.map_or_else(Faults::default, |(call, fault)| {
        Faults::default().with(call, fault, 1.0)
    });
    let workplace = TestEnv::new(SimulatorOptions {
        faults,
        ..high_limits()
    });
    if UPLOAD_POINTS.contains(&point) {
        workplace.manifest_of_files("batch.csv", ROWS);
    } else {
        workplace.manifest("batch.csv", ROWS);
    }
    let load = [
        "load",
        "batch.csv",
        "--model",
        "kling-v1-standard",
        "--via",
        via,
    ];
    if !is_cut(&workplace, &load, point) {
        if point == "takeover committed" {
            assert!(
                is_cut(&workplace, &["run"], "Accept committed"),
                "{via}: there is nothing to take over"
            );
        }
        assert!(
            is_cut(&workplace, &["run"], point),
            "{via}: `{point}` was not reached"
        );
    }
    workplace.simulator.set_faults(Faults::default());
    assert_eq!(workplace.run(&load).code, 0, "{via}, {point}");
    let run = workplace.run(&["run"]);
    assert_eq!(run.code, 0, "{via}, {point}: {run:?}");
    if point.starts_with("FailUnbilled") {
        workplace.assert_clips_and_books(ROWS);
    } else {
        workplace.assert_all_made(ROWS);
    }
    let unsaved =
        fs::read_dir(workplace.dir.path().join("renders/batch")).expect("the folder of the clips");
    let unsaved: Vec<_> = unsaved
        .map(|entry| entry.expect("an entry").file_name())
        .filter(|name| !name.to_string_lossy().ends_with(".mp4"))
        .collect();
    assert!(
        unsaved.is_empty(),
        "{via}, {point}: {unsaved:?} was left behind"
    );
}

/// Runs a command that is to be cut off, and tells whether it was.
fn is_cut(workplace: &TestEnv, args: &[&str], point: &str) -> bool {
    let mut command = workplace.command(args);
    command
        .env("OVERNIGHT_FAILPOINT", point)
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    command.status().expect("the binary starts").signal() == Some(6)
}

#[test]
fn every_point_of_the_program_is_cut() {
    fn walk(folder: &Path, found: &mut BTreeSet<String>) {
        for entry in fs::read_dir(folder).expect("a folder of the sources") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                walk(&path, found);
            } else if path.file_name().is_some_and(|name| name != "cut.rs") {
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
        // Points at a transition have its event in their name.
        let known = |(name, _): &(&str, _)| match point.split_once("} ") {
            Some((_, stage)) => name.ends_with(stage),
            None => *name == point,
        };
        let is_cut = POINTS.iter().any(known) || UPLOAD_POINTS.contains(&point.as_str());
        assert!(is_cut, "`{point}` is never cut");
    }
}
