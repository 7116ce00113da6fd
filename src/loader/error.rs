//! Why manifests are not loaded.

use std::io;

use crate::domain::suggest::did_you_mean;
use crate::domain::{Location, ProviderName};
use crate::manifest::MappingError;
use crate::queue::QueueError;

/// Maximum length of a batch's name, in characters.
pub(super) const MAX_BATCH_NAME: usize = 100;

/// Why manifests are not loaded. Nothing was queued.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The options name no model.
    #[error("no model is given")]
    NoModel,
    /// The catalogue has no model of this name.
    #[error("unknown model `{name}`{}", did_you_mean(name, known.iter().map(String::as_str)))]
    UnknownModel {
        /// The name that was given.
        name: String,
        /// The names of all models.
        known: Vec<String>,
    },
    /// A provider does not offer the model.
    #[error("{provider} does not offer {model}")]
    NotOffered {
        /// The provider.
        provider: ProviderName,
        /// The model's name.
        model: String,
        /// The providers that offer it.
        offering: Vec<ProviderName>,
    },
    /// A provider is given twice.
    #[error("{0} is given twice")]
    RepeatedProvider(ProviderName),
    /// The options about columns and rows are wrong.
    #[error(transparent)]
    Mapping(#[from] MappingError),
    /// No name is given for the batch, and no manifest is a file that has one.
    #[error("standard input does not name the batch")]
    UnnamedBatch,
    /// The batch's name is not allowed.
    #[error("a batch's name must have 1 to {MAX_BATCH_NAME} characters and no control characters")]
    InvalidBatchName,
    /// A manifest is a folder.
    #[error("{0} is a folder, not a manifest")]
    Folder(String),
    /// A manifest cannot be opened, or is in no known format.
    #[error("cannot read {name}: {reason:#}")]
    Unreadable {
        /// The manifest's name.
        name: String,
        /// Why.
        reason: anyhow::Error,
    },
    /// A sheet is given, but a manifest is no workbook.
    #[error("{name} is not a workbook, so it has no sheet `{sheet}`")]
    NoWorkbook {
        /// The manifest's name.
        name: String,
        /// The name of the sheet.
        sheet: String,
    },
    /// The manifests have mistakes, which were reported.
    #[error("{}", describe_mistakes(*mistakes, *rows))]
    Mistakes {
        /// Number of mistakes.
        mistakes: u64,
        /// Number of rows in all manifests.
        rows: u64,
    },
    /// The manifests have no rows.
    #[error("the manifest has no rows to load")]
    NoRows,
    /// Files that the queue did not write have the names of new rows' clips.
    #[error(
        "{} whose clip is there already, but not known to the queue, such as {}; nothing was loaded",
        describe_rows(*rows), example
    )]
    ClipsExist {
        /// Number of the rows.
        rows: u64,
        /// One of the files.
        example: Location,
    },
    /// The queue does not accept the rows.
    #[error(transparent)]
    Queue(#[from] QueueError),
    /// Reading failed in the middle of a manifest.
    #[error(transparent)]
    Other(#[from] anyhow::Error),
}

impl From<io::Error> for LoadError {
    fn from(error: io::Error) -> Self {
        Self::Other(error.into())
    }
}

fn describe_rows(rows: u64) -> String {
    if rows == 1 {
        "1 row is new".to_owned()
    } else {
        format!("{rows} rows are new")
    }
}

fn describe_mistakes(mistakes: u64, rows: u64) -> String {
    let plural = |number| if number == 1 { "" } else { "s" };
    // After a mistake in the header no row is read.
    let in_rows = match rows {
        0 => String::new(),
        rows => format!(" in {rows} row{}", plural(rows)),
    };
    format!(
        "{mistakes} mistake{}{in_rows}; nothing was loaded",
        plural(mistakes)
    )
}
