//! Asks a person a question, where one is there.

use std::io::{self, BufRead, IsTerminal, Write};
use std::thread;

use tokio::sync::oneshot;

use crate::worker::StopSignal;

/// What was answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    Yes,
    /// Anything else, an empty line too: what is asked costs money.
    No,
    /// A signal came instead.
    Interrupted,
}

/// Tells whether somebody sits there who can read a question and type an answer.
pub(super) fn somebody_is_there() -> bool {
    io::stdin().is_terminal() && io::stderr().is_terminal()
}

/// Asks a question that is answered with yes or no.
pub(super) async fn ask(question: &str, stop: &StopSignal) -> Answer {
    // A closed standard error is nobody to ask.
    let _ =
        write!(io::stderr().lock(), "{question} [y/N] ").and_then(|()| io::stderr().lock().flush());
    let (typed, answer) = oneshot::channel();
    // A thread of its own, which nobody waits for at the end: nothing takes a read of the terminal back.
    thread::spawn(move || {
        let mut line = String::new();
        let is_read = io::stdin().lock().read_line(&mut line).is_ok();
        // Whoever asked may have left.
        let _ = typed.send(if is_read { read(&line) } else { Answer::No });
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

fn read(line: &str) -> Answer {
    match line.trim().to_lowercase().as_str() {
        "y" | "yes" => Answer::Yes,
        _ => Answer::No,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_clear_yes_is_one() {
        for line in ["y\n", "Y\r\n", " yes \n"] {
            assert_eq!(read(line), Answer::Yes, "{line:?}");
        }
        for line in ["", "\n", "n\n", "no\n", "yesterday\n", "ja\n"] {
            assert_eq!(read(line), Answer::No, "{line:?}");
        }
    }
}
