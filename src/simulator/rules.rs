//! The models the simulated providers offer: their fields, prices and times, as the providers publish them.

use serde_json::{Map, Value};

use super::Api;

/// One model of one API.
#[derive(Debug, PartialEq)]
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
    fields: &'static [(&'static str, FieldKind, bool)],
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum FieldKind {
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
    /// Brushes: the name of their picture's field, how many, and how many points each.
    Masks(&'static str, Bounds, Bounds),
    Camera,
}

/// The least and the most of something.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Bounds(usize, usize);

/// Every model there is.
pub const MODELS: [ModelRules; 4] = [
    ModelRules {
        api: Api::Eachlabs,
        id: "kling-v1-standard-image-to-video",
        typical_s: 270.0,
        first_five: 225_000,
        further: 45_000,
        fields: &[
            ("prompt", FieldKind::Text, true),
            ("image_url", FieldKind::Link, true),
            ("duration", FieldKind::Seconds, false),
            ("aspect_ratio", FieldKind::Ratio, false),
            ("negative_prompt", FieldKind::Text, false),
            ("cfg_scale", FieldKind::Scale, false),
            ("tail_image_url", FieldKind::Link, false),
            ("static_mask_url", FieldKind::Link, false),
        ],
    },
    ModelRules {
        api: Api::Eachlabs,
        id: "kling-v2-1-standard-image-to-video",
        typical_s: 60.0,
        first_five: 280_000,
        further: 56_000,
        fields: &[
            ("prompt", FieldKind::Text, true),
            ("image_url", FieldKind::Link, true),
            ("duration", FieldKind::Seconds, false),
            ("aspect_ratio", FieldKind::Ratio, false),
            ("negative_prompt", FieldKind::Text, false),
            ("cfg_scale", FieldKind::Scale, false),
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
            ("model", FieldKind::Text, true),
            ("image_url", FieldKind::AnyLink, true),
            ("prompt", FieldKind::Text, false),
            ("tail_image_url", FieldKind::AnyLink, false),
            ("duration", FieldKind::SecondsAny, false),
            ("negative_prompt", FieldKind::Text, false),
            ("cfg_scale", FieldKind::Scale, false),
            ("static_mask", FieldKind::AnyLink, false),
            (
                "dynamic_masks",
                FieldKind::Masks("mask", Bounds(0, 6), Bounds(2, 77)),
                false,
            ),
            ("camera_control", FieldKind::Camera, false),
        ],
    },
    ModelRules {
        api: Api::Fal,
        id: "fal-ai/kling-video/v1/standard/image-to-video",
        typical_s: 270.0,
        first_five: 225_000,
        further: 45_000,
        fields: &[
            ("prompt", FieldKind::Text, true),
            ("image_url", FieldKind::AnyLink, true),
            ("duration", FieldKind::SecondsText, false),
            ("negative_prompt", FieldKind::Text, false),
            ("cfg_scale", FieldKind::Scale, false),
            ("tail_image_url", FieldKind::AnyLink, false),
            ("static_mask_url", FieldKind::AnyLink, false),
            (
                "dynamic_masks",
                FieldKind::Masks("mask_url", Bounds(0, usize::MAX), Bounds(0, usize::MAX)),
                false,
            ),
        ],
    },
];

/// A field that breaks the rules, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wrong {
    /// The field.
    pub field: String,
    /// What is wrong with it.
    pub flaw: Flaw,
}

/// What is wrong with a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flaw {
    /// It is required, and not there.
    Missing,
    /// Its type or its value is not allowed.
    NotAllowed,
    /// The model has no such field.
    Unknown,
    /// Its link leads to no file.
    NotFound,
}

impl Flaw {
    /// Says what is wrong.
    pub fn message(self) -> &'static str {
        match self {
            Self::Missing => "field required",
            Self::NotAllowed => "value is not allowed",
            Self::Unknown => "field is not known",
            Self::NotFound => "the file cannot be found",
        }
    }
}

impl ModelRules {
    /// Looks a model up.
    pub fn find(api: Api, id: &str) -> Option<&'static Self> {
        const { &MODELS }
            .iter()
            .find(|model| model.api == api && model.id == id)
    }

    /// Checks an input.
    pub fn check(&self, input: &Map<String, Value>) -> Result<(), Wrong> {
        let wrong = |field: &str, flaw| {
            Err(Wrong {
                field: field.to_owned(),
                flaw,
            })
        };
        for (name, kind, required) in self.fields {
            match input.get(*name).filter(|value| !value.is_null()) {
                None if *required => return wrong(name, Flaw::Missing),
                Some(value) if !kind.allows(value) => return wrong(name, Flaw::NotAllowed),
                _ => {}
            }
        }
        match input
            .keys()
            .find(|key| !self.fields.iter().any(|(name, ..)| name == key))
        {
            Some(unknown) => wrong(unknown, Flaw::Unknown),
            None => Ok(()),
        }
    }

    /// Prices an input, in micro-dollars.
    pub fn price(&self, input: &Map<String, Value>) -> i64 {
        self.first_five + (seconds(input) - 5).max(0) * self.further
    }
}

/// Tells the length of the clip an input asks for, in seconds.
pub fn seconds(input: &Map<String, Value>) -> i64 {
    let asked = input.get("duration");
    asked
        .and_then(|value| value.as_i64().or_else(|| value.as_str()?.parse().ok()))
        .unwrap_or(5)
}

