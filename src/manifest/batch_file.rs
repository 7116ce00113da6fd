//! Batch files: every option of a load in one TOML file, to be reviewed and kept beside the
//! manifest.
//!
//! Options that the user gives besides override the file.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::{fs, io};

use serde::Deserialize;
use serde::de::IgnoredAny;
use url::Url;

use crate::domain::{IgnoredQuery, Location, Money, ProviderName};
use crate::toml_file;

use super::{Condition, MappingOptions, Preset, SheetOptions};

/// What to load, and how to read it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LoadOptions {
    /// The manifests, of which `-` is standard input; or one batch file.
    pub files: Vec<PathBuf>,
    /// The model's name.
    pub model: Option<String>,
    /// The providers to use, in order of preference; none means all that offer the model.
    pub via: Vec<ProviderName>,
    /// The batch's name; `None` takes that of the first manifest.
    pub batch: Option<String>,
    /// What is specified about columns and rows.
    pub mapping: MappingOptions,
    /// Whether pictures that models show wrongly are written again.
    pub fixes_images: bool,
    /// What is read of a workbook.
    pub sheet: SheetOptions,
    /// The batch's budget.
    pub budget: Option<Money>,
    /// Folder to create the batch's folder in.
    pub out: Option<Location>,
    /// What does not count in a link; `None` is the default of the preset.
    pub ignore_query: Option<IgnoredQuery>,
    /// Whether clips are rendered that were made already.
    pub fresh: bool,
}

/// Why a batch file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum BatchFileError {
    /// Other files are named besides it.
    #[error("a batch file must be the only FILE")]
    NotAlone,
    /// The file cannot be read.
    #[error("cannot read {name}: {error}")]
    Unreadable {
        /// The file's name.
        name: String,
        /// Why.
        error: io::Error,
    },
    /// The file is not a valid batch file. The message names the file and the position.
    #[error("{0}")]
    Invalid(String),
    /// The file names no manifest.
    #[error("{name} names no manifest\nhint: add `manifest = \"FILE\"`")]
    NoManifest {
        /// The file's name.
        name: String,
    },
}

/// The keys of a batch file. `jobs/batch.schema.json` describes the same keys for editors.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct BatchFile {
    /// Path or URL of the schema, which editors add and read.
    #[serde(rename = "$schema")]
    _schema: Option<IgnoredAny>,
    /// Paths of the manifests, relative to this file's folder.
    manifest: Paths,
    model: Option<String>,
    /// Name of the batch; this file's name if absent.
    batch: Option<String>,
    via: Vec<ProviderName>,
    preset: Option<Preset>,
    prompt: Option<String>,
    one_per: Option<String>,
    each_image: bool,
    skip_missing: Vec<String>,
    group_by: Option<String>,
    /// Conditions that rows must meet, as on the command line.
    only: Vec<ConditionText>,
    /// Conditions for which rows are left out.
    except: Vec<ConditionText>,
    all_statuses: bool,
    image_base: Option<ImageBase>,
    header_row: Option<u64>,
    fix_images: bool,
    sheet: Option<String>,
    hidden: bool,
    /// Maximum cost of the batch in dollars, as a string or a number.
    budget: Option<Dollars>,
    /// The parameters that do not count in the query of a link: names, or whether all of them.
    ignore_query: Option<Parameters>,
    /// Folder to create the batch's folder in, relative to this file's folder.
    out: Option<Location>,
    /// Column of each mapped field.
    map: BTreeMap<String, String>,
    /// Value of each field that a row may leave out.
    set: BTreeMap<String, toml::Value>,
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Paths {
    One(PathBuf),
    Several(Vec<PathBuf>),
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Parameters {
    All(bool),
    Names(BTreeSet<String>),
}

impl From<Parameters> for IgnoredQuery {
    fn from(parameters: Parameters) -> Self {
        match parameters {
            Parameters::All(true) => Self::Everything,
            Parameters::All(false) => Self::Nothing,
            Parameters::Names(names) => Self::Names(names),
        }
    }
}

impl Default for Paths {
    fn default() -> Self {
        Self::Several(Vec::new())
    }
}

#[derive(Debug, Deserialize)]
#[serde(try_from = "toml::Value")]
struct Dollars(Money);

impl TryFrom<toml::Value> for Dollars {
    type Error = String;

    fn try_from(value: toml::Value) -> Result<Self, String> {
        cell_text(&value)
            .parse()
            .map(Self)
            .map_err(|error| format!("budget: {error}"))
    }
}

impl LoadOptions {
    /// Completes the options from the batch file that they name in place of a manifest. Returns
    /// them unchanged if they name none.
    ///
    /// # Errors
    /// Returns an error if the batch file cannot be used.
    pub fn with_batch_file(self) -> Result<Self, BatchFileError> {
        let is_batch_file =
            |path: &PathBuf| path.extension().is_some_and(|ending| ending == "toml");
        if !self.files.iter().any(is_batch_file) {
            return Ok(self);
        }
        let [path] = self.files.as_slice() else {
            return Err(BatchFileError::NotAlone);
        };
        let name = path.display().to_string();
        let text = match fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) => return Err(BatchFileError::Unreadable { name, error }),
        };
        let file: BatchFile = toml_file::read(&name, &text).map_err(BatchFileError::Invalid)?;
        let folder = path.parent().unwrap_or(Path::new("")).to_owned();
        let file_stem = path
            .file_stem()
            .map(|stem| stem.to_string_lossy().into_owned());
        let options = self.merge(file, &folder, file_stem);
        if options.files.is_empty() {
            return Err(BatchFileError::NoManifest { name });
        }
        Ok(options)
    }

    /// Merges the options with a batch file; what they set wins.
    fn merge(self, file: BatchFile, folder: &Path, file_stem: Option<String>) -> Self {
        let paths = match file.manifest {
            Paths::One(path) => vec![path],
            Paths::Several(paths) => paths,
        };
        let set = file
            .set
            .into_iter()
            .map(|(field, value)| (field, cell_text(&value)));
        let mapping = MappingOptions {
            preset: self.mapping.preset.or(file.preset),
            map: merge_pairs(self.mapping.map, file.map.into_iter()),
            set: merge_pairs(self.mapping.set, set),
            prompt: self.mapping.prompt.or(file.prompt),
            one_per: self.mapping.one_per.or(file.one_per),
            each_image: self.mapping.each_image || file.each_image,
            skip_missing: non_empty_or(self.mapping.skip_missing, file.skip_missing),
            group_by: self.mapping.group_by.or(file.group_by),
            only: non_empty_or(self.mapping.only, conditions(file.only)),
            except: non_empty_or(self.mapping.except, conditions(file.except)),
            all_statuses: self.mapping.all_statuses || file.all_statuses,
            image_base: self
                .mapping
                .image_base
                .or(file.image_base.map(|ImageBase(url)| url)),
            header_row: self.mapping.header_row.or(file.header_row),
            image_fixes: self.mapping.image_fixes,
        };
        Self {
            files: paths.into_iter().map(|path| folder.join(path)).collect(),
            model: self.model.or(file.model),
            via: non_empty_or(self.via, file.via),
            batch: self.batch.or(file.batch).or(file_stem),
            mapping,
            fixes_images: self.fixes_images || file.fix_images,
            sheet: SheetOptions {
                sheet: self.sheet.sheet.or(file.sheet),
                hidden: self.sheet.hidden || file.hidden,
            },
            budget: self.budget.or(file.budget.map(|Dollars(budget)| budget)),
            out: self
                .out
                .or_else(|| file.out.map(|out| out.in_folder(folder))),
            fresh: self.fresh,
            ignore_query: self.ignore_query.or(file.ignore_query.map(Into::into)),
        }
    }
}

