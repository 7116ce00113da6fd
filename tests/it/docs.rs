//! The documents say what is so: commands, flags, links, tests, config, figures about the code.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use overnight::config::Config;

/// The files that one reads from a claim to a recorded outcome, in the order that `lib.rs` recommends.
const READING_PATH: [&str; 9] = [
    "src/domain/job_state.rs",
    "src/domain/outcome.rs",
    "src/domain/retry.rs",
    "src/queue/work.rs",
    "src/provider/port.rs",
    "src/policy/outcome.rs",
    "src/worker/work_loop.rs",
    "src/worker/step.rs",
    "src/worker/submit.rs",
];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Returns every document with its path from the root.
fn documents() -> Vec<(PathBuf, String)> {
    let mut documents = Vec::new();
    for folder in ["", "docs"] {
        for entry in fs::read_dir(root().join(folder)).expect("a folder") {
            let name = entry.expect("an entry").file_name();
            let path = Path::new(folder).join(name);
            if path.extension().is_some_and(|extension| extension == "md") {
                let text = read(path.to_str().expect("a name in UTF-8"));
                documents.push((path, text));
            }
        }
    }
    assert!(documents.len() >= 11, "{} documents", documents.len());
    documents
}

/// Returns the targets of a document's Markdown links and pictures.
fn links(text: &str) -> Vec<&str> {
    text.split("](")
        .skip(1)
        .filter_map(|rest| rest.split_once(')'))
        .map(|(target, _)| target)
        .collect()
}

/// Returns the anchors of a document's headings, as GitHub makes them.
fn anchors(text: &str) -> BTreeSet<String> {
    text.lines()
        .filter(|line| line.starts_with('#'))
        .map(|heading| {
            let heading = heading.trim_start_matches('#').trim().to_lowercase();
            heading
                .chars()
                .filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'))
                .map(|c| if c == ' ' { '-' } else { c })
                .collect()
        })
        .collect()
}

/// Returns the lines of a document's code blocks.
fn code_lines(text: &str) -> impl Iterator<Item = &str> {
    let blocks = text.split("```").skip(1).step_by(2);
    blocks.flat_map(|block| block.lines().skip(1))
}

/// Returns the words from `overnight` on, if the line runs it: at its start, or behind `&&`, or
/// behind a program that runs another.
fn overnight_command(line: &str) -> Option<Vec<&str>> {
    let line = line.split('#').next().unwrap_or(line);
    let words: Vec<&str> = line.split_whitespace().collect();
    let start = words
        .iter()
        .position(|word| *word == "overnight" || word.ends_with("/overnight"))?;
    Some(words[start..].to_vec())
}

fn help_of(command: &[&str]) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_overnight"))
        .args(command)
        .arg("--help")
        .output();
    String::from_utf8(output.expect("the binary starts").stdout).expect("text")
}

#[test]
fn every_command_and_flag_in_the_documents_is_one_the_binary_knows() {
    let mut flags = 0;
    for (path, text) in documents() {
        for line in code_lines(&text) {
            let Some(words) = overnight_command(line) else {
                continue;
            };
            // The URL of a database may end like a command.
            let Some(command) = words.get(1) else {
                continue;
            };
            let command = if ["ctl", "queue"].contains(command) {
                &words[1..3]
            } else {
                &words[1..2]
            };
            let help = help_of(command);
            let usage = format!("Usage: overnight {}", command.join(" "));
            assert!(help.contains(&usage), "{}: {line}", path.display());
            for flag in words.iter().filter(|word| word.starts_with("--")) {
                assert!(help.contains(flag), "{}: {line}: {flag}", path.display());
                flags += 1;
            }
        }
    }
    assert!(flags >= 15, "the documents show {flags} flags");
}

#[test]
fn every_link_between_documents_leads_somewhere() {
    let mut checked = 0;
    for (path, text) in documents() {
        for link in links(&text) {
            if link.starts_with("https://") {
                continue;
            }
            let (file, anchor) = link.split_once('#').unwrap_or((link, ""));
            let target = match file {
                "" => path.clone(),
                file => path.parent().expect("a folder").join(file),
            };
            let full = root().join(&target);
            assert!(full.exists(), "{}: {link}", path.display());
            if !anchor.is_empty() {
                let text = fs::read_to_string(&full).expect("text");
                assert!(
                    anchors(&text).contains(anchor),
                    "{}: {link}",
                    path.display()
                );
            }
            checked += 1;
        }
    }
    assert!(checked >= 40, "{checked} links");
}

