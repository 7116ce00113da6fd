//! The columns of the product exports of common shop systems.

use std::str::FromStr;

use serde::Deserialize;
use strum::VariantArray;

use crate::domain::IgnoredQuery;

use super::row::ID_FIELD;

const IMAGE: &str = "image";

/// A shop system whose product export Overnight knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, VariantArray)]
#[serde(rename_all = "kebab-case")]
pub enum Preset {
    /// Shopify's product export: a product's `Handle` is on a row for each of its variants and
    /// images.
    Shopify,
    /// WooCommerce's product export: all image links of a product are in one cell.
    Woocommerce,
    /// A product feed for Google Merchant Center.
    GoogleMerchant,
}

impl Preset {
    /// Every preset, in the order in which they are listed and detected.
    pub const ALL: [Self; Self::VARIANTS.len()] =
        *Self::VARIANTS.first_chunk().expect("all variants");

    /// Returns the name used on the command line and in batch files.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Shopify => "shopify",
            Self::Woocommerce => "woocommerce",
            Self::GoogleMerchant => "google-merchant",
        }
    }

    /// Returns each field with the columns that provide it; the first that is not empty sets it.
    pub(super) const fn columns(self) -> [(&'static str, &'static [&'static str]); 2] {
        match self {
            // The second names are those of the newer version of the export.
            Self::Shopify => [
                (ID_FIELD, &["Handle", "URL handle"]),
                (IMAGE, &["Image Src", "Product image URL"]),
            ],
            Self::Woocommerce => [(ID_FIELD, &["SKU", "ID"]), (IMAGE, &["Images"])],
            Self::GoogleMerchant => [(ID_FIELD, &["id"]), (IMAGE, &["image_link", "image link"])],
        }
    }
}

impl Preset {
    /// Returns the parameters that the shop puts into the query of its image links to refresh caches:
    /// they change with every edit of a product, and the image does not.
    pub(crate) fn ignored_query(self) -> IgnoredQuery {
        match self {
            // Google's feeds of Shopify's shops have Shopify's links.
            Self::Shopify | Self::GoogleMerchant => IgnoredQuery::Names(["v".to_owned()].into()),
            Self::Woocommerce => IgnoredQuery::Nothing,
        }
    }
}

impl FromStr for Preset {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        let preset = Self::ALL.into_iter().find(|preset| preset.as_str() == name);
        preset.ok_or_else(|| {
            let names = Self::ALL.map(Self::as_str).join(", ");
            format!("expected one of {names}")
        })
    }
}
