//! The models that the simulated providers offer: fields, prices and processing times as the
//! providers publish them.

use crate::api::Api;
use crate::rules::{Bounds, FieldRule, ModelRules};

/// All models of all APIs.
const MODELS: [ModelRules; 4] = [
    ModelRules {
        api: Api::Eachlabs,
        id: "kling-v1-standard-image-to-video",
        typical_s: 270.0,
        base_price: 225_000,
        extra_second_price: 45_000,
        fields: &[
            ("prompt", FieldRule::Text, true),
            ("image_url", FieldRule::PublicUrl, true),
            ("duration", FieldRule::SecondsNumber, false),
            ("aspect_ratio", FieldRule::AspectRatio, false),
            ("negative_prompt", FieldRule::Text, false),
            ("cfg_scale", FieldRule::UnitNumber, false),
            ("tail_image_url", FieldRule::PublicUrl, false),
            ("static_mask_url", FieldRule::PublicUrl, false),
        ],
    },
    ModelRules {
        api: Api::Eachlabs,
        id: "kling-v2-1-standard-image-to-video",
        typical_s: 60.0,
        base_price: 280_000,
        extra_second_price: 56_000,
        fields: &[
            ("prompt", FieldRule::Text, true),
            ("image_url", FieldRule::PublicUrl, true),
            ("duration", FieldRule::SecondsNumber, false),
            ("aspect_ratio", FieldRule::AspectRatio, false),
            ("negative_prompt", FieldRule::Text, false),
            ("cfg_scale", FieldRule::UnitNumber, false),
        ],
    },
    ModelRules {
        api: Api::Aimlapi,
        id: "kling-video/v1/standard/image-to-video",
        typical_s: 270.0,
        // 94,500 credits a second, at 2,000,000 credits to the dollar.
        base_price: 236_250,
        extra_second_price: 47_250,
        fields: &[
            ("model", FieldRule::Text, true),
            ("image_url", FieldRule::UrlOrDataUri, true),
            ("prompt", FieldRule::Text, false),
            ("tail_image_url", FieldRule::UrlOrDataUri, false),
            ("duration", FieldRule::SecondsNumberOrString, false),
            ("negative_prompt", FieldRule::Text, false),
            ("cfg_scale", FieldRule::UnitNumber, false),
            ("static_mask", FieldRule::UrlOrDataUri, false),
            (
                "dynamic_masks",
                FieldRule::DynamicMasks {
                    image_field: "mask",
                    masks: Bounds { min: 0, max: 6 },
                    points: Bounds { min: 2, max: 77 },
                },
                false,
            ),
            ("camera_control", FieldRule::CameraControl, false),
        ],
    },
    ModelRules {
        api: Api::Fal,
        id: "fal-ai/kling-video/v1/standard/image-to-video",
        typical_s: 270.0,
        base_price: 225_000,
        extra_second_price: 45_000,
        fields: &[
            ("prompt", FieldRule::Text, true),
            ("image_url", FieldRule::UrlOrDataUri, true),
            ("duration", FieldRule::SecondsString, false),
            ("negative_prompt", FieldRule::Text, false),
            ("cfg_scale", FieldRule::UnitNumber, false),
            ("tail_image_url", FieldRule::UrlOrDataUri, false),
            ("static_mask_url", FieldRule::UrlOrDataUri, false),
            (
                "dynamic_masks",
                FieldRule::DynamicMasks {
                    image_field: "mask_url",
                    masks: Bounds::ANY,
                    points: Bounds::ANY,
                },
                false,
            ),
        ],
    },
];

impl ModelRules {
    /// Returns the model with this id at this API.
    pub fn find(api: Api, id: &str) -> Option<&'static Self> {
        const { &MODELS }
            .iter()
            .find(|model| model.api == api && model.id == id)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use crate::rules::FieldProblem;

    use super::*;

