//! Which rows are taken: the user's conditions on columns, and what a shop says about its products.

use std::borrow::Cow;
use std::str::FromStr;

use super::column_names::ColumnNames;
use crate::manifest::cell_text::{folded, trim};
use crate::manifest::problem::{ColumnOption, Mistake};
use crate::manifest::remark::Remark;
use crate::manifest::row_status::RowStatus;

/// A condition on a row's cell in a column: `Status=active`, `Tags!=sale`, `Image=`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Condition {
    /// The column's name.
    pub column: String,
    /// The value: the cell's text, or several of them with commas. Empty is an empty cell.
    pub value: String,
    /// Whether the cell must be one of the values, or must not.
    pub is_equal: bool,
}

impl Condition {
    /// Returns whether a cell meets the condition. Case and blanks do not count.
    pub(super) fn is_met_by(&self, cell: &str) -> bool {
        let cell = folded(cell);
        let is_value = |value: &str| folded(value) == cell;
        let is_among = is_value(&self.value) || self.value.split(',').any(is_value);
        is_among == self.is_equal
    }
}

impl FromStr for Condition {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (column, value) = text.split_once('=').ok_or("write it like COLUMN=VALUE")?;
        let (column, is_equal) = match column.strip_suffix('!') {
            Some(column) => (column, false),
            None => (column, true),
        };
        if trim(column).is_empty() {
            return Err("write it like COLUMN=VALUE".into());
        }
        Ok(Self {
            column: trim(column).to_owned(),
            value: value.to_owned(),
            is_equal,
        })
    }
}

/// Which rows the user takes.
#[derive(Default)]
pub(in crate::manifest) struct Conditions {
    /// Conditions that a row must meet to be taken.
    pub(super) only: Vec<Condition>,
    /// Conditions for which a row is left out.
    pub(super) except: Vec<Condition>,
    /// What the shop says about products.
    pub(super) statuses: &'static [RowStatus],
    /// Whether products are taken whatever their status is.
    pub(super) takes_all_statuses: bool,
}

impl Conditions {
    /// Returns whether a row of JSON meets the user's conditions.
    pub(in crate::manifest) fn take_row<'r>(&self, cell: impl Fn(&str) -> Cow<'r, str>) -> bool {
        if self.only.is_empty() && self.except.is_empty() {
            return true;
        }
        let only = by_column(&self.only);
        let except = by_column(&self.except);
        are_met(&only, &except, |column: &String| cell(column))
    }

    /// Returns the names of the columns that conditions are on.
    pub(in crate::manifest) fn columns(&self) -> impl Iterator<Item = &str> {
        let conditions = self.only.iter().chain(&self.except);
        conditions.map(|condition| condition.column.as_str())
    }

    /// Returns whether a condition is on a column.
    pub(super) fn name(&self, column: &str) -> bool {
        self.columns().any(|name| folded(name) == folded(column))
    }
}

/// Returns conditions with the folded names of their columns.
fn by_column(conditions: &[Condition]) -> Vec<(String, &Condition)> {
    let conditions = conditions.iter();
    conditions
        .map(|condition| (folded(&condition.column), condition))
        .collect()
}

