//! Tests of the built-in models, of users' model files, and of the errors in them.

use serde_json::json;

use super::*;
use crate::domain::{Field, Input, Money, ProviderName, Shape};

fn quote(
    model: &str,
    provider: ProviderName,
    input: serde_json::Value,
) -> (serde_json::Value, i64) {
    let input: Input = serde_json::from_value(input).unwrap();
    let quote = load(&[]).unwrap().quote(model, &input, provider).unwrap();
    (quote.request, quote.price.micros())
}

#[test]
fn every_route_charges_its_published_price() {
    let row = |duration| json!({"image": "https://example.com/a.png", "prompt": "x", "duration": duration});
    for (model, provider, price_of_5_s, price_of_10_s) in [
        (
            "kling-v1-standard",
            ProviderName::Eachlabs,
            225_000,
            450_000,
        ),
        ("kling-v1-standard", ProviderName::Fal, 225_000, 450_000),
        ("kling-v1-standard", ProviderName::Aimlapi, 236_250, 472_500),
        (
            "kling-v2.1-standard",
            ProviderName::Eachlabs,
            280_000,
            560_000,
        ),
    ] {
        assert_eq!(
            quote(model, provider, row(5)).1,
            price_of_5_s,
            "{model} on {provider}"
        );
        assert_eq!(
            quote(model, provider, row(10)).1,
            price_of_10_s,
            "{model} on {provider}"
        );
    }
}

#[test]
fn fields_are_sent_under_each_providers_own_names() {
    let path = json!([{"x": 1, "y": 2}, {"x": 3, "y": 4}]);
    let row = json!({
        "image": "https://example.com/a.png",
        "prompt": "x",
        "duration": 10,
        "dynamic_masks": [{"mask": "https://example.com/m.png", "trajectories": path}],
        "static_mask": "https://example.com/s.png",
    });
    assert_eq!(
        quote("kling-v1-standard", ProviderName::Fal, row.clone()).0,
        json!({
            "image_url": "https://example.com/a.png",
            "prompt": "x",
            "duration": "10",
            "static_mask_url": "https://example.com/s.png",
            "dynamic_masks": [{"mask_url": "https://example.com/m.png", "trajectories": path}],
        })
    );
    assert_eq!(
        quote("kling-v1-standard", ProviderName::Aimlapi, row).0,
        json!({
            "image_url": "https://example.com/a.png",
            "prompt": "x",
            "duration": 10,
            "static_mask": "https://example.com/s.png",
            "dynamic_masks": [{"mask": "https://example.com/m.png", "trajectories": path}],
        })
    );
    let row = json!({"image": "https://example.com/a.png", "prompt": "x", "aspect_ratio": "1:1"});
    assert_eq!(
        quote("kling-v1-standard", ProviderName::Eachlabs, row).0,
        json!({
            "image_url": "https://example.com/a.png",
            "prompt": "x",
            "aspect_ratio": "1:1",
            "duration": 5,
        })
    );
}

#[test]
fn a_users_file_adds_a_model_or_replaces_a_route() {
    let mut catalog = load(&[]).unwrap();
    let route = r#"
[[routes]]
provider = "fal"
model = "me/mine"
price = { base = "0.30" }
typical_s = 9
[routes.fields]
image = "picture"
prompt = "text"
"#;
    add(
        &mut catalog,
        "mine.toml",
        &format!("name = \"kling-v1-standard\"\n{route}"),
    )
    .unwrap();
    let model = catalog.model("kling-v1-standard").unwrap();
    assert_eq!(
        model.route(ProviderName::Fal).unwrap().wire_model,
        "me/mine"
    );
    assert_eq!(model.routes.len(), 3);
    let fields =
        "[fields.image]\ntype = \"image\"\nrequired = true\n[fields.prompt]\ntype = \"text\"\n";
    add(
        &mut catalog,
        "mine.toml",
        &format!("name = \"mine\"\n{fields}{route}"),
    )
    .unwrap();
    let model = catalog.model("mine").unwrap();
    assert_eq!(
        model.price(&model.routes[0], &Input::default()),
        Money::from_micros(300_000)
    );
}

#[test]
fn fields_keep_the_order_of_the_file() {
    let catalog = load(&[]).unwrap();
    let names = |fields: &[Field]| {
        fields
            .iter()
            .map(|field| field.name.clone())
            .collect::<Vec<_>>()
            .join(" ")
    };
    let model = catalog.model("kling-v1-standard").unwrap();
    assert_eq!(
        names(&model.fields),
        "image prompt duration aspect_ratio negative_prompt cfg_scale tail_image static_mask \
         dynamic_masks camera_control"
    );
    let Shape::Object { fields } = &model.field("camera_control").unwrap().shape else {
        panic!("an object")
    };
    assert_eq!(names(fields), "type config");
    let Shape::Object { fields } = &fields[1].shape else {
        panic!("an object")
    };
    assert_eq!(names(fields), "horizontal vertical pan tilt roll zoom");
}

