//! The supported providers.

use serde::{Deserialize, Serialize};

use super::names::name_variants;

/// A provider: a hosted image-to-video API that Overnight has an adapter for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ProviderName {
    /// each::labs, `api.eachlabs.ai`.
    Eachlabs,
    /// AI/ML API, `api.aimlapi.com`.
    Aimlapi,
    /// fal.ai, `queue.fal.run`.
    Fal,
}

impl ProviderName {
    /// Returns a list of providers as the queue stores it: their names, separated by commas.
    pub fn join(providers: &[Self]) -> String {
        let names: Vec<&str> = providers.iter().map(|provider| provider.as_str()).collect();
        names.join(",")
    }

    /// Returns the name of the environment variable that holds the provider's API key.
    pub const fn key_variable(self) -> &'static str {
        match self {
            Self::Eachlabs => "EACHLABS_API_KEY",
            Self::Aimlapi => "AIML_API_KEY",
            Self::Fal => "FAL_KEY",
        }
    }
}

name_variants!(ProviderName, "provider", {
    Eachlabs => "eachlabs",
    Aimlapi => "aimlapi",
    Fal => "fal",
});
