//! The models a user can choose, and the catalogue that holds them.

use serde_json::Value;

use super::{Field, Input, Money, ProviderName, Route};

/// Every known model: the built-in ones and those of the user's own files.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Catalog {
    /// The models, each with a unique name, in the order in which they are listed.
    pub models: Vec<Model>,
}

/// A model that the user can choose: its input fields, and the routes that can run it.
#[derive(Clone, Debug, PartialEq)]
pub struct Model {
    /// Name by which the user refers to the model.
    pub name: String,
    /// Description of the model on one line, for `overnight models`.
    pub title: String,
    /// The input fields, in the order in which they are listed.
    pub fields: Vec<Field>,
    /// The routes, at most one for each provider, in order of preference.
    pub routes: Vec<Route>,
    /// The pictures that the model renders well.
    pub pictures: PictureLimits,
}

/// The pictures that a model renders well, as its hosts publish it. Others are told, not refused: the hosts
/// differ.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PictureLimits {
    /// Minimum length of each side, in pixels; `None` if none is published.
    pub min_side: Option<u32>,
    /// Maximum length of the longer side, in percent of the shorter one; `None` if none is published.
    pub max_side_percent: Option<u32>,
}

/// The request and the price of one input on one route.
#[derive(Clone, Debug, PartialEq)]
pub struct RouteQuote {
    /// The provider's id of the model.
    pub wire_model: String,
    /// The input as it is sent to the provider.
    pub request: Value,
    /// The estimate, which a claim reserves, in US dollars.
    pub price: Money,
}

impl Catalog {
    /// Returns the model of the given name; `None` if the catalogue has none.
    pub fn model(&self, name: &str) -> Option<&Model> {
        self.models.iter().find(|model| model.name == name)
    }

    /// Returns the request and the price of an input at one provider; `None` if the model has no
    /// route there, or the route does not accept the input.
    pub fn quote(&self, model: &str, input: &Input, provider: ProviderName) -> Option<RouteQuote> {
        let model = self.model(model)?;
        let route = model.route(provider)?;
        if route.incompatibility(input).is_some() {
            return None;
        }
        Some(RouteQuote {
            wire_model: route.wire_model.clone(),
            request: route.to_request(&model.with_explicit_duration(input)),
            price: model.price(route, input),
        })
    }

    /// Returns the route of a provider that runs the given `wire_model`: the one an attempt was
    /// submitted on, unless the catalogue has changed since.
    pub fn route(&self, provider: ProviderName, wire_model: &str) -> Option<&Route> {
        let routes = self.models.iter().flat_map(|model| &model.routes);
        routes
            .into_iter()
            .find(|route| route.provider == provider && route.wire_model == wire_model)
    }
}

impl Model {
    /// Returns the input field of the given name, as manifests spell it; `None` if the model has no
    /// such field.
    pub fn field(&self, name: &str) -> Option<&Field> {
        self.fields.iter().find(|field| field.name == name)
    }

    /// Returns the model's route at a provider; `None` if that provider does not offer the model.
    pub fn route(&self, provider: ProviderName) -> Option<&Route> {
        self.routes.iter().find(|route| route.provider == provider)
    }

    /// Returns the price of an input on a route, in US dollars.
    pub fn price(&self, route: &Route, input: &Input) -> Money {
        route.price.estimate(self.clip_seconds(input))
    }

    /// Returns the length of the clip in seconds: the row's, else the model's default, else 0. It
    /// is 0 only for a model that is priced per clip: the catalogue requires any other to have a
    /// `duration` that is required or has a default.
    pub fn clip_seconds(&self, input: &Input) -> u32 {
        let default = || {
            let default = self.field("duration")?.default.as_ref()?;
            u32::try_from(default.as_u64()?).ok()
        };
        input.duration().or_else(default).unwrap_or(0)
    }

    /// Returns the input with the clip's length set explicitly, if the model has a default for it.
    /// The price depends on the length, so it must not depend on a provider's default.
    fn with_explicit_duration(&self, input: &Input) -> Input {
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
