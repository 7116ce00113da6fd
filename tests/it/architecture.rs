//! Checks that the code has only the dependencies that the map in `lib.rs` allows.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use crate::import_graph::{ImportGraph, Reexports};

/// Returns path and text of every Rust file in a folder of `src`.
pub(crate) fn sources(folder: &str) -> Vec<(PathBuf, String)> {
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

/// What a pure part may not contain: a runtime, a database, a network, files, a clock, and random
/// numbers.
const IMPURE: [&str; 12] = [
    "tokio",
    "async ",
    "rusqlite",
    "SELECT ",
    "reqwest",
    "std::fs",
    "std::net::Tcp",
    "fastrand",
    "Uuid",
    "Instant",
    "SystemTime",
    "Timestamp::now",
];

#[test]
fn the_domain_and_the_rules_use_no_runtime_no_database_no_network_no_clock_and_no_random_numbers() {
    for folder in ["domain", "policy", "report"] {
        assert_free_of(folder, &IMPURE);
    }
}

/// The parts of the product from the top down, each with those below it that it may import.
const LAYERS: [(&str, &[&str]); 22] = [
    (
        "cli",
        &[
            "app",
            "rehearsal",
            "loader",
            "report",
            "worker",
            "queue",
            "provider",
            "output",
            "manifest",
            "config",
            "open_files",
            "clock",
            "domain",
        ],
    ),
    (
        "app",
        &[
            "rehearsal",
            "worker",
            "queue",
            "provider",
            "output",
            "catalog",
            "config",
            "link_client",
            "image",
            "clock",
            "domain",
        ],
    ),
    (
        "rehearsal",
        &[
            "worker", "queue", "provider", "output", "image", "clock", "domain",
        ],
    ),
    ("loader", &["queue", "output", "manifest", "domain"]),
    ("report", &["queue", "domain"]),
    (
        "worker",
        &[
            "queue",
            "provider",
            "output",
            "image",
            "policy",
            "clock",
            "failpoint",
            "domain",
        ],
    ),
    ("queue", &["policy", "clock", "failpoint", "tls", "domain"]),
    (
        "provider",
        &[
            "image",
            "clock",
            "failpoint",
            "link_client",
            "open_files",
            "tls",
            "domain",
        ],
    ),
    (
        "output",
        &["media", "failpoint", "link_client", "tls", "domain"],
    ),
    ("manifest", &["image", "toml_file", "domain"]),
    ("catalog", &["toml_file", "domain"]),
    ("config", &["link_client", "toml_file", "domain"]),
    ("image", &["media", "link_client", "domain"]),
    ("media", &[]),
    ("policy", &["domain"]),
    ("toml_file", &["domain"]),
    ("clock", &[]),
    ("failpoint", &[]),
    ("link_client", &["open_files", "tls", "domain"]),
    ("open_files", &[]),
    ("tls", &[]),
    ("domain", &[]),
];

#[test]
fn a_part_imports_only_parts_below_it() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let product = ImportGraph::read(&root);
    for (part, imports) in product.parts() {
        let position = LAYERS.iter().position(|(name, _)| *name == part);
        let position = position.unwrap_or_else(|| panic!("{part} is in no layer"));
        for import in imports {
            assert!(
                LAYERS[position].1.contains(&import),
                "{part} imports {import}"
            );
        }
        for allowed in LAYERS[position].1 {
            let mut below = LAYERS[position + 1..].iter();
            assert!(
                below.any(|(name, _)| name == allowed),
                "{allowed} is not below {part}"
            );
        }
    }
    let main = fs::read_to_string(root.join("main.rs")).expect("the binary");
    assert_eq!(names_after(&main, "overnight::"), ["cli".into()].into());
}

#[test]
fn only_the_composition_root_names_concrete_adapters() {
    let adapters = [
        "SqliteQueue",
        "PostgresQueue",
        "Eachlabs::",
        "Aimlapi::",
        "Fal::",
        "LocalStore",
        "ObjectStorage",
        "Downloader",
        "LocalImages",
        "SystemClock",
        "queue::sqlite",
        "queue::postgres",
    ];
    for folder in [
        "cli",
        "loader",
        "manifest",
        "policy",
        "rehearsal",
        "report",
        "worker",
    ] {
        assert_free_of(folder, &adapters);
    }
}

