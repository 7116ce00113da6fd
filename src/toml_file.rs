//! Parsing of TOML files, with errors that name the position and suggest what was probably meant.

use serde::de::DeserializeOwned;

use crate::domain::suggest::did_you_mean;

/// Parses `text`, the content of the file `name`.
///
/// # Errors
///
/// Returns `name:line:column: what is wrong`. For an unknown key or value, the message suggests the
/// most similar known one or lists them all.
pub(crate) fn read<T: DeserializeOwned>(name: &str, text: &str) -> Result<T, String> {
    toml::from_str(text).map_err(|error| {
        let offset = error.span().map_or(0, |span| span.start.min(text.len()));
        let (line, column) = position(text, offset);
        format!("{name}:{line}:{column}: {}", explain(error.message()))
    })
}

/// Returns the line and the column of a byte offset, both counted from 1. The column counts
/// characters.
pub(crate) fn position(text: &str, offset: usize) -> (usize, usize) {
    let before = text.get(..offset).unwrap_or(text);
    let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
    (
        before.matches('\n').count() + 1,
        before[line_start..].chars().count() + 1,
    )
}

/// Rewrites the parser's message about an unknown key or value to suggest a known one. Returns any
/// other message on one line.
fn explain(message: &str) -> String {
    // A variant is the name of a provider, or one of the few values that a key accepts.
    let kinds = [("unknown field", "key"), ("unknown variant", "name")];
    let kind = kinds
        .into_iter()
        .find(|(prefix, _)| message.starts_with(prefix))
        .map(|(_, kind)| kind);
    let mut quoted = message.split('`').skip(1).step_by(2);
    let (Some(kind), Some(unknown)) = (kind, quoted.next()) else {
        return message.trim().replace('\n', " ");
    };
    let known: Vec<&str> = quoted.collect();
    let suggestion = did_you_mean(unknown, known.iter().copied());
    if suggestion.is_empty() {
        let known = known.join(", ");
        format!("unknown {kind} `{unknown}`; expected one of {known}")
    } else {
        format!("unknown {kind} `{unknown}`{suggestion}")
    }
}
