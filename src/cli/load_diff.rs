//! Says what differs between the rows of a manifest and the jobs that a batch has for them.

use std::collections::BTreeSet;

use crate::queue::{Differences, QueryDifferences};

use super::render;

/// Prints what differs in the changed rows, and what was taken as unchanged.
pub(super) fn print_differences(differences: &Differences) {
    let QueryDifferences { rows, parameters } = &differences.only_query;
    let by_field = differences.by_field.iter();
    let by_field = by_field.map(|(field, rows)| format!("{field} in {rows}"));
    let mut changes: Vec<String> = by_field.collect();
    if *rows > 0 {
        let query = format_query(parameters);
        changes.push(format!("only the query of a link ({query}) in {rows}"));
    }
    if !changes.is_empty() {
        render::print_note(format_args!("changed: {}", changes.join("; ")));
    }
    if *rows > 0 {
        let names: Vec<&str> = parameters.iter().map(String::as_str).collect();
        let names =
            shlex::try_quote(&names.join(",")).map_or_else(|_| "NAMES".into(), String::from);
        render::print_note(format_args!(
            "hint: load with `--ignore-query={names}` if the images are the same"
        ));
    }
    let QueryDifferences { rows, parameters } = &differences.ignored;
    if *rows > 0 {
        render::print_note(format_args!(
            "taken as same although a link differs in its query ({}): {}\n\
             hint: load with `--ignore-query=` if the images are others",
            format_query(parameters),
            render::format_count(*rows, "row")
        ));
    }
}

/// Formats the names of parameters as they stand in a link.
fn format_query(parameters: &BTreeSet<String>) -> String {
    let names: Vec<String> = parameters.iter().map(|name| format!("`{name}=`")).collect();
    names.join(", ")
}
