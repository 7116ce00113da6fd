//! Maps a manifest's columns to a model's fields, as the user specified.

use std::path::Path;

use serde_json::Value;

use crate::domain::suggest::{format_suggestion, nearest};
use crate::domain::{Field, Model, ProviderName, Shape};

use super::images::ImageResolver;
use super::mapping_error::MappingError;
use super::preset::Preset;
use super::problem::{ColumnOption, Mistake};
use super::row::{ID_FIELD, Row};
use super::template::Template;

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
}

/// A field and the columns that provide it; the first that is not empty sets it.
struct ColumnMapping {
    field: String,
    columns: Vec<String>,
    /// The option that named the columns.
    option: ColumnOption,
}

/// Turns rows into jobs of one model: holds the model, the providers that may run the jobs, and how
/// columns become fields.
pub struct RowMapper<'a> {
    pub(super) model: &'a Model,
    pub(super) providers: Vec<ProviderName>,
    mappings: Vec<ColumnMapping>,
    /// Fields and their values in rows that leave them out.
    pub(super) constants: Vec<(String, Value)>,
    prompt: Option<Template>,
    pub(super) one_per: Option<String>,
    pub(super) each_image: bool,
    skip_missing: Vec<String>,
    pub(super) images: ImageResolver,
}

impl<'a> RowMapper<'a> {
    /// Creates a mapper for a model and the providers that may run it.
    ///
    /// # Errors
    /// Returns which of the options is wrong and why.
    pub fn new(
        model: &'a Model,
        providers: Vec<ProviderName>,
        layout: MappingOptions,
    ) -> Result<Self, MappingError> {
        let mut mapper = Self {
            model,
            providers,
            mappings: Vec::new(),
            constants: Vec::new(),
            prompt: None,
            one_per: None,
            each_image: layout.each_image,
            skip_missing: Vec::new(),
            images: ImageResolver::default(),
        };
        for (name, column) in layout.map {
            let invalid = |field: &str, reason: String| MappingError::InvalidColumn {
                field: field.to_owned(),
                column: column.clone(),
                reason,
            };
            let field = mapper
                .resolve_field(&name)
                .map_err(|reason| invalid(&name, reason))?;
            if mapper.mapping_for(&field).is_some() {
                return Err(MappingError::RepeatedColumn(field));
            }
            if column.trim().is_empty() {
                return Err(invalid(&field, "the column name is blank".into()));
            }
            mapper.mappings.push(ColumnMapping {
                field,
                columns: vec![column],
                option: ColumnOption::Map,
            });
        }
        for (field, columns) in layout.preset.iter().flat_map(|preset| preset.columns()) {
            if mapper.mapping_for(field).is_none() && mapper.resolve_field(field).is_ok() {
                let columns = columns.iter().map(|column| (*column).to_owned()).collect();
                mapper.mappings.push(ColumnMapping {
                    field: field.to_owned(),
                    columns,
                    option: ColumnOption::Preset(layout.preset.map_or("", Preset::as_str)),
                });
            }
        }
        for (name, text) in layout.set {
            let invalid = |reason: String| MappingError::InvalidValue {
                field: name.clone(),
                value: text.clone(),
                reason,
            };
            let field = mapper.resolve_field(&name).map_err(invalid)?;
            let Some(field) = model.field(&field) else {
                return Err(invalid("every row needs its own id".into()));
            };
            let mut value = field.shape.read_text(&text).map_err(invalid)?;
            mapper
                .images
                .resolve(&field.shape, &mut value, Path::new(""))
                .map_err(invalid)?;
            field.shape.check(&value).map_err(invalid)?;
            if mapper.has_constant(&field.name) {
                return Err(MappingError::RepeatedValue(field.name.clone()));
            }
            mapper.constants.push((field.name.clone(), value));
        }
        if let Some(text) = &layout.prompt {
            if model.field("prompt").is_none() {
                let reason = format!("the model {} has no field `prompt`", model.name);
                return Err(MappingError::InvalidPrompt(reason));
            }
            if mapper.mapping_for("prompt").is_some() {
                return Err(MappingError::RepeatedPrompt);
            }
            mapper.prompt = Some(Template::parse(text).map_err(MappingError::InvalidPrompt)?);
        }
        for name in layout.skip_missing {
            let field = mapper.resolve_field(&name);
            let field = field.map_err(|reason| MappingError::InvalidSkip {
                field: name,
                reason,
            })?;
            mapper.skip_missing.push(field);
        }
        mapper.one_per = layout
            .one_per
            .or_else(|| layout.preset.map(|_| ID_FIELD.to_owned()));
        if let Some(column) = &mapper.one_per
            && mapper.find_field(column).is_none()
            && mapper.mapping_for(ID_FIELD).is_none()
        {
            // The column that identifies a product also provides its key.
            mapper.mappings.push(ColumnMapping {
                field: ID_FIELD.to_owned(),
                columns: vec![column.clone()],
                option: ColumnOption::OnePer,
            });
        }
        Ok(mapper)
    }

    fn mapping_for(&self, field: &str) -> Option<&ColumnMapping> {
        self.mappings.iter().find(|mapping| mapping.field == field)
    }

    fn has_constant(&self, field: &str) -> bool {
        self.constants.iter().any(|(known, _)| known == field)
    }

