//! Which sheet of a workbook is read, and what of it.

use crate::domain::suggest::did_you_mean;

/// Which sheet of a workbook is read, and what of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SheetOptions {
    /// The sheet's name; `None` is the first that is not hidden.
    pub sheet: Option<String>,
    /// Whether hidden rows are read like others.
    pub hidden: bool,
}

/// The sheet that is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ChosenSheet {
    /// Its position among all sheets.
    pub(super) position: usize,
    /// Number of hidden sheets that are not read although no sheet was named.
    pub(super) hidden: usize,
}

impl SheetOptions {
    /// Chooses one of the sheets, each with its name and whether it is hidden.
    ///
    /// # Errors
    /// Returns an error if there is none, or none of the given name.
    pub(super) fn choose(&self, sheets: &[(&str, bool)]) -> anyhow::Result<ChosenSheet> {
        anyhow::ensure!(!sheets.is_empty(), "it has no sheets");
        let names = || sheets.iter().map(|(name, _)| *name);
        let Some(wanted) = &self.sheet else {
            let shown = sheets.iter().position(|(_, is_hidden)| !is_hidden);
            let hidden = sheets.iter().filter(|(_, is_hidden)| *is_hidden).count();
            // If all are hidden, the first is read.
            return Ok(ChosenSheet {
                position: shown.unwrap_or(0),
                hidden: hidden - usize::from(shown.is_none()),
            });
        };
        let position = names().position(|name| name == wanted).ok_or_else(|| {
            anyhow::anyhow!(
                "it has no sheet `{wanted}`{}\nhint: its sheets are {}",
                did_you_mean(wanted, names()),
                names().collect::<Vec<_>>().join(", ")
            )
        })?;
        Ok(ChosenSheet {
            position,
            hidden: 0,
        })
    }
}
