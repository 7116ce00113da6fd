//! Names of columns, found as people write them: without regard to case and to blanks that nobody sees.

use crate::domain::suggest::nearest;

use super::problem::{ColumnOption, Mistake};

/// Characters without a width, which programs leave in texts that are copied.
const INVISIBLE: [char; 7] = [
    '\u{200b}', '\u{200c}', '\u{200d}', '\u{200e}', '\u{200f}', '\u{2060}', '\u{feff}',
];

/// Returns a text without blanks and invisible characters around it.
pub(super) fn trim(text: &str) -> &str {
    text.trim_matches(is_blank)
}

/// Returns whether a character is a blank, such as a no-break space, or has no width.
pub(super) fn is_blank(c: char) -> bool {
    c.is_whitespace() || INVISIBLE.contains(&c)
}

/// Returns a name in lower case, with single spaces.
pub(super) fn folded(name: &str) -> String {
    let words = name.split(is_blank).filter(|word| !word.is_empty());
    words.collect::<Vec<_>>().join(" ").to_lowercase()
}

/// Returns the text of a formula that is nothing but a text: `="00123"` keeps a spreadsheet program from
/// reading a number.
pub(super) fn text_of_formula(cell: &str) -> Option<&str> {
    let text = cell.strip_prefix("=\"")?.strip_suffix('"')?;
    (!text.contains('"')).then_some(text)
}

/// The names in a header.
pub(super) struct ColumnNames<'a> {
    names: Vec<&'a str>,
    folded: Vec<String>,
}

impl<'a> ColumnNames<'a> {
    pub(super) fn new(names: Vec<&'a str>) -> Self {
        let folded = names.iter().map(|name| folded(name)).collect();
        Self { names, folded }
    }

    pub(super) fn names(&self) -> &[&'a str] {
        &self.names
    }

    /// Returns the columns that a name means: those of exactly this name or, if there are none, those whose
    /// names differ in case and blanks alone. More than one is ambiguous.
    pub(super) fn find(&self, name: &str) -> Vec<usize> {
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
    pub(super) fn find_one(&self, name: &str, option: ColumnOption) -> Result<usize, Mistake> {
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
        assert_eq!(trim("\u{feff} a\u{a0}\u{200b}"), "a");
    }
}