#[test]
fn a_users_field_replaces_the_known_one() {
    let mut catalog = load(&[]).unwrap();
    let field = "fields.duration = { type = \"integer\", choices = [5, 10, 15], default = 5 }\n";
    add(
        &mut catalog,
        "mine.toml",
        &format!("name = \"kling-v1-standard\"\n{field}"),
    )
    .unwrap();
    let model = catalog.model("kling-v1-standard").unwrap();
    assert_eq!(model.fields[2].shape.check(&json!(15)), Ok(()));
    assert_eq!(model.fields.len(), 10);
    assert_eq!(model.routes.len(), 3);
    let without_default = "fields.duration = { type = \"integer\" }\n";
    let error = add(
        &mut catalog,
        "mine.toml",
        &format!("name = \"kling-v1-standard\"\n{without_default}"),
    );
    assert!(
        error
            .unwrap_err()
            .starts_with("mine.toml:1:8: the route on eachlabs is priced per second")
    );
    assert_eq!(
        catalog.model("kling-v1-standard").unwrap().fields[2]
            .shape
            .check(&json!(15)),
        Ok(())
    );
}

/// A valid model file, in which the tests replace one line by a mistake.
const VALID_FILE: &str = r#"name = "mine"
[fields.image]
type = "image"
required = true
[fields.prompt]
type = "text"
[[routes]]
provider = "fal"
model = "me/mine"
price = { base = "0.30" }
typical_s = 9
[routes.fields]
image = "image_url"
prompt = "text"
"#;

#[test]
fn an_error_in_a_file_names_its_position() {
    assert_eq!(
        add(&mut Catalog::default(), "mine.toml", VALID_FILE),
        Ok(())
    );
    let fields =
        "[fields.image]\ntype = \"image\"\nrequired = true\n[fields.prompt]\ntype = \"text\"\n";
    for (text, replacement, message) in [
        (
            "name = ",
            "nam = ",
            "1:1: unknown key `nam`, did you mean `name`?",
        ),
        ("name = \"mine\"\n", "", "1:1: missing field `name`"),
        (
            "\"mine\"",
            "\"my model\"",
            "1:8: the model's name must not be empty or contain spaces",
        ),
        (
            "[fields.image]",
            "[fields.image",
            "2:14: unclosed table, expected `]`",
        ),
        (
            "type = \"text\"",
            "typ = \"text\"",
            "6:1: unknown key `typ`, did you mean `type`?",
        ),
        (
            "\"text\"\n[",
            "\"txt\"\n[",
            "6:8: unknown name `txt`, did you mean `text`?",
        ),
        (
            "type = \"text\"",
            "type = \"text\"\nmin = 1",
            "5:9: `min` does not apply to `prompt`, which has another type",
        ),
        (
            "\"text\"\n[",
            "\"text\"\ndefault = 3\n[",
            "5:9: the default of `prompt`: 3 is not text",
        ),
        (
            "\"text\"\n[",
            "\"integer\"\nchoices = [1]\ndefault = 2\n[",
            "5:9: the default of `prompt`: 2 is not one of 1",
        ),
        (
            "\"text\"\n[",
            "\"integer\"\ndefault = 2.0\n[",
            "5:9: the default of `prompt`: 2.0 must be written without a fraction",
        ),
        (
            "\"text\"\n[",
            "\"integer\"\nchoices = [\"a\"]\n[",
            "5:9: the choice \"a\" of `prompt` is not a whole number",
        ),
        (
            "\"text\"\n[",
            "\"number\"\nmin = 2\nmax = 1\n[",
            "5:9: `min` of `prompt` is greater than `max`",
        ),
        (
            "\"text\"\n[",
            "\"list\"\n[",
            "5:9: the list `prompt` has no `item`",
        ),
        (
            "\"fal\"",
            "\"fall\"",
            "8:12: unknown name `fall`, did you mean `fal`?",
        ),
        (
            "\"me/mine\"",
            "\"\"",
            "7:1: the route on fal has an empty `model`",
        ),
        (
            "price =",
            "pricee =",
            "10:1: unknown key `pricee`, did you mean `price`?",
        ),
        (
            "price = { base = \"0.30\" }\n",
            "",
            "7:1: missing field `price`",
        ),
        (
            "\"0.30\"",
            "\"0\"",
            "10:9: the price on fal: must not be zero",
        ),
        (
            "\"0.30\"",
            "\"-0.30\"",
            "10:18: not an amount in dollars; write it like 12.50",
        ),
        (
            "base = \"0.30\"",
            "per_second = \"0.1\", base_seconds = 5",
            "10:9: the price on fal: `base_seconds` without `base` makes the first seconds free",
        ),
        (
            "base = \"0.30\"",
            "base = \"0.30\", credits_per_usd = 0",
            "10:9: the price on fal: `credits_per_usd` must be greater than 0",
        ),
        (
            "base = ",
            "per_second = ",
            "7:1: the route on fal is priced per second, but the model has no clip length: make \
             `duration` a whole number that is required or has a default",
        ),
        ("= 9", "= 0", "11:13: must be greater than 0 seconds"),
        (
            "= 9",
            "= 9\nimages = []",
            "7:1: the route on fal accepts no form of image, but `image` is a required field",
        ),
        (
            "prompt = ",
            "promt = ",
            "14:1: the route on fal maps `promt`, which is not a field of the model",
        ),
        (
            "image = \"image_url\"\n",
            "",
            "7:1: the route on fal does not map `image`, which is a required field",
        ),
        (
            "\"image_url\"",
            "\"text\"",
            "14:1: the route on fal maps both `image` and `prompt` to `text`",
        ),
        (
            "\"image_url\"",
            "\"\"",
            "13:1: the route on fal maps `image` to an empty name",
        ),
        (
            "\"image_url\"",
            "{ nme = \"i\" }",
            "13:11: unknown key `nme`, did you mean `name`?",
        ),
        (
            "\"image_url\"",
            "{ name = \"i\", as = \"txt\" }",
            "13:28: unknown name `txt`, did you mean `text`?",
        ),
        (
            "\"image_url\"",
            "{ name = \"i\", item = { a = \"b\" } }",
            "13:1: the route on fal renames `a`, which the items of `image` do not have",
        ),
        (
            "prompt = \"text\"\n",
            "prompt = \"text\"\n[[routes]]\nprovider = \"fal\"\nmodel = \"m\"\n\
             price = { base = \"1\" }\ntypical_s = 1\nfields = {}\n",
            "15:1: the model has two routes on fal",
        ),
        (
            fields,
            "",
            "8:1: the route on fal maps `image`, which is not a field of the model",
        ),
        (
            &VALID_FILE[VALID_FILE.find("[[").unwrap()..],
            "",
            "1:8: the model has no route; add [[routes]]",
        ),
    ] {
        let file = VALID_FILE.replacen(text, replacement, 1);
        assert_ne!(file, VALID_FILE, "{text}");
        let result = add(&mut Catalog::default(), "mine.toml", &file);
        assert_eq!(result, Err(format!("mine.toml:{message}")), "{file}");
    }
}

