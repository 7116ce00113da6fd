//! The columns of the product exports of common shop systems.

use std::str::FromStr;

use serde::Deserialize;
use strum::VariantArray;

use crate::domain::IgnoredQuery;

use crate::manifest::row::ID_FIELD;
use crate::manifest::row_status::{RowStatus, left_out, taken};

const IMAGE: &str = "image";

/// A shop system whose product export Overnight knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, VariantArray)]
#[serde(rename_all = "kebab-case")]
pub enum Preset {
    /// Shopify's product export: a product's `Handle` is on a row for each of its variants and
    /// images.
    Shopify,
    /// WooCommerce's product export: all image links of a product are in one cell, and its variations are
    /// rows that name it in `Parent`.
    Woocommerce,
    /// A product feed for Google Merchant Center, as a table or XML; Meta's catalogues have the same names.
    GoogleMerchant,
    /// Magento's (Adobe Commerce's) product export: images are paths in the shop's media folder.
    Magento,
    /// PrestaShop's product export or import table.
    Prestashop,
    /// Wix's product export: images are names of files that Wix serves.
    Wix,
    /// Etsy's listing download: each image has a column.
    Etsy,
}

const SHOPIFY_STATUSES: [RowStatus; 5] = [
    left_out("drafts", "Status", &["draft"]),
    left_out("archived", "Status", &["archived"]),
    taken("gift cards", "Gift Card", &["true"]),
    taken("unpublished", "Published", &["false"]),
    taken("unpublished", "Published on online store", &["false"]),
];

const WOOCOMMERCE_STATUSES: [RowStatus; 12] = [
    left_out("drafts", "Published", &["-1"]),
    left_out("drafts", "Veröffentlicht", &["-1"]),
    left_out("drafts", "Publié", &["-1"]),
    left_out("drafts", "Publicado", &["-1"]),
    left_out("drafts", "Pubblicato", &["-1"]),
    left_out("drafts", "Gepubliceerd", &["-1"]),
    taken("private", "Published", &["0"]),
    taken("private", "Veröffentlicht", &["0"]),
    taken("private", "Publié", &["0"]),
    taken("private", "Publicado", &["0"]),
    taken("private", "Pubblicato", &["0"]),
    taken("private", "Gepubliceerd", &["0"]),
];

/// WooCommerce's column with the kind of a product, in the languages of shops.
pub(in crate::manifest) const WOOCOMMERCE_KINDS: [&str; 3] = ["Type", "Typ", "Tipo"];

/// WooCommerce's column with the product of a variation.
pub(in crate::manifest) const WOOCOMMERCE_PARENTS: [&str; 6] = [
    "Parent",
    "Übergeordnetes Produkt",
    "Superior",
    "Principal",
    "Genitore",
    "Hoofd",
];

/// WooCommerce's column with the name that the shop gives to a product.
pub(in crate::manifest) const WOOCOMMERCE_SKUS: [&str; 4] = ["SKU", "Artikelnummer", "UGS", "COD"];

const GOOGLE_STATUSES: [RowStatus; 1] = [taken(
    "out of stock",
    "availability",
    &["out of stock", "out_of_stock"],
)];

const MAGENTO_STATUSES: [RowStatus; 2] = [
    taken("disabled", "product_online", &["2", "0"]),
    taken(
        "not visible in the shop",
        "visibility",
        &["not visible individually"],
    ),
];

const PRESTASHOP_STATUSES: [RowStatus; 2] = [
    taken("disabled", "Active (0/1)", &["0"]),
    taken("disabled", "Status", &["0", "false"]),
];

const WIX_STATUSES: [RowStatus; 1] = [taken("hidden in the shop", "visible", &["false"])];

