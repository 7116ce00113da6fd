//! Prompts for a yes or no on a terminal.

use std::io::{self, BufRead, IsTerminal, Write};
use std::thread;

use tokio::sync::oneshot;

use crate::worker::StopSignal;

/// The answer to a prompt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    Yes,
    /// Anything but a clear yes, including an empty line, because a yes costs money.
    No,
    /// A stop signal arrived before an answer.
    Interrupted,
}

/// Returns whether a user can read a prompt and type an answer: standard input and standard error
/// are terminals.
pub(super) fn is_interactive() -> bool {
    io::stdin().is_terminal() && io::stderr().is_terminal()
}

/// Prints a question and waits for a yes, a no or a stop signal.
pub(super) async fn prompt_yes_no(question: &str, stop: &StopSignal) -> Answer {
    // With standard error closed the question cannot be printed; the answer is still read.
    let _ =
        write!(io::stderr().lock(), "{question} [y/N] ").and_then(|()| io::stderr().lock().flush());
    let (sender, answer) = oneshot::channel();
    // A thread that is never joined, because a blocking read of the terminal cannot be cancelled.
    thread::spawn(move || {
        let mut input = String::new();
        let is_read = io::stdin().lock().read_line(&mut input).is_ok();
        let answer = if is_read {
            parse_answer(&input)
        } else {
            Answer::No
        };
        // After a stop signal the receiver no longer exists.
        let _ = sender.send(answer);
    });
    let mut stop = stop.clone();
    tokio::select! {
        answer = answer => answer.unwrap_or(Answer::No),
        Ok(_) = stop.wait_for(|stop| *stop) => {
            let _ = writeln!(io::stderr().lock());
            Answer::Interrupted
        }
    }
}

fn parse_answer(input: &str) -> Answer {
    match input.trim().to_lowercase().as_str() {
        "y" | "yes" => Answer::Yes,
        _ => Answer::No,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_y_or_yes_is_taken_as_a_yes() {
        for input in ["y\n", "Y\r\n", " yes \n"] {
            assert_eq!(parse_answer(input), Answer::Yes, "{input:?}");
        }
        for input in ["", "\n", "n\n", "no\n", "yesterday\n", "ja\n"] {
            assert_eq!(parse_answer(input), Answer::No, "{input:?}");
        }
    }
}
