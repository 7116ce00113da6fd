//! `init`: a config file with every key in it, to be changed where something else is wanted.

use std::fs::File;
use std::io::{ErrorKind, Write};
use std::path::Path;

use anyhow::Context;

use crate::config;

use super::args::{Global, InitArgs};
use super::exit::{Exit, Usage};
use super::render;

/// Every key, commented out, with its default and what it means. Tests hold it against [`config::Config`].
const TEMPLATE: &str = include_str!("init.toml");

/// Writes the config file.
pub(super) fn init(global: &Global, args: InitArgs) -> anyhow::Result<Exit> {
    let path = global
        .config
        .as_deref()
        .unwrap_or(Path::new(config::DEFAULT_FILE));
    let mut options = File::options();
    // Whether it is there is asked in the same call, so that no file is lost in between.
    if args.force {
        options.create(true).truncate(true)
    } else {
        options.create_new(true)
    };
    let mut file = match options.write(true).open(path) {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {
            let path = path.display();
            return Err(Usage(format!(
                "{path} is there already\nhint: --force overwrites it"
            ))
            .into());
        }
        opened => opened.with_context(|| format!("cannot write {}", path.display()))?,
    };
    file.write_all(TEMPLATE.as_bytes())
        .with_context(|| format!("cannot write {}", path.display()))?;
    render::note(format_args!(
        "wrote {}: every line in it is a default",
        path.display()
    ));
    render::note("next: overnight doctor");
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

    /// The template's `# key = value` lines as `(section, key, line)`.
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

    /// The keys a section knows, by the error about one it does not.
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
    fn the_template_is_read_as_it_stands_and_changes_nothing() {
        let config = Config::read("overnight.toml", TEMPLATE).unwrap();
        assert_eq!(shown(&config), shown(&Config::default()));
    }

    #[test]
    fn with_every_line_uncommented_it_is_still_the_defaults() {
        let config = Config::read("overnight.toml", &uncommented()).unwrap();
        assert_eq!(shown(&config), shown(&Config::default()));
        let catalog = catalog::load(&[]).unwrap();
        let pace = ProcessingTimes::default();
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
            assert_eq!(delay, pace.history_delay(provider), "{provider}");
        }
    }

    #[test]
    fn every_key_of_the_config_is_in_the_template() {
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
                // What one provider leaves out another has, and the config refuses it here.
                let elsewhere = providers.iter().find_map(|other| sections[other].get(&key));
                let line =
                    elsewhere.unwrap_or_else(|| panic!("no provider has `{key}` in the template"));
                let refused = Config::read("t", &format!("[{section}]\n{line}"));
                assert!(refused.is_err(), "`{key}` is missing in [{section}]");
            }
        }
    }

    /// All that a config says, with the defaults filled in.
    fn shown(config: &Config) -> String {
        let providers = ProviderName::ALL.map(|provider| {
            let (in_flight, throughput) = (
                config.in_flight(provider),
                config.creates_per_minute(provider),
            );
            (config.base_url(provider), in_flight, throughput)
        });
        let Config {
            queue,
            out,
            workers,
            catalog,
            pace,
            provider: _,
        } = config;
        let (api, storage) = (
            config.fal_api_url(),
            config.fal_storage_url().map(String::from),
        );
        let auth = config.eachlabs_auth();
        format!(
            "{queue:?} {out:?} {workers} {catalog:?} {pace:?} {providers:?} {api} {storage:?} {auth:?}"
        )
    }
}