#[test]
fn a_missing_file_is_named() {
    let error = load(&[PathBuf::from("none/mine.toml")]).unwrap_err();
    assert!(error.starts_with("cannot read none/mine.toml: "), "{error}");
}

#[test]
fn every_field_that_a_route_accepts_is_sent() {
    let image = |name: &str| json!(format!("https://example.com/{name}.png"));
    let request = |provider, extra: &[(&str, serde_json::Value)]| {
        let mut row = json!({
            "image": image("a"),
            "prompt": "x",
            "duration": 10,
            "negative_prompt": "blur",
            "cfg_scale": 0.4,
            "tail_image": image("t"),
            "static_mask": image("s"),
        });
        for (field, value) in extra {
            row[*field] = value.clone();
        }
        quote("kling-v1-standard", provider, row).0
    };
    assert_eq!(
        request(ProviderName::Eachlabs, &[("aspect_ratio", json!("9:16"))]),
        json!({
            "image_url": image("a"),
            "prompt": "x",
            "duration": 10,
            "negative_prompt": "blur",
            "cfg_scale": 0.4,
            "tail_image_url": image("t"),
            "static_mask_url": image("s"),
            "aspect_ratio": "9:16",
        })
    );
    assert_eq!(
        request(ProviderName::Fal, &[]),
        json!({
            "image_url": image("a"),
            "prompt": "x",
            "duration": "10",
            "negative_prompt": "blur",
            "cfg_scale": 0.4,
            "tail_image_url": image("t"),
            "static_mask_url": image("s"),
        })
    );
    let camera = json!({"type": "simple", "config": {"pan": 3}});
    assert_eq!(
        request(ProviderName::Aimlapi, &[("camera_control", camera.clone())]),
        json!({
            "image_url": image("a"),
            "prompt": "x",
            "duration": 10,
            "negative_prompt": "blur",
            "cfg_scale": 0.4,
            "tail_image_url": image("t"),
            "static_mask": image("s"),
            "camera_control": camera,
        })
    );
}
