//! What a route must hold together with its model, so that a row that is sent can be priced and understood.

use crate::domain::{Field, Model, Money, PriceRule, Route, Shape};

/// Tells what is wrong with a price by itself.
pub(super) fn price_problem(price: &PriceRule) -> Option<&'static str> {
    if price.base == Money::ZERO && price.per_second == Money::ZERO {
        return Some("is no price");
    }
    if price.base == Money::ZERO && price.base_seconds > 0 {
        return Some("`base_seconds` without `base` makes the first seconds free");
    }
    if price.credits_per_usd == Some(0) {
        return Some("`credits_per_usd` must be more than 0");
    }
    None
}

/// Tells what is wrong with a route to a model, and the field it is about, if it is about one that the route spells.
pub(super) fn route_problem<'a>(
    model: &Model,
    route: &'a Route,
) -> Option<(Option<&'a str>, String)> {
    if route.wire_model.trim().is_empty() {
        return Some((None, "has no name for the model".into()));
    }
    for (name, spelling) in &route.wire_fields {
        let told = |problem: String| Some((Some(name.as_str()), problem));
        let Some(field) = model.field(name) else {
            return told(format!("spells `{name}`, which is no field of the model"));
        };
        if spelling.name.trim().is_empty() {
            return told(format!("spells `{name}` as nothing"));
        }
        let twin = route
            .wire_fields
            .iter()
            .find(|(twin, other)| *twin < name && other.name == spelling.name);
        if let Some((twin, _)) = twin {
            return told(format!(
                "spells both `{twin}` and `{name}` as `{}`",
                spelling.name
            ));
        }
        let known = item_keys(field);
        if let Some(key) = spelling
            .item
            .keys()
            .find(|key| !known.contains(&key.as_str()))
        {
            return told(format!(
                "renames `{key}`, which the items of `{name}` do not have"
            ));
        }
    }
    for field in model.fields.iter().filter(|field| field.required) {
        if !route.wire_fields.contains_key(&field.name) {
            return Some((
                None,
                format!("does not spell `{}`, which every row gives", field.name),
            ));
        }
        if field.shape == Shape::Image && route.images.is_empty() {
            return Some((
                None,
                format!(
                    "takes no form of image, and every row gives `{}`",
                    field.name
                ),
            ));
        }
    }
    if route.price.per_second != Money::ZERO && !has_known_length(model) {
        let problem = "is priced by the second, but the model does not know the length: make `duration` a \
            whole number that is required or has a default";
        return Some((None, problem.into()));
    }
    None
}

fn item_keys(field: &Field) -> Vec<&str> {
    match &field.shape {
        Shape::List { item, .. } => match item.as_ref() {
            Shape::Object { fields } => fields.iter().map(|field| field.name.as_str()).collect(),
            _ => Vec::new(),
        },
        _ => Vec::new(),
    }
}

/// An unknown length would be priced as no seconds, and reserve nothing of the budget.
fn has_known_length(model: &Model) -> bool {
    model.field("duration").is_some_and(|field| {
        let is_default = field
            .default
            .as_ref()
            .is_some_and(serde_json::Value::is_u64);
        matches!(field.shape, Shape::Integer { .. }) && (field.required || is_default)
    })
}
