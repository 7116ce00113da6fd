//! Reads a TOML file into a type, with errors that say where and what was probably meant.

use serde::de::DeserializeOwned;

use crate::domain::suggest::did_you_mean;

/// Reads `text`, the content of the file called `name`. The error is `name:line:column: what is wrong`.
pub fn read<T: DeserializeOwned>(name: &str, text: &str) -> Result<T, String> {
    toml::from_str(text).map_err(|error| {
        let at = error.span().map_or(0, |span| span.start.min(text.len()));
        let (line, column) = place(text, at);
        format!("{name}:{line}:{column}: {}", explain(error.message()))
    })
}

/// Turns a byte offset into a line and a column, both from 1.
fn place(text: &str, at: usize) -> (usize, usize) {
    let before = text.get(..at).unwrap_or(text);
    let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
    (
        before.matches('\n').count() + 1,
        before[line_start..].chars().count() + 1,
    )
}

/// Adds the nearest known name to a message about an unknown one.
fn explain(message: &str) -> String {
    // A variant is a provider's name, or one of a few words a key takes.
    let kinds = [("unknown field", "key"), ("unknown variant", "name")];
    let kind = kinds
        .into_iter()
        .find(|(start, _)| message.starts_with(start))
        .map(|(_, kind)| kind);
    let mut quoted = message.split('`').skip(1).step_by(2);
    let (Some(kind), Some(unknown)) = (kind, quoted.next()) else {
        return message.trim().replace('\n', " ");
    };
    let known: Vec<&str> = quoted.collect();
    let meant = did_you_mean(unknown, known.iter().copied());
    if meant.is_empty() {
        format!("unknown {kind} `{unknown}`; known are {}", known.join(", "))
    } else {
        format!("unknown {kind} `{unknown}`{meant}")
    }
}
