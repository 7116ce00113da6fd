//! What the user said of a manifest: the model it is for, and which column is which field.

use serde_json::Value;

use crate::domain::nearest::{did_you_mean, nearest};
use crate::domain::shown::shown;
use crate::domain::{Field, Model, ProviderName, Shape};

use super::row::Row;
use super::{ID, Template};

/// How rows are read: the model they are for, who may run them, and what the user said of the columns.
pub struct Rules<'a> {
    pub(super) model: &'a Model,
    pub(super) providers: Vec<ProviderName>,
    /// Field and column.
    mapping: Vec<(String, String)>,
    /// Field and value, for rows that leave the field out.
    pub(super) constants: Vec<(String, Value)>,
    prompt: Option<Template>,
}

impl<'a> Rules<'a> {
    /// Makes rules; the error says which of the user's words makes no sense.
    pub fn new(
        model: &'a Model,
        providers: Vec<ProviderName>,
        mapping: Vec<(String, String)>,
        constants: Vec<(String, String)>,
        prompt: Option<&str>,
    ) -> Result<Self, String> {
        let mut rules = Self { model, providers, mapping: Vec::new(), constants: Vec::new(), prompt: None };
        for (field, column) in mapping {
            let field =
                rules.known_field(&field).map_err(|error| format!("--map {field}={column}: {error}"))?;
            if rules.mapping.iter().any(|(known, _)| *known == field) {
                return Err(format!("--map names {field} twice"));
            }
            if column.trim().is_empty() {
                return Err(format!("--map {field}={column}: the column has no name"));
            }
            rules.mapping.push((field, column));
        }
        for (name, text) in constants {
            let wrong = |error: String| format!("--set {name}={text}: {error}");
            let field = rules.known_field(&name).map_err(wrong)?;
            let Some(field) = model.field(&field) else {
                return Err(wrong("every row needs an id of its own".into()));
            };
            let value = field.shape.read_text(&text).map_err(wrong)?;
            field.shape.check(&value).map_err(wrong)?;
            if rules.constants.iter().any(|(known, _)| *known == field.name) {
                return Err(format!("--set names {} twice", field.name));
            }
            rules.constants.push((field.name.clone(), value));
        }
        if let Some(text) = prompt {
            if model.field("prompt").is_none() {
                return Err(format!("--prompt: the model {} has no prompt", model.name));
            }
            if rules.mapping.iter().any(|(field, _)| field == "prompt") {
                return Err("--prompt and --map prompt=COLUMN both give the prompt; leave one out".into());
            }
            rules.prompt = Some(Template::parse(text).map_err(|error| format!("--prompt: {error}"))?);
        }
        Ok(rules)
    }

    fn known_field(&self, name: &str) -> Result<String, String> {
        match self.field_of(name) {
            Some(field) => Ok(field.to_owned()),
            None => Err(format!("the model {} has no field `{name}`{}", self.model.name, self.near(name))),
        }
    }

    /// The field a name stands for: its own, or that of an image with `_url` behind it.
    fn field_of(&self, name: &str) -> Option<&str> {
        if name == ID {
            return Some(ID);
        }
        let is_alias =
            |field: &&Field| name.strip_suffix("_url") == Some(&field.name) && field.shape == Shape::Image;
        self.model
            .field(name)
            .or_else(|| self.model.fields.iter().find(is_alias))
            .map(|field| field.name.as_str())
    }

    fn near(&self, name: &str) -> String {
        did_you_mean(name, self.model.fields.iter().map(|field| field.name.as_str()).chain([ID]))
    }

    /// Tells which fields a column fills: none where it is only data for the template. The error says that it is unknown.
    pub(super) fn fields_of(&self, column: &str) -> Result<Vec<&str>, String> {
        let mapped: Vec<&str> =
            self.mapping.iter().filter(|(_, from)| from == column).map(|(field, _)| field.as_str()).collect();
        if !mapped.is_empty() {
            return Ok(mapped);
        }
        match self.field_of(column) {
            // Another column, or the template, was named for this field.
            Some(field) if self.mapping.iter().any(|(known, _)| known == field) => Ok(Vec::new()),
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
        let mapped = self.mapping.iter().map(|(_, column)| ("--map", column.as_str()));
        let filled = self.prompt.iter().flat_map(Template::columns).map(|column| ("--prompt", column));
        let missing = mapped.chain(filled).filter(|(_, column)| !columns.contains(column));
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
            field.required && !given.contains(&field.name.as_str()) && !is_set(field) && !is_made(field)
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

    /// The field's shape, for reading a cell of text; the row's key is text.
    pub(super) fn read_text(&self, field: &str, text: &str) -> Result<Value, String> {
        match self.model.field(field) {
            Some(field) => field.shape.read_text(text),
            None => Ok(Value::from(text)),
        }
    }

    /// Makes the prompt of the row's columns, where there is a template.
    pub(super) fn fill_prompt(&self, row: &mut Row, cell: impl Fn(&str) -> Option<String>) {
        if let Some(template) = &self.prompt {
            match template.fill(cell) {
                Ok(prompt) => row.put("prompt", Value::from(prompt)),
                Err(problem) => row.wrong("prompt", problem),
            }
        }
    }
}
