//! Batch files: everything a load is told, in one file that can be reviewed and kept beside the manifest.
//!
//! What stands on the command line goes over what stands in the file.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::domain::{Money, ProviderName};
use crate::manifest::Preset;
use crate::toml_file;

use super::args::ManifestArgs;
use super::exit::Usage;

/// What a batch file may hold. `jobs/batch.schema.json` tells editors the same.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct BatchFile {
    /// One manifest or several, by their paths from this file's folder.
    manifest: Paths,
    model: Option<String>,
    /// The batch's name, else the file's.
    batch: Option<String>,
    via: Vec<ProviderName>,
    preset: Option<Preset>,
    prompt: Option<String>,
    one_per: Option<String>,
    each_image: bool,
    skip_missing: Vec<String>,
    sheet: Option<String>,
    /// Dollars, as text or as a number.
    budget: Option<Dollars>,
    /// The folder of the clips' folder, by its path from this file's folder.
    out: Option<PathBuf>,
    /// Field and column.
    map: BTreeMap<String, String>,
    /// Field and value.
    set: BTreeMap<String, toml::Value>,
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Paths {
    One(PathBuf),
    Several(Vec<PathBuf>),
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
        written(&value)
            .parse()
            .map(Self)
            .map_err(|error| format!("budget: {error}"))
    }
}

/// Takes what a batch file says into the words of the command line, where one is named in place of a manifest.
pub(super) fn opened(
    args: ManifestArgs,
    out: Option<PathBuf>,
) -> anyhow::Result<(ManifestArgs, Option<PathBuf>)> {
    let is_batch_file = |path: &PathBuf| path.extension().is_some_and(|ending| ending == "toml");
    if !args.files.iter().any(is_batch_file) {
        return Ok((args, out));
    }
    let [path] = args.files.as_slice() else {
        return Err(
            Usage("a batch file stands alone: name it without further manifests".into()).into(),
        );
    };
    let name = path.display().to_string();
    let text =
        fs::read_to_string(path).map_err(|error| Usage(format!("cannot read {name}: {error}")))?;
    let file: BatchFile = toml_file::read(&name, &text).map_err(Usage)?;
    let folder = path.parent().unwrap_or(Path::new("")).to_owned();
    let own_name = path
        .file_stem()
        .map(|stem| stem.to_string_lossy().into_owned());
    let out = out.or_else(|| file.out.as_ref().map(|out| folder.join(out)));
    let args = laid_over(args, file, &folder, own_name);
    if args.files.is_empty() {
        return Err(Usage(format!("{name} names no manifest: say manifest = \"FILE\"")).into());
    }
    Ok((args, out))
}

fn laid_over(
    said: ManifestArgs,
    file: BatchFile,
    folder: &Path,
    own_name: Option<String>,
) -> ManifestArgs {
    let paths = match file.manifest {
        Paths::One(path) => vec![path],
        Paths::Several(paths) => paths,
    };
    let first = |said: Vec<_>, other: Vec<_>| if said.is_empty() { other } else { said };
    let set = file
        .set
        .into_iter()
        .map(|(field, value)| (field, written(&value)));
    ManifestArgs {
        files: paths.into_iter().map(|path| folder.join(path)).collect(),
        model: said.model.or(file.model),
        via: if said.via.is_empty() {
            file.via
        } else {
            said.via
        },
        batch: said.batch.or(file.batch).or(own_name),
        map: together(said.map, file.map.into_iter()),
        set: together(said.set, set),
        prompt: said.prompt.or(file.prompt),
        preset: said.preset.or(file.preset),
        one_per: said.one_per.or(file.one_per),
        each_image: said.each_image || file.each_image,
        skip_missing: first(said.skip_missing, file.skip_missing),
        sheet: said.sheet.or(file.sheet),
        budget: said.budget.or(file.budget.map(|Dollars(budget)| budget)),
    }
}

/// Pairs that were said, and those of the file for other fields.
fn together(
    mut said: Vec<(String, String)>,
    file: impl Iterator<Item = (String, String)>,
) -> Vec<(String, String)> {
    let more: Vec<_> = file
        .filter(|(field, _)| said.iter().all(|(known, _)| known != field))
        .collect();
    said.extend(more);
    said
}

/// A value as it would be written in a cell: lists and tables as JSON.
fn written(value: &toml::Value) -> String {
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
    fn the_schema_for_editors_knows_every_key_and_no_other() {
        let schema: Value =
            serde_json::from_str(include_str!("../../jobs/batch.schema.json")).unwrap();
        let properties = schema["properties"].as_object().unwrap();
        let mut known: Vec<&str> = properties
            .keys()
            .map(String::as_str)
            .filter(|key| *key != "$schema")
            .collect();
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
    fn money_and_values_are_read_however_they_are_written() {
        let file: BatchFile = toml::from_str(
            "budget = 25.5\n[set]\nduration = 10\ncfg_scale = 0.5\ndynamic_masks = [{ mask = \"m\" }]",
        )
        .unwrap();
        assert_eq!(file.budget.unwrap().0, Money::from_micros(25_500_000));
        let set: Vec<String> = file.set.values().map(written).collect();
        assert_eq!(set, ["0.5", "10", r#"[{"mask":"m"}]"#]);
        let file: BatchFile = toml::from_str("budget = \"$3\"").unwrap();
        assert_eq!(file.budget.unwrap().0, Money::from_micros(3_000_000));
        assert!(toml::from_str::<BatchFile>("budget = -1").is_err());
    }
}
