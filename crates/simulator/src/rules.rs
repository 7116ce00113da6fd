//! The rules of a model: which fields an input may have, with which values, and what a clip costs.

use serde_json::{Map, Value};

use crate::api::Api;

/// One model of one API.
#[derive(Debug, PartialEq)]
pub struct ModelRules {
    /// The API that offers it.
    pub api: Api,
    /// The provider's id of the model.
    pub id: &'static str,
    /// Typical processing time, in seconds.
    pub typical_s: f64,
    /// Price of the first five seconds, in micro-dollars.
    pub base_price: i64,
    /// Price of each second after the first five, in micro-dollars.
    pub extra_second_price: i64,
    /// The fields of its input.
    pub(crate) fields: &'static [FieldEntry],
}

/// A field of a model's input: its name, the values it accepts, and whether it is required.
pub(crate) type FieldEntry = (&'static str, FieldRule, bool);

/// The values that a field accepts.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum FieldRule {
    /// Any string.
    Text,
    /// An https URL whose host is not the local machine.
    PublicUrl,
    /// An http or https URL, or a data URI of an image.
    UrlOrDataUri,
    /// The number 5 or 10.
    SecondsNumber,
    /// The string "5" or "10".
    SecondsString,
    /// 5 or 10, as a number or a string.
    SecondsNumberOrString,
    /// "16:9", "9:16" or "1:1".
    AspectRatio,
    /// A number from 0 to 1.
    UnitNumber,
    /// A list of motion masks, each with an image and a trajectory of points.
    DynamicMasks {
        /// The name of the field that holds a mask's image.
        image_field: &'static str,
        /// Allowed number of masks.
        masks: Bounds,
        /// Allowed number of points of each mask's trajectory.
        points: Bounds,
    },
    /// A camera movement, and an amount from -10 to 10 for each axis; both are optional.
    CameraControl,
}

/// An inclusive range of list lengths.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Bounds {
    pub(crate) min: usize,
    pub(crate) max: usize,
}

impl Bounds {
    pub(crate) const ANY: Self = Self {
        min: 0,
        max: usize::MAX,
    };
}

/// An invalid field of an input.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldError {
    /// The field's name.
    pub field: String,
    /// The reason.
    pub problem: FieldProblem,
}

/// Why a field is invalid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FieldProblem {
    /// It is required but absent or null.
    Missing,
    /// Its type or value is not allowed.
    NotAllowed,
    /// The model has no such field.
    Unknown,
    /// Its URL points into the provider's storage, where no file was uploaded.
    FileNotFound,
}

impl FieldProblem {
    /// Returns the message that a provider's error carries.
    pub fn message(self) -> &'static str {
        match self {
            Self::Missing => "field required",
            Self::NotAllowed => "value is not allowed",
            Self::Unknown => "field is not known",
            Self::FileNotFound => "the file cannot be found",
        }
    }
}

impl ModelRules {
    /// Validates an input and returns the first invalid field.
    pub fn validate(&self, input: &Map<String, Value>) -> Result<(), FieldError> {
        let invalid = |field: &str, problem| {
            Err(FieldError {
                field: field.to_owned(),
                problem,
            })
        };
        for (name, kind, required) in self.fields {
            match input.get(*name).filter(|value| !value.is_null()) {
                None if *required => return invalid(name, FieldProblem::Missing),
                Some(value) if !kind.allows(value) => {
                    return invalid(name, FieldProblem::NotAllowed);
                }
                _ => {}
            }
        }
        match input
            .keys()
            .find(|key| !self.fields.iter().any(|(name, ..)| name == key))
        {
            Some(unknown) => invalid(unknown, FieldProblem::Unknown),
            None => Ok(()),
        }
    }

    /// Returns the price of a clip, in micro-dollars.
    pub fn price(&self, input: &Map<String, Value>) -> i64 {
        self.base_price + (clip_seconds(input) - 5).max(0) * self.extra_second_price
    }
}

/// Returns the length of the clip that an input requests, in seconds. The default is 5.
pub(crate) fn clip_seconds(input: &Map<String, Value>) -> i64 {
    let duration = input.get("duration");
    duration
        .and_then(|value| value.as_i64().or_else(|| value.as_str()?.parse().ok()))
        .unwrap_or(5)
}

impl FieldRule {
    fn allows(self, value: &Value) -> bool {
        let is_seconds_number = value
            .as_i64()
            .is_some_and(|seconds| seconds == 5 || seconds == 10);
        let is_seconds_string = matches!(value.as_str(), Some("5" | "10"));
        match self {
            Self::Text => value.is_string(),
            Self::PublicUrl => value.as_str().is_some_and(is_public_url),
            Self::UrlOrDataUri => value.as_str().is_some_and(|url| {
                ["https://", "http://", "data:image/"]
                    .iter()
                    .any(|prefix| url.starts_with(prefix))
            }),
            Self::SecondsNumber => is_seconds_number,
            Self::SecondsString => is_seconds_string,
            Self::SecondsNumberOrString => is_seconds_number || is_seconds_string,
            Self::AspectRatio => matches!(value.as_str(), Some("16:9" | "9:16" | "1:1")),
            Self::UnitNumber => is_between(value, 0.0, 1.0),
            Self::DynamicMasks {
                image_field,
                masks,
                points,
            } => is_list(value, masks, |mask| {
                mask[image_field].is_string() && is_list(&mask["trajectories"], points, is_point)
            }),
            Self::CameraControl => is_camera_control(value),
        }
    }
}

/// Returns whether a provider can download from a URL: it is https, and its host is not the local
/// machine.
fn is_public_url(url: &str) -> bool {
    url::Url::parse(url).is_ok_and(|url| {
        url.scheme() == "https"
            && match url.host() {
                Some(url::Host::Domain(name)) => {
                    name != "localhost" && !name.ends_with(".localhost")
                }
                Some(url::Host::Ipv4(address)) => {
                    !address.is_loopback() && !address.is_unspecified()
                }
                Some(url::Host::Ipv6(address)) => {
                    !address.is_loopback() && !address.is_unspecified()
                }
                None => false,
            }
    })
}

fn is_list(value: &Value, length: Bounds, is_item: impl Fn(&Value) -> bool) -> bool {
    value.as_array().is_some_and(|items| {
        (length.min..=length.max).contains(&items.len()) && items.iter().all(is_item)
    })
}

fn is_point(value: &Value) -> bool {
    value["x"].is_i64() && value["y"].is_i64()
}

fn is_camera_control(value: &Value) -> bool {
    let types = [
        "simple",
        "down_back",
        "forward_up",
        "right_turn_forward",
        "left_turn_forward",
    ];
    let axes = ["horizontal", "vertical", "pan", "tilt", "roll", "zoom"];
    let Some(fields) = value.as_object() else {
        return false;
    };
    fields.iter().all(|(name, value)| match name.as_str() {
        "type" => value.as_str().is_some_and(|kind| types.contains(&kind)),
        "config" => value.as_object().is_some_and(|config| {
            config.iter().all(|(axis, amount)| {
                axes.contains(&axis.as_str()) && is_between(amount, -10.0, 10.0)
            })
        }),
        _ => false,
    })
}

fn is_between(value: &Value, min: f64, max: f64) -> bool {
    value
        .as_f64()
        .is_some_and(|number| (min..=max).contains(&number))
}
