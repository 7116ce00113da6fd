//! Maps a manifest's columns to a model's fields, as the user specified.

use std::path::Path;

use serde_json::Value;
use url::Url;

use crate::domain::suggest::{format_suggestion, nearest};
use crate::domain::{Field, Model, ProviderName, Shape};

use crate::image::ImageFixes;

use super::column_names::{ColumnNames, folded, trim};
use super::images::ImageResolver;
use super::mapping_error::MappingError;
use super::preset::Preset;
use super::problem::{ColumnOption, Mistake};
use super::row::{ID_FIELD, Row};
use super::row_filter::{Condition, Conditions};
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
    columns: Vec<String>,
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

/// A field that a key of a row of JSON provides.
pub(super) struct KeyField<'a> {
    pub(super) field: &'a str,
    /// The position of the key among those that may provide the field, from 0.
    pub(super) rank: usize,
    /// Whether several keys may provide the field.
    pub(super) has_alternatives: bool,
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
    /// Whether the user has named what identifies a product.
    pub(super) is_one_per_given: bool,
    pub(super) each_image: bool,
    skip_missing: Vec<String>,
    pub(super) images: ImageResolver,
    pub(super) preset: Option<Preset>,
    /// Whether a product with variations is one job.
    pub(super) is_one_per_product: bool,
    pub(super) group_by: Option<String>,
    pub(super) conditions: Conditions,
    pub(super) image_base: Option<Url>,
    pub(super) header_row: Option<u64>,
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
            is_one_per_given: false,
            each_image: layout.each_image,
            skip_missing: Vec::new(),
            images: ImageResolver::new(layout.image_fixes),
            preset: layout.preset,
            is_one_per_product: false,
            group_by: layout.group_by,
            conditions: Conditions {
                only: layout.only,
                except: layout.except,
                statuses: layout.preset.map_or(&[], Preset::statuses),
                takes_all_statuses: layout.all_statuses,
            },
            image_base: layout.image_base.or_else(|| {
                let base = layout.preset.and_then(Preset::image_base);
                base.and_then(|base| Url::parse(base).ok())
            }),
            header_row: layout.header_row,
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
                .resolve(&field.shape, &mut value, Path::new(""), &mut Vec::new())
                .map_err(|image| invalid(image.reason))?;
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
        mapper.is_one_per_product = layout.preset == Some(Preset::Woocommerce)
            && layout.one_per.as_deref() == Some("product");
        mapper.is_one_per_given = layout.one_per.is_some() && !mapper.is_one_per_product;
        mapper.one_per = layout
            .one_per
            .filter(|_| !mapper.is_one_per_product)
            .or_else(|| {
                let has_several = layout.preset.is_some_and(Preset::has_rows_per_product);
                let is_grouped = has_several || mapper.group_by.is_some();
                is_grouped.then(|| ID_FIELD.to_owned())
            });
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
    pub(super) fn suggested_preset(&self, columns: &ColumnNames<'_>) -> Option<Preset> {
        let is_there = |name: &&str| columns.names().contains(name);
        let has_all_fields = |preset: &Preset| {
            preset
                .columns()
                .iter()
                .all(|(_, names)| names.iter().any(is_there))
        };
        let is_unspecified = self.mappings.is_empty() && self.prompt.is_none();
        Preset::ALL
            .into_iter()
            .find(has_all_fields)
            .filter(|_| is_unspecified)
    }

    /// Returns whether rows are combined, which only a table allows.
    pub(super) fn needs_table(&self) -> bool {
        self.preset.is_some()
            || self.one_per.is_some()
            || self.each_image
            || self.group_by.is_some()
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
    pub(super) fn shape_of(&self, field: &str) -> Option<&Shape> {
        let field = Some(field).filter(|field| *field != ID_FIELD)?;
        self.model.field(field).map(|field| &field.shape)
    }

    /// Returns how many of the columns that are read have one of these names. A header has
    /// [`max_known`](Self::max_known) of them.
    pub(super) fn count_known(&self, names: &[&str]) -> usize {
        let names = ColumnNames::new(names.to_vec());
        if self.suggested_preset(&names).is_some() {
            return self.max_known();
        }
        let mapped = self.mappings.iter().filter(|mapping| {
            let candidates = mapping.candidates(|name| names.has(name));
            candidates.iter().any(|name| names.has(name))
        });
        let in_template = self.template_columns().filter(|name| names.has(name));
        let required = self.unmapped_fields().filter(|field| {
            let is_field = |name: &&&str| self.find_field(name) == Some(field.as_str());
            names.names().iter().any(|name| is_field(&name))
        });
        mapped.count() + in_template.count() + required.count()
    }

    /// Returns how many columns are read at least.
    pub(super) fn max_known(&self) -> usize {
        self.mappings.len() + self.template_columns().count() + self.unmapped_fields().count()
    }

    /// Returns the fields that every row needs and that only a column of their name provides.
    fn unmapped_fields(&self) -> impl Iterator<Item = &String> {
        let fields = self.model.fields.iter().filter(|field| {
            field.required
                && self.mapping_for(&field.name).is_none()
                && !self.has_constant(&field.name)
                && !(field.name == "prompt" && self.prompt.is_some())
        });
        fields.map(|field| &field.name)
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

    /// Returns the field with this name, without regard to case. An image field is also found with `_url`
    /// after its name.
    fn find_field(&self, name: &str) -> Option<&str> {
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
    pub(super) fn fields_for(&self, key: &str) -> Result<Vec<KeyField<'_>>, Mistake> {
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