#[test]
fn only_the_command_line_knows_flags() {
    for folder in LAYERS.map(|(name, _)| name) {
        if folder != "cli"
            && Path::new(env!("CARGO_MANIFEST_DIR"))
                .join("src")
                .join(folder)
                .is_dir()
        {
            assert_free_of(folder, &["clap::"]);
        }
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/app/mod.rs");
    let text = fs::read_to_string(root).expect("the composition root");
    for name in ["clap", "--"] {
        assert!(!text.contains(name), "app contains {name}");
    }
}

/// Returns the names that follow each occurrence of a path's prefix, with those in braces.
fn names_after(text: &str, prefix: &str) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for rest in text.split(prefix).skip(1) {
        let list = match rest.strip_prefix('{') {
            Some(list) => list.split(';').next().unwrap_or_default(),
            None => rest.split(',').next().unwrap_or_default(),
        };
        for item in list.split(',') {
            let is_in_name = |c: char| c.is_ascii_lowercase() || c == '_';
            let name = item.trim_start().split(|c| !is_in_name(c)).next();
            names.insert(name.unwrap_or_default().to_owned());
        }
    }
    names
}

#[test]
fn no_part_of_the_command_line_uses_another_in_a_circle() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/cli");
    let mut uses: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for (path, text) in sources("cli") {
        let part = path.strip_prefix(&folder).expect("a file of the folder");
        let is_top_level = part.components().count() == 1;
        let part = part.components().next().expect("a name").as_os_str();
        let part = Path::new(part).with_extension("").display().to_string();
        let code = text.split("#[cfg(test)]").next().unwrap_or_default();
        let mut names = names_after(code, "crate::cli::");
        if is_top_level {
            names.extend(names_after(code, "super::"));
        }
        names.remove(&part);
        uses.entry(part).or_default().extend(names);
    }
    // The root names every part.
    uses.remove("mod");
    assert!(uses["run"].contains("run_pool"), "{uses:?}");
    assert!(uses["doctor"].contains("setup"), "{uses:?}");
    // A part that uses none of those left is in no circle.
    while let Some(part) = uses
        .iter()
        .find(|(_, names)| names.iter().all(|name| !uses.contains_key(name)))
        .map(|(part, _)| part.clone())
    {
        uses.remove(&part);
    }
    assert!(uses.is_empty(), "in a circle, or using one: {uses:?}");
}

#[test]
fn a_rehearsal_performs_no_io() {
    assert_free_of(
        "rehearsal",
        &[
            "rusqlite",
            "reqwest",
            "std::fs",
            "spawn_blocking",
            "Timestamp::now",
            "SystemTime",
        ],
    );
}

#[test]
fn the_model_of_the_simulator_uses_no_runtime_no_network_and_no_clock() {
    let source = "../crates/simulator/src";
    let (server, model): (Vec<_>, Vec<_>) = sources(source)
        .into_iter()
        .partition(|(path, _)| path.components().any(|part| part.as_os_str() == "server"));
    assert!(!server.is_empty());
    for (path, text) in model {
        for name in [
            "tokio",
            "axum",
            "hyper",
            "jiff",
            "std::net",
            "std::fs",
            "Instant",
            "SystemTime",
        ] {
            assert!(!text.contains(name), "{} uses {name}", path.display());
        }
    }
}

#[test]
fn only_the_sqlite_folder_contains_sql() {
    for folder in [
        "cli", "loader", "worker", "provider", "output", "manifest", "policy", "report", "domain",
    ] {
        assert_free_of(folder, &["SELECT ", "INSERT INTO", "rusqlite"]);
    }
}

/// Checks every member of the workspace. A folder of the product whose `mod.rs` holds a port and
/// re-exports the adapters is no circle, so re-exports are followed there; the simulator has no
/// ports, so that its files have no reason to import through another.
#[test]
fn no_two_files_import_each_other_directly_or_through_others() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let manifest = fs::read_to_string(root.join("Cargo.toml")).expect("a manifest");
    let manifest: toml::Table = manifest.parse().expect("TOML");
    let members = manifest["workspace"]["members"].as_array().expect("a list");
    for member in members {
        let source = root.join(member.as_str().expect("a path")).join("src");
        let graph = ImportGraph::read(&source);
        let circles = graph.circles(Reexports::Counted);
        assert!(circles.is_empty(), "{circles:#?}");
    }
    let product = ImportGraph::read(&root.join("src"));
    let circles = product.circles(Reexports::Followed);
    assert!(circles.is_empty(), "{circles:#?}");
}
