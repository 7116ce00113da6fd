//! Checks that the code has only the dependencies that the map in `lib.rs` allows.

use std::fs;
use std::path::{Path, PathBuf};

/// Returns path and text of every Rust file in a folder of `src`.
fn sources(folder: &str) -> Vec<(PathBuf, String)> {
    fn collect(path: &Path, sources: &mut Vec<(PathBuf, String)>) {
        for entry in fs::read_dir(path).expect("a source folder") {
            let path = entry.expect("a directory entry").path();
            if path.is_dir() {
                collect(&path, sources);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = fs::read_to_string(&path).expect("a text file");
                sources.push((path, text));
            }
        }
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut sources = Vec::new();
    collect(&root.join(folder), &mut sources);
    assert!(!sources.is_empty(), "{folder} has no sources");
    sources
}

/// Asserts that no file of a folder contains any of the given texts.
fn assert_free_of(folder: &str, forbidden: &[&str]) {
    for (path, text) in sources(folder) {
        for name in forbidden {
            assert!(!text.contains(name), "{} uses {name}", path.display());
        }
    }
}

#[test]
fn the_domain_uses_no_runtime_no_database_no_network_and_no_clock() {
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
fn dependencies_point_one_way() {
    assert_free_of(
        "queue",
        &[
            "crate::worker",
            "crate::cli",
            "crate::loader",
            "crate::manifest",
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
            "crate::loader",
            "crate::queue",
            "crate::provider",
        ],
    );
    assert_free_of(
        "loader",
        &[
            "crate::app",
            "crate::cli",
            "crate::worker",
            "crate::provider",
            "crate::output",
            "queue::sqlite",
            "clap",
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
fn only_the_composition_root_names_concrete_adapters() {
    let adapters = [
        "SqliteQueue",
        "Eachlabs::",
        "Aimlapi::",
        "Fal::",
        "LocalStore",
        "Downloader",
        "LocalImages",
        "SystemClock",
    ];
    for folder in ["cli", "loader", "manifest", "rehearsal", "report", "worker"] {
        assert_free_of(folder, &adapters);
    }
    let root = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("src/app.rs"));
    let root = root.expect("the composition root");
    assert!(!root.contains("crate::cli"), "app.rs uses cli");
    assert!(!root.contains("clap"), "app.rs uses clap");
}

#[test]
fn a_rehearsal_performs_no_io_and_only_the_command_line_uses_it() {
    let outside = [
        "crate::cli",
        "crate::manifest",
        "queue::sqlite",
        "LocalStore",
        "Downloader",
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
        "loader",
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
fn only_the_sqlite_folder_contains_sql() {
    for folder in [
        "cli", "loader", "worker", "provider", "output", "manifest", "report", "domain",
    ] {
        assert_free_of(folder, &["SELECT ", "INSERT INTO", "rusqlite"]);
    }
}
