//! What a user can ask for: models, their fields, and the catalogue of both.

use serde_json::Value;

use super::{Input, Money, ProviderName, Route, Shape};

/// Every model this program knows.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Catalog {
    /// The models, by name.
    pub models: Vec<Model>,
}

/// What a user asks for: fields, and the routes that can make it.
#[derive(Clone, Debug, PartialEq)]
pub struct Model {
    /// The name the user types.
    pub name: String,
    /// One line on what it is.
    pub title: String,
    /// Its fields, in the order they are shown.
    pub fields: Vec<Field>,
    /// The ways to run it, in the order they are preferred.
    pub routes: Vec<Route>,
}

/// One field of a model's input.
#[derive(Clone, Debug, PartialEq)]
pub struct Field {
    /// Our name for it.
    pub name: String,
    /// What it may hold.
    pub shape: Shape,
    /// Whether every row must give it.
    pub required: bool,
    /// What providers take when it is left out, if they say.
    pub default: Option<Value>,
    /// One line on what it does.
    pub help: String,
}

/// What one route would do with one input.
#[derive(Clone, Debug, PartialEq)]
pub struct RouteQuote {
    /// The provider's name for the model.
    pub wire_model: String,
    /// The input as it goes over the wire.
    pub request: Value,
    /// The price to reserve, in US dollars.
    pub price: Money,
}

impl Catalog {
    /// Looks a model up.
    pub fn model(&self, name: &str) -> Option<&Model> {
        self.models.iter().find(|model| model.name == name)
    }

    /// Prices and spells an input for one provider; `None` where no route can take it.
    pub fn quote(&self, model: &str, input: &Input, provider: ProviderName) -> Option<RouteQuote> {
        let model = self.model(model)?;
        let route = model.route(provider)?;
        if route.incompatibility(input).is_some() {
            return None;
        }
        Some(RouteQuote {
            wire_model: route.wire_model.clone(),
            request: route.to_request(&model.with_length(input)),
            price: model.price(route, input),
        })
    }

    /// Looks up the route an attempt was sent on.
    pub fn route(&self, provider: ProviderName, wire_model: &str) -> Option<&Route> {
        let routes = self.models.iter().flat_map(|model| &model.routes);
        routes
            .into_iter()
            .find(|route| route.provider == provider && route.wire_model == wire_model)
    }
}

impl Model {
    /// Looks a field up.
    pub fn field(&self, name: &str) -> Option<&Field> {
        self.fields.iter().find(|field| field.name == name)
    }

    /// Looks up the route of one provider.
    pub fn route(&self, provider: ProviderName) -> Option<&Route> {
        self.routes.iter().find(|route| route.provider == provider)
    }

    /// Prices an input on a route.
    pub fn price(&self, route: &Route, input: &Input) -> Money {
        route.price.estimate(self.seconds(input))
    }

    /// Tells the length of the clip in seconds: what the row says, else the default.
    pub fn seconds(&self, input: &Input) -> u32 {
        let default = || {
            let default = self
                .field("duration")
                .and_then(|field| field.default.as_ref());
            default
                .and_then(Value::as_u64)
                .and_then(|seconds| u32::try_from(seconds).ok())
        };
        input.duration().or_else(default).unwrap_or(0)
    }

    /// Makes the length explicit: the price depends on it, so it must not hang on a provider's default.
    fn with_length(&self, input: &Input) -> Input {
        let mut input = input.clone();
        if let Some(default) = self
            .field("duration")
            .and_then(|field| field.default.clone())
        {
            input.0.entry("duration").or_insert(default);
        }
        input
    }
}
