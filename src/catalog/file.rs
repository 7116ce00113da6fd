//! One model's file: how it is written, and what it must hold together.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Deserialize;
use serde_json::Value;

use crate::domain::{Field, ImageForm, Model, Money, PriceRule, ProviderName, Route, Shape, Spelling};
use crate::toml_file;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ModelFile {
    name: String,
    #[serde(default)]
    title: String,
    // In the order of the file: people read `models` from the top.
    #[serde(default)]
    fields: toml::Table,
    #[serde(default)]
    routes: Vec<RouteEntry>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FieldEntry {
    #[serde(rename = "type")]
    kind: Kind,
    #[serde(default)]
    required: bool,
    default: Option<Value>,
    #[serde(default)]
    help: String,
    #[serde(default)]
    choices: Vec<Value>,
    min: Option<f64>,
    max: Option<f64>,
    item: Option<Box<Self>>,
    #[serde(default)]
    min_items: usize,
    max_items: Option<usize>,
    #[serde(default)]
    fields: BTreeMap<String, Self>,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Kind {
    Text,
    Integer,
    Number,
    Image,
    List,
    Object,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RouteEntry {
    provider: ProviderName,
    model: String,
    price: PriceRule,
    typical_s: f64,
    #[serde(default = "links_only")]
    images: Vec<ImageForm>,
    fields: BTreeMap<String, SpellingEntry>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum SpellingEntry {
    Name(String),
    Full(FullSpelling),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FullSpelling {
    name: String,
    #[serde(rename = "as")]
    write_as: Option<WriteAs>,
    #[serde(default)]
    item: BTreeMap<String, String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum WriteAs {
    Text,
}

fn links_only() -> Vec<ImageForm> {
    vec![ImageForm::Https]
}

/// Reads the model's name alone.
pub(super) fn name_of(file: &str, text: &str) -> Result<String, String> {
    Ok(toml_file::read::<ModelFile>(file, text)?.name)
}

/// Reads a model; what the file leaves out is taken from `known`, if there is one of this name.
pub(super) fn read(file: &str, text: &str, known: Option<&Model>) -> Result<Model, String> {
    let entry: ModelFile = toml_file::read(file, text)?;
    let places = Places { file, text };
    if entry.name.trim().is_empty() || entry.name.contains(char::is_whitespace) {
        return Err(places.top("the model's name must be one word"));
    }
    let mut fields = Vec::new();
    for name in field_order(text, &entry.fields) {
        let value = entry.fields.get(&name).cloned().unwrap_or(toml::Value::Table(toml::Table::new()));
        let field: FieldEntry =
            value.try_into().map_err(|error: toml::de::Error| places.field(&name, error.message().trim()))?;
        fields.push(field.into_field(&name).map_err(|problem| places.field(&name, &problem))?);
    }
    let mut routes: Vec<Route> = Vec::new();
    let mut spellings = Vec::new();
    for (index, route) in entry.routes.into_iter().enumerate() {
        let provider = route.provider;
        if routes.iter().any(|known| known.provider == provider) {
            return Err(places.route(index, &format!("the model has two routes on {provider}")));
        }
        let route = route.into_route().map_err(|problem| places.route(index, &problem))?;
        spellings.extend(route.spellings.keys().map(|field| (index, provider, field.clone())));
        routes.push(route);
    }
    let own = Model { name: entry.name, title: entry.title, fields, routes };
    let model = match known {
        Some(known) => super::merged(known, own),
        None => own,
    };
    if model.routes.is_empty() {
        return Err(places.top("the model has no route: add [[routes]]"));
    }
    for (index, provider, field) in spellings {
        if model.field(&field).is_none() {
            let problem = format!("the route on {provider} spells `{field}`, which is no field of the model");
            return Err(places.route(index, &problem));
        }
    }
    Ok(model)
}

impl FieldEntry {
    fn into_field(self, name: &str) -> Result<Field, String> {
        let required = self.required;
        let help = self.help.clone();
        let default = self.default.clone();
        let shape = self.into_shape(name)?;
        if let Some(default) = &default {
            shape.check(default).map_err(|problem| format!("the default of `{name}`: {problem}"))?;
        }
        Ok(Field { name: name.to_owned(), shape, required, default, help })
    }

    fn into_shape(self, name: &str) -> Result<Shape, String> {
        let choice = |wanted: &str, value: &Value| format!("the choice {value} of `{name}` is not {wanted}");
        Ok(match self.kind {
            Kind::Text => {
                let texts = self
                    .choices
                    .iter()
                    .map(|value| value.as_str().map(str::to_owned).ok_or_else(|| choice("a text", value)));
                Shape::Text { choices: texts.collect::<Result<_, _>>()? }
            }
            Kind::Integer => {
                let numbers = self
                    .choices
                    .iter()
                    .map(|value| value.as_i64().ok_or_else(|| choice("a whole number", value)));
                Shape::Integer { choices: numbers.collect::<Result<_, _>>()? }
            }
            Kind::Number => {
                if let (Some(min), Some(max)) = (self.min, self.max)
                    && min > max
                {
                    return Err(format!("min of `{name}` is above max"));
                }
                Shape::Number { min: self.min, max: self.max }
            }
            Kind::Image => Shape::Image,
            Kind::List => {
                let item =
                    self.item.ok_or_else(|| format!("the list `{name}` does not say what its `item` is"))?;
                let item = item.into_shape(name)?;
                let max_items = self.max_items.unwrap_or(usize::MAX);
                Shape::List { item: Box::new(item), min_items: self.min_items, max_items }
            }
            Kind::Object => {
                let fields = self.fields.into_iter().map(|(name, field)| field.into_field(&name));
                Shape::Object { fields: fields.collect::<Result<_, _>>()? }
            }
        })
    }
}

impl RouteEntry {
    fn into_route(self) -> Result<Route, String> {
        let provider = self.provider;
        if self.price.base == Money::ZERO && self.price.per_second == Money::ZERO {
            return Err(format!("the route on {provider} has no price"));
        }
        let typical = Duration::try_from_secs_f64(self.typical_s).ok().filter(|typical| !typical.is_zero());
        let typical =
            typical.ok_or_else(|| format!("typical_s of the route on {provider} must be more than 0"))?;
        let spellings = self.fields.into_iter().map(|(field, entry)| {
            let spelling = match entry {
                SpellingEntry::Name(name) => Spelling { name, as_text: false, item: BTreeMap::new() },
                SpellingEntry::Full(full) => {
                    Spelling { name: full.name, as_text: full.write_as.is_some(), item: full.item }
                }
            };
            (field, spelling)
        });
        Ok(Route {
            provider,
            wire_model: self.model,
            price: self.price,
            typical,
            images: self.images,
            spellings: spellings.collect(),
        })
    }
}

/// Lists the fields in the order of their `[fields.NAME]` lines; a table does not keep it.
fn field_order(text: &str, fields: &toml::Table) -> Vec<String> {
    let mut names: Vec<String> = fields.keys().cloned().collect();
    names.sort_by_key(|name| text.find(&format!("[fields.{name}]")).unwrap_or(usize::MAX));
    names
}

/// Finds the line of what a message is about.
struct Places<'a> {
    file: &'a str,
    text: &'a str,
}

impl Places<'_> {
    fn top(&self, problem: &str) -> String {
        format!("{}:1:1: {problem}", self.file)
    }

    fn field(&self, name: &str, problem: &str) -> String {
        self.at_line(|line| line.starts_with(&format!("[fields.{name}]")), 0, problem)
    }

    fn route(&self, index: usize, problem: &str) -> String {
        self.at_line(|line| line.starts_with("[[routes]]"), index, problem)
    }

    fn at_line(&self, is_it: impl Fn(&str) -> bool, index: usize, problem: &str) -> String {
        let mut lines = self.text.lines().enumerate().filter(|(_, line)| is_it(line.trim_start()));
        let line = lines.nth(index).map_or(1, |(number, _)| number + 1);
        format!("{}:{line}:1: {problem}", self.file)
    }
}
