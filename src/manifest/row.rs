//! One row: what each value may be, who can run it, and what it costs.

use std::path::Path;

use serde_json::{Map, Value};

use crate::domain::printable::shown;
use crate::domain::{Input, NewJob, ProviderName, Shape};

use super::{ID, Problem, RowMapper};

/// A key longer than this is a description.
const LONGEST_ID: usize = 200;

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
        self.problems.push((Some(shown(field)), message.into()));
    }

    /// Puts a value under a field, once.
    pub(super) fn set(&mut self, field: &str, value: Value) {
        if self.fields.contains_key(field) {
            self.wrong(field, "is given twice");
        }
        self.fields.insert(field.to_owned(), value);
    }
}

impl RowMapper<'_> {
    /// Checks a row and makes it a job; all its problems where it cannot be one.
    pub(super) fn build_job(&self, file: &str, mut row: Row) -> Result<NewJob, Vec<Problem>> {
        self.check_fields(file, &mut row);
        if let Some(id) = row.id.take() {
            match check_id(&id) {
                Ok(()) => row.id = Some(id.trim().to_owned()),
                Err(problem) => row.wrong(ID, problem),
            }
        }
        let input = Input(std::mem::take(&mut row.fields));
        let mut providers = Vec::new();
        if row.problems.is_empty() {
            providers = self.eligible_providers(&input).unwrap_or_else(|problem| {
                row.problems.push((None, problem));
                Vec::new()
            });
        }
        if !row.problems.is_empty() {
            let problem = |(field, message)| Problem {
                file: file.to_owned(),
                line: row.line,
                field,
                message,
            };
            return Err(row.problems.into_iter().map(problem).collect());
        }
        let prices = providers.iter().filter_map(|name| self.model.route(*name));
        let estimate = prices
            .map(|route| self.model.price(route, &input))
            .max()
            .unwrap_or_default();
        let row_key = row
            .id
            .unwrap_or_else(|| input.fingerprint(&self.model.name)[..16].to_owned());
        Ok(NewJob::new(
            &self.model.name,
            row_key,
            row.line,
            input,
            providers,
            estimate,
        ))
    }

    fn check_fields(&self, file: &str, row: &mut Row) {
        // What a manifest calls a file is found from where the manifest is.
        let folder = Path::new(file).parent().unwrap_or(Path::new(""));
        for (field, value) in &self.constants {
            row.fields
                .entry(field.clone())
                .or_insert_with(|| value.clone());
        }
        for field in &self.model.fields {
            match row.fields.get_mut(&field.name) {
                None if field.required
                    && !row
                        .problems
                        .iter()
                        .any(|(wrong, _)| wrong.as_ref() == Some(&field.name)) =>
                {
                    row.wrong(&field.name, "is missing");
                }
                None => {}
                Some(value) => {
                    let found = self.images.find(&field.shape, value, folder);
                    match found.and_then(|()| field.shape.check(value)) {
                        Ok(()) => make_whole(&field.shape, value),
                        Err(problem) => row.wrong(&field.name, problem),
                    }
                }
            }
        }
    }

    /// The allowed providers that can take an input; the error says why none can.
    fn eligible_providers(&self, input: &Input) -> Result<Vec<ProviderName>, String> {
        let (mut eligible_providers, mut obstacles) = (Vec::new(), Vec::new());
        for provider in &self.providers {
            match self
                .model
                .route(*provider)
                .map(|route| route.incompatibility(input))
            {
                Some(None) => eligible_providers.push(*provider),
                Some(Some(incompatibility)) => obstacles.push(incompatibility),
                None => obstacles.push(format!("{provider} does not offer {}", self.model.name)),
            }
        }
        if eligible_providers.is_empty() {
            Err(format!(
                "no allowed provider can take this row: {}",
                obstacles.join("; ")
            ))
        } else {
            Ok(eligible_providers)
        }
    }
}

/// Writes `10.0` as `10` where a whole number is meant, at any depth: a provider may insist on it.
fn make_whole(shape: &Shape, value: &mut Value) {
    match (shape, value) {
        (Shape::Integer { .. }, value @ Value::Number(_)) => {
            let float = value.as_f64().filter(|_| value.as_i64().is_none());
            if let Some(Ok(whole)) = float.map(|float| format!("{float:.0}").parse::<i64>()) {
                *value = Value::from(whole);
            }
        }
        (Shape::List { item, .. }, Value::Array(items)) => {
            items.iter_mut().for_each(|value| make_whole(item, value));
        }
        (Shape::Object { fields }, Value::Object(values)) => {
            for field in fields {
                if let Some(value) = values.get_mut(&field.name) {
                    make_whole(&field.shape, value);
                }
            }
        }
        _ => {}
    }
}

fn check_id(id: &str) -> Result<(), String> {
    let id = id.trim();
    if id.is_empty() {
        return Err("is blank".into());
    }
    if id.chars().count() > LONGEST_ID {
        return Err(format!("is longer than {LONGEST_ID} characters"));
    }
    if id.chars().any(char::is_control) {
        return Err("holds a control character".into());
    }
    Ok(())
}
