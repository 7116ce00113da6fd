//! Checks that only the command line names flags and commands in what a person reads.

use std::fs;
use std::path::Path;

use crate::architecture::sources;

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
    let command_line = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/cli");
    for (path, text) in sources("") {
        let is_test = path.components().any(|part| part.as_os_str() == "tests")
            || path.file_name().is_some_and(|name| name == "tests.rs");
        if is_test || path.starts_with(&command_line) {
            continue;
        }
        for literal in string_literals(&text) {
            let found = find_command(&literal, &commands);
            assert!(found.is_none(), "{}: {literal:?}", path.display());
        }
    }
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/report/page.js");
    let page = fs::read_to_string(page).expect("the page's script");
    assert!(!page.contains("overnight "), "page.js names a command");
}
