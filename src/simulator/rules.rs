//! The models the simulated providers offer: their fields, prices and times, as the providers publish them.

use serde_json::{Map, Value};

use super::Api;

/// One model of one API.
#[derive(Debug)]
pub struct ModelRules {
    /// Who offers it.
    pub api: Api,
    /// Its id there.
    pub id: &'static str,
    /// How long a prediction usually takes, in seconds.
    pub typical_s: f64,
    /// Price of the first five seconds, in micro-dollars.
    pub first_five: i64,
    /// Price of each further second, in micro-dollars.
    pub further: i64,
    fields: &'static [(&'static str, Kind, bool)],
}

#[derive(Clone, Copy, Debug)]
enum Kind {
    Text,
    /// A public https link.
    Link,
    /// A link of any kind, or a data URI.
    AnyLink,
    /// 5 or 10, as a number.
    Seconds,
    /// "5" or "10", as a text.
    SecondsText,
    /// Either.
    SecondsAny,
    Ratio,
    /// From 0 to 1.
    Scale,
    Masks(&'static str),
    Object,
}

/// Every model there is.
pub const MODELS: [ModelRules; 4] = [
    ModelRules {
        api: Api::Eachlabs,
        id: "kling-v1-standard-image-to-video",
        typical_s: 270.0,
        first_five: 225_000,
        further: 45_000,
        fields: &[
            ("prompt", Kind::Text, true),
            ("image_url", Kind::Link, true),
            ("duration", Kind::Seconds, false),
            ("aspect_ratio", Kind::Ratio, false),
            ("negative_prompt", Kind::Text, false),
            ("cfg_scale", Kind::Scale, false),
            ("tail_image_url", Kind::Link, false),
            ("static_mask_url", Kind::Link, false),
        ],
    },
    ModelRules {
        api: Api::Eachlabs,
        id: "kling-v2-1-standard-image-to-video",
        typical_s: 60.0,
        first_five: 280_000,
        further: 56_000,
        fields: &[
            ("prompt", Kind::Text, true),
            ("image_url", Kind::Link, true),
            ("duration", Kind::Seconds, false),
            ("aspect_ratio", Kind::Ratio, false),
            ("negative_prompt", Kind::Text, false),
            ("cfg_scale", Kind::Scale, false),
        ],
    },
    ModelRules {
        api: Api::Aimlapi,
        id: "kling-video/v1/standard/image-to-video",
        typical_s: 270.0,
        // 94,500 credits a second, at 2,000,000 to the dollar.
        first_five: 236_250,
        further: 47_250,
        fields: &[
            ("model", Kind::Text, true),
            ("image_url", Kind::AnyLink, true),
            ("prompt", Kind::Text, false),
            ("tail_image_url", Kind::AnyLink, false),
            ("duration", Kind::SecondsAny, false),
            ("negative_prompt", Kind::Text, false),
            ("cfg_scale", Kind::Scale, false),
            ("static_mask", Kind::AnyLink, false),
            ("dynamic_masks", Kind::Masks("mask"), false),
            ("camera_control", Kind::Object, false),
        ],
    },
    ModelRules {
        api: Api::Fal,
        id: "fal-ai/kling-video/v1/standard/image-to-video",
        typical_s: 270.0,
        first_five: 225_000,
        further: 45_000,
        fields: &[
            ("prompt", Kind::Text, true),
            ("image_url", Kind::AnyLink, true),
            ("duration", Kind::SecondsText, false),
            ("negative_prompt", Kind::Text, false),
            ("cfg_scale", Kind::Scale, false),
            ("tail_image_url", Kind::AnyLink, false),
            ("static_mask_url", Kind::AnyLink, false),
            ("dynamic_masks", Kind::Masks("mask_url"), false),
        ],
    },
];

/// A field that breaks the rules, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wrong {
    /// The field.
    pub field: String,
    /// What is wrong with it.
    pub message: String,
}

impl ModelRules {
    /// Looks a model up.
    pub fn find(api: Api, id: &str) -> Option<&'static Self> {
        const { &MODELS }.iter().find(|model| model.api == api && model.id == id)
    }

    /// Checks an input.
    pub fn check(&self, input: &Map<String, Value>) -> Result<(), Wrong> {
        let wrong =
            |field: &str, message: &str| Err(Wrong { field: field.to_owned(), message: message.to_owned() });
        for (name, kind, required) in self.fields {
            match input.get(*name).filter(|value| !value.is_null()) {
                None if *required => return wrong(name, "field required"),
                Some(value) if !kind.allows(value) => return wrong(name, "value is not allowed"),
                _ => {}
            }
        }
        match input.keys().find(|key| !self.fields.iter().any(|(name, ..)| name == key)) {
            Some(unknown) => wrong(unknown, "field is not known"),
            None => Ok(()),
        }
    }

    /// Tells the length of the clip an input asks for, in seconds.
    pub fn seconds(&self, input: &Map<String, Value>) -> i64 {
        let asked = input.get("duration");
        asked.and_then(|value| value.as_i64().or_else(|| value.as_str()?.parse().ok())).unwrap_or(5)
    }

    /// Prices an input, in micro-dollars.
    pub fn price(&self, input: &Map<String, Value>) -> i64 {
        self.first_five + (self.seconds(input) - 5).max(0) * self.further
    }
}

impl Kind {
    fn allows(self, value: &Value) -> bool {
        let is_seconds = value.as_i64().is_some_and(|seconds| seconds == 5 || seconds == 10);
        let is_seconds_text = matches!(value.as_str(), Some("5" | "10"));
        let starts = |starts: &[&str]| {
            value.as_str().is_some_and(|text| starts.iter().any(|start| text.starts_with(start)))
        };
        match self {
            Self::Text => value.is_string(),
            Self::Link => starts(&["https://"]) && !starts(&["https://localhost", "https://127."]),
            Self::AnyLink => starts(&["https://", "http://", "data:image/"]),
            Self::Seconds => is_seconds,
            Self::SecondsText => is_seconds_text,
            Self::SecondsAny => is_seconds || is_seconds_text,
            Self::Ratio => matches!(value.as_str(), Some("16:9" | "9:16" | "1:1")),
            Self::Scale => value.as_f64().is_some_and(|scale| (0.0..=1.0).contains(&scale)),
            Self::Masks(mask) => value.as_array().is_some_and(|masks| {
                masks.iter().all(|item| item[mask].is_string() && item["trajectories"].is_array())
            }),
            Self::Object => value.is_object(),
        }
    }
}