impl FieldKind {
    fn allows(self, value: &Value) -> bool {
        let is_seconds = value
            .as_i64()
            .is_some_and(|seconds| seconds == 5 || seconds == 10);
        let is_seconds_text = matches!(value.as_str(), Some("5" | "10"));
        match self {
            Self::Text => value.is_string(),
            Self::Link => value.as_str().is_some_and(is_public),
            Self::AnyLink => value.as_str().is_some_and(|link| {
                ["https://", "http://", "data:image/"]
                    .iter()
                    .any(|start| link.starts_with(start))
            }),
            Self::Seconds => is_seconds,
            Self::SecondsText => is_seconds_text,
            Self::SecondsAny => is_seconds || is_seconds_text,
            Self::Ratio => matches!(value.as_str(), Some("16:9" | "9:16" | "1:1")),
            Self::Scale => is_between(value, 0.0, 1.0),
            Self::Masks(picture, masks, points) => is_list(value, masks, |mask| {
                mask[picture].is_string() && is_list(&mask["trajectories"], points, is_point)
            }),
            Self::Camera => is_camera(value),
        }
    }
}

/// A link that a provider can fetch: https, and not on the caller's own machine.
fn is_public(link: &str) -> bool {
    url::Url::parse(link).is_ok_and(|link| {
        link.scheme() == "https"
            && match link.host() {
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

fn is_list(value: &Value, Bounds(least, most): Bounds, is_item: impl Fn(&Value) -> bool) -> bool {
    value
        .as_array()
        .is_some_and(|items| (least..=most).contains(&items.len()) && items.iter().all(is_item))
}

fn is_point(value: &Value) -> bool {
    value["x"].is_i64() && value["y"].is_i64()
}

fn is_camera(value: &Value) -> bool {
    let moves = [
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
        "type" => value.as_str().is_some_and(|kind| moves.contains(&kind)),
        "config" => value.as_object().is_some_and(|config| {
            config
                .iter()
                .all(|(axis, by)| axes.contains(&axis.as_str()) && is_between(by, -10.0, 10.0))
        }),
        _ => false,
    })
}

fn is_between(value: &Value, least: f64, most: f64) -> bool {
    value
        .as_f64()
        .is_some_and(|number| (least..=most).contains(&number))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// Checks the least input of an API's first model, with one field more.
    fn check(api: Api, field: &str, value: Value) -> Result<(), Flaw> {
        let rules = MODELS.iter().find(|model| model.api == api).unwrap();
        let mut input = json!({"prompt": "x", "image_url": "https://example.com/a.png"});
        if api == Api::Aimlapi {
            input["model"] = json!(rules.id);
        }
        input[field] = value;
        rules.check(input.as_object().unwrap()).map_err(|wrong| {
            assert_eq!(wrong.field, field);
            wrong.flaw
        })
    }

    #[test]
    fn each_api_insists_on_its_own_spelling_of_the_length() {
        for (api, number, text) in [
            (Api::Eachlabs, true, false),
            (Api::Fal, false, true),
            (Api::Aimlapi, true, true),
        ] {
            assert_eq!(check(api, "duration", json!(10)).is_ok(), number, "{api:?}");
            assert_eq!(check(api, "duration", json!("10")).is_ok(), text, "{api:?}");
            assert_eq!(
                check(api, "duration", json!(7)),
                Err(Flaw::NotAllowed),
                "{api:?}"
            );
        }
    }

    #[test]
    fn eachlabs_takes_only_links_it_can_fetch() {
        let link = |link: &str| check(Api::Eachlabs, "image_url", json!(link)).is_ok();
        assert!(link("https://example.com/a.png"));
        for refused in [
            "http://example.com/a.png",
            "https://localhost/a.png",
            "https://127.0.0.2/a.png",
            "https://[::1]/a.png",
            "data:image/png;base64,AAAA",
            "a.png",
        ] {
            assert!(!link(refused), "{refused}");
        }
        assert!(check(Api::Fal, "image_url", json!("data:image/png;base64,AAAA")).is_ok());
    }

    #[test]
    fn a_field_is_refused_when_it_is_missing_unknown_or_out_of_range() {
        assert_eq!(
            check(Api::Eachlabs, "prompt", Value::Null),
            Err(Flaw::Missing)
        );
        assert_eq!(check(Api::Aimlapi, "prompt", Value::Null), Ok(()));
        assert_eq!(
            check(Api::Fal, "aspect_ratio", json!("16:9")),
            Err(Flaw::Unknown)
        );
        assert_eq!(
            check(Api::Fal, "cfg_scale", json!(1.5)),
            Err(Flaw::NotAllowed)
        );
    }

    #[test]
    fn masks_and_cameras_are_checked_to_the_last_point() {
        let mask = |points: usize| json!([{"mask": "https://example.com/m.png", "trajectories": vec![json!({"x": 1, "y": 2}); points]}]);
        for (points, fits) in [(1, false), (2, true), (77, true), (78, false)] {
            assert_eq!(
                check(Api::Aimlapi, "dynamic_masks", mask(points)).is_ok(),
                fits,
                "{points}"
            );
        }
        assert!(check(Api::Fal, "dynamic_masks", mask(2)).is_err());
        let camera = |zoom: i64| json!({"type": "simple", "config": {"zoom": zoom}});
        assert!(check(Api::Aimlapi, "camera_control", camera(10)).is_ok());
        assert!(check(Api::Aimlapi, "camera_control", camera(11)).is_err());
        assert!(check(Api::Aimlapi, "camera_control", json!({"type": "dolly"})).is_err());
    }

    #[test]
    fn ten_seconds_cost_what_the_price_lists_say() {
        let ten = json!({"duration": "10"});
        let prices = const { &MODELS }
            .iter()
            .map(|model| model.price(ten.as_object().unwrap()));
        assert_eq!(
            prices.collect::<Vec<_>>(),
            [450_000, 560_000, 472_500, 450_000]
        );
    }
}
