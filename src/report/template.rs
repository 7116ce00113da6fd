//! Fills the `{{placeholders}}` of a template in a single pass: filled-in text is not scanned
//! again, so a value that contains `{{name}}` stays as it is.

use std::io::{self, Write};

/// Writes a template, and calls `write_value` with the name of each placeholder.
pub(super) fn fill<W: Write>(
    out: &mut W,
    template: &str,
    mut write_value: impl FnMut(&str, &mut W) -> io::Result<()>,
) -> io::Result<()> {
    let mut rest = template;
    while let Some((before, from)) = rest.split_once("{{") {
        let (name, after) = from.split_once("}}").unwrap_or((from, ""));
        out.write_all(before.as_bytes())?;
        write_value(name, out)?;
        rest = after;
    }
    out.write_all(rest.as_bytes())
}
