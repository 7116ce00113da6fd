//! The arrows of the map in `lib.rs`, held against the code.

use std::fs;
use std::path::{Path, PathBuf};

fn sources(folder: &str) -> Vec<(PathBuf, String)> {
    fn walk(path: &Path, found: &mut Vec<(PathBuf, String)>) {
        for entry in fs::read_dir(path).expect("a folder of the sources") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                walk(&path, found);
            } else if path.extension().is_some_and(|ending| ending == "rs") {
                let text = fs::read_to_string(&path).expect("text");
                found.push((path, text));
            }
        }
    }
    let mut found = Vec::new();
    walk(
        &Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("src")
            .join(folder),
        &mut found,
    );
    assert!(!found.is_empty(), "{folder} has no sources");
    found
}

fn assert_free_of(folder: &str, words: &[&str]) {
    for (path, text) in sources(folder) {
        for word in words {
            assert!(!text.contains(word), "{} uses {word}", path.display());
        }
    }
}

#[test]
fn the_domain_knows_no_runtime_no_store_no_network_and_no_clock() {
    let io = [
        "tokio",
        "rusqlite",
        "reqwest",
        "std::fs",
        "std::net::Tcp",
        "fastrand",
        "SystemTime",
        "Timestamp::now",
    ];
    assert_free_of("domain", &io);
    let others = [
        "queue",
        "provider::",
        "output",
        "worker",
        "cli",
        "manifest",
        "catalog",
    ]
    .map(|folder| format!("crate::{folder}"));
    assert_free_of("domain", &others.each_ref().map(String::as_str));
}

#[test]
fn arrows_point_one_way() {
    assert_free_of(
        "queue",
        &[
            "crate::worker",
            "crate::cli",
            "crate::provider",
            "crate::output",
        ],
    );
    assert_free_of(
        "provider",
        &[
            "crate::worker",
            "crate::cli",
            "crate::queue",
            "crate::output",
        ],
    );
    assert_free_of(
        "output",
        &[
            "crate::worker",
            "crate::cli",
            "crate::queue",
            "crate::provider",
        ],
    );
    assert_free_of(
        "manifest",
        &[
            "crate::worker",
            "crate::cli",
            "crate::queue",
            "crate::provider",
        ],
    );
    assert_free_of(
        "report",
        &[
            "crate::cli",
            "crate::worker",
            "crate::provider",
            "crate::output",
            "queue::sqlite",
        ],
    );
    assert_free_of(
        "report",
        &["tokio", "std::fs", "Timestamp::now", "Uuid", "fastrand"],
    );
    assert_free_of(
        "worker",
        &[
            "crate::cli",
            "queue::sqlite",
            "LocalStore",
            "Eachlabs",
            "rusqlite",
        ],
    );
}

#[test]
fn a_rehearsal_touches_nothing_outside_and_nobody_but_the_command_line_uses_it() {
    let outside = [
        "crate::cli",
        "crate::manifest",
        "queue::sqlite",
        "LocalStore",
        "Fetcher",
        "rusqlite",
        "reqwest",
        "std::fs",
    ];
    assert_free_of("rehearsal", &outside);
    assert_free_of(
        "rehearsal",
        &[
            "spawn_blocking",
            "Timestamp::now",
            "SystemTime",
            "SystemClock",
        ],
    );
    for folder in [
        "domain",
        "queue",
        "provider",
        "output",
        "worker",
        "manifest",
        "catalog",
        "report",
        "simulator",
    ] {
        assert_free_of(folder, &["crate::rehearsal"]);
    }
}

#[test]
fn the_simulator_shares_no_code_with_the_clients() {
    assert_free_of(
        "simulator",
        &[
            "crate::provider",
            "crate::domain",
            "crate::queue",
            "crate::worker",
            "crate::catalog",
        ],
    );
}

#[test]
fn sql_stands_in_the_sqlite_folder_only() {
    for folder in [
        "cli", "worker", "provider", "output", "manifest", "report", "domain",
    ] {
        assert_free_of(folder, &["SELECT ", "INSERT INTO", "rusqlite"]);
    }
}
