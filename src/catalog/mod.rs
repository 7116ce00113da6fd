//! The models this program knows: data, one TOML file a model.
//!
//! The rule of this folder: what a provider offers is written down as data, with its source beside it, and nothing
//! else in the program knows a model by name. A user's own file has the same form; one that names a known model adds
//! routes to it, or replaces the route of a provider.

mod file;

use std::path::PathBuf;

use crate::domain::{Catalog, Model};

/// The models that are built in.
const BUILT_IN: [(&str, &str); 2] = [
    ("kling-v1-standard.toml", include_str!("kling-v1-standard.toml")),
    ("kling-v2.1-standard.toml", include_str!("kling-v2.1-standard.toml")),
];

/// Reads the built-in models, then the user's files in order. The error is `file:line:column: what is wrong`.
pub fn load(files: &[PathBuf]) -> Result<Catalog, String> {
    let mut catalog = Catalog::default();
    for (name, text) in BUILT_IN {
        add(&mut catalog, name, text)?;
    }
    for path in files {
        let name = path.display().to_string();
        let text = std::fs::read_to_string(path).map_err(|error| format!("cannot read {name}: {error}"))?;
        add(&mut catalog, &name, &text)?;
    }
    Ok(catalog)
}

/// Adds the model of one file.
fn add(catalog: &mut Catalog, name: &str, text: &str) -> Result<(), String> {
    let known = file::name_of(name, text)?;
    let base = catalog.models.iter().position(|model| model.name == known);
    let model = file::read(name, text, base.map(|index| &catalog.models[index]))?;
    match base {
        Some(index) => catalog.models[index] = model,
        None => catalog.models.push(model),
    }
    Ok(())
}

