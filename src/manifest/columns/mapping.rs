//! What the user specifies about columns and rows.

use url::Url;

use super::preset::Preset;
use super::row_filter::Condition;
use crate::image::ImageFixes;
use crate::manifest::cell_text::trim;
use crate::manifest::problem::ColumnOption;

/// What the user specifies about a manifest's columns and rows, on the command line or in a batch
/// file.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct MappingOptions {
    /// The shop system that exported the manifest.
    pub preset: Option<Preset>,
    /// Fields and the columns that provide them.
    pub map: Vec<(String, String)>,
    /// Fields and their values in rows that leave them out.
    pub set: Vec<(String, String)>,
    /// The template of the prompt.
    pub prompt: Option<String>,
    /// The field or column that identifies a product: rows with the same value become one job.
    pub one_per: Option<String>,
    /// Whether each image of a product becomes a job, and not only the first.
    pub each_image: bool,
    /// Fields without which a row is left out instead of reported as a mistake.
    pub skip_missing: Vec<String>,
    /// The column that identifies a product, of which rows take what they leave empty.
    pub group_by: Option<String>,
    /// Conditions that a row must meet to be taken.
    pub only: Vec<Condition>,
    /// Conditions for which a row is left out.
    pub except: Vec<Condition>,
    /// Whether products are taken whatever their status in the shop is.
    pub all_statuses: bool,
    /// The start of image links that leave it out.
    pub image_base: Option<Url>,
    /// The line of the header, from 1; `None` to find it.
    pub header_row: Option<u64>,
    /// Where pictures are written that models show wrongly; `None` if they are sent as they are.
    pub image_fixes: Option<ImageFixes>,
}

/// A field and the columns that provide it; the first that is not empty sets it.
pub(super) struct ColumnMapping {
    pub(super) field: String,
    pub(super) columns: Vec<String>,
    /// The option that named the columns.
    pub(super) option: ColumnOption,
}

impl ColumnMapping {
    /// Returns the names of the columns. A name that the user wrote with commas is one if there is a column
    /// of that name, and a list otherwise.
    pub(super) fn candidates(&self, has: impl Fn(&str) -> bool) -> Vec<&str> {
        match self.columns.as_slice() {
            [name] if name.contains(',') && !has(name) => {
                let names = name.split(',').map(trim);
                names.filter(|name| !name.is_empty()).collect()
            }
            names => names.iter().map(String::as_str).collect(),
        }
    }
}
