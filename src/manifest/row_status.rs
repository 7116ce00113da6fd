//! What a shop's export says about a product beside what it is.

/// What a shop says about a product in a column: that it is no longer sold, or not a thing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct RowStatus {
    /// What products with this status are: `drafts`.
    pub name: &'static str,
    /// The column.
    pub(crate) column: &'static str,
    /// The texts in the column that say it, in lower case.
    pub(crate) values: &'static [&'static str],
    /// Whether such products are left out unless the user takes them.
    pub(super) is_left_out: bool,
}

impl RowStatus {
    /// Returns the condition that selects products with this status.
    pub fn condition(&self) -> String {
        format!("{}={}", self.column, self.values.join(","))
    }
}

pub(super) const fn left_out(
    name: &'static str,
    column: &'static str,
    values: &'static [&'static str],
) -> RowStatus {
    RowStatus {
        name,
        column,
        values,
        is_left_out: true,
    }
}

pub(super) const fn taken(
    name: &'static str,
    column: &'static str,
    values: &'static [&'static str],
) -> RowStatus {
    RowStatus {
        is_left_out: false,
        ..left_out(name, column, values)
    }
}