/// Lays the routes and fields of `own` over a known model.
fn merged(known: &Model, own: Model) -> Model {
    let mut model = known.clone();
    if !own.title.is_empty() {
        model.title = own.title;
    }
    for field in own.fields {
        model.fields.retain(|known| known.name != field.name);
        model.fields.push(field);
    }
    for route in own.routes {
        match model.routes.iter_mut().find(|known| known.provider == route.provider) {
            Some(known) => *known = route,
            None => model.routes.push(route),
        }
    }
    model
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::domain::{Input, Money, ProviderName};

    fn quote(model: &str, provider: ProviderName, input: serde_json::Value) -> (serde_json::Value, i64) {
        let input: Input = serde_json::from_value(input).unwrap();
        let quote = load(&[]).unwrap().quote(model, &input, provider).unwrap();
        (quote.request, quote.price.micros())
    }

    #[test]
    fn every_route_has_its_published_price() {
        let row =
            |duration| json!({"image": "https://example.com/a.png", "prompt": "x", "duration": duration});
        for (model, provider, five, ten) in [
            ("kling-v1-standard", ProviderName::Eachlabs, 225_000, 450_000),
            ("kling-v1-standard", ProviderName::Fal, 225_000, 450_000),
            ("kling-v1-standard", ProviderName::Aimlapi, 236_250, 472_500),
            ("kling-v2.1-standard", ProviderName::Eachlabs, 280_000, 560_000),
        ] {
            assert_eq!(quote(model, provider, row(5)).1, five, "{model} on {provider}");
            assert_eq!(quote(model, provider, row(10)).1, ten, "{model} on {provider}");
        }
    }

    #[test]
    fn each_provider_gets_its_own_spelling() {
        let masks = json!([{"mask": "https://example.com/m.png", "trajectories": [{"x": 1, "y": 2}, {"x": 3, "y": 4}]}]);
        let row = json!({"image": "https://example.com/a.png", "prompt": "x", "duration": 10, "dynamic_masks": masks,
            "static_mask": "https://example.com/s.png"});
        assert_eq!(
            quote("kling-v1-standard", ProviderName::Fal, row.clone()).0,
            json!({"image_url": "https://example.com/a.png", "prompt": "x", "duration": "10",
                "static_mask_url": "https://example.com/s.png",
                "dynamic_masks": [{"mask_url": "https://example.com/m.png", "trajectories": [{"x": 1, "y": 2}, {"x": 3, "y": 4}]}]})
        );
        assert_eq!(
            quote("kling-v1-standard", ProviderName::Aimlapi, row).0,
            json!({"image_url": "https://example.com/a.png", "prompt": "x", "duration": 10,
                "static_mask": "https://example.com/s.png",
                "dynamic_masks": [{"mask": "https://example.com/m.png", "trajectories": [{"x": 1, "y": 2}, {"x": 3, "y": 4}]}]})
        );
        let row = json!({"image": "https://example.com/a.png", "prompt": "x", "aspect_ratio": "1:1"});
        assert_eq!(
            quote("kling-v1-standard", ProviderName::Eachlabs, row).0,
            json!({"image_url": "https://example.com/a.png", "prompt": "x", "aspect_ratio": "1:1", "duration": 5})
        );
    }

    #[test]
    fn a_users_file_adds_a_model_or_replaces_a_route() {
        let mut catalog = load(&[]).unwrap();
        let route = "[[routes]]\nprovider = \"fal\"\nmodel = \"me/mine\"\nprice = { base = \"0.30\" }\ntypical_s = 9\n[routes.fields]\nimage = \"picture\"\nprompt = \"text\"\n";
        add(&mut catalog, "mine.toml", &format!("name = \"kling-v1-standard\"\n{route}")).unwrap();
        let model = catalog.model("kling-v1-standard").unwrap();
        assert_eq!(model.route(ProviderName::Fal).unwrap().wire_model, "me/mine");
        assert_eq!(model.routes.len(), 3);
        let fields = "[fields.image]\ntype = \"image\"\nrequired = true\n[fields.prompt]\ntype = \"text\"\n";
        add(&mut catalog, "mine.toml", &format!("name = \"mine\"\n{fields}{route}")).unwrap();
        let model = catalog.model("mine").unwrap();
        assert_eq!(model.price(&model.routes[0], &Input::default()), Money::from_micros(300_000));
    }

    #[test]
    fn a_bad_file_is_told_with_its_place() {
        let fields = "[fields.image]\ntype = \"image\"\n";
        let route = "[[routes]]\nprovider = \"fal\"\nmodel = \"m\"\nprice = { base = \"0.30\" }\ntypical_s = 9\nfields = { image = \"i\" }\n";
        for (text, said) in [
            (
                format!("nam = \"m\"\n{fields}{route}"),
                "mine.toml:1:1: unknown key `nam`, did you mean `name`?",
            ),
            (format!("{fields}{route}"), "mine.toml:1:1: missing field `name`"),
            (format!("name = \"m\"\n{fields}"), "mine.toml:1:1: the model has no route: add [[routes]]"),
            (
                format!("name = \"m\"\n{route}"),
                "mine.toml:2:1: the route on fal spells `image`, which is no field of the model",
            ),
            (
                format!("name = \"m\"\n{fields}{}", route.replace("0.30", "0")),
                "mine.toml:4:1: the route on fal has no price",
            ),
            (
                format!("name = \"m\"\n{fields}{route}{route}"),
                "mine.toml:10:1: the model has two routes on fal",
            ),
            (
                format!("name = \"m\"\n{fields}{}", route.replace("= 9", "= 0")),
                "mine.toml:4:1: typical_s of the route on fal must be more than 0",
            ),
            (
                format!(
                    "name = \"m\"\n[fields.n]\ntype = \"integer\"\nchoices = [1]\ndefault = 2\n{}",
                    route.replace("image", "n")
                ),
                "mine.toml:2:1: the default of `n`: 2 is not one of 1",
            ),
        ] {
            assert_eq!(add(&mut Catalog::default(), "mine.toml", &text), Err(said.to_owned()), "{text}");
        }
    }
}