/// A condition, as on the command line.
#[derive(Debug, Deserialize)]
#[serde(try_from = "String")]
struct ConditionText(Condition);

impl TryFrom<String> for ConditionText {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse().map(Self)
    }
}

#[derive(Debug, Deserialize)]
#[serde(try_from = "String")]
struct ImageBase(Url);

impl TryFrom<String> for ImageBase {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        super::parse_image_base(&text).map(Self)
    }
}

fn conditions(texts: Vec<ConditionText>) -> Vec<Condition> {
    texts
        .into_iter()
        .map(|ConditionText(condition)| condition)
        .collect()
}

fn non_empty_or<T>(first: Vec<T>, second: Vec<T>) -> Vec<T> {
    if first.is_empty() { second } else { first }
}

/// Adds to the given pairs those of the file for other fields.
fn merge_pairs(
    mut pairs: Vec<(String, String)>,
    file: impl Iterator<Item = (String, String)>,
) -> Vec<(String, String)> {
    let added: Vec<_> = file
        .filter(|(field, _)| pairs.iter().all(|(known, _)| known != field))
        .collect();
    pairs.extend(added);
    pairs
}

/// Formats a value as a manifest cell would hold it: lists and tables as JSON.
fn cell_text(value: &toml::Value) -> String {
    match value {
        toml::Value::String(text) => text.clone(),
        toml::Value::Array(_) | toml::Value::Table(_) => {
            serde_json::to_value(value).map_or_else(|_| value.to_string(), |json| json.to_string())
        }
        scalar => scalar.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    #[test]
    fn the_json_schema_describes_every_key_and_no_other() {
        let schema: Value =
            serde_json::from_str(include_str!("../../jobs/batch.schema.json")).unwrap();
        let properties = schema["properties"].as_object().unwrap();
        let mut known: Vec<&str> = properties.keys().map(String::as_str).collect();
        known.sort_unstable();
        let error = toml::from_str::<BatchFile>("no_such_key = 1")
            .unwrap_err()
            .to_string();
        let mut keys: Vec<&str> = error.split('`').skip(3).step_by(2).collect();
        keys.sort_unstable();
        assert_eq!(known, keys, "{error}");
        assert!(
            properties
                .values()
                .all(|property| property["description"].is_string())
        );
    }

    #[test]
    fn the_schema_that_an_editor_adds_is_ignored() {
        let text = "\"$schema\" = \"batch.schema.json\"\nmodel = \"kling-v1-standard\"";
        let file: BatchFile = toml_file::read("spring.toml", text).unwrap();
        assert_eq!(file.model.as_deref(), Some("kling-v1-standard"));
    }

    #[test]
    fn money_and_values_may_be_strings_numbers_or_tables() {
        let file: BatchFile = toml::from_str(
            "budget = 25.5\n\
             [set]\n\
             duration = 10\n\
             cfg_scale = 0.5\n\
             dynamic_masks = [{ mask = \"m\" }]",
        )
        .unwrap();
        assert_eq!(file.budget.unwrap().0, Money::from_micros(25_500_000));
        let set: Vec<String> = file.set.values().map(cell_text).collect();
        assert_eq!(set, ["0.5", "10", r#"[{"mask":"m"}]"#]);
        let file: BatchFile = toml::from_str("budget = \"$3\"").unwrap();
        assert_eq!(file.budget.unwrap().0, Money::from_micros(3_000_000));
        assert!(toml::from_str::<BatchFile>("budget = -1").is_err());
    }
}
