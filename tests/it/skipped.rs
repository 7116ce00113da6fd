//! Tests that are skipped because this machine has not what they need.

use std::io::{self, Write as _};
use std::process::{ChildStdin, Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::thread;

/// Says that the calling test is skipped, and why. How many there were is said after the last line of this process.
pub(crate) fn tell(reason: &str) {
    let test = thread::current().name().unwrap_or_default().to_owned();
    // The output of a test that passes is not shown, unless it is written past the macros.
    let told = writeln!(io::stdout(), "SKIPPED {test}: {reason}");
    told.and_then(|()| count()).expect("told");
}

fn count() -> io::Result<()> {
    static COUNTER: Mutex<Option<ChildStdin>> = Mutex::new(None);
    let mut counter = COUNTER.lock().unwrap_or_else(PoisonError::into_inner);
    if counter.is_none() {
        // It prints when this process ends, which closes its input.
        let count = r#"echo "SKIPPED tests for want of a server: $(wc -l)""#;
        let counting = Command::new("sh")
            .args(["-c", count])
            .stdin(Stdio::piped())
            .spawn()?;
        *counter = counting.stdin;
    }
    match &mut *counter {
        Some(counter) => writeln!(counter),
        None => Ok(()),
    }
}
