//! Finding the way: help that can be typed, and names that were mistyped.

use clap::{CommandFactory, Parser};
use overnight::cli::Cli;

use crate::support::{Workplace, roomy};

#[test]
fn a_mistyped_name_is_told_the_nearest() {
    let workplace = Workplace::new(roomy());
    workplace.load(12, "eachlabs");
    for (args, said) in [
        (&["status", "--batch", "bacth"][..], "there is no batch `bacth`, did you mean `batch`?"),
        (&["jobs", "--batch", "bacth"], "did you mean `batch`?"),
        (&["run", "--batch", "bacth"], "did you mean `batch`?"),
        (&["retry", "--batch", "bacth"], "did you mean `batch`?"),
        (&["cancel", "--batch", "bacth"], "did you mean `batch`?"),
        (&["show", "row-1", "--batch", "bacth"], "there is no batch `bacth`, did you mean `batch`?"),
        (&["show", "rwo-11"], "there is no job `rwo-11`, did you mean `row-11`?"),
        (&["retry", "ROW_11"], "did you mean `row-11`?"),
        (&["jobs", "--state", "faild"], "a similar value exists: 'failed'"),
        (&["load", "batch.csv", "--model", "kling-v1-standard", "--via", "eachlab"], "'eachlabs'"),
        (&["models", "kling-v1-standart"], "did you mean `kling-v1-standard`?"),
    ] {
        let run = workplace.run(args);
        assert_eq!(run.code, 2, "{args:?} {run:?}");
        assert!(run.stderr.contains(said), "{args:?} {run:?}");
        assert_eq!(run.stdout, "", "{args:?}");
    }
    assert!(workplace.run(&["status", "--batch", "zzz"]).stderr.contains("there is batch"));
}

#[test]
fn every_commands_help_has_an_example_that_can_be_typed() {
    let help = Cli::command();
    for command in help.get_subcommands() {
        let name = command.get_name();
        let text = command.get_after_help().map(ToString::to_string).unwrap_or_default();
        let (_, examples) = text.split_once("Examples:\n").unwrap_or_else(|| panic!("{name} has none"));
        let lines = typed(examples);
        assert!((1..=3).contains(&lines.len()), "{name}: {lines:?}");
        for words in lines {
            assert_eq!(words[1], name, "{words:?}");
            assert_parses(&words);
        }
        assert!(command.get_about().is_some_and(|about| about.to_string().chars().count() < 100), "{name}");
    }
    let text = help.get_after_help().map(ToString::to_string).unwrap_or_default();
    let (_, night) = text.split_once("Your first night:\n").expect("a first night");
    let steps = typed(night);
    assert_eq!(
        steps.iter().map(|words| words[1].as_str()).collect::<Vec<_>>(),
        ["demo", "load", "run", "status"]
    );
    steps.iter().for_each(|words| assert_parses(words));
}

#[test]
fn no_help_is_wider_than_a_hundred_columns_and_no_example_is_wrapped() {
    let workplace = Workplace::new(roomy());
    let help = Cli::command();
    for command in help.get_subcommands().chain([&help]) {
        let name = command.get_name();
        let args = if name == help.get_name() { vec!["--help"] } else { vec![name, "--help"] };
        let shown = workplace.run(&args);
        assert_eq!(shown.code, 0, "{name}");
        for line in shown.stdout.lines() {
            assert!(line.chars().count() <= 100, "{name}: {line}");
        }
        let text = command.get_after_help().map(ToString::to_string).unwrap_or_default();
        for example in text.lines().filter(|line| line.starts_with("  ")) {
            assert!(shown.stdout.lines().any(|line| line == example), "{name} wraps: {example}");
        }
    }
}

fn assert_parses(words: &[String]) {
    if let Err(error) = Cli::try_parse_from(words) {
        panic!("{words:?}: {error}");
    }
}

/// The examples as words, as a shell would give them.
fn typed(examples: &str) -> Vec<Vec<String>> {
    let joined = examples.replace("\\\n", " ");
    let lines = joined.lines().take_while(|line| line.starts_with("  "));
    lines.map(|line| words(line.split([';', '>']).next().unwrap_or(line))).collect()
}

/// Splits at spaces outside of single quotes, and leaves a comment out.
fn words(line: &str) -> Vec<String> {
    let (mut words, mut word, mut quoted) = (Vec::new(), String::new(), false);
    for letter in line.chars().chain([' ']) {
        match letter {
            '\'' => quoted = !quoted,
            ' ' if !quoted => words.extend(Some(std::mem::take(&mut word)).filter(|word| !word.is_empty())),
            '#' if !quoted && word.is_empty() => break,
            letter => word.push(letter),
        }
    }
    words
}
