//! One provider's way to run a model: its name for it, its price, and how it spells our fields.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Deserialize;
use serde_json::{Map, Value};

use super::{Input, LocalImage, PriceRule, ProviderName};

/// One provider's way to run a model.
#[derive(Clone, Debug, PartialEq)]
pub struct Route {
    /// Who runs it.
    pub provider: ProviderName,
    /// The provider's name for the model.
    pub wire_model: String,
    /// How it is billed.
    pub price: PriceRule,
    /// How long a prediction usually takes.
    pub typical: Duration,
    /// The forms of image it takes.
    pub images: Vec<ImageForm>,
    /// How it spells each field it takes, by our name.
    pub wire_fields: BTreeMap<String, WireField>,
}

/// A form in which an image can be given to a provider.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ImageForm {
    /// An `https://` link.
    Https,
    /// An `http://` link.
    Http,
    /// A `data:image/…;base64,…` URI.
    Data,
    /// A file on disk, which is uploaded to the provider first and then a link. Where a route does not name it, files go
    /// as data URIs, if it takes those.
    Upload,
}

impl ImageForm {
    /// Tells the form of a link; `None` where it is none of them.
    pub fn from_link(link: &str) -> Option<Self> {
        let scheme = link.split_once(':')?.0;
        match scheme.to_ascii_lowercase().as_str() {
            "https" => Some(Self::Https),
            "http" => Some(Self::Http),
            "data" => Some(Self::Data),
            _ => None,
        }
    }
}

/// How one field goes over the wire.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WireField {
    /// The provider's name for it.
    pub name: String,
    /// Whether a number is written as a string.
    pub as_text: bool,
    /// Other names for the keys inside a list's items.
    pub item: BTreeMap<String, String>,
}

impl Route {
    /// Tells why this route cannot take an input; `None` where it can.
    pub fn incompatibility(&self, input: &Input) -> Option<String> {
        for (field, value) in &input.0 {
            if !self.wire_fields.contains_key(field) {
                return Some(format!("{} has no field {field}", self.provider));
            }
            if let Some(form) = self.unwelcome_image(value) {
                return Some(format!("{} takes no {form} for {field}", self.provider));
            }
        }
        None
    }

    /// Writes an input as the provider wants it. Each image on disk is left as its placeholder.
    pub fn to_request(&self, input: &Input) -> Value {
        let mut wire = Map::new();
        for (field, value) in &input.0 {
            if let Some(spelling) = self.wire_fields.get(field) {
                wire.insert(spelling.name.clone(), spelling.write(value));
            }
        }
        Value::Object(wire)
    }

    /// Finds an image, at any depth, in a form this route does not take.
    fn unwelcome_image(&self, value: &Value) -> Option<&'static str> {
        let lacks = |form: ImageForm| !self.images.contains(&form);
        match value {
            Value::String(text) if LocalImage::parse(text).is_some() => {
                (lacks(ImageForm::Upload) && lacks(ImageForm::Data)).then_some("file on disk")
            }
            // A prompt may begin with "http:" or "data:" too; only what stands as one word is a link.
            Value::String(text) if !text.contains(char::is_whitespace) => {
                match ImageForm::from_link(text)? {
                    ImageForm::Https => lacks(ImageForm::Https).then_some("https:// link"),
                    ImageForm::Http => lacks(ImageForm::Http).then_some("http:// link"),
                    ImageForm::Data => lacks(ImageForm::Data).then_some("data URI"),
                    ImageForm::Upload => None,
                }
            }
            Value::Array(items) => items.iter().find_map(|item| self.unwelcome_image(item)),
            Value::Object(fields) => fields
                .values()
                .find_map(|value| self.unwelcome_image(value)),
            _ => None,
        }
    }
}

impl WireField {
    fn write(&self, value: &Value) -> Value {
        match value {
            Value::Number(number) if self.as_text => Value::String(number.to_string()),
            Value::Array(items) => items.iter().map(|item| self.write_item(item)).collect(),
            other => write_image(other),
        }
    }

    fn write_item(&self, item: &Value) -> Value {
        let Value::Object(fields) = item else {
            return write_image(item);
        };
        let renamed = fields.iter().map(|(key, value)| {
            (
                self.item.get(key).unwrap_or(key).clone(),
                write_image(value),
            )
        });
        Value::Object(renamed.collect())
    }
}

/// Writes the placeholder of an image on disk, and everything else as it is.
fn write_image(value: &Value) -> Value {
    let image = value.as_str().and_then(LocalImage::parse);
    image.map_or_else(|| value.clone(), |image| Value::from(image.placeholder()))
}
