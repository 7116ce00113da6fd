//! Checks that the code has only the dependencies that the map in `lib.rs` allows.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use crate::import_graph::{ImportGraph, Reexports};

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
}

#[test]
fn only_the_command_line_uses_the_composition_root_which_knows_no_flags() {
    for folder in [
        "catalog",
        "domain",
        "loader",
        "manifest",
        "output",
        "provider",
        "queue",
        "rehearsal",
        "report",
        "simulator",
        "worker",
    ] {
        assert_free_of(folder, &["crate::app", "clap::"]);
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/app.rs");
    let text = fs::read_to_string(root).expect("the composition root");
    for name in ["crate::cli", "clap", "--"] {
        assert!(!text.contains(name), "app.rs contains {name}");
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
        "domain", "queue", "provider", "output", "worker", "loader", "manifest", "catalog",
        "report",
    ] {
        assert_free_of(folder, &["crate::rehearsal"]);
    }
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
        "cli", "loader", "worker", "provider", "output", "manifest", "report", "domain",
    ] {
        assert_free_of(folder, &["SELECT ", "INSERT INTO", "rusqlite"]);
    }
}

/// Returns the string literals of a source file, without those of comments, characters and the test
/// module at its end. A line break that a backslash continues is left out.
fn string_literals(source: &str) -> Vec<String> {
    let mut rest = source
        .split("#[cfg(test)]\nmod ")
        .next()
        .unwrap_or_default();
    let mut literals = Vec::new();
    while let Some(at) = rest.find(['"', '/', '\'', 'r']) {
        let (before, from) = rest.split_at(at);
        let in_word =
            before.ends_with(|c: char| c.is_alphanumeric() || c == '_') && !before.ends_with('b');
        let hashes = from[1..].len() - from[1..].trim_start_matches('#').len();
        let is_raw = from.starts_with('r') && !in_word && from[1 + hashes..].starts_with('"');
        rest = if from.starts_with("//") {
            from.split_once('\n').map_or("", |(_, after)| after)
        } else if is_raw {
            let end = format!("\"{}", "#".repeat(hashes));
            let (literal, after) = from[2 + hashes..].split_once(&end).unwrap_or_default();
            literals.push(literal.to_owned());
            after
        } else if let Some(text) = from.strip_prefix('"') {
            let mut is_escaped = false;
            let end = text.find(|c| {
                let is_end = c == '"' && !is_escaped;
                is_escaped = c == '\\' && !is_escaped;
                is_end
            });
            let (literal, after) = text.split_at(end.expect("the end of a literal"));
            let lines: Vec<&str> = literal.split("\\\n").collect();
            let lines = lines.iter().enumerate().map(|(index, line)| match index {
                0 => line,
                _ => line.trim_start(),
            });
            literals.push(lines.collect());
            &after[1..]
        } else if from.starts_with("'\\") {
            // The escaped character may be a quote.
            from[3..].split_once('\'').map_or("", |(_, after)| after)
        } else if let Some(after) = from.strip_prefix("'\"'") {
            after
        } else {
            &from[1..]
        };
    }
    literals
}

