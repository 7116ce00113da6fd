//! What a call is addressed to: one of the three APIs, and a kind of call. Imports nothing, so that
//! every other file can.

use serde::{Deserialize, Serialize};
use strum::{IntoStaticStr, VariantArray};

/// One of the three simulated APIs. Its lower-case name is used in JSON and in the paths of clips
/// and uploads.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    Hash,
    PartialOrd,
    Ord,
    Serialize,
    Deserialize,
    IntoStaticStr,
    VariantArray,
)]
#[serde(rename_all = "lowercase")]
#[strum(serialize_all = "lowercase")]
pub enum Api {
    /// each::labs.
    Eachlabs,
    /// AI/ML API.
    Aimlapi,
    /// fal.ai.
    Fal,
}

impl Api {
    /// Every API.
    pub const ALL: [Self; Self::VARIANTS.len()] =
        *Self::VARIANTS.first_chunk().expect("all variants");

    /// Returns its name in JSON and in URLs.
    pub fn name(self) -> &'static str {
        self.into()
    }
}

/// A kind of API call. Its kebab-case name is used in `--fault` and in JSON.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, IntoStaticStr, VariantArray,
)]
#[serde(rename_all = "kebab-case")]
#[strum(serialize_all = "kebab-case")]
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

impl Call {
    /// Every kind of call, in the order in which messages list them.
    pub const ALL: [Self; Self::VARIANTS.len()] =
        *Self::VARIANTS.first_chunk().expect("all variants");

    /// Returns its name in `--fault` and in JSON.
    pub fn name(self) -> &'static str {
        self.into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_api_has_the_same_name_in_json_and_in_urls() {
        for api in Api::ALL {
            assert_eq!(serde_json::to_value(api).unwrap(), api.name());
        }
    }
}
