//! Reads the one link of a cell.

use url::Url;

use super::link_form::tidy;
use super::links::{WrittenLink, split};
use super::odd_link::odd_link;
use crate::manifest::cell_text::trim;
use crate::manifest::problem::Mistake;
use crate::manifest::remark::{LinkChange, Remark};
use crate::manifest::row::Row;

/// Returns the one link or path in a cell; `None` after a mistake, which is added to the row. `file_name` is
/// that of the file behind it, if the cell itself does not have it.
pub(in crate::manifest) fn read_one(
    row: &mut Row,
    field: &str,
    cell: &str,
    file_name: Option<&str>,
    base: Option<&Url>,
) -> Option<String> {
    if trim(cell).len() != cell.len() {
        row.remarks.push(Remark::Link(LinkChange::Trimmed));
    }
    let mut links = split(cell, base);
    if links.len() > 1 {
        row.add_problem(field, Mistake::SeveralLinks { links: links.len() });
        return None;
    }
    let written = links.pop()?;
    match tidy(&written.link, base) {
        Ok((link, changes)) => {
            row.remarks.extend(changes);
            let tidied = WrittenLink {
                file_name: written.file_name.or(file_name.map(str::to_owned)),
                link,
            };
            row.remarks.extend(odd_link(&tidied).map(Remark::OddLink));
            Some(tidied.link)
        }
        Err(message) => {
            row.add_problem(field, message);
            None
        }
    }
}