#[test]
fn string_literals_are_told_from_comments_characters_and_tests() {
    let source = [
        r#"/// A "doc" comment."#,
        r#"fn f<'a>(c: &'a str) { let q = ('"', '\'', "one \"two\""); }"#,
        "const LONG: &str = \"three \\",
        "    four\";",
        r##"const RAW: &str = r#"five "six""#; // "seven""##,
        "#[cfg(test)]",
        "mod tests { const T: &str = \"eight\"; }",
    ];
    assert_eq!(
        string_literals(&source.join("\n")),
        [r#"one \"two\""#, "three four", r#"five "six""#]
    );
}

/// Returns the first flag or command in a text: `--flag`, `overnight command`, or a command in
/// backticks.
fn find_command(text: &str, commands: &[String]) -> Option<String> {
    let is_in_word = |c: char| c.is_alphanumeric() || c == '_' || c == '-';
    let word_after = |at: usize| {
        text[at..]
            .split(|c| !is_in_word(c))
            .next()
            .unwrap_or_default()
    };
    let starts_word = |at: usize| !text[..at].ends_with(is_in_word);
    let flag = text.match_indices("--").map(|(at, _)| at);
    let flag = flag
        .filter(|at| {
            starts_word(*at) && text[at + 2..].starts_with(|c: char| c.is_ascii_lowercase())
        })
        .map(word_after)
        .next();
    let is_command = |word: &&str| commands.iter().any(|command| command == word);
    let after = |prefix: &str| {
        let found = text
            .match_indices(prefix)
            .filter(|(at, _)| starts_word(*at));
        let words: Vec<&str> = found.map(|(at, _)| word_after(at + prefix.len())).collect();
        words.into_iter().find(is_command)
    };
    flag.or_else(|| after("overnight "))
        .or_else(|| after("`"))
        .map(str::to_owned)
}

/// Which flags and commands there are is known to the command line alone, which adds them to what
/// the other folders report.
#[test]
fn no_message_below_the_command_line_names_a_flag_or_a_command() {
    let command = <overnight::cli::Cli as clap::CommandFactory>::command();
    let commands: Vec<String> = command
        .get_subcommands()
        .map(|command| command.get_name().to_owned())
        .collect();
    for (text, found) in [
        ("choose another with `--batch NAME`", Some("--batch")),
        ("list jobs with `overnight jobs`", Some("jobs")),
        ("paid; `resolve` it", Some("resolve")),
        ("a newer version of overnight (4)", None),
        ("SELECT 1 -- the first", None),
        ("no column provides `image`", None),
    ] {
        assert_eq!(find_command(text, &commands).as_deref(), found, "{text}");
    }
    for folder in [
        "catalog",
        "domain",
        "loader",
        "manifest",
        "output",
        "policy",
        "provider",
        "queue",
        "rehearsal",
        "report",
        "worker",
    ] {
        for (path, text) in sources(folder) {
            let is_test = path.components().any(|part| part.as_os_str() == "tests")
                || path.file_name().is_some_and(|name| name == "tests.rs");
            if is_test {
                continue;
            }
            for literal in string_literals(&text) {
                let found = find_command(&literal, &commands);
                assert!(found.is_none(), "{}: {literal:?}", path.display());
            }
        }
    }
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/report/page.js");
    let page = fs::read_to_string(page).expect("the page's script");
    assert!(!page.contains("overnight "), "page.js names a command");
}

/// The files of the product that still import each other, each group in a line. None may be added.
const KNOWN_CIRCLES: &[&[&str]] = &[
    &["cli/args/manifest.rs", "cli/args/mod.rs"],
    &["cli/canary.rs", "cli/run.rs", "cli/verify.rs"],
    &[
        "cli/render.rs",
        "cli/screen/lines.rs",
        "cli/screen/live_region.rs",
        "cli/screen/mod.rs",
    ],
    &["domain/job.rs", "domain/outcome.rs"],
    &[
        "manifest/csv_reader.rs",
        "manifest/detect.rs",
        "manifest/header.rs",
        "manifest/jsonl_rows.rs",
        "manifest/mod.rs",
        "manifest/pipeline.rs",
        "manifest/preset.rs",
        "manifest/row.rs",
        "manifest/row_mapper.rs",
        "manifest/table.rs",
    ],
    &[
        "policy/claim/backlog.rs",
        "policy/claim/mod.rs",
        "policy/claim/placement.rs",
        "policy/claim/uploads.rs",
    ],
    &["queue/health.rs", "queue/mod.rs", "queue/staging.rs"],
    &["queue/sqlite/change.rs", "queue/sqlite/row.rs"],
    &[
        "queue/sqlite/placement.rs",
        "queue/sqlite/submit_claims.rs",
        "queue/sqlite/uploads.rs",
    ],
    &["worker/step.rs", "worker/upload.rs"],
];

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
    let source = root.join("src");
    let product = ImportGraph::read(&source);
    let mut circles = product.circles(Reexports::Followed);
    circles.retain(|circle| {
        let is_in = |known: &&[&str]| {
            circle
                .iter()
                .all(|file| known.iter().any(|name| source.join(name) == *file))
        };
        !KNOWN_CIRCLES.iter().any(is_in)
    });
    assert!(circles.is_empty(), "{circles:#?}");
}