    /// Validates a minimal input of an API's first model after setting one field.
    fn validate(api: Api, field: &str, value: Value) -> Result<(), FieldProblem> {
        let rules = MODELS.iter().find(|model| model.api == api).unwrap();
        let mut input = json!({"prompt": "x", "image_url": "https://example.com/a.png"});
        if api == Api::Aimlapi {
            input["model"] = json!(rules.id);
        }
        input[field] = value;
        rules.validate(input.as_object().unwrap()).map_err(|error| {
            assert_eq!(error.field, field);
            error.problem
        })
    }

    #[test]
    fn each_api_accepts_only_its_own_spelling_of_the_duration() {
        for (api, accepts_number, accepts_string) in [
            (Api::Eachlabs, true, false),
            (Api::Fal, false, true),
            (Api::Aimlapi, true, true),
        ] {
            assert_eq!(
                validate(api, "duration", json!(10)).is_ok(),
                accepts_number,
                "{api:?}"
            );
            assert_eq!(
                validate(api, "duration", json!("10")).is_ok(),
                accepts_string,
                "{api:?}"
            );
            assert_eq!(
                validate(api, "duration", json!(7)),
                Err(FieldProblem::NotAllowed),
                "{api:?}"
            );
        }
    }

    #[test]
    fn eachlabs_accepts_only_urls_that_it_can_download() {
        let accepts = |url: &str| validate(Api::Eachlabs, "image_url", json!(url)).is_ok();
        assert!(accepts("https://example.com/a.png"));
        for url in [
            "http://example.com/a.png",
            "https://localhost/a.png",
            "https://127.0.0.2/a.png",
            "https://[::1]/a.png",
            "data:image/png;base64,AAAA",
            "a.png",
        ] {
            assert!(!accepts(url), "{url}");
        }
        assert!(validate(Api::Fal, "image_url", json!("data:image/png;base64,AAAA")).is_ok());
    }

    #[test]
    fn a_field_is_rejected_if_it_is_missing_unknown_or_out_of_range() {
        assert_eq!(
            validate(Api::Eachlabs, "prompt", Value::Null),
            Err(FieldProblem::Missing)
        );
        assert_eq!(validate(Api::Aimlapi, "prompt", Value::Null), Ok(()));
        assert_eq!(
            validate(Api::Fal, "aspect_ratio", json!("16:9")),
            Err(FieldProblem::Unknown)
        );
        assert_eq!(
            validate(Api::Fal, "cfg_scale", json!(1.5)),
            Err(FieldProblem::NotAllowed)
        );
    }

    #[test]
    fn masks_and_camera_controls_are_validated_in_full() {
        let masks = |points: usize| {
            let trajectory = vec![json!({"x": 1, "y": 2}); points];
            json!([{"mask": "https://example.com/m.png", "trajectories": trajectory}])
        };
        for (points, is_valid) in [(1, false), (2, true), (77, true), (78, false)] {
            assert_eq!(
                validate(Api::Aimlapi, "dynamic_masks", masks(points)).is_ok(),
                is_valid,
                "{points}"
            );
        }
        assert!(validate(Api::Fal, "dynamic_masks", masks(2)).is_err());
        let camera = |zoom: i64| json!({"type": "simple", "config": {"zoom": zoom}});
        assert!(validate(Api::Aimlapi, "camera_control", camera(10)).is_ok());
        assert!(validate(Api::Aimlapi, "camera_control", camera(11)).is_err());
        assert!(validate(Api::Aimlapi, "camera_control", json!({"type": "dolly"})).is_err());
    }

    #[test]
    fn ten_seconds_cost_what_the_price_lists_state() {
        let input = json!({"duration": "10"});
        let prices = const { &MODELS }
            .iter()
            .map(|model| model.price(input.as_object().unwrap()));
        assert_eq!(
            prices.collect::<Vec<_>>(),
            [450_000, 560_000, 472_500, 450_000]
        );
    }
}
