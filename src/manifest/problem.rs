//! A mistake in a manifest.

use std::fmt;

/// A mistake in a manifest and its place, shown as `file:line: field: what is wrong`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The manifest's path as the user wrote it.
    pub file: String,
    /// The line on which the row starts, from 1.
    pub line: u64,
    /// The field with the mistake; `None` if it concerns the row or the file.
    pub field: Option<String>,
    /// What is wrong and, if there is a remedy, what to do about it.
    pub message: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: ", self.file, self.line)?;
        if let Some(field) = &self.field {
            write!(f, "{field}: ")?;
        }
        f.write_str(&self.message)
    }
}
