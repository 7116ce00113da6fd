//! What a call is addressed to: one of the three APIs, and a kind of call. Imports nothing, so that
//! every other file can.

use serde::{Deserialize, Serialize};

/// One of the three simulated APIs. Its lower-case name is used in JSON and in the paths of clips
/// and uploads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Api {
    /// each::labs.
    Eachlabs,
    /// AI/ML API.
    Aimlapi,
    /// fal.ai.
    Fal,
}

impl Api {
    /// Returns its name in JSON and in URLs.
    pub fn name(self) -> &'static str {
        match self {
            Self::Eachlabs => "eachlabs",
            Self::Aimlapi => "aimlapi",
            Self::Fal => "fal",
        }
    }
}

/// A kind of API call. Its kebab-case name is used in `--fault` and in JSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Call {
    /// The provider's create call.
    Create,
    /// A poll of a prediction's status or result, or its cancellation.
    Poll,
    /// A download of a clip.
    Download,
    /// A query of the history, the bill or the balance.
    History,
    /// A request for an upload slot, or the upload itself.
    Upload,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_api_has_the_same_name_in_json_and_in_urls() {
        for api in [Api::Eachlabs, Api::Aimlapi, Api::Fal] {
            assert_eq!(serde_json::to_value(api).unwrap(), api.name());
        }
    }
}
