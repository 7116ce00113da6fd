//! The values of one row, as they are read.

use serde_json::{Map, Value};

use crate::domain::printable::printable_excerpt;

use super::cell_text::trim;
use super::problem::Mistake;
use super::remark::Remark;

/// The field that holds a row's key. Every model has it in addition to its own fields.
pub const ID_FIELD: &str = "id";

/// The values of a row by field, and the problems found while reading them.
#[derive(Default)]
pub(super) struct Row {
    /// The line on which the row starts, from 1.
    pub(super) line: u64,
    /// The row's key as it is written; `None` if it has none.
    pub(super) id: Option<String>,
    /// The key of the product, if each of its pictures is a row.
    pub(super) product: Option<String>,
    pub(super) fields: Map<String, Value>,
    /// Width and height of its first picture on disk, in pixels.
    pub(super) picture_size: Option<(u32, u32)>,
    /// What was done with its cells that is no mistake.
    pub(super) remarks: Vec<Remark>,
    /// Field and mistake of each problem; the field is `None` if it concerns the whole row.
    pub(super) problems: Vec<(Option<String>, Mistake)>,
}

impl Row {
    /// Makes the row that of one of a product's pictures, with its number from 1. The first has the key of the
    /// product.
    pub(super) fn number_picture(&mut self, number: usize) {
        self.product = self.id.as_deref().map(|id| trim(id).to_owned());
        if let Some(product) = self.product.as_ref().filter(|_| number > 1) {
            self.id = Some(format!("{product}-{number}"));
        }
    }

    /// Adds a problem of a field.
    pub(super) fn add_problem(&mut self, field: &str, mistake: impl Into<Mistake>) {
        self.problems
            .push((Some(printable_excerpt(field)), mistake.into()));
    }

    /// Sets a field. A second value for the same field is a problem.
    pub(super) fn set(&mut self, field: &str, value: Value) {
        if self.fields.contains_key(field) {
            self.add_problem(field, "is given twice");
        }
        self.fields.insert(field.to_owned(), value);
    }

    /// Reports whether there is a problem with this field.
    pub(super) fn has_problem(&self, field: &str) -> bool {
        self.problems
            .iter()
            .any(|(problem_field, _)| problem_field.as_deref() == Some(field))
    }
}
