//! One row: which field each column is, what each value may be, who can run it, and what it costs.

use serde_json::{Map, Value};

use crate::domain::nearest::did_you_mean;
use crate::domain::{Field, Input, Model, NewJob, ProviderName, Shape};

use super::{Problem, Template};

/// The field that is the row's key, beside the model's own.
pub(super) const ID: &str = "id";

/// A key longer than this is a description.
const LONGEST_ID: usize = 200;

/// How rows are read: the model they are for, who may run them, and what the user said of the columns.
pub struct Rules<'a> {
    model: &'a Model,
    providers: Vec<ProviderName>,
    /// Field and column.
    mapping: Vec<(String, String)>,
    /// Field and value, for rows that leave the field out.
    constants: Vec<(String, Value)>,
    prompt: Option<Template>,
}

/// A row's values by field, with their problems.
#[derive(Default)]
pub(super) struct Row {
    pub(super) line: u64,
    pub(super) id: Option<String>,
    pub(super) fields: Map<String, Value>,
    pub(super) problems: Vec<(Option<String>, String)>,
}

impl Row {
    pub(super) fn wrong(&mut self, field: &str, message: impl Into<String>) {
        self.problems.push((Some(field.to_owned()), message.into()));
    }

    /// Puts a value under a field, once.
    pub(super) fn put(&mut self, field: &str, value: Value) {
        if self.fields.contains_key(field) {
            self.wrong(field, "is given twice");
        }
        self.fields.insert(field.to_owned(), value);
    }
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
            rules.constants.push((field.name.clone(), value));
        }
        if let Some(text) = prompt {
            if model.field("prompt").is_none() {
                return Err(format!("--prompt: the model {} has no prompt", model.name));
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
                "unknown column `{column}`{} Remove it, or name the columns you mean with --map FIELD=COLUMN",
                match self.near(column) {
                    near if near.is_empty() => ";".into(),
                    near => near,
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

    /// Checks a row and makes it a job; all its problems where it cannot be one.
    pub(super) fn finish(&self, file: &str, mut row: Row) -> Result<NewJob, Vec<Problem>> {
        self.check_fields(&mut row);
        if let Some(id) = row.id.take() {
            match check_id(&id) {
                Ok(()) => row.id = Some(id.trim().to_owned()),
                Err(problem) => row.wrong(ID, problem),
            }
        }
        let input = Input(std::mem::take(&mut row.fields));
        let mut providers = Vec::new();
        if row.problems.is_empty() {
            providers = self.able(&input).unwrap_or_else(|problem| {
                row.problems.push((None, problem));
                Vec::new()
            });
        }
        if !row.problems.is_empty() {
            let problem =
                |(field, message)| Problem { file: file.to_owned(), line: row.line, field, message };
            return Err(row.problems.into_iter().map(problem).collect());
        }
        let prices = providers.iter().filter_map(|name| self.model.route(*name));
        let estimate = prices.map(|route| self.model.price(route, &input)).max().unwrap_or_default();
        let row_key = row.id.unwrap_or_else(|| input.fingerprint(&self.model.name)[..16].to_owned());
        Ok(NewJob { row_key, line: row.line, input, providers, estimate })
    }

    fn check_fields(&self, row: &mut Row) {
        for (field, value) in &self.constants {
            row.fields.entry(field.clone()).or_insert_with(|| value.clone());
        }
        for field in &self.model.fields {
            match row.fields.get_mut(&field.name) {
                None if field.required
                    && !row.problems.iter().any(|(wrong, _)| wrong.as_ref() == Some(&field.name)) =>
                {
                    row.wrong(&field.name, "is missing");
                }
                None => {}
                Some(value) => match field.shape.check(value) {
                    Ok(()) => make_whole(&field.shape, value),
                    Err(problem) => row.wrong(&field.name, problem),
                },
            }
        }
    }

    /// The allowed providers that can take an input; the error says why none can.
    fn able(&self, input: &Input) -> Result<Vec<ProviderName>, String> {
        let (mut able, mut obstacles) = (Vec::new(), Vec::new());
        for provider in &self.providers {
            match self.model.route(*provider).map(|route| route.obstacle(input)) {
                Some(None) => able.push(*provider),
                Some(Some(obstacle)) => obstacles.push(obstacle),
                None => obstacles.push(format!("{provider} does not offer {}", self.model.name)),
            }
        }
        if able.is_empty() {
            Err(format!("no allowed provider can take this row: {}", obstacles.join("; ")))
        } else {
            Ok(able)
        }
    }
}

/// Writes `10.0` as `10` where a whole number is meant: a provider may insist on it.
fn make_whole(shape: &Shape, value: &mut Value) {
    if let (Shape::Integer { .. }, Some(float), None) = (shape, value.as_f64(), value.as_i64())
        && let Ok(whole) = format!("{float:.0}").parse::<i64>()
    {
        *value = Value::from(whole);
    }
}

fn check_id(id: &str) -> Result<(), String> {
    if id.trim().is_empty() {
        return Err("is blank".into());
    }
    if id.chars().count() > LONGEST_ID {
        return Err(format!("is longer than {LONGEST_ID} characters"));
    }
    if id.trim().chars().any(char::is_control) {
        return Err("holds a control character".into());
    }
    Ok(())
}
