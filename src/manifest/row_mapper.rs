//! What the user said of a manifest: the model it is for, and which column is which field.

use std::path::Path;

use serde_json::Value;

use crate::domain::printable::shown;
use crate::domain::suggest::{did_you_mean, nearest};
use crate::domain::{Field, Model, ProviderName, Shape};

use super::images::ImageResolver;
use super::row::Row;
use super::{ID, Preset, Template};

/// What the user says of a manifest's columns and rows.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Layout {
    /// The shop it comes from.
    pub preset: Option<Preset>,
    /// Field and column.
    pub map: Vec<(String, String)>,
    /// Field and value, for rows that leave the field out.
    pub set: Vec<(String, String)>,
    /// The template of the prompt.
    pub prompt: Option<String>,
    /// The field, or the column, whose equal values make rows one product.
    pub one_per: Option<String>,
    /// A job for each image, not only for a product's first.
    pub each_image: bool,
    /// Rows without one of these fields are left out.
    pub skip_missing: Vec<String>,
}

/// A field, and the columns that give it: of several, the first that is not empty.
struct Mapped {
    field: String,
    columns: Vec<String>,
    /// What the user said that names them.
    flag: String,
}

/// How rows are read: the model they are for, who may run them, and what the user said of the columns.
pub struct RowMapper<'a> {
    pub(super) model: &'a Model,
    pub(super) providers: Vec<ProviderName>,
    mapping: Vec<Mapped>,
    /// Field and value, for rows that leave the field out.
    pub(super) constants: Vec<(String, Value)>,
    prompt: Option<Template>,
    pub(super) one_per: Option<String>,
    pub(super) each_image: bool,
    skip_missing: Vec<String>,
    pub(super) images: ImageResolver,
}

impl<'a> RowMapper<'a> {
    /// Makes rules; the error says which of the user's words makes no sense.
    pub fn new(
        model: &'a Model,
        providers: Vec<ProviderName>,
        layout: Layout,
    ) -> Result<Self, String> {
        let mut mapper = Self {
            model,
            providers,
            mapping: Vec::new(),
            constants: Vec::new(),
            prompt: None,
            one_per: None,
            each_image: layout.each_image,
            skip_missing: Vec::new(),
            images: ImageResolver::default(),
        };
        for (field, column) in layout.map {
            let field = mapper
                .known_field(&field)
                .map_err(|error| format!("--map {field}={column}: {error}"))?;
            if mapper.mapped(&field).is_some() {
                return Err(format!("--map names {field} twice"));
            }
            if column.trim().is_empty() {
                return Err(format!("--map {field}={column}: the column has no name"));
            }
            mapper.mapping.push(Mapped {
                field,
                columns: vec![column],
                flag: "--map".into(),
            });
        }
        for (field, columns) in layout.preset.iter().flat_map(|preset| preset.columns()) {
            if mapper.mapped(field).is_none() && mapper.known_field(field).is_ok() {
                let flag = format!("--preset {}", layout.preset.map_or("", Preset::as_str));
                let columns = columns.iter().map(|column| (*column).to_owned()).collect();
                mapper.mapping.push(Mapped {
                    field: field.to_owned(),
                    columns,
                    flag,
                });
            }
        }
        for (name, text) in layout.set {
            let wrong = |error: String| format!("--set {name}={text}: {error}");
            let field = mapper.known_field(&name).map_err(wrong)?;
            let Some(field) = model.field(&field) else {
                return Err(wrong("every row needs an id of its own".into()));
            };
            let mut value = field.shape.read_text(&text).map_err(wrong)?;
            mapper
                .images
                .find(&field.shape, &mut value, Path::new(""))
                .map_err(wrong)?;
            field.shape.check(&value).map_err(wrong)?;
            if mapper
                .constants
                .iter()
                .any(|(known, _)| *known == field.name)
            {
                return Err(format!("--set names {} twice", field.name));
            }
            mapper.constants.push((field.name.clone(), value));
        }
        if let Some(text) = &layout.prompt {
            if model.field("prompt").is_none() {
                return Err(format!("--prompt: the model {} has no prompt", model.name));
            }
            if mapper.mapped("prompt").is_some() {
                return Err(
                    "--prompt and --map prompt=COLUMN both give the prompt; leave one out".into(),
                );
            }
            mapper.prompt =
                Some(Template::parse(text).map_err(|error| format!("--prompt: {error}"))?);
        }
        for name in layout.skip_missing {
            let field = mapper
                .known_field(&name)
                .map_err(|error| format!("--skip-missing {name}: {error}"))?;
            mapper.skip_missing.push(field);
        }
        mapper.one_per = layout
            .one_per
            .or_else(|| layout.preset.map(|_| ID.to_owned()));
        if let Some(column) = &mapper.one_per
            && mapper.field_of(column).is_none()
            && mapper.mapped(ID).is_none()
        {
            // What makes rows one product is the product's key.
            let (field, columns) = (ID.to_owned(), vec![column.clone()]);
            mapper.mapping.push(Mapped {
                field,
                columns,
                flag: "--one-per".into(),
            });
        }
        Ok(mapper)
    }

    fn mapped(&self, field: &str) -> Option<&Mapped> {
        self.mapping.iter().find(|mapped| mapped.field == field)
    }

    /// The shop whose export these columns are, where the user said nothing of columns.
    pub(super) fn likely_preset(&self, columns: &[&str]) -> Option<Preset> {
        let has_all = |preset: &Preset| {
            preset
                .columns()
                .iter()
                .all(|(_, names)| names.iter().any(|name| columns.contains(name)))
        };
        let is_plain = self.mapping.is_empty() && self.prompt.is_none();
        Preset::ALL.into_iter().find(has_all).filter(|_| is_plain)
    }

