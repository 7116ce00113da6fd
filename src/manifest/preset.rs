//! How the exports of shops name what a clip needs.

use serde::Deserialize;

use super::ID;

/// A shop's kind of export.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Preset {
    /// Products of Shopify: a product's `Handle` stands on a row for each of its variants and images.
    Shopify,
    /// Products of WooCommerce: all links of a product stand in one cell.
    Woocommerce,
    /// A feed for Google Merchant Center.
    GoogleMerchant,
}

impl Preset {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Shopify, Self::Woocommerce, Self::GoogleMerchant];

    /// The word it is known by.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Shopify => "shopify",
            Self::Woocommerce => "woocommerce",
            Self::GoogleMerchant => "google-merchant",
        }
    }

    /// Which columns give which field: of several, the first that is not empty.
    pub(super) const fn columns(self) -> [(&'static str, &'static [&'static str]); 2] {
        match self {
            // The second names are those of the export's newer form.
            Self::Shopify => [
                (ID, &["Handle", "URL handle"]),
                (IMAGE, &["Image Src", "Product image URL"]),
            ],
            Self::Woocommerce => [(ID, &["SKU", "ID"]), (IMAGE, &["Images"])],
            Self::GoogleMerchant => [(ID, &["id"]), (IMAGE, &["image_link", "image link"])],
        }
    }
}

const IMAGE: &str = "image";

impl std::str::FromStr for Preset {
    type Err = String;

    fn from_str(word: &str) -> Result<Self, String> {
        let known = Self::ALL.into_iter().find(|preset| preset.as_str() == word);
        known.ok_or_else(|| format!("there are {}", Self::ALL.map(Self::as_str).join(", ")))
    }
}