/// A field and the columns that provide it; the first that is not empty sets it.
type FieldColumns = (&'static str, &'static [&'static str]);

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
            Self::Magento => "magento",
            Self::Prestashop => "prestashop",
            Self::Wix => "wix",
            Self::Etsy => "etsy",
        }
    }

    /// Returns each field with the columns that provide it.
    pub(super) const fn columns(self) -> [FieldColumns; 2] {
        match self {
            // The second names are those of the newer version of the export.
            Self::Shopify => [
                (ID_FIELD, &["Handle", "URL handle"]),
                (IMAGE, &["Image Src", "Product image URL"]),
            ],
            // In the language of the shop: English and Spanish, German and Dutch, French, Italian.
            Self::Woocommerce => [
                (ID_FIELD, &["SKU", "Artikelnummer", "UGS", "COD", "ID"]),
                (
                    IMAGE,
                    &[
                        "Images",
                        "Bilder",
                        "Imágenes",
                        "Immagine",
                        "Immagini",
                        "Afbeeldingen",
                    ],
                ),
            ],
            Self::GoogleMerchant => [
                (ID_FIELD, &["id"]),
                (
                    IMAGE,
                    &[
                        "image_link",
                        "image link",
                        "additional_image_link",
                        "additional image link",
                    ],
                ),
            ],
            Self::Magento => [
                (ID_FIELD, &["sku"]),
                (
                    IMAGE,
                    &[
                        "base_image",
                        "additional_images",
                        "small_image",
                        "thumbnail_image",
                    ],
                ),
            ],
            Self::Prestashop => [
                (ID_FIELD, &["Product ID", "Reference", "Reference #"]),
                (IMAGE, &["Image URLs (x,y,z...)", "Image URLs", "Image"]),
            ],
            Self::Wix => [
                (ID_FIELD, &["handleId", "handle"]),
                (IMAGE, &["productImageUrl", "media"]),
            ],
            Self::Etsy => [
                (ID_FIELD, &["SKU", "TITLE"]),
                (
                    IMAGE,
                    &[
                        "IMAGE1", "IMAGE2", "IMAGE3", "IMAGE4", "IMAGE5", "IMAGE6", "IMAGE7",
                        "IMAGE8", "IMAGE9", "IMAGE10",
                    ],
                ),
            ],
        }
    }

    /// Returns the columns that have a product's name, for a prompt.
    pub(super) const fn titles(self) -> &'static [&'static str] {
        match self {
            Self::Shopify => &["Title"],
            Self::Woocommerce => &["Name", "Nom", "Nombre", "Nome", "Naam"],
            Self::Prestashop => &["Name", "Name *"],
            Self::GoogleMerchant => &["title"],
            Self::Magento | Self::Wix => &["name"],
            Self::Etsy => &["TITLE"],
        }
    }

    /// Returns the columns with the picture of a variant, where the other pictures of its row are any of the
    /// product's.
    pub(in crate::manifest) const fn variant_images(self) -> &'static [&'static str] {
        match self {
            Self::Shopify => &["Variant Image", "Variant image URL"],
            _ => &[],
        }
    }

    /// Returns where in a shop the pictures are of which its export has the ends of the links; `None` if that is not
    /// known.
    pub(in crate::manifest) const fn media_path(self) -> Option<&'static str> {
        match self {
            Self::Magento => Some("/media/catalog/product"),
            _ => None,
        }
    }

    /// Returns the column that identifies products of which each row is a variant; `None` if the export has none.
    pub(in crate::manifest) const fn group_column(self) -> Option<&'static str> {
        match self {
            Self::GoogleMerchant => Some("item_group_id"),
            _ => None,
        }
    }

    /// Returns the columns with the position of a row's picture among those of its product.
    pub(in crate::manifest) const fn image_positions(self) -> &'static [&'static str] {
        match self {
            Self::Shopify => &["Image Position"],
            _ => &[],
        }
    }

    /// Returns columns of which every export has one; none if its fields' columns are enough to know it.
    pub(in crate::manifest) const fn signature(self) -> &'static [&'static str] {
        match self {
            Self::Woocommerce => &WOOCOMMERCE_KINDS,
            _ => &[],
        }
    }

    /// Returns whether a product has several rows, one after another: for its variants, images or shops.
    pub(super) const fn has_rows_per_product(self) -> bool {
        matches!(self, Self::Shopify | Self::Wix | Self::Magento)
    }

    /// Returns what the shop says about products, in the order in which it counts.
    pub(super) const fn statuses(self) -> &'static [RowStatus] {
        match self {
            Self::Shopify => &SHOPIFY_STATUSES,
            Self::Woocommerce => &WOOCOMMERCE_STATUSES,
            Self::GoogleMerchant => &GOOGLE_STATUSES,
            Self::Magento => &MAGENTO_STATUSES,
            Self::Prestashop => &PRESTASHOP_STATUSES,
            Self::Wix => &WIX_STATUSES,
            Self::Etsy => &[],
        }
    }

    /// Returns the start of image links that the export leaves out; `None` if it has whole links, or if
    /// each shop has its own.
    pub(super) const fn image_base(self) -> Option<&'static str> {
        match self {
            Self::Wix => Some("https://static.wixstatic.com/media/"),
            _ => None,
        }
    }

    /// Returns the parameters that the shop puts into the query of its image links to refresh caches:
    /// they change with every edit of a product, and the image does not.
    pub(crate) fn ignored_query(self) -> IgnoredQuery {
        match self {
            // Google's feeds of Shopify's shops have Shopify's links.
            Self::Shopify | Self::GoogleMerchant => IgnoredQuery::Names(["v".to_owned()].into()),
            _ => IgnoredQuery::Nothing,
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