    /// How early a column comes among those that give one field.
    pub(super) fn rank(&self, column: &str) -> usize {
        let places = self
            .mapping
            .iter()
            .filter_map(|mapped| mapped.columns.iter().position(|name| name == column));
        places.min().unwrap_or(0)
    }

    /// Tells whether several columns may give a field.
    pub(super) fn has_alternatives(&self, field: &str) -> bool {
        self.mapped(field)
            .is_some_and(|mapped| mapped.columns.len() > 1)
    }

    /// The field a row lacks that the user said to leave out rows for.
    pub(super) fn skips(&self, row: &Row) -> Option<&str> {
        let is_given = |field: &str| match field {
            ID => row.id.is_some(),
            field => {
                row.fields.contains_key(field)
                    || self.constants.iter().any(|(known, _)| known == field)
            }
        };
        // A value that is there and wrong is a mistake.
        let is_told = |field: &str| {
            row.problems
                .iter()
                .any(|(wrong, _)| wrong.as_deref() == Some(field))
        };
        self.skip_missing
            .iter()
            .map(String::as_str)
            .find(|field| !is_given(field) && !is_told(field))
    }

    fn known_field(&self, name: &str) -> Result<String, String> {
        match self.field_of(name) {
            Some(field) => Ok(field.to_owned()),
            None => Err(format!(
                "the model {} has no field `{name}`{}",
                self.model.name,
                self.near(name)
            )),
        }
    }

    /// The field a name stands for: its own, or that of an image with `_url` behind it.
    fn field_of(&self, name: &str) -> Option<&str> {
        if name == ID {
            return Some(ID);
        }
        let is_alias = |field: &&Field| {
            name.strip_suffix("_url") == Some(&field.name) && field.shape == Shape::Image
        };
        self.model
            .field(name)
            .or_else(|| self.model.fields.iter().find(is_alias))
            .map(|field| field.name.as_str())
    }

    fn near(&self, name: &str) -> String {
        did_you_mean(
            name,
            self.model
                .fields
                .iter()
                .map(|field| field.name.as_str())
                .chain([ID]),
        )
    }

    /// Tells which fields a column fills: none where it is only data for the template. The error says that it is unknown.
    pub(super) fn fields_of(&self, column: &str) -> Result<Vec<&str>, String> {
        let gives = |mapped: &&Mapped| mapped.columns.iter().any(|name| name == column);
        let mapped: Vec<&str> = self
            .mapping
            .iter()
            .filter(gives)
            .map(|mapped| mapped.field.as_str())
            .collect();
        if !mapped.is_empty() {
            return Ok(mapped);
        }
        match self.field_of(column) {
            // Another column, or the template, was named for this field.
            Some(field) if self.mapped(field).is_some() => Ok(Vec::new()),
            Some("prompt") if self.prompt.is_some() => Ok(Vec::new()),
            Some(field) => Ok(vec![field]),
            None if !self.mapping.is_empty() || self.prompt.is_some() => Ok(Vec::new()),
            None => Err(format!(
                "unknown column `{}`{} it, or name the columns you mean with --map FIELD=COLUMN",
                shown(column),
                match self.near(column) {
                    near if near.is_empty() => "; remove".into(),
                    near => format!("{near} Remove"),
                }
            )),
        }
    }

    /// The columns the user named that a manifest with these columns does not have.
    pub(super) fn missing_columns(&self, columns: &[&str]) -> Vec<String> {
        let is_there = |mapped: &&Mapped| {
            mapped
                .columns
                .iter()
                .any(|name| columns.contains(&name.as_str()))
        };
        let lacking = self.mapping.iter().filter(|mapped| !is_there(mapped));
        let mapped = lacking.map(|mapped| (mapped.flag.as_str(), mapped.columns[0].as_str()));
        let filled = self
            .prompt
            .iter()
            .flat_map(Template::columns)
            .map(|column| ("--prompt", column));
        let missing = mapped.chain(filled.filter(|(_, column)| !columns.contains(column)));
        missing
            .map(|(flag, column)| {
                format!(
                    "there is no column `{column}`, which {flag} names{}",
                    did_you_mean(column, columns.iter().copied())
                )
            })
            .collect()
    }

    /// The fields every row needs that neither these columns nor the user give; `spare` are columns that fill nothing.
    pub(super) fn missing_fields(&self, given: &[&str], spare: &[&str]) -> Vec<String> {
        let is_set = |field: &Field| self.constants.iter().any(|(known, _)| *known == field.name);
        let is_made = |field: &Field| field.name == "prompt" && self.prompt.is_some();
        let missing = self.model.fields.iter().filter(|field| {
            field.required
                && !given.contains(&field.name.as_str())
                && !is_set(field)
                && !is_made(field)
        });
        missing
            .map(|Field { name, .. }| {
                let near = nearest(name, spare.iter().copied());
                let perhaps = near.map_or(String::new(), |near| format!(", perhaps `{}`", shown(near)));
                format!(
                    "no column gives `{name}`, which every row needs; name one with --map {name}=COLUMN{perhaps}"
                )
            })
            .collect()
    }

    /// Makes the prompt of the row's columns, where there is a template.
    pub(super) fn fill_prompt(&self, row: &mut Row, cell: impl Fn(&str) -> Option<String>) {
        if let Some(template) = &self.prompt {
            match template.fill(cell) {
                Ok(prompt) => row.set("prompt", Value::from(prompt)),
                Err(problem) => row.wrong("prompt", problem),
            }
        }
    }
}
