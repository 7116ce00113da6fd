//! Suggested commands, printed so that a POSIX shell runs them as they are.

use std::borrow::Cow;
use std::fmt;

use super::args::Global;

/// An `overnight` command to suggest to the user.
///
/// Displayed, each word is quoted where a shell would otherwise split or expand it. The `--queue`
/// and `--config` of the current command line are repeated: without them the suggested command
/// would act on another queue.
#[derive(Clone, Debug)]
pub(super) struct SuggestedCommand {
    words: Vec<String>,
    /// The global flags to repeat, which come after the words.
    global: Vec<String>,
    /// A row id that starts with a dash, after `--`, which ends the flags.
    last: Vec<String>,
}

impl SuggestedCommand {
    /// Suggests `overnight <command>` for a user who ran this command with these global flags.
    pub(super) fn new(global: &Global, command: &str) -> Self {
        let mut flags = Vec::new();
        // A path that is not UTF-8 cannot be printed exactly, and a password is not printed at all.
        let queue = global.queue.as_ref().map(ToString::to_string);
        let config = global.config.as_ref();
        let config = config.map(|path| path.to_string_lossy().into_owned());
        for (flag, value) in [("--queue", queue), ("--config", config)] {
            if let Some(value) = value {
                push_option(&mut flags, flag, &value);
            }
        }
        Self {
            words: vec!["overnight".into(), command.into()],
            global: flags,
            last: Vec::new(),
        }
    }

    /// Adds a word.
    pub(super) fn arg(mut self, word: &str) -> Self {
        self.words.push(word.into());
        self
    }

    /// Adds a row id, which is no flag even if it starts with a dash. At most one can be added.
    pub(super) fn job(mut self, id: &str) -> Self {
        if id.starts_with('-') {
            self.last = vec!["--".into(), id.into()];
        } else {
            self.words.push(id.into());
        }
        self
    }

    /// Adds a flag with its value, or nothing if there is no value.
    pub(super) fn option(mut self, flag: &str, value: Option<&str>) -> Self {
        if let Some(value) = value {
            push_option(&mut self.words, flag, value);
        }
        self
    }
}

impl fmt::Display for SuggestedCommand {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let words = self.words.iter().chain(&self.global).chain(&self.last);
        for (index, word) in words.enumerate() {
            if index > 0 {
                f.write_str(" ")?;
            }
            f.write_str(&quote(word))?;
        }
        Ok(())
    }
}

/// Quotes a word for POSIX shells, if it needs quoting.
pub(super) fn quote(word: &str) -> Cow<'_, str> {
    // The only error is a NUL byte, which no argument or file name contains.
    shlex::try_quote(word).unwrap_or(Cow::Borrowed(word))
}

/// Adds `--flag value`, or `--flag=value` if the value would be taken for a flag.
fn push_option(words: &mut Vec<String>, flag: &str, value: &str) {
    if value.starts_with('-') {
        words.push(format!("{flag}={value}"));
    } else {
        words.extend([flag.to_owned(), value.to_owned()]);
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::super::args::{Cli, Command};
    use super::*;

    fn global(args: &[&str]) -> Global {
        let args = ["overnight", "status"].iter().chain(args);
        Cli::try_parse_from(args).unwrap().global
    }

    /// Splits a suggested command as a shell does, and parses it as the program does.
    fn parse(suggested: &SuggestedCommand) -> Cli {
        Cli::try_parse_from(shlex::split(&suggested.to_string()).unwrap()).unwrap()
    }

    #[test]
    fn plain_words_are_not_quoted() {
        let suggested =
            SuggestedCommand::new(&global(&[]), "run").option("--batch", Some("spring"));
        assert_eq!(suggested.to_string(), "overnight run --batch spring");
        let suggested = SuggestedCommand::new(&global(&[]), "run").option("--batch", None);
        assert_eq!(suggested.to_string(), "overnight run");
        let suggested = SuggestedCommand::new(&global(&[]), "resolve").arg("JOB");
        assert_eq!(suggested.to_string(), "overnight resolve JOB");
    }

    #[test]
    fn any_batch_name_survives_the_shell_and_the_argument_parser() {
        for name in [
            "spring",
            "export (1)",
            "it's $HOME",
            "a;b",
            "\"quoted\"",
            "~/*.csv",
            "夏季目录",
            "-x",
            "--yes",
            "a^b!c",
        ] {
            let suggested =
                SuggestedCommand::new(&global(&[]), "run").option("--batch", Some(name));
            let Command::Run(run) = parse(&suggested).command else {
                panic!("{suggested}");
            };
            assert_eq!(run.batch.as_deref(), Some(name), "{suggested}");
            assert!(!run.yes, "{suggested}");
        }
    }

    #[test]
    fn any_row_id_survives_the_shell_and_the_argument_parser() {
        for id in ["MUG-001", "cup (1)", "it's", "-x", "--state", "7"] {
            let suggested = SuggestedCommand::new(&global(&["--queue", "a b.db"]), "retry")
                .job(id)
                .option("--batch", Some("spring"));
            let Command::Retry(retry) = parse(&suggested).command else {
                panic!("{suggested}");
            };
            assert_eq!(retry.jobs, [id], "{suggested}");
            assert_eq!(retry.batch.as_deref(), Some("spring"), "{suggested}");
        }
    }

    #[test]
    fn the_queue_and_the_config_of_the_command_line_are_repeated() {
        let global = global(&["--queue", "my queue.db", "--config", "a.toml", "--quiet"]);
        let suggested = SuggestedCommand::new(&global, "run");
        assert_eq!(
            suggested.to_string(),
            "overnight run --queue 'my queue.db' --config a.toml"
        );
        let parsed = parse(&suggested).global;
        assert_eq!(parsed.queue, global.queue);
        assert_eq!(parsed.config, global.config);
    }
}
