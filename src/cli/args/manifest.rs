//! Flags of the commands that read a manifest: `load` and `rehearse`.

use std::collections::BTreeSet;
use std::path::PathBuf;

use clap::Args;
use url::Url;

use crate::cli::examples;
use crate::domain::{IgnoredQuery, Location, Money, ProviderName};
use crate::manifest::{self, Condition, LoadOptions, MappingOptions, Preset, SheetOptions};

use super::location;
use super::possible_values::possible_values;

/// Arguments of `load`.
#[derive(Debug, Args)]
#[command(after_help = examples::LOAD)]
pub struct LoadArgs {
    /// The manifest to load.
    #[command(flatten)]
    pub manifest: ManifestArgs,
    /// Folder to create the batch's folder in, or `s3://bucket/folder` [default: renders]
    #[arg(long, value_name = "DIR", value_parser = location::parser())]
    pub out: Option<Location>,
    /// Check and price the manifest, but change nothing
    #[arg(long)]
    pub check: bool,
    /// Before anything is queued, ask each distinct link once, from this machine, whether it leads to a
    /// picture
    #[arg(long)]
    pub probe: bool,
    /// Print the first N rows in full, as they will be submitted, in place of three prompts
    #[arg(long, value_name = "N")]
    pub show: Option<usize>,
    /// Cancel the queued jobs of rows that are no longer in the manifest
    #[arg(long)]
    pub drop_removed: bool,
    /// Take files that have the names of new rows' clips as these clips, for nothing
    #[arg(long)]
    pub adopt_files: bool,
}

/// Arguments of `rehearse`.
#[derive(Debug, Args)]
#[command(after_help = examples::REHEARSE)]
pub struct RehearseArgs {
    /// The manifest to rehearse.
    #[command(flatten)]
    pub manifest: ManifestArgs,
    /// Maximum number of concurrent steps; a step is one call [default: 16]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    pub workers: Option<u16>,
    /// Number of simulated runs, each with its own random seed
    #[arg(
        long,
        value_name = "N",
        default_value_t = 3,
        value_parser = clap::value_parser!(u16).range(1..=1000)
    )]
    pub seeds: u16,
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
}

