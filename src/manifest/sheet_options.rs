//! Which sheet of a workbook is read, and what of it.

/// Which sheet of a workbook is read, and what of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SheetOptions {
    /// The sheet's name; `None` is the first that is not hidden.
    pub sheet: Option<String>,
    /// Whether hidden rows are read like others.
    pub hidden: bool,
}