    /// Returns the preset whose fields a header's columns all provide. Returns `None` if there is
    /// none, or if the user has mapped columns or written a prompt.
    pub(super) fn suggested_preset(&self, columns: &[&str]) -> Option<Preset> {
        let has_all_fields = |preset: &Preset| {
            preset
                .columns()
                .iter()
                .all(|(_, names)| names.iter().any(|name| columns.contains(name)))
        };
        let is_unspecified = self.mappings.is_empty() && self.prompt.is_none();
        Preset::ALL
            .into_iter()
            .find(has_all_fields)
            .filter(|_| is_unspecified)
    }

    /// Returns the position of a column, from 0, among those that may provide the same field.
    /// Columns with a lower position are preferred.
    pub(super) fn preference_rank(&self, column: &str) -> usize {
        let positions = self
            .mappings
            .iter()
            .filter_map(|mapping| mapping.columns.iter().position(|name| name == column));
        positions.min().unwrap_or(0)
    }

    /// Reports whether several columns may provide a field.
    pub(super) fn has_alternatives(&self, field: &str) -> bool {
        self.mapping_for(field)
            .is_some_and(|mapping| mapping.columns.len() > 1)
    }

    /// Returns the field that excludes a row: one of `skip_missing` that the row lacks. Returns
    /// `None` if the row is not left out.
    pub(super) fn skip_reason(&self, row: &Row) -> Option<&str> {
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
    fn resolve_field(&self, name: &str) -> Result<String, String> {
        match self.find_field(name) {
            Some(field) => Ok(field.to_owned()),
            None => Err(format!(
                "the model {} has no field `{name}`{}",
                self.model.name,
                format_suggestion(self.nearest_field(name))
            )),
        }
    }

    /// Returns the field with this name. An image field is also found with `_url` after its name.
    fn find_field(&self, name: &str) -> Option<&str> {
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

    /// Returns the fields that a column provides; none if it is only data for the prompt template.
    ///
    /// # Errors
    /// Returns a mistake if the column is unknown, unless the user has mapped columns or written a
    /// prompt.
    pub(super) fn fields_for(&self, column: &str) -> Result<Vec<&str>, Mistake> {
        let names_column =
            |mapping: &&ColumnMapping| mapping.columns.iter().any(|name| name == column);
        let mapped: Vec<&str> = self
            .mappings
            .iter()
            .filter(names_column)
            .map(|mapping| mapping.field.as_str())
            .collect();
        if !mapped.is_empty() {
            return Ok(mapped);
        }
        match self.find_field(column) {
            // The user named another column, or the template, for this field.
            Some(field) if self.mapping_for(field).is_some() => Ok(Vec::new()),
            Some("prompt") if self.prompt.is_some() => Ok(Vec::new()),
            Some(field) => Ok(vec![field]),
            None if !self.mappings.is_empty() || self.prompt.is_some() => Ok(Vec::new()),
            None => Err(Mistake::UnknownColumn {
                name: column.to_owned(),
                nearest: self.nearest_field(column).map(str::to_owned),
            }),
        }
    }

    /// Returns a mistake for each column that the user named and that the header lacks.
    pub(super) fn check_named_columns(&self, columns: &[&str]) -> Vec<Mistake> {
        let is_present = |mapping: &&ColumnMapping| {
            mapping
                .columns
                .iter()
                .any(|name| columns.contains(&name.as_str()))
        };
        let unmet = self.mappings.iter().filter(|mapping| !is_present(mapping));
        let mapped = unmet.map(|mapping| (mapping.option, mapping.columns[0].as_str()));
        let in_template = self
            .prompt
            .iter()
            .flat_map(Template::columns)
            .map(|column| (ColumnOption::Prompt, column));
        let missing = mapped.chain(in_template.filter(|(_, column)| !columns.contains(column)));
        missing
            .map(|(option, column)| Mistake::MissingColumn {
                option,
                column: column.to_owned(),
                nearest: nearest(column, columns.iter().copied()).map(str::to_owned),
            })
            .collect()
    }

    /// Returns a mistake for each field that every row needs and that neither the columns nor the
    /// user provide. `unused` are columns that provide no field, of which one may be meant.
    pub(super) fn check_required_fields(&self, provided: &[&str], unused: &[&str]) -> Vec<Mistake> {
        let is_from_template = |field: &Field| field.name == "prompt" && self.prompt.is_some();
        let missing = self.model.fields.iter().filter(|field| {
            field.required
                && !provided.contains(&field.name.as_str())
                && !self.has_constant(&field.name)
                && !is_from_template(field)
        });
        missing
            .map(|Field { name, .. }| Mistake::NoColumnFor {
                field: name.clone(),
                candidate: nearest(name, unused.iter().copied()).map(str::to_owned),
            })
            .collect()
    }

    /// Sets the prompt from the row's columns, if there is a template. `cell` returns the text of a
    /// column.
    pub(super) fn fill_prompt(&self, row: &mut Row, cell: impl Fn(&str) -> Option<String>) {
        if let Some(template) = &self.prompt {
            match template.fill(cell) {
                Ok(prompt) => row.set("prompt", Value::from(prompt)),
                Err(message) => row.add_problem("prompt", message),
            }
        }
    }
}
