//! How one model's file is written.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use serde::Deserialize;
use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserializer, Error, MapAccess, Visitor};
use serde_json::Value;
use toml::Spanned;

use crate::domain::{Field, ImageForm, PriceRule, ProviderName, Route, Shape, WireField};

/// A model, or what a user's file says of a known one.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ModelFile {
    pub(super) name: Spanned<String>,
    #[serde(default)]
    pub(super) title: String,
    #[serde(default)]
    pub(super) fields: ByName<FieldEntry>,
    #[serde(default)]
    pub(super) routes: Vec<Spanned<RouteEntry>>,
}

/// A table, each of whose keys knows its place.
pub(super) type ByName<T> = BTreeMap<Spanned<String>, T>;

/// Sorts a table as it stands in the file: people read `models` from the top, and a table forgets its order.
pub(super) fn in_file_order<T>(table: ByName<T>) -> Vec<(Spanned<String>, T)> {
    let mut entries: Vec<_> = table.into_iter().collect();
    entries.sort_by_key(|(name, _)| name.span().start);
    entries
}

/// One field.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct FieldEntry {
    #[serde(rename = "type")]
    kind: FieldKind,
    #[serde(default)]
    required: bool,
    default: Option<Value>,
    #[serde(default)]
    help: String,
    choices: Option<Vec<Value>>,
    min: Option<f64>,
    max: Option<f64>,
    item: Option<Box<Self>>,
    min_items: Option<usize>,
    max_items: Option<usize>,
    fields: Option<ByName<Self>>,
}

#[derive(Clone, Copy, PartialEq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum FieldKind {
    Text,
    Integer,
    Number,
    Image,
    List,
    Object,
}

impl FieldEntry {
    /// Makes it a field; the error says what in it makes no sense.
    pub(super) fn into_field(self, name: &str) -> Result<Field, String> {
        let (required, help, default) = (self.required, self.help.clone(), self.default.clone());
        let shape = self.into_shape(name)?;
        if let Some(default) = &default {
            shape
                .check(default)
                .map_err(|problem| format!("the default of `{name}`: {problem}"))?;
            // A row may write 5.0 for 5, and is corrected; the catalogue is not.
            if matches!(shape, Shape::Integer { .. }) && !default.is_i64() {
                return Err(format!(
                    "the default of `{name}`: {default} is not written as a whole number"
                ));
            }
        }
        Ok(Field {
            name: name.to_owned(),
            shape,
            required,
            default,
            help,
        })
    }

    fn into_shape(self, name: &str) -> Result<Shape, String> {
        if let Some(key) = self.stray_key() {
            return Err(format!(
                "`{key}` says nothing of `{name}`, which is of another type"
            ));
        }
        Ok(match self.kind {
            FieldKind::Text => {
                let choice = |value: &Value| value.as_str().map(str::to_owned);
                Shape::Text {
                    choices: read_choices(name, self.choices, "a text", choice)?,
                }
            }
            FieldKind::Integer => Shape::Integer {
                choices: read_choices(name, self.choices, "a whole number", Value::as_i64)?,
            },
            FieldKind::Number => {
                if let (Some(min), Some(max)) = (self.min, self.max)
                    && min > max
                {
                    return Err(format!("min of `{name}` is above max"));
                }
                Shape::Number {
                    min: self.min,
                    max: self.max,
                }
            }
            FieldKind::Image => Shape::Image,
            FieldKind::List => {
                let item = self
                    .item
                    .ok_or_else(|| format!("the list `{name}` does not say what its `item` is"))?;
                let item = item.into_shape(name)?;
                let (min_items, max_items) = (
                    self.min_items.unwrap_or(0),
                    self.max_items.unwrap_or(usize::MAX),
                );
                if min_items > max_items {
                    return Err(format!("min_items of `{name}` is above max_items"));
                }
                Shape::List {
                    item: Box::new(item),
                    min_items,
                    max_items,
                }
            }
            FieldKind::Object => {
                let fields = in_file_order(self.fields.unwrap_or_default()).into_iter();
                let fields = fields.map(|(name, field)| field.into_field(name.as_ref()));
                Shape::Object {
                    fields: fields.collect::<Result<_, _>>()?,
                }
            }
        })
    }

