//! The errors of a load, with the flags and commands that remedy them.

use crate::domain::ProviderName;
use crate::loader::LoadError;

use super::exit::Usage;
use super::load_problem::describe_mapping;
use super::setup::Setup;

/// Adds what the user can do about an error, and tells mistakes of the user from failures.
pub(super) fn explain(setup: &Setup, error: LoadError) -> anyhow::Error {
    let models = setup.suggest("models");
    let message = match &error {
        LoadError::NoModel => {
            format!("{error}: add --model NAME\nhint: `{models}` lists the models")
        }
        LoadError::UnknownModel { known, .. } => {
            let known = known.join(", ");
            format!("{error}\nhint: `{models}` lists the models: {known}")
        }
        LoadError::NotOffered { offering, .. } => {
            let names: Vec<&str> = offering
                .iter()
                .map(|name| ProviderName::as_str(*name))
                .collect();
            format!(
                "{error}\nhint: providers that offer it: {}",
                names.join(", ")
            )
        }
        LoadError::RepeatedProvider(provider) => format!("--via names {provider} twice"),
        LoadError::UnnamedBatch => format!("{error}: add --batch NAME"),
        LoadError::NoWorkbook { .. } => {
            format!("{error}\nhint: omit `--sheet`, or `sheet` in the batch file")
        }
        LoadError::Mapping(error) => describe_mapping(error),
        LoadError::ClipsExist { .. } => format!(
            "{error}\nhint: load with --adopt-files to take the files as the clips for nothing, or with \
             --fresh to render and pay for them; the files are then kept in the folder `earlier`"
        ),
        LoadError::InvalidBatchName
        | LoadError::Folder(_)
        | LoadError::Unreadable { .. }
        | LoadError::Mistakes { .. }
        | LoadError::NoRows => error.to_string(),
        LoadError::Queue(_) | LoadError::Other(_) => {
            return match error {
                LoadError::Other(error) => error,
                error => error.into(),
            };
        }
    };
    Usage(message).into()
}
