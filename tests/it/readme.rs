//! The README says what is so.

use std::fs;
use std::path::Path;
use std::process::Command;

const README: &str = include_str!("../../README.md");

fn help_of(command: &[&str]) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_overnight"))
        .args(command)
        .arg("--help")
        .output();
    String::from_utf8(output.expect("the binary starts").stdout).expect("text")
}

#[test]
fn every_command_and_flag_in_the_readme_is_one_the_binary_knows() {
    let mut checked = 0;
    for line in README
        .lines()
        .map(str::trim)
        .filter(|line| line.starts_with("overnight "))
    {
        let line = line
            .split('#')
            .next()
            .unwrap_or(line)
            .replace(['(', ')'], " ");
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
fn every_test_the_readme_links_to_exists_where_it_says() {
    let mut links = 0;
    for link in README.split("[`").skip(1) {
        let (name, rest) = link
            .split_once("`](")
            .expect("a link behind the name of a test");
        let path = rest.split(')').next().unwrap_or_default();
        let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path));
        let text = text.unwrap_or_else(|error| panic!("{path}: {error}"));
        assert!(
            text.contains(&format!("fn {name}(")),
            "the README names {name}, which is not in {path}"
        );
        links += 1;
    }
    assert!(links > 20, "{links} links");
    let rows = README.lines().filter(|line| line.starts_with("| **"));
    assert!(
        rows.clone().count() >= 5 && rows.clone().all(|row| row.contains("[`")),
        "a promise without proof"
    );
}

#[test]
fn the_documented_config_is_read() {
    let block = README
        .split("```toml")
        .nth(1)
        .and_then(|rest| rest.split("```").next())
        .expect("a config");
    overnight::config::Config::read("overnight.toml", block).expect("a config that is read");
}