#[test]
fn every_test_that_a_document_names_is_where_it_says() {
    let mut tests = 0;
    for (path, text) in documents() {
        for link in text.split("[`").skip(1) {
            let Some((name, rest)) = link.split_once("`](") else {
                continue;
            };
            let file = rest.split(')').next().unwrap_or_default();
            if !file.ends_with(".rs") {
                continue;
            }
            let file = root().join(path.parent().expect("a folder")).join(file);
            let code = fs::read_to_string(&file).expect("the linked file");
            // A test of the conformance suite is generic over the store.
            let is_defined =
                code.contains(&format!("fn {name}(")) || code.contains(&format!("fn {name}<"));
            assert!(
                is_defined,
                "{} names {name}, which is not in {}",
                path.display(),
                file.display()
            );
            tests += 1;
        }
    }
    assert!(tests >= 15, "{tests} tests");
}

#[test]
fn every_guarantee_names_the_tests_that_hold_it() {
    let text = read("docs/guarantees.md");
    let claims: Vec<&str> = text
        .split("\n## ")
        .skip(1)
        .filter(|section| !section.starts_with("What is not promised"))
        .collect();
    assert!(claims.len() >= 5, "{} claims", claims.len());
    for claim in claims {
        let title = claim.lines().next().unwrap_or_default();
        assert!(claim.contains("Limit"), "{title} states no limits");
        assert!(claim.contains("[`"), "{title} names no test");
    }
}

#[test]
fn the_documented_config_is_read() {
    let text = read("docs/configuration.md");
    let block = text
        .split("```toml")
        .nth(1)
        .and_then(|rest| rest.split("```").next())
        .expect("a config");
    Config::read("overnight.toml", block).expect("a config that is read");
}

#[test]
fn the_readme_fits_a_screen_or_two() {
    let readme = read("README.md");
    assert!(readme.lines().count() <= 100);
    for row in readme.lines().filter(|line| line.starts_with('|')) {
        assert!(row.chars().count() <= 100, "{row}");
    }
    for folder in ["](tests/", "](src/"] {
        assert!(!readme.contains(folder), "the README links to {folder}");
    }
}

#[test]
fn the_badges_say_what_the_manifest_says() {
    let manifest: toml::Table = read("Cargo.toml").parse().expect("TOML");
    let package = manifest["workspace"]["package"]
        .as_table()
        .expect("a table");
    for (badge, value) in [
        ("msrv", package["rust-version"].as_str()),
        ("license", package["license"].as_str()),
        ("ci", Some(".ci/run")),
    ] {
        let value = value.expect("text");
        let badge = read(&format!("docs/badges/{badge}.svg"));
        assert!(badge.contains(&format!(">{value}</text>")), "{badge}");
    }
    assert!(read(".github/workflows/ci.yml").contains("bash .ci/run"));
}

#[test]
fn the_reading_path_is_as_long_as_the_documents_say() {
    let lines: usize = READING_PATH
        .iter()
        .map(|path| {
            let text = read(path);
            let (code, _) = text
                .split_once("#[cfg(test)]\nmod tests {")
                .unwrap_or((&text, ""));
            code.lines().count()
        })
        .sum();
    assert!(lines <= 1200, "{lines} lines");
    let claim = format!("{lines} lines");
    for document in ["README.md", "docs/architecture.md"] {
        assert!(read(document).contains(&claim), "{document}: {claim}");
    }
    let text = read("src/lib.rs");
    let (_, map) = text.split_once("# Reading order").expect("a reading order");
    let order = READING_PATH.map(|path| {
        let module = path
            .trim_start_matches("src/")
            .trim_end_matches(".rs")
            .trim_end_matches("/mod")
            .replace('/', "::");
        map.find(&format!("`{module}`"))
            .unwrap_or_else(|| panic!("lib.rs does not name {module}"))
    });
    assert!(order.is_sorted(), "lib.rs names another order");
}