/// Arguments that name a manifest and say how to read it.
#[derive(Debug, Default, Args)]
pub struct ManifestArgs {
    /// Manifests: .xlsx, CSV (any separator) or JSON Lines; the last two may be compressed (.gz,
    /// .zst). `-` is standard input. Or one batch file (.toml), which may set all of these options
    #[arg(required = true, value_name = "FILE")]
    pub files: Vec<PathBuf>,
    /// Model to use; `overnight models` lists them [required unless a batch file sets it]
    #[arg(long)]
    pub model: Option<String>,
    /// Providers to use, in order of preference: each job goes to the first that can accept it now
    /// [default: all that offer the model]
    #[arg(
        long,
        value_delimiter = ',',
        value_name = "P,P",
        value_parser = possible_values(ProviderName::ALL, ProviderName::as_str)
    )]
    pub via: Vec<ProviderName>,
    /// Name of the batch; a file with another name is another batch, unless this is given [default:
    /// the first file's name without its extension]
    #[arg(long, value_name = "NAME")]
    pub batch: Option<String>,
    /// Read a field from the column of this name, or from the first of several with commas that is not
    /// empty
    #[arg(long, value_name = "FIELD=COLUMN", value_parser = key_value)]
    pub map: Vec<(String, String)>,
    /// Set a field in every row whose own cell is empty; a filled cell wins
    #[arg(long, value_name = "FIELD=VALUE", value_parser = key_value)]
    pub set: Vec<(String, String)>,
    /// Build the prompt from columns: `{Column}`, `{Column|text if empty}`, `{{` for a brace
    #[arg(long, value_name = "TEMPLATE")]
    pub prompt: Option<String>,
    /// Map the columns of a shop's export
    #[arg(long, value_name = "SHOP", value_parser = possible_values(Preset::ALL, Preset::as_str))]
    pub preset: Option<Preset>,
    /// Make one job of consecutive rows with the same value in this field or column: the first row
    /// that has an image, with empty fields filled from the group's first row [default with the
    /// presets of shops that write several rows for a product: id]
    #[arg(long, value_name = "FIELD")]
    pub one_per: Option<String>,
    /// Make one job, which costs one clip, per image of a row or product: `mug`, `mug-2`, …
    #[arg(long)]
    pub each_image: bool,
    /// Skip rows without this field, and count them
    #[arg(long, value_name = "FIELD")]
    pub skip_missing: Vec<String>,
    /// Take what a row leaves empty from the first row with the same value in this column, and make one
    /// job of each `id` among them: --group-by Handle --map id='Variant SKU'
    #[arg(long, value_name = "COLUMN")]
    pub group_by: Option<String>,
    /// Take only rows whose cell is this, or one of several values with commas; != for other cells,
    /// nothing for an empty one. Repeated for a column, any of them; for several columns, all of them
    #[arg(long, value_name = "COLUMN=VALUE")]
    pub only: Vec<Condition>,
    /// Leave out rows whose cell is this, written as for --only
    #[arg(long, value_name = "COLUMN=VALUE")]
    pub except: Vec<Condition>,
    /// With --preset, take drafts and archived products too
    #[arg(long)]
    pub all_statuses: bool,
    /// Start of image links of which the manifest has only the end, such as Magento's:
    /// `https://shop.example/media/catalog/product`
    #[arg(long, value_name = "URL", value_parser = image_base)]
    pub image_base: Option<Url>,
    /// Send a copy, beside the queue, of pictures on disk that models show wrongly: upright (EXIF), in
    /// colours for screens, on white in place of transparency, the first of an animation
    #[arg(long)]
    pub fix_images: bool,
    /// Line of the header [default: the first with the columns that are needed]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub header_row: Option<u64>,
    /// Sheet of a workbook [default: the first that is not hidden]
    #[arg(long, value_name = "NAME")]
    pub sheet: Option<String>,
    /// Read the hidden rows of a sheet too
    #[arg(long)]
    pub hidden: bool,
    /// Maximum total cost of the batch in dollars, including what it cost earlier
    #[arg(long, value_name = "USD")]
    pub budget: Option<Money>,
    /// Take a row as unchanged if its links differ only in their query, or only in these parameters
    /// of it: `v,width`; none with an empty list [default with --preset: what the shop changes to
    /// refresh caches]
    #[arg(
        long,
        value_name = "NAMES",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "*",
        value_parser = ignored_query
    )]
    pub ignore_query: Option<IgnoredQuery>,
    /// Render and pay for rows whose clips were made already, instead of taking those clips
    #[arg(long)]
    pub fresh: bool,
}

impl ManifestArgs {
    /// Returns the options of a load, with the folder to create the batch's folder in.
    pub fn into_options(self, out: Option<Location>) -> LoadOptions {
        let mapping = MappingOptions {
            preset: self.preset,
            map: self.map,
            set: self.set,
            prompt: self.prompt,
            one_per: self.one_per,
            each_image: self.each_image,
            skip_missing: self.skip_missing,
            group_by: self.group_by,
            only: self.only,
            except: self.except,
            all_statuses: self.all_statuses,
            image_base: self.image_base,
            header_row: self.header_row,
            image_fixes: None,
        };
        LoadOptions {
            files: self.files,
            model: self.model,
            via: self.via,
            batch: self.batch,
            mapping,
            fixes_images: self.fix_images,
            sheet: SheetOptions {
                sheet: self.sheet,
                hidden: self.hidden,
            },
            budget: self.budget,
            out,
            ignore_query: self.ignore_query,
            fresh: self.fresh,
        }
    }
}

/// Parses the start of image links.
fn image_base(text: &str) -> Result<Url, String> {
    manifest::parse_image_base(text)
}

/// Parses the names of query parameters, separated by commas; `*` is all of them.
fn ignored_query(text: &str) -> Result<IgnoredQuery, String> {
    if text == "*" {
        return Ok(IgnoredQuery::Everything);
    }
    let names = text.split(',').map(str::trim);
    let names: BTreeSet<String> = names
        .filter(|name| !name.is_empty())
        .map(Into::into)
        .collect();
    if let Some(name) = names.iter().find(|name| name.contains(['?', '&', '='])) {
        return Err(format!(
            "`{name}` is not the name of a parameter: write it like v,width"
        ));
    }
    Ok(if names.is_empty() {
        IgnoredQuery::Nothing
    } else {
        IgnoredQuery::Names(names)
    })
}

/// Parses `FIELD=TEXT`.
fn key_value(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((field, value)) if !field.trim().is_empty() => {
            Ok((field.trim().to_owned(), value.to_owned()))
        }
        _ => Err("write it like FIELD=TEXT".into()),
    }
}
