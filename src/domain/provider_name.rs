//! The supported providers.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use strum::VariantArray;

/// A provider: a hosted image-to-video API that Overnight has an adapter for.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, VariantArray,
)]
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
    /// Every provider, in the order in which they are listed.
    pub const ALL: [Self; Self::VARIANTS.len()] =
        *Self::VARIANTS.first_chunk().expect("all variants");

    /// Returns the name used in flags, the configuration, the queue and JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Eachlabs => "eachlabs",
            Self::Aimlapi => "aimlapi",
            Self::Fal => "fal",
        }
    }

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

impl fmt::Display for ProviderName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for ProviderName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::ALL
            .into_iter()
            .find(|name| name.as_str() == text)
            .ok_or_else(|| {
                let names = Self::ALL.map(Self::as_str).join(", ");
                format!("unknown provider `{text}`; expected one of {names}")
            })
    }
}
