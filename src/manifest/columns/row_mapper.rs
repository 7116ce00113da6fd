//! Maps a manifest's columns to a model's fields, as the user specified.

use serde_json::Value;
use url::Url;

use crate::domain::suggest::{format_suggestion, nearest};
use crate::domain::{Field, Model, ProviderName, Shape};

use super::mapping::ColumnMapping;
use super::preset::Preset;
use super::row_filter::Conditions;
use super::template::Template;
use crate::manifest::cell_text::folded;
use crate::manifest::pictures::images::ImageResolver;
use crate::manifest::problem::{ColumnOption, Mistake};
use crate::manifest::row::{ID_FIELD, Row};

/// A field that a key of a row of JSON provides.
pub(in crate::manifest) struct KeyField<'a> {
    pub(in crate::manifest) field: &'a str,
    /// The position of the key among those that may provide the field, from 0.
    pub(in crate::manifest) rank: usize,
    /// Whether several keys may provide the field.
    pub(in crate::manifest) has_alternatives: bool,
}

/// Turns rows into jobs of one model: holds the model, the providers that may run the jobs, and how
/// columns become fields.
pub struct RowMapper<'a> {
    pub(in crate::manifest) model: &'a Model,
    pub(in crate::manifest) providers: Vec<ProviderName>,
    pub(super) mappings: Vec<ColumnMapping>,
    /// Fields and their values in rows that leave them out.
    pub(in crate::manifest) constants: Vec<(String, Value)>,
    pub(super) prompt: Option<Template>,
    pub(in crate::manifest) one_per: Option<String>,
    /// Whether the user has named what identifies a product.
    pub(in crate::manifest) is_one_per_given: bool,
    pub(in crate::manifest) each_image: bool,
    pub(super) skip_missing: Vec<String>,
    pub(in crate::manifest) images: ImageResolver,
    pub(in crate::manifest) preset: Option<Preset>,
    /// Whether a product with variations is one job.
    pub(in crate::manifest) is_one_per_product: bool,
    pub(in crate::manifest) group_by: Option<String>,
    pub(in crate::manifest) conditions: Conditions,
    pub(in crate::manifest) image_base: Option<Url>,
    pub(in crate::manifest) header_row: Option<u64>,
}

impl<'a> RowMapper<'a> {
    pub(super) fn mapping_for(&self, field: &str) -> Option<&ColumnMapping> {
        self.mappings.iter().find(|mapping| mapping.field == field)
    }

    /// Returns whether a field is read from the columns that the preset names.
    pub(in crate::manifest) fn has_columns_of_preset(&self, field: &str) -> bool {
        let mapping = self.mapping_for(field);
        mapping.is_some_and(|mapping| matches!(mapping.option, ColumnOption::Preset(_)))
    }

    pub(super) fn has_constant(&self, field: &str) -> bool {
        self.constants.iter().any(|(known, _)| known == field)
    }

    /// Returns whether rows may be products with several pictures or rows.
    pub(in crate::manifest) fn has_products(&self) -> bool {
        self.preset.is_some()
            || self.one_per.is_some()
            || self.each_image
            || self.group_by.is_some()
    }

    /// Returns whether rows are combined, which only a table allows.
    pub(in crate::manifest) fn needs_table(&self) -> bool {
        let is_row = |name: &String| name == ID_FIELD;
        self.preset.is_some()
            || self.group_by.is_some()
            || !self.one_per.as_ref().is_none_or(is_row)
    }

    /// Returns the fields that the user, or a preset, reads from columns.
    pub(super) fn mappings(&self) -> &[ColumnMapping] {
        &self.mappings
    }

    /// Returns the columns of the prompt's template.
    pub(super) fn template_columns(&self) -> impl Iterator<Item = &str> {
        self.prompt.iter().flat_map(Template::columns)
    }

    /// Returns what the value of a field may be; `None` for the row's key.
    pub(in crate::manifest) fn shape_of(&self, field: &str) -> Option<&Shape> {
        let field = Some(field).filter(|field| *field != ID_FIELD)?;
        self.model.field(field).map(|field| &field.shape)
    }

    /// Returns the field that excludes a row: one of `skip_missing` that the row lacks. Returns
    /// `None` if the row is not left out.
    pub(in crate::manifest) fn skip_reason(&self, row: &Row) -> Option<&str> {
        let is_set = |field: &str| match field {
            ID_FIELD => row.id.is_some(),
            field => row.fields.contains_key(field) || self.has_constant(field),
        };
        // A value that is there but wrong is a mistake, not a reason to leave the row out.
        self.skip_missing
            .iter()
            .map(String::as_str)
            .find(|field| !is_set(field) && !row.has_problem(field))
    }

