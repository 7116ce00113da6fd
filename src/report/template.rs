//! Fills the `{{names}}` of a template, in one go: what is filled in is never looked at again.

use std::io::{self, Write};

/// Writes a template; `fill` writes what stands for each name.
pub(super) fn fill<W: Write>(
    out: &mut W,
    template: &str,
    mut fill: impl FnMut(&str, &mut W) -> io::Result<()>,
) -> io::Result<()> {
    let mut rest = template;
    while let Some((before, from)) = rest.split_once("{{") {
        let (name, after) = from.split_once("}}").unwrap_or((from, ""));
        out.write_all(before.as_bytes())?;
        fill(name, out)?;
        rest = after;
    }
    out.write_all(rest.as_bytes())
}
