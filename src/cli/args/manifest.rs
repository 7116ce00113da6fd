//! What a manifest is, and the flags of the commands that read one: `load` and `rehearse`.

use std::path::PathBuf;

use clap::Args;

use crate::cli::examples;
use crate::domain::{Money, ProviderName};
use crate::manifest::{Layout, Preset};

use super::one_of;

/// `load`.
#[derive(Debug, Args)]
#[command(after_help = examples::LOAD)]
pub struct LoadArgs {
    /// What is loaded.
    #[command(flatten)]
    pub manifest: ManifestArgs,
    /// Folder in which the batch's folder is made [default: renders]
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
    /// Check and price only; change nothing
    #[arg(long)]
    pub check: bool,
}

/// `rehearse`.
#[derive(Debug, Args)]
#[command(after_help = examples::REHEARSE)]
pub struct RehearseArgs {
    /// What is rehearsed.
    #[command(flatten)]
    pub manifest: ManifestArgs,
    /// Steps at once [default: 16]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    pub workers: Option<u16>,
    /// Nights to play, each with a chance of its own
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..=1000))]
    pub seeds: u16,
    /// As one JSON object
    #[arg(long)]
    pub json: bool,
}

/// What a manifest is, and how it is read.
#[derive(Debug, Default, Args)]
pub struct ManifestArgs {
    /// Manifests: CSV (any separator), .xlsx or JSONL, packed (.gz, .zst) or not; `-` is standard input. Or a batch
    /// file (.toml), which says all of this
    #[arg(required = true, value_name = "FILE")]
    pub files: Vec<PathBuf>,
    /// The model; `overnight models` lists them [a batch file may say it]
    #[arg(long)]
    pub model: Option<String>,
    /// The providers that may be used, in order of preference [default: all that offer the model]
    #[arg(long, value_delimiter = ',', value_name = "P,P", value_parser = one_of(ProviderName::ALL, ProviderName::as_str))]
    pub via: Vec<ProviderName>,
    /// The batch's name [default: the first file's name]
    #[arg(long, value_name = "NAME")]
    pub batch: Option<String>,
    /// Take a field from a column of another name
    #[arg(long, value_name = "FIELD=COLUMN", value_parser = pair)]
    pub map: Vec<(String, String)>,
    /// Give a field to every row that leaves it out
    #[arg(long, value_name = "FIELD=VALUE", value_parser = pair)]
    pub set: Vec<(String, String)>,
    /// Make the prompt of columns: `{Column}`, `{Column|text if empty}`, `{{` for a brace
    #[arg(long, value_name = "TEMPLATE")]
    pub prompt: Option<String>,
    /// Take the columns a shop's export has
    #[arg(long, value_name = "SHOP", value_parser = one_of(Preset::ALL, Preset::as_str))]
    pub preset: Option<Preset>,
    /// Make one job of the rows that have the same value in a field or column: the first with an image, with the
    /// product's first row for what it leaves empty [a preset's default: id]
    #[arg(long, value_name = "FIELD")]
    pub one_per: Option<String>,
    /// Make a job of each image of a row or product: `mug`, `mug-2`, …
    #[arg(long)]
    pub each_image: bool,
    /// Leave out rows without this field, and count them
    #[arg(long, value_name = "FIELD")]
    pub skip_missing: Vec<String>,
    /// The sheet of a workbook [default: the first]
    #[arg(long, value_name = "NAME")]
    pub sheet: Option<String>,
    /// What the batch may cost, in dollars: spent and reserved never pass it
    #[arg(long, value_name = "USD")]
    pub budget: Option<Money>,
}

impl ManifestArgs {
    /// What they say of the manifest's columns and rows.
    pub fn layout(&self) -> Layout {
        Layout {
            preset: self.preset,
            map: self.map.clone(),
            set: self.set.clone(),
            prompt: self.prompt.clone(),
            one_per: self.one_per.clone(),
            each_image: self.each_image,
            skip_missing: self.skip_missing.clone(),
        }
    }
}

fn pair(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((field, value)) if !field.trim().is_empty() => {
            Ok((field.trim().to_owned(), value.to_owned()))
        }
        _ => Err("write it like FIELD=TEXT".into()),
    }
}
