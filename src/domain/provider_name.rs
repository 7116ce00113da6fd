//! The names of the hosted APIs.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A hosted image-to-video API.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ProviderName {
    /// each::labs.
    Eachlabs,
    /// AI/ML API.
    Aimlapi,
    /// fal.ai.
    Fal,
}

impl ProviderName {
    /// Every provider.
    pub const ALL: [Self; 3] = [Self::Eachlabs, Self::Aimlapi, Self::Fal];

    /// Tells the word used in flags, config, the queue and JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Eachlabs => "eachlabs",
            Self::Aimlapi => "aimlapi",
            Self::Fal => "fal",
        }
    }

    /// Tells the environment variable that holds its key.
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

    fn from_str(word: &str) -> Result<Self, String> {
        Self::ALL
            .into_iter()
            .find(|name| name.as_str() == word)
            .ok_or_else(|| {
                let words = Self::ALL.map(Self::as_str).join(", ");
                format!("unknown provider `{word}`, one of {words}")
            })
    }
}
