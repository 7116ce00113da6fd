//! `--help`, its examples, completions, manual pages, and the answers to mistyped names.

use std::path::Path;

use clap::{CommandFactory, Parser};
use overnight::cli::Cli;

use crate::support::{TestEnv, high_limits};

#[test]
fn a_mistyped_name_is_answered_with_the_nearest_name() {
    let env = TestEnv::new(high_limits());
    env.load(12, "eachlabs");
    for (args, expected) in [
        (
            &["status", "--batch", "bacth"][..],
            "there is no batch `bacth`, did you mean `batch`?",
        ),
        (&["jobs", "--batch", "bacth"], "did you mean `batch`?"),
        (&["run", "--batch", "bacth"], "did you mean `batch`?"),
        (&["retry", "--batch", "bacth"], "did you mean `batch`?"),
        (&["cancel", "--batch", "bacth"], "did you mean `batch`?"),
        (
            &["show", "row-1", "--batch", "bacth"],
            "there is no batch `bacth`, did you mean `batch`?",
        ),
        (
            &["show", "rwo-11"],
            "there is no job `rwo-11`, did you mean `row-11`?",
        ),
        (&["retry", "ROW_11"], "did you mean `row-11`?"),
        (
            &["jobs", "--state", "faild"],
            "a similar value exists: 'failed'",
        ),
        (
            &[
                "load",
                "batch.csv",
                "--model",
                "kling-v1-standard",
                "--via",
                "eachlab",
            ],
            "'eachlabs'",
        ),
        (
            &["models", "kling-v1-standart"],
            "did you mean `kling-v1-standard`?",
        ),
        (&["docter"], "'doctor'"),
    ] {
        let run = env.run(args);
        assert_eq!(run.code, 2, "{args:?} {run:?}");
        assert!(run.stderr.contains(expected), "{args:?} {run:?}");
        assert_eq!(run.stdout, "", "{args:?}");
    }
    assert!(
        env.run(&["status", "--batch", "zzz"])
            .stderr
            .contains("existing batches: ")
    );
}

#[test]
fn every_commands_help_has_examples_that_parse() {
    let help = Cli::command();
    for command in help.get_subcommands() {
        let name = command.get_name();
        let text = command
            .get_after_help()
            .map(ToString::to_string)
            .unwrap_or_default();
        let (_, examples) = text
            .split_once("Examples:\n")
            .unwrap_or_else(|| panic!("{name} has no examples"));
        let lines = example_words(examples);
        assert!((1..=5).contains(&lines.len()), "{name}: {lines:?}");
        for words in lines {
            assert_eq!(words[1], name, "{words:?}");
            assert_parses(&words);
        }
        assert!(
            command
                .get_about()
                .is_some_and(|about| about.to_string().chars().count() < 100),
            "{name}"
        );
    }
    let text = help
        .get_after_help()
        .map(ToString::to_string)
        .unwrap_or_default();
    let (_, quick_start) = text.split_once("Quick start:\n").expect("a quick start");
    let steps = example_words(quick_start);
    assert_eq!(
        steps
            .iter()
            .map(|words| words[1].as_str())
            .collect::<Vec<_>>(),
        ["demo", "load", "run", "status"]
    );
    steps.iter().for_each(|words| assert_parses(words));
}

#[test]
fn no_help_is_wider_than_a_hundred_columns_and_no_example_is_wrapped() {
    let env = TestEnv::new(high_limits());
    let help = Cli::command();
    for command in help.get_subcommands().chain([&help]) {
        let name = command.get_name();
        let args = if name == help.get_name() {
            vec!["--help"]
        } else {
            vec![name, "--help"]
        };
        let shown = env.run(&args);
        assert_eq!(shown.code, 0, "{name}");
        for line in shown.stdout.lines() {
            assert!(line.chars().count() <= 100, "{name}: {line}");
        }
        let text = command
            .get_after_help()
            .map(ToString::to_string)
            .unwrap_or_default();
        for example in text.lines().filter(|line| line.starts_with("  ")) {
            assert!(
                shown.stdout.lines().any(|line| line == example),
                "{name} wraps: {example}"
            );
        }
    }
}

fn assert_parses(words: &[String]) {
    if let Err(error) = Cli::try_parse_from(words) {
        panic!("{words:?}: {error}");
    }
}

/// Splits examples into words, as a shell does.
fn example_words(examples: &str) -> Vec<Vec<String>> {
    let joined = examples.replace("\\\n", " ");
    let lines = joined.lines().take_while(|line| line.starts_with("  "));
    lines
        .map(|line| words(line.split([';', '>']).next().unwrap_or(line)))
        .collect()
}

/// Splits a line at spaces outside single quotes, and drops a comment.
fn words(line: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word = String::new();
    let mut is_quoted = false;
    for letter in line.chars().chain([' ']) {
        match letter {
            '\'' => is_quoted = !is_quoted,
            ' ' if !is_quoted => {
                words.extend(Some(std::mem::take(&mut word)).filter(|word| !word.is_empty()))
            }
            '#' if !is_quoted && word.is_empty() => break,
            letter => word.push(letter),
        }
    }
    words
}

#[test]
fn completions_and_manual_pages_cover_every_command() {
    let env = TestEnv::new(high_limits());
    for shell in ["bash", "zsh", "fish", "powershell", "elvish"] {
        let script = env.run(&["completions", shell]);
        assert_eq!((script.code, script.stderr.as_str()), (0, ""), "{shell}");
        for word in ["doctor", "rehearse", "in_doubt"] {
            // The scripts of these two shells do not list values.
            let has_values = !matches!(shell, "powershell" | "elvish");
            assert!(
                script.stdout.contains(word) || (word == "in_doubt" && !has_values),
                "{shell}: {word}"
            );
        }
    }
    assert_eq!(env.run(&["completions", "bsh"]).code, 2);
    let page = env.run(&["man"]);
    assert!(
        page.code == 0 && page.stdout.contains(".TH overnight 1"),
        "{page:?}"
    );
    let all = env.run(&["man", "--out", "share/man1"]);
    assert_eq!((all.code, all.stdout.as_str()), (0, ""), "{all:?}");
    let folder = env.dir.path().join("share/man1");
    let exists = |name: &str| Path::new(&folder).join(name).is_file();
    assert!(exists("overnight.1"));
    for command in Cli::command().get_subcommands() {
        assert!(
            exists(&format!("overnight-{}.1", command.get_name())),
            "{}",
            command.get_name()
        );
    }
}