/// The conditions on rows under a header.
#[derive(Default)]
pub(in crate::manifest) struct RowFilter<'a> {
    only: Vec<(usize, &'a Condition)>,
    except: Vec<(usize, &'a Condition)>,
    statuses: Vec<(usize, RowStatus)>,
    /// Whether products are taken whatever their status is.
    takes_all_statuses: bool,
}

impl<'a> RowFilter<'a> {
    /// Finds the columns of all conditions.
    ///
    /// # Errors
    /// Returns a mistake for each that is not in the header, or there twice.
    pub(in crate::manifest) fn new(
        columns: &ColumnNames<'_>,
        conditions: &'a Conditions,
    ) -> Result<Self, Vec<Mistake>> {
        let mut mistakes = Vec::new();
        let mut find = |conditions: &'a [Condition]| -> Vec<(usize, &'a Condition)> {
            let found = conditions.iter().filter_map(|condition| {
                match columns.find_one(&condition.column, ColumnOption::Filter) {
                    Ok(index) => Some((index, condition)),
                    Err(mistake) => {
                        mistakes.push(mistake);
                        None
                    }
                }
            });
            found.collect()
        };
        let only = find(&conditions.only);
        let except = find(&conditions.except);
        if !mistakes.is_empty() {
            return Err(mistakes);
        }
        // A shop's export may lack such a column.
        let statuses = conditions.statuses.iter().filter_map(|status| {
            let index = columns.find(status.column).first().copied()?;
            Some((index, *status))
        });
        Ok(Self {
            only,
            except,
            statuses: statuses.collect(),
            takes_all_statuses: conditions.takes_all_statuses,
        })
    }

    /// Returns whether every row is taken, and nothing is to be said of any.
    pub(in crate::manifest) fn is_empty(&self) -> bool {
        self.only.is_empty() && self.except.is_empty() && self.statuses.is_empty()
    }

    /// Returns the columns in which the shop says something about products.
    pub(in crate::manifest) fn status_columns(&self) -> impl Iterator<Item = usize> {
        self.statuses.iter().map(|(index, _)| *index)
    }

    /// Returns the columns that the user's conditions are on.
    pub(in crate::manifest) fn columns(&self) -> impl Iterator<Item = usize> {
        self.only
            .iter()
            .chain(&self.except)
            .map(|(index, _)| *index)
    }

    /// Returns whether a row meets the user's conditions.
    pub(in crate::manifest) fn takes<'r>(&self, cell: impl Fn(usize) -> &'r str) -> bool {
        are_met(&self.only, &self.except, |column| cell(*column).into())
    }

    /// Returns what the shop says about a product, and whether it is left out for that.
    pub(in crate::manifest) fn status<'r>(
        &self,
        cell: impl Fn(usize) -> &'r str,
    ) -> Option<(Remark, bool)> {
        let found = self.statuses.iter().find(|(index, status)| {
            let cell = folded(cell(*index));
            status.values.contains(&cell.as_str())
        });
        let (_, status) = found?;
        Some(if status.is_left_out && !self.takes_all_statuses {
            (Remark::StatusLeftOut(*status), true)
        } else {
            (Remark::StatusTaken(*status), false)
        })
    }
}

/// Returns whether a row meets conditions, each with its column. Of those to be met, several values of one
/// column are alternatives.
fn are_met<'r, C: PartialEq>(
    only: &[(C, &Condition)],
    except: &[(C, &Condition)],
    cell: impl Fn(&C) -> Cow<'r, str>,
) -> bool {
    let is_met = |(column, condition): &(C, &Condition)| condition.is_met_by(&cell(column));
    let is_any_met = |one: &(C, &Condition)| {
        let alternatives = only.iter().filter(|other| {
            std::ptr::eq(other.1, one.1) || (other.0 == one.0 && other.1.is_equal && one.1.is_equal)
        });
        alternatives.into_iter().any(is_met)
    };
    only.iter().all(is_any_met) && !except.iter().any(is_met)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_condition_is_met_by_any_of_its_values_and_an_empty_one_by_an_empty_cell() {
        let is_met =
            |condition: &str, cell: &str| condition.parse::<Condition>().unwrap().is_met_by(cell);
        assert!(is_met("Status=active", " Active\u{a0}"));
        assert!(is_met("Status=active,draft", "draft"));
        assert!(is_met("Category=Mugs, large", "mugs, large"));
        assert!(!is_met("Status=active,draft", "archived"));
        assert!(is_met("Status!=active,draft", "archived"));
        assert!(is_met("Image=", " "));
        assert!(is_met("Image!=", "https://e.com/a.png"));
        assert!(!is_met("Image!=", ""));
        for wrong in ["Status", "=active", "!=active"] {
            assert!(wrong.parse::<Condition>().is_err(), "{wrong}");
        }
    }
}
