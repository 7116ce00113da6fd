//! Routes: how one provider runs one model, what it charges, and how it names our fields.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Deserialize;
use serde_json::{Map, Value};

use super::{Input, LocalImage, PriceRule, ProviderName};

/// One provider's offer of one model.
#[derive(Clone, Debug, PartialEq)]
pub struct Route {
    /// The provider that runs the model.
    pub provider: ProviderName,
    /// The provider's id of the model.
    pub wire_model: String,
    /// How a prediction is billed.
    pub price: PriceRule,
    /// Expected time from submission to the end of a prediction, as the catalogue states it.
    pub typical: Duration,
    /// The forms in which the route accepts images.
    pub images: Vec<ImageForm>,
    /// How each accepted field is sent, by our name of the field.
    pub wire_fields: BTreeMap<String, WireField>,
}

/// A form in which an image can be sent to a provider.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ImageForm {
    /// An `https://` link.
    Https,
    /// An `http://` link.
    Http,
    /// A `data:image/…;base64,…` URI.
    Data,
    /// A local file, which is first uploaded to the provider's storage and then sent as a link. A
    /// route without this form receives local files as data URIs, if it accepts those.
    Upload,
}

impl ImageForm {
    /// Returns the form of a link by its scheme; `None` for any other text. Never returns `Upload`.
    pub fn from_link(link: &str) -> Option<Self> {
        let schemes = [
            ("https:", Self::Https),
            ("http:", Self::Http),
            ("data:", Self::Data),
        ];
        let begins_with = |scheme: &str| {
            let start = link.get(..scheme.len());
            start.is_some_and(|start| start.eq_ignore_ascii_case(scheme))
        };
        let found = schemes.into_iter().find(|(scheme, _)| begins_with(scheme));
        found.map(|(_, form)| form)
    }
}

/// How one field is sent to a provider.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WireField {
    /// The provider's name of the field.
    pub name: String,
    /// Whether a number is sent as a string.
    pub as_text: bool,
    /// The provider's names of the keys of a list's items, by our names. Keys without an entry keep
    /// their name.
    pub item: BTreeMap<String, String>,
}

impl Route {
    /// Returns why the route does not accept an input; `None` if it does.
    pub fn incompatibility(&self, input: &Input) -> Option<String> {
        for (field, value) in &input.0 {
            if !self.wire_fields.contains_key(field) {
                return Some(format!("{} has no field {field}", self.provider));
            }
            if let Some(form) = self.unsupported_image(value) {
                return Some(format!(
                    "{} does not accept {form} for {field}",
                    self.provider
                ));
            }
        }
        None
    }

    /// Converts an input to the provider's request. Local images are written as their
    /// [placeholders](LocalImage::placeholder).
    pub fn to_request(&self, input: &Input) -> Value {
        let mut request = Map::new();
        for (field, value) in &input.0 {
            if let Some(wire_field) = self.wire_fields.get(field) {
                request.insert(wire_field.name.clone(), wire_field.convert(value));
            }
        }
        Value::Object(request)
    }

    /// Returns the form, in the plural, of the first image in a value that the route does not
    /// accept.
    fn unsupported_image(&self, value: &Value) -> Option<&'static str> {
        let lacks = |form: ImageForm| !self.images.contains(&form);
        match value {
            Value::String(text) if LocalImage::parse(text).is_some() => {
                (lacks(ImageForm::Upload) && lacks(ImageForm::Data)).then_some("local files")
            }
            Value::String(text) => {
                // A prompt may begin with "http:" or "data:" too, but a link contains no spaces.
                let form = ImageForm::from_link(text)
                    .filter(|form| lacks(*form) && !text.contains(char::is_whitespace))?;
                Some(match form {
                    ImageForm::Https => "https:// links",
                    ImageForm::Http => "http:// links",
                    ImageForm::Data => "data URIs",
                    ImageForm::Upload => return None,
                })
            }
            Value::Array(items) => items.iter().find_map(|item| self.unsupported_image(item)),
            Value::Object(fields) => fields
                .values()
                .find_map(|value| self.unsupported_image(value)),
            _ => None,
        }
    }
}

impl WireField {
    /// Converts a value to the provider's form.
    fn convert(&self, value: &Value) -> Value {
        match value {
            Value::Number(number) if self.as_text => Value::String(number.to_string()),
            Value::Array(items) => items.iter().map(|item| self.convert_item(item)).collect(),
            other => with_placeholder(other),
        }
    }

    fn convert_item(&self, item: &Value) -> Value {
        let Value::Object(fields) = item else {
            return with_placeholder(item);
        };
        let renamed = fields.iter().map(|(key, value)| {
            (
                self.item.get(key).unwrap_or(key).clone(),
                with_placeholder(value),
            )
        });
        Value::Object(renamed.collect())
    }
}

/// Returns the placeholder of a local image, and any other value unchanged.
fn with_placeholder(value: &Value) -> Value {
    let image = value.as_str().and_then(LocalImage::parse);
    image.map_or_else(|| value.clone(), |image| Value::from(image.placeholder()))
}
