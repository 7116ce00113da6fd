//! Mistakes in a manifest, each with its place.

use std::fmt;

use crate::domain::printable::printable_excerpt;
use crate::domain::suggest::format_suggestion;

/// A mistake in a manifest and its place, shown as `file:line: field: what is wrong`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The manifest's path as the user wrote it.
    pub file: String,
    /// The line on which the row starts, from 1.
    pub line: u64,
    /// The field with the mistake; `None` if it concerns the row or the file.
    pub field: Option<String>,
    /// What is wrong.
    pub mistake: Mistake,
}

impl Problem {
    /// Formats the problem with this text in place of the mistake's own.
    pub fn with_text(&self, text: impl fmt::Display) -> String {
        let Self {
            file, line, field, ..
        } = self;
        match field {
            Some(field) => format!("{file}:{line}: {field}: {text}"),
            None => format!("{file}:{line}: {text}"),
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.with_text(&self.mistake))
    }
}

/// What is wrong in a manifest.
///
/// A mistake that an option of the load may remedy, or has caused, has a variant of its own, so that
/// whoever shows it can name the option.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Mistake {
    /// A mistake in the file, with its remedy if there is one.
    #[error("{0}")]
    Text(String),
    /// A row lacks a field that it needs.
    #[error("is missing")]
    Missing(String),
    /// A text names an image file that does not exist. It may be the end of a link.
    #[error("{reason}")]
    NoFile {
        /// What is wrong with it.
        reason: String,
        /// The usual start of the links of the shop that exported it, without its name; `None` if it is not known.
        start: Option<&'static str>,
    },
    /// A column provides no field, and the user has named no columns.
    #[error("unknown column `{}`{}", printable_excerpt(name), format_suggestion(nearest.as_deref()))]
    UnknownColumn {
        /// The column's name.
        name: String,
        /// The most similar field; `None` if none is similar.
        nearest: Option<String>,
    },
    /// The header lacks a column that the user has named.
    #[error(
        "the column `{}` is not in the header{}",
        printable_excerpt(column),
        format_suggestion(nearest.as_deref())
    )]
    MissingColumn {
        /// The option that names it.
        option: ColumnOption,
        /// The column's name.
        column: String,
        /// The most similar column of the header; `None` if none is similar.
        nearest: Option<String>,
        /// The columns of the header.
        known: Vec<String>,
    },
    /// No row of JSON has the key that a condition is on.
    #[error("no row has `{}`", printable_excerpt(.0))]
    MissingKey(String),
    /// Two columns have the name of one that is used.
    #[error("two columns are named `{}`; rename or remove one", printable_excerpt(.0))]
    AmbiguousColumn(String),
    /// No column provides a field that every row needs.
    #[error("no column provides `{field}`, which every row needs")]
    NoColumnFor {
        /// The field.
        field: String,
        /// A column that may be meant; `None` if none is similar.
        candidate: Option<String>,
    },
    /// Each image is to become a job, but no column provides images.
    #[error("no column provides `image`")]
    NoImageColumn,
    /// The columns are those of a shop's export, which is read with a preset.
    #[error("the columns are those of {} {preset} export", article(preset))]
    ShopExport {
        /// The preset's name.
        preset: &'static str,
        /// The column with a product's name.
        title: &'static str,
    },
    /// Hardly any column has the name of a field, and the user has named no columns.
    #[error("most of its columns are not named after the model's fields")]
    UnknownColumns {
        /// The columns.
        columns: Vec<String>,
        /// Whether one of them is the prompt.
        has_prompt: bool,
        /// The one that may hold prompts, if none is the prompt already.
        prompt: Option<String>,
        /// The one that may identify rows; `None` if there is none, or if one is the key already.
        key: Option<String>,
        /// The one that may hold the image.
        image: Option<String>,
        /// The one that may hold the name of a product, for a prompt.
        title: Option<String>,
    },
    /// Options that only a table can be read with are given for a file of JSON lines.
    #[error("rows of JSON cannot be combined into products")]
    NotATable,
    /// A cell that must contain one link contains several.
    #[error("contains {links} links")]
    SeveralLinks {
        /// Number of links.
        links: usize,
    },
    /// Two rows have one id.
    #[error("`{}` is on line {line} already", printable_excerpt(id))]
    SameId {
        /// The id.
        id: String,
        /// The line of the other row.
        line: u64,
    },
    /// A row without an id asks for the same as another one.
    #[error("asks for the same as line {line}, and neither has an id")]
    SameRow {
        /// The line of the other row.
        line: u64,
    },
    /// No record starts on the line that the user has named for the header.
    #[error("no header starts on this line")]
    NoHeaderHere,
    /// A product has so many rows that the column which identifies products must be wrong.
    #[error(
        "more than {max_rows} rows belong to the product `{}`",
        printable_excerpt(key)
    )]
    HugeProduct {
        /// What identifies the product.
        key: String,
        /// Maximum number of rows of a product.
        max_rows: usize,
    },
}

/// An option that names columns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ColumnOption {
    /// The mapping of a field to a column.
    Map,
    /// The preset of this name.
    Preset(&'static str),
    /// The template of the prompt.
    Prompt,
    /// What identifies a product.
    OnePer,
    /// What identifies the product that a row takes its empty cells from.
    GroupBy,
    /// A condition on rows.
    Filter,
}

/// Returns the indefinite article of a name.
fn article(name: &str) -> &'static str {
    if name.starts_with(['a', 'e', 'i', 'o', 'u']) {
        "an"
    } else {
        "a"
    }
}

impl From<String> for Mistake {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<&str> for Mistake {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}
