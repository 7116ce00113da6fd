//! `init`: writes a config file that documents every setting.

use std::fs::File;
use std::io::{ErrorKind, Write};
use std::path::Path;

use anyhow::Context;

use crate::config;

use super::args::{Global, InitArgs};
use super::exit::{Exit, Usage};
use super::render;
use super::shell::SuggestedCommand;

/// Every key, commented out, with its meaning, unit and default. Tests compare it with
/// [`config::Config`].
const TEMPLATE: &str = include_str!("init.toml");

/// Writes the config file.
pub(super) fn init(global: &Global, args: InitArgs) -> anyhow::Result<Exit> {
    let path = global
        .config
        .as_deref()
        .unwrap_or(Path::new(config::DEFAULT_FILE));
    let mut options = File::options();
    // The same call checks and creates, so that a file made in between is not overwritten.
    if args.force {
        options.create(true).truncate(true)
    } else {
        options.create_new(true)
    };
    let mut file = match options.write(true).open(path) {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {
            let init = SuggestedCommand::new(global, "init").arg("--force");
            return Err(Usage(format!(
                "{} already exists\nhint: `{init}` overwrites it",
                path.display()
            ))
            .into());
        }
        opened => opened.with_context(|| format!("cannot write {}", path.display()))?,
    };
    file.write_all(TEMPLATE.as_bytes())
        .with_context(|| format!("cannot write {}", path.display()))?;
    render::print_note(format_args!(
        "wrote {}: every setting is commented out and shows its default",
        path.display()
    ));
    render::print_note("API keys do not go into this file: set them as environment variables");
    render::print_note(format_args!(
        "next: {}",
        SuggestedCommand::new(global, "doctor")
    ));
    Ok(Exit::Success)
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use crate::catalog;
    use crate::config::Config;
    use crate::domain::ProviderName;
    use crate::worker::ProcessingTimes;

    use super::*;

    /// Returns the template's `# key = value` lines as `(section, key, line)`.
    fn keys() -> Vec<(String, String, String)> {
        let mut section = String::new();
        let mut keys = Vec::new();
        for line in TEMPLATE.lines() {
            if let Some(name) = line.strip_prefix('[').and_then(|line| line.split_once(']')) {
                section = name.0.to_owned();
            } else if let Some((key, _)) = line
                .strip_prefix("# ")
                .and_then(|line| line.split_once(" = "))
                && key
                    .bytes()
                    .all(|byte| byte.is_ascii_lowercase() || byte == b'_')
            {
                keys.push((section.clone(), key.to_owned(), line[2..].to_owned()));
            }
        }
        keys
    }

    /// Returns the template with every key set.
    fn uncommented() -> String {
        let lines: BTreeSet<String> = keys()
            .into_iter()
            .map(|(_, _, line)| format!("# {line}"))
            .collect();
        TEMPLATE
            .lines()
            .map(|line| {
                if lines.contains(line) {
                    &line[2..]
                } else {
                    line
                }
            })
            .collect::<Vec<_>>()
            .join("\n")
    }

    /// Returns the keys that a section accepts, from the error about one that it does not.
    fn known_keys(section: &str) -> BTreeSet<String> {
        let text = if section.is_empty() {
            "qqqq = 1".into()
        } else {
            format!("[{section}]\nqqqq = 1")
        };
        let error = Config::read("t", &text).unwrap_err();
        let (_, known) = error
            .split_once("expected one of ")
            .unwrap_or_else(|| panic!("{error}"));
        known.split(", ").map(str::to_owned).collect()
    }

    #[test]
    fn the_template_as_written_changes_nothing() {
        let config = Config::read("overnight.toml", TEMPLATE).unwrap();
        assert_eq!(resolved(&config), resolved(&Config::default()));
    }

    #[test]
    fn the_template_with_every_key_uncommented_is_the_default_config() {
        let config = Config::read("overnight.toml", &uncommented()).unwrap();
        assert_eq!(resolved(&config), resolved(&Config::default()));
        let catalog = catalog::load(&[]).unwrap();
        let processing_times = ProcessingTimes::default();
        for provider in ProviderName::ALL {
            let route = catalog.models[0]
                .routes
                .iter()
                .find(|route| route.provider == provider)
                .unwrap();
            assert_eq!(
                config.durations(|set| set.typical_s)[&provider],
                route.typical,
                "{provider}"
            );
            let delay = config.durations(|set| set.history_delay_s)[&provider];
            assert_eq!(
                delay,
                processing_times.history_delay(provider),
                "{provider}"
            );
        }
    }

    #[test]
    fn the_template_has_every_key_of_the_config() {
        let mut sections: BTreeMap<String, BTreeMap<String, String>> = BTreeMap::new();
        for (section, key, line) in keys() {
            sections.entry(section).or_default().insert(key, line);
        }
        let providers = ProviderName::ALL.map(|provider| format!("provider.{provider}"));
        for section in ["", "pace"] {
            let mut known = known_keys(section);
            known.remove("pace");
            known.remove("provider");
            assert_eq!(
                sections[section].keys().cloned().collect::<BTreeSet<_>>(),
                known,
                "[{section}]"
            );
        }
        for section in &providers {
            for key in known_keys(section) {
                if sections[section].contains_key(&key) {
                    continue;
                }
                // A key that only another provider has must be refused here.
                let elsewhere = providers.iter().find_map(|other| sections[other].get(&key));
                let line =
                    elsewhere.unwrap_or_else(|| panic!("no provider has `{key}` in the template"));
                let refused = Config::read("t", &format!("[{section}]\n{line}"));
                assert!(refused.is_err(), "`{key}` is missing in [{section}]");
            }
        }
    }

    /// Formats everything that a config sets, with the defaults filled in.
    fn resolved(config: &Config) -> String {
        let providers = ProviderName::ALL.map(|provider| {
            (
                config.base_url(provider),
                config.in_flight(provider),
                config.creates_per_minute(provider),
            )
        });
        let Config {
            queue,
            queue_session,
            queue_patience,
            accept_loss,
            out,
            out_public,
            workers,
            proxied_links,
            catalog,
            pace,
            provider: _,
        } = config;
        let api_url = config.fal_api_url();
        let storage_url = config.fal_storage_url().map(String::from);
        let auth = config.eachlabs_auth();
        format!(
            "{queue:?} {queue_session:?} {queue_patience:?} {accept_loss} {out:?} {out_public:?} {workers} {proxied_links:?} {catalog:?} {pace:?} {providers:?} {api_url} \
             {storage_url:?} {auth:?}"
        )
    }
}