    /// Returns the name of the field that the user means by `name`.
    ///
    /// # Errors
    /// Returns a message with the nearest name if the model has no such field.
    pub(super) fn resolve_field(&self, name: &str) -> Result<String, String> {
        match self.find_field(name) {
            Some(field) => Ok(field.to_owned()),
            None => Err(format!(
                "the model {} has no field `{name}`{}",
                self.model.name,
                format_suggestion(self.nearest_field(name))
            )),
        }
    }

    /// Returns the field with this name, without regard to case. An image field is also found with `_url`
    /// after its name.
    pub(super) fn find_field(&self, name: &str) -> Option<&str> {
        // Most names are written as they are, and JSON repeats them in each row.
        self.find_exact_field(name)
            .or_else(|| self.find_exact_field(&folded(name)))
    }

    fn find_exact_field(&self, name: &str) -> Option<&str> {
        if name == ID_FIELD {
            return Some(ID_FIELD);
        }
        let is_alias = |field: &&Field| {
            name.strip_suffix("_url") == Some(&field.name) && field.shape == Shape::Image
        };
        self.model
            .field(name)
            .or_else(|| self.model.fields.iter().find(is_alias))
            .map(|field| field.name.as_str())
    }

    fn nearest_field(&self, name: &str) -> Option<&str> {
        let fields = self.model.fields.iter().map(|field| field.name.as_str());
        nearest(name, fields.chain([ID_FIELD]))
    }

    /// Returns the fields that a key of a row of JSON provides; none if it is only data for the prompt
    /// template.
    ///
    /// # Errors
    /// As [`default_field`](Self::default_field).
    pub(in crate::manifest) fn fields_for(&self, key: &str) -> Result<Vec<KeyField<'_>>, Mistake> {
        let is_key = |name: &str| name == key || folded(name) == folded(key);
        let mapped = self.mappings.iter().filter_map(|mapping| {
            let candidates = mapping.candidates(is_key);
            Some(KeyField {
                field: &mapping.field,
                rank: candidates.iter().position(|name| is_key(name))?,
                has_alternatives: candidates.len() > 1,
            })
        });
        let mapped: Vec<KeyField<'_>> = mapped.collect();
        if !mapped.is_empty() {
            return Ok(mapped);
        }
        let field = self.default_field(key)?;
        let fields = field.into_iter().map(|field| KeyField {
            field,
            rank: 0,
            has_alternatives: false,
        });
        Ok(fields.collect())
    }

    /// Returns the field that a column which nobody mapped provides by its name; `None` if it is only data
    /// for the prompt template or a condition.
    ///
    /// # Errors
    /// Returns a mistake if the column is unknown, unless the user has mapped columns or written a
    /// prompt.
    pub(super) fn default_field(&self, column: &str) -> Result<Option<&str>, Mistake> {
        match self.find_field(column) {
            // The user named another column, or the template, for this field.
            Some(field) if self.mapping_for(field).is_some() => Ok(None),
            Some("prompt") if self.prompt.is_some() => Ok(None),
            Some(field) => Ok(Some(field)),
            None if !self.mappings.is_empty() || self.prompt.is_some() => Ok(None),
            None if self.conditions.name(column) => Ok(None),
            None if self
                .group_by
                .as_ref()
                .is_some_and(|name| folded(name) == folded(column)) =>
            {
                Ok(None)
            }
            None => Err(Mistake::UnknownColumn {
                name: column.to_owned(),
                nearest: self.nearest_field(column).map(str::to_owned),
            }),
        }
    }

    /// Returns the fields that every row needs and that neither a constant nor the template of the prompt
    /// provides.
    pub(super) fn needed_fields(&self) -> impl Iterator<Item = &str> {
        let fields = self.model.fields.iter().filter(|field| {
            let is_from_template = field.name == "prompt" && self.prompt.is_some();
            field.required && !self.has_constant(&field.name) && !is_from_template
        });
        fields.map(|field| field.name.as_str())
    }

    /// Sets the prompt from the row's columns, if there is a template. `cell` returns the text of a
    /// column.
    pub(in crate::manifest) fn fill_prompt(
        &self,
        row: &mut Row,
        cell: impl Fn(&str) -> Option<String>,
    ) {
        if let Some(template) = &self.prompt {
            match template.fill(cell) {
                Ok(prompt) => row.set("prompt", Value::from(prompt)),
                Err(message) => row.add_problem("prompt", message),
            }
        }
    }
}
