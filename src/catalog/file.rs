//! The TOML format of a model file.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use serde::Deserialize;
use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserializer, Error, MapAccess, Visitor};
use serde_json::Value;
use toml::Spanned;

use crate::domain::{Field, ImageForm, PriceRule, ProviderName, Route, Shape, WireField};

/// A whole file: a new model, or a user's additions to a known one.
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
    #[serde(default)]
    pub(super) pictures: PicturesEntry,
}

/// The pictures that a model renders well.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct PicturesEntry {
    /// Minimum length of each side, in pixels.
    pub(super) min_side: Option<u32>,
    /// Maximum length of the longer side, in percent of the shorter one.
    pub(super) max_side_percent: Option<u32>,
}

/// A table whose keys remember their position in the file, for error messages.
pub(super) type ByName<T> = BTreeMap<Spanned<String>, T>;

/// Returns the entries of a table in the order of the file, in which the `models` command lists
/// them.
pub(super) fn in_file_order<T>(table: ByName<T>) -> Vec<(Spanned<String>, T)> {
    let mut entries: Vec<_> = table.into_iter().collect();
    entries.sort_by_key(|(name, _)| name.span().start);
    entries
}

/// One field of a model, or the item of a list.
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
    /// Converts the entry to a field.
    ///
    /// # Errors
    ///
    /// Returns a message if the keys of the entry contradict each other.
    pub(super) fn into_field(self, name: &str) -> Result<Field, String> {
        let required = self.required;
        let help = self.help.clone();
        let default = self.default.clone();
        let shape = self.into_shape(name)?;
        if let Some(default) = &default {
            shape
                .check(default)
                .map_err(|problem| format!("the default of `{name}`: {problem}"))?;
            // A row may write 5.0 for 5 and is corrected, but the catalogue is not.
            if matches!(shape, Shape::Integer { .. }) && !default.is_i64() {
                return Err(format!(
                    "the default of `{name}`: {default} must be written without a fraction"
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
        if let Some(key) = self.inapplicable_key() {
            return Err(format!(
                "`{key}` does not apply to `{name}`, which has another type"
            ));
        }
        Ok(match self.kind {
            FieldKind::Text => {
                let choice = |value: &Value| value.as_str().map(str::to_owned);
                Shape::Text {
                    choices: read_choices(name, self.choices, "text", choice)?,
                }
            }
            FieldKind::Integer => Shape::Integer {
                choices: read_choices(name, self.choices, "a whole number", Value::as_i64)?,
            },
            FieldKind::Number => {
                if let (Some(min), Some(max)) = (self.min, self.max)
                    && min > max
                {
                    return Err(format!("`min` of `{name}` is greater than `max`"));
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
                    .ok_or_else(|| format!("the list `{name}` has no `item`"))?;
                let item = item.into_shape(name)?;
                let min_items = self.min_items.unwrap_or(0);
                let max_items = self.max_items.unwrap_or(usize::MAX);
                if min_items > max_items {
                    return Err(format!(
                        "`min_items` of `{name}` is greater than `max_items`"
                    ));
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

    /// Returns a key that does not apply to the entry's type. Ignoring it would surprise its
    /// author.
    fn inapplicable_key(&self) -> Option<&'static str> {
        let kind = self.kind;
        let is_list = kind == FieldKind::List;
        [
            (
                "choices",
                self.choices.is_some(),
                matches!(kind, FieldKind::Text | FieldKind::Integer),
            ),
            ("min", self.min.is_some(), kind == FieldKind::Number),
            ("max", self.max.is_some(), kind == FieldKind::Number),
            ("item", self.item.is_some(), is_list),
            ("min_items", self.min_items.is_some(), is_list),
            ("max_items", self.max_items.is_some(), is_list),
            ("fields", self.fields.is_some(), kind == FieldKind::Object),
        ]
        .into_iter()
        .find_map(|(key, is_set, is_applicable)| (is_set && !is_applicable).then_some(key))
    }
}

fn read_choices<T>(
    name: &str,
    choices: Option<Vec<Value>>,
    expected: &str,
    read: impl Fn(&Value) -> Option<T>,
) -> Result<Vec<T>, String> {
    let problem = |value: &Value| format!("the choice {value} of `{name}` is not {expected}");
    choices
        .iter()
        .flatten()
        .map(|value| read(value).ok_or_else(|| problem(value)))
        .collect()
}

/// One provider's offer of the model.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RouteEntry {
    pub(super) provider: ProviderName,
    model: String,
    pub(super) price: Spanned<PriceRule>,
    #[serde(deserialize_with = "positive_seconds")]
    typical_s: Duration,
    #[serde(default = "default_images")]
    images: Vec<ImageForm>,
    pub(super) fields: ByName<WireFieldEntry>,
}

impl RouteEntry {
    /// Converts the entry to a route.
    pub(super) fn into_route(self) -> Route {
        let wire_fields = self
            .fields
            .into_iter()
            .map(|(field, wire_field)| (field.into_inner(), wire_field.0));
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

fn default_images() -> Vec<ImageForm> {
    vec![ImageForm::Https]
}

/// Deserialises a number of seconds that is greater than 0.
fn positive_seconds<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    let time = Duration::try_from_secs_f64(f64::deserialize(deserializer)?);
    time.ok()
        .filter(|time| !time.is_zero())
        .ok_or_else(|| Error::custom("must be greater than 0 seconds"))
}

/// How a field is sent to the provider: the provider's name of it, or a table with the name and the
/// conversion.
pub(super) struct WireFieldEntry(pub(super) WireField);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WireFieldTable {
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

// Implemented by hand, because the error of an untagged enum says only that no variant matched.
impl<'de> Deserialize<'de> for WireFieldEntry {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct NameOrTable;

        impl<'de> Visitor<'de> for NameOrTable {
            type Value = WireFieldEntry;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("the provider's name of the field, or { name = …, as = …, item = … }")
            }

            fn visit_str<E: Error>(self, name: &str) -> Result<WireFieldEntry, E> {
                let name = name.to_owned();
                Ok(WireFieldEntry(WireField {
                    name,
                    as_text: false,
                    item: BTreeMap::new(),
                }))
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<WireFieldEntry, A::Error> {
                let table = WireFieldTable::deserialize(MapAccessDeserializer::new(map))?;
                let as_text = table.write_as.is_some();
                Ok(WireFieldEntry(WireField {
                    name: table.name,
                    as_text,
                    item: table.item,
                }))
            }
        }

        deserializer.deserialize_any(NameOrTable)
    }
}
