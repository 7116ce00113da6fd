//! The models this program knows: data, one TOML file a model.
//!
//! The rule of this folder: what a provider offers is written down as data, with its source beside it, and nothing
//! else in the program knows a model by name. A user's own file has the same form; one that names a known model adds
//! routes to it, or replaces the route of a provider.

mod check;
mod file;

use std::ops::Range;
use std::path::PathBuf;

use toml::Spanned;

use crate::domain::{Catalog, Model};
use crate::toml_file;

use file::{ModelFile, in_file_order};

/// The models that are built in.
const BUILT_IN: [(&str, &str); 2] = [
    (
        "kling-v1-standard.toml",
        include_str!("kling-v1-standard.toml"),
    ),
    (
        "kling-v2.1-standard.toml",
        include_str!("kling-v2.1-standard.toml"),
    ),
];

/// Reads the built-in models, then the user's files in order. The error is `file:line:column: what is wrong`.
pub fn load(files: &[PathBuf]) -> Result<Catalog, String> {
    let mut catalog = Catalog::default();
    for (name, text) in BUILT_IN {
        add(&mut catalog, name, text)?;
    }
    for path in files {
        let name = path.display().to_string();
        let text = std::fs::read_to_string(path)
            .map_err(|error| format!("cannot read {name}: {error}"))?;
        add(&mut catalog, &name, &text)?;
    }
    Ok(catalog)
}

/// Adds the model of one file.
fn add(catalog: &mut Catalog, name: &str, text: &str) -> Result<(), String> {
    let entry: ModelFile = toml_file::read(name, text)?;
    let wrong = |span: Range<usize>, problem: String| {
        let (line, column) = place(text, span.start);
        format!("{name}:{line}:{column}: {problem}")
    };
    if entry.name.as_ref().is_empty() || entry.name.as_ref().contains(char::is_whitespace) {
        return Err(wrong(
            entry.name.span(),
            "the model's name must be one word".into(),
        ));
    }
    let mut own = Model {
        name: entry.name.as_ref().clone(),
        title: entry.title,
        fields: Vec::new(),
        routes: Vec::new(),
    };
    for (name, field) in in_file_order(entry.fields) {
        let field = field
            .into_field(name.as_ref())
            .map_err(|problem| wrong(name.span(), problem))?;
        own.fields.push(field);
    }
    let mut spans = Vec::new();
    for route in entry.routes {
        let (span, route) = (route.span(), route.into_inner());
        let provider = route.provider;
        if own.route(provider).is_some() {
            return Err(wrong(
                span,
                format!("the model has two routes on {provider}"),
            ));
        }
        if let Some(problem) = check::price_problem(route.price.as_ref()) {
            return Err(wrong(
                route.price.span(),
                format!("the price on {provider}: {problem}"),
            ));
        }
        let fields: Vec<Spanned<String>> = route.fields.keys().cloned().collect();
        spans.push((provider, span, fields));
        own.routes.push(route.into_route());
    }
    let known = catalog
        .models
        .iter()
        .position(|model| model.name == own.name);
    let model = match known {
        Some(index) => merged(&catalog.models[index], own),
        None => own,
    };
    if model.routes.is_empty() {
        return Err(wrong(
            entry.name.span(),
            "the model has no route: add [[routes]]".into(),
        ));
    }
    for route in &model.routes {
        if let Some((field, problem)) = check::route_problem(&model, route) {
            // A route of another file is at fault only for what this file says of the model.
            let here = spans
                .iter()
                .find(|(provider, ..)| *provider == route.provider);
            let span = here.map_or(entry.name.span(), |(_, span, fields)| {
                let name = fields
                    .iter()
                    .find(|name| Some(name.as_ref().as_str()) == field);
                name.map_or(span.clone(), Spanned::span)
            });
            return Err(wrong(
                span,
                format!("the route on {} {problem}", route.provider),
            ));
        }
    }
    match known {
        Some(index) => catalog.models[index] = model,
        None => catalog.models.push(model),
    }
    Ok(())
}

/// Lays the routes and fields of `own` over a known model.
fn merged(known: &Model, own: Model) -> Model {
    let mut model = known.clone();
    if !own.title.is_empty() {
        model.title = own.title;
    }
    for field in own.fields {
        match model
            .fields
            .iter_mut()
            .find(|known| known.name == field.name)
        {
            Some(known) => *known = field,
            None => model.fields.push(field),
        }
    }
    for route in own.routes {
        match model
            .routes
            .iter_mut()
            .find(|known| known.provider == route.provider)
        {
            Some(known) => *known = route,
            None => model.routes.push(route),
        }
    }
    model
}

/// Turns a byte offset into a line and a column, both from 1.
fn place(text: &str, at: usize) -> (usize, usize) {
    let before = text.get(..at).unwrap_or(text);
    let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
    (
        before.matches('\n').count() + 1,
        before[line_start..].chars().count() + 1,
    )
}

#[cfg(test)]
mod tests;
