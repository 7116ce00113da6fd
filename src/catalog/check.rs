//! Validation of prices and routes, so that every row that is submitted can be priced and converted
//! to a request.

use crate::domain::{Field, Model, Money, PriceRule, Route, Shape};

/// Returns what is wrong with a price rule; `None` if it is valid.
pub(super) fn find_price_problem(price: &PriceRule) -> Option<&'static str> {
    if price.base == Money::ZERO && price.per_second == Money::ZERO {
        return Some("must not be zero");
    }
    if price.base == Money::ZERO && price.base_seconds > 0 {
        return Some("`base_seconds` without `base` makes the first seconds free");
    }
    if price.credits_per_usd == Some(0) {
        return Some("`credits_per_usd` must be greater than 0");
    }
    None
}

/// A mistake in a route.
pub(super) struct RouteProblem<'a> {
    /// The route's entry in `[routes.fields]` that is wrong; `None` if the route as a whole is.
    pub(super) field: Option<&'a str>,
    /// What is wrong, as the predicate of a sentence about the route.
    pub(super) message: String,
}

/// Returns the first mistake in a route to a model; `None` if the route is valid.
pub(super) fn find_route_problem<'a>(model: &Model, route: &'a Route) -> Option<RouteProblem<'a>> {
    let in_route = |message: String| {
        let field = None;
        Some(RouteProblem { field, message })
    };
    if route.wire_model.trim().is_empty() {
        return in_route("has an empty `model`".into());
    }
    for (name, wire_field) in &route.wire_fields {
        let in_field = |message: String| {
            let field = Some(name.as_str());
            Some(RouteProblem { field, message })
        };
        let Some(field) = model.field(name) else {
            return in_field(format!("maps `{name}`, which is not a field of the model"));
        };
        if wire_field.name.trim().is_empty() {
            return in_field(format!("maps `{name}` to an empty name"));
        }
        let duplicate = route
            .wire_fields
            .iter()
            .find(|(earlier, other)| *earlier < name && other.name == wire_field.name);
        if let Some((earlier, _)) = duplicate {
            return in_field(format!(
                "maps both `{earlier}` and `{name}` to `{}`",
                wire_field.name
            ));
        }
        let item_keys = item_keys(field);
        let unknown_key = wire_field
            .item
            .keys()
            .find(|key| !item_keys.contains(&key.as_str()));
        if let Some(key) = unknown_key {
            return in_field(format!(
                "renames `{key}`, which the items of `{name}` do not have"
            ));
        }
    }
    for field in model.fields.iter().filter(|field| field.required) {
        if !route.wire_fields.contains_key(&field.name) {
            return in_route(format!(
                "does not map `{}`, which is a required field",
                field.name
            ));
        }
        if field.shape == Shape::Image && route.images.is_empty() {
            return in_route(format!(
                "accepts no form of image, but `{}` is a required field",
                field.name
            ));
        }
    }
    if route.price.per_second != Money::ZERO && !has_known_length(model) {
        return in_route(
            "is priced per second, but the model has no clip length: make `duration` a whole \
             number that is required or has a default"
                .into(),
        );
    }
    None
}

/// Returns the keys of a list's items, if they are objects.
fn item_keys(field: &Field) -> Vec<&str> {
    match &field.shape {
        Shape::List { item, .. } => match item.as_ref() {
            Shape::Object { fields } => fields.iter().map(|field| field.name.as_str()).collect(),
            _ => Vec::new(),
        },
        _ => Vec::new(),
    }
}

/// Returns whether every row has a clip length. Without one, a price per second would be zero and
/// reserve nothing of the budget.
fn has_known_length(model: &Model) -> bool {
    model.field("duration").is_some_and(|field| {
        let has_default = field
            .default
            .as_ref()
            .is_some_and(serde_json::Value::is_u64);
        matches!(field.shape, Shape::Integer { .. }) && (field.required || has_default)
    })
}
