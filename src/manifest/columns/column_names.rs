//! Names of columns, found as people write them: without regard to case and to blanks that nobody sees.

use crate::domain::suggest::nearest;

use crate::manifest::cell_text::folded;
use crate::manifest::problem::{ColumnOption, Mistake};

/// The names in a header.
pub(in crate::manifest) struct ColumnNames<'a> {
    names: Vec<&'a str>,
    folded: Vec<String>,
}

impl<'a> ColumnNames<'a> {
    pub(in crate::manifest) fn new(names: Vec<&'a str>) -> Self {
        let folded = names.iter().map(|name| folded(name)).collect();
        Self { names, folded }
    }

    pub(in crate::manifest) fn names(&self) -> &[&'a str] {
        &self.names
    }

    /// Returns the columns that a name means: those of exactly this name or, if there are none, those whose
    /// names differ in case and blanks alone. More than one is ambiguous.
    pub(in crate::manifest) fn find(&self, name: &str) -> Vec<usize> {
        let positions = |is_meant: &dyn Fn(usize) -> bool| -> Vec<usize> {
            (0..self.names.len())
                .filter(|index| is_meant(*index))
                .collect()
        };
        let exact = positions(&|index| self.names[index] == name);
        if !exact.is_empty() {
            return exact;
        }
        let name = folded(name);
        positions(&|index| !name.is_empty() && self.folded[index] == name)
    }

    /// Returns the column that a name means, which an option of the user contains.
    ///
    /// # Errors
    /// Returns the mistake if there is none or more than one.
    pub(in crate::manifest) fn find_one(
        &self,
        name: &str,
        option: ColumnOption,
    ) -> Result<usize, Mistake> {
        match self.find(name).as_slice() {
            [index] => Ok(*index),
            [first, ..] => Err(Mistake::AmbiguousColumn(self.names[*first].to_owned())),
            [] => Err(Mistake::MissingColumn {
                option,
                column: name.to_owned(),
                nearest: nearest(name, self.names.iter().copied()).map(str::to_owned),
                known: self.names.iter().map(|name| (*name).to_owned()).collect(),
            }),
        }
    }

    /// Returns whether a name means a column.
    pub(super) fn has(&self, name: &str) -> bool {
        !self.find(name).is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_exact_name_is_preferred_and_case_and_blanks_do_not_count() {
        let columns = ColumnNames::new(vec!["Title", "title", "Body  HTML", "", "Image\u{a0}Src"]);
        assert_eq!(columns.find("title"), [1]);
        assert_eq!(columns.find("TITLE"), [0, 1]);
        assert_eq!(columns.find("body html"), [2]);
        assert_eq!(columns.find("image src"), [4]);
        assert_eq!(columns.find(" "), [0_usize; 0]);
    }
}
