//! The README says what is so.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

const README: &str = include_str!("../../README.md");

fn help_of(command: &[&str]) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_overnight")).args(command).arg("--help").output();
    String::from_utf8(output.expect("the binary starts").stdout).expect("text")
}

#[test]
fn every_command_and_flag_in_the_readme_is_one_the_binary_knows() {
    let mut checked = 0;
    for line in README.lines().map(str::trim).filter(|line| line.starts_with("overnight ")) {
        let line = line.split('#').next().unwrap_or(line).replace(['(', ')'], " ");
        let words: Vec<&str> = line.split_whitespace().collect();
        let help = help_of(&words[1..2]);
        assert!(help.contains("Usage: overnight"), "{line}");
        for flag in words.iter().filter(|word| word.starts_with("--")) {
            assert!(help.contains(flag), "{line}: {flag}");
            checked += 1;
        }
    }
    assert!(checked >= 3, "the README shows {checked} flags");
}

#[test]
fn every_test_the_readme_names_exists() {
    let mut names = BTreeSet::new();
    for folder in ["tests/it", "src/domain", "src/queue", "src/output", "src/manifest"] {
        for entry in fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join(folder)).expect("a folder") {
            let path = entry.expect("an entry").path();
            if path.is_file() {
                let text = fs::read_to_string(path).expect("text");
                names.extend(
                    text.split("fn ").skip(1).filter_map(|rest| rest.split('(').next()).map(str::to_owned),
                );
            }
        }
    }
    let quoted = README.split('`').skip(1).step_by(2);
    let tests: Vec<&str> =
        quoted.filter(|word| word.matches('_').count() >= 4 && !word.contains([' ', '/', '='])).collect();
    assert!(tests.len() >= 5, "{tests:?}");
    for test in tests {
        assert!(names.contains(test), "the README names {test}, which does not exist");
    }
}

#[test]
fn the_documented_config_is_read() {
    let block = README.split("```toml").nth(1).and_then(|rest| rest.split("```").next()).expect("a config");
    overnight::config::Config::read("overnight.toml", block).expect("a config that is read");
}