    /// Finds a key that its type has no use for: whoever wrote it expects something of it.
    fn stray_key(&self) -> Option<&'static str> {
        let (kind, list) = (self.kind, self.kind == FieldKind::List);
        [
            (
                "choices",
                self.choices.is_some(),
                matches!(kind, FieldKind::Text | FieldKind::Integer),
            ),
            ("min", self.min.is_some(), kind == FieldKind::Number),
            ("max", self.max.is_some(), kind == FieldKind::Number),
            ("item", self.item.is_some(), list),
            ("min_items", self.min_items.is_some(), list),
            ("max_items", self.max_items.is_some(), list),
            ("fields", self.fields.is_some(), kind == FieldKind::Object),
        ]
        .into_iter()
        .find_map(|(key, is_there, is_of_use)| (is_there && !is_of_use).then_some(key))
    }
}

fn read_choices<T>(
    name: &str,
    choices: Option<Vec<Value>>,
    wanted: &str,
    read: impl Fn(&Value) -> Option<T>,
) -> Result<Vec<T>, String> {
    let wrong = |value: &Value| format!("the choice {value} of `{name}` is not {wanted}");
    choices
        .iter()
        .flatten()
        .map(|value| read(value).ok_or_else(|| wrong(value)))
        .collect()
}

/// One provider's way to run the model.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RouteEntry {
    pub(super) provider: ProviderName,
    model: String,
    pub(super) price: Spanned<PriceRule>,
    #[serde(deserialize_with = "some_time")]
    typical_s: Duration,
    #[serde(default = "links_only")]
    images: Vec<ImageForm>,
    pub(super) fields: ByName<SpellingEntry>,
}

impl RouteEntry {
    /// Makes it a route.
    pub(super) fn into_route(self) -> Route {
        let wire_fields = self
            .fields
            .into_iter()
            .map(|(field, spelling)| (field.into_inner(), spelling.0));
        Route {
            provider: self.provider,
            wire_model: self.model,
            price: self.price.into_inner(),
            typical: self.typical_s,
            images: self.images,
            wire_fields: wire_fields.collect(),
        }
    }
}

fn links_only() -> Vec<ImageForm> {
    vec![ImageForm::Https]
}

fn some_time<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    let time = Duration::try_from_secs_f64(f64::deserialize(deserializer)?);
    time.ok()
        .filter(|time| !time.is_zero())
        .ok_or_else(|| Error::custom("must be more than 0 seconds"))
}

/// A provider's spelling of a field: its name, or a table with the name and how it is written.
pub(super) struct SpellingEntry(pub(super) WireField);

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

// By hand, because an untagged enum tells of a mistake only that nothing matched.
impl<'de> Deserialize<'de> for SpellingEntry {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct NameOrTable;

        impl<'de> Visitor<'de> for NameOrTable {
            type Value = SpellingEntry;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("the provider's name of the field, or { name = …, as = …, item = … }")
            }

            fn visit_str<E: Error>(self, name: &str) -> Result<SpellingEntry, E> {
                let name = name.to_owned();
                Ok(SpellingEntry(WireField {
                    name,
                    as_text: false,
                    item: BTreeMap::new(),
                }))
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<SpellingEntry, A::Error> {
                let full = FullSpelling::deserialize(MapAccessDeserializer::new(map))?;
                let as_text = full.write_as.is_some();
                Ok(SpellingEntry(WireField {
                    name: full.name,
                    as_text,
                    item: full.item,
                }))
            }
        }

        deserializer.deserialize_any(NameOrTable)
    }
}
