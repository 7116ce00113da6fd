//! The catalogue of models: data, in one TOML file per model.
//!
//! What a provider offers is written down here as data, with its source beside it; nothing else in
//! the program refers to a model by name. A user's own file has the same format. If it names a
//! known model, it adds fields and routes to that model or replaces those of the same name or
//! provider.

mod check;
mod file;

use std::ops::Range;
use std::path::PathBuf;

use toml::Spanned;

use crate::domain::{Catalog, Model, PictureLimits};
use crate::toml_file;

use file::{ModelFile, in_file_order};

/// The built-in models: file name and content.
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

/// Loads the built-in models, then the user's files in order.
///
/// # Errors
///
/// Returns `file:line:column: what is wrong` for a mistake in a file, or which file cannot be read.
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

/// Adds the model of one file to the catalogue, or merges it with the known model of the same name.
/// The catalogue is unchanged on error.
fn add(catalog: &mut Catalog, name: &str, text: &str) -> Result<(), String> {
    let entry: ModelFile = toml_file::read(name, text)?;
    let error_at = |span: Range<usize>, problem: String| {
        let (line, column) = toml_file::position(text, span.start);
        format!("{name}:{line}:{column}: {problem}")
    };
    if entry.name.as_ref().is_empty() || entry.name.as_ref().contains(char::is_whitespace) {
        return Err(error_at(
            entry.name.span(),
            "the model's name must not be empty or contain spaces".into(),
        ));
    }
    let mut added = Model {
        name: entry.name.as_ref().clone(),
        title: entry.title,
        fields: Vec::new(),
        routes: Vec::new(),
        pictures: PictureLimits {
            min_side: entry.pictures.min_side,
            max_side_percent: entry.pictures.max_side_percent,
        },
    };
    for (name, field) in in_file_order(entry.fields) {
        let field = field
            .into_field(name.as_ref())
            .map_err(|problem| error_at(name.span(), problem))?;
        added.fields.push(field);
    }
    let mut spans = Vec::new();
    for route in entry.routes {
        let span = route.span();
        let route = route.into_inner();
        let provider = route.provider;
        if added.route(provider).is_some() {
            return Err(error_at(
                span,
                format!("the model has two routes on {provider}"),
            ));
        }
        if let Some(problem) = check::find_price_problem(route.price.as_ref()) {
            return Err(error_at(
                route.price.span(),
                format!("the price on {provider}: {problem}"),
            ));
        }
        let fields: Vec<Spanned<String>> = route.fields.keys().cloned().collect();
        spans.push((provider, span, fields));
        added.routes.push(route.into_route());
    }
    let known = catalog
        .models
        .iter()
        .position(|model| model.name == added.name);
    let model = match known {
        Some(index) => merge(&catalog.models[index], added),
        None => added,
    };
    if model.routes.is_empty() {
        return Err(error_at(
            entry.name.span(),
            "the model has no route; add [[routes]]".into(),
        ));
    }
    for route in &model.routes {
        if let Some(problem) = check::find_route_problem(&model, route) {
            // The route of an earlier file was valid; a change of the model in this file broke it.
            let in_this_file = spans
                .iter()
                .find(|(provider, ..)| *provider == route.provider);
            let span = in_this_file.map_or(entry.name.span(), |(_, span, fields)| {
                let name = fields
                    .iter()
                    .find(|name| Some(name.as_ref().as_str()) == problem.field);
                name.map_or(span.clone(), Spanned::span)
            });
            return Err(error_at(
                span,
                format!("the route on {} {}", route.provider, problem.message),
            ));
        }
    }
    match known {
        Some(index) => catalog.models[index] = model,
        None => catalog.models.push(model),
    }
    Ok(())
}

/// Returns a known model with the title, fields and routes of `added` added or replaced.
fn merge(known: &Model, added: Model) -> Model {
    let mut model = known.clone();
    if !added.title.is_empty() {
        model.title = added.title;
    }
    for field in added.fields {
        match model
            .fields
            .iter_mut()
            .find(|known| known.name == field.name)
        {
            Some(known) => *known = field,
            None => model.fields.push(field),
        }
    }
    let pictures = added.pictures;
    model.pictures = PictureLimits {
        min_side: pictures.min_side.or(model.pictures.min_side),
        max_side_percent: pictures
            .max_side_percent
            .or(model.pictures.max_side_percent),
    };
    for route in added.routes {
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

#[cfg(test)]
mod tests;
