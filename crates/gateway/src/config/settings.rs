//! The values of the settings: what flags, environment and files say.

use std::collections::BTreeMap;

use clap::ArgMatches;

use super::Problem;
use super::table::{SETTINGS, Setting};

/// Where a setting's value came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// It was not set.
    Default,
    /// The environment.
    Environment,
    /// A flag.
    Flag,
    /// The file with this path.
    File(String),
}

impl std::fmt::Display for Source {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::Environment => f.write_str("environment"),
            Self::Flag => f.write_str("flag"),
            Self::File(path) => write!(f, "file {path}"),
        }
    }
}

/// The values of the settings, as text. Has no `Debug`, because it holds secrets.
#[derive(Default)]
pub struct Settings {
    values: BTreeMap<&'static str, (String, Source)>,
    /// Settings that are set but cannot be read, such as a file that does not exist.
    pub(super) unreadable: Vec<Problem>,
}

impl Settings {
    /// Collects the values from flags and environment. A flag overrides the
    /// environment.
    pub fn collect(flags: &ArgMatches, environment: impl Fn(&str) -> Option<String>) -> Self {
        let mut settings = Self::default();
        for setting in SETTINGS {
            settings.collect_one(setting, flags, &environment);
        }
        settings
    }

    fn collect_one(
        &mut self,
        setting: &'static Setting,
        flags: &ArgMatches,
        environment: &impl Fn(&str) -> Option<String>,
    ) {
        let find = |name: &str| {
            let flag = flags.try_get_one::<String>(name).ok().flatten();
            flag.map(|value| (value.clone(), Source::Flag)).or_else(|| {
                // An empty variable counts as unset: that is how compose files write
                // an optional one.
                let value = environment(name).filter(|value| !value.is_empty())?;
                Some((value, Source::Environment))
            })
        };
        let value = find(setting.name);
        let file_name = setting.file_name().unwrap_or_default();
        let file = setting.is_secret.then(|| find(&file_name)).flatten();
        match (value, file) {
            (Some(_), Some(_)) => {
                let text = format!("is set twice: unset it or {file_name}");
                self.problem(setting.name, text);
            }
            (Some(value), None) => {
                self.values.insert(setting.name, value);
            }
            (None, Some((path, _))) => self.read_file(setting, path),
            (None, None) => {}
        }
    }

    fn read_file(&mut self, setting: &'static Setting, path: String) {
        match std::fs::read_to_string(&path) {
            Ok(text) => {
                // Editors end a file with a newline; no secret ends with one.
                let text = text.trim_end_matches(['\r', '\n']).to_owned();
                self.values.insert(setting.name, (text, Source::File(path)));
            }
            Err(error) => {
                let text = format!("cannot be read from {path}: {error}");
                self.problem(setting.name, text);
            }
        }
    }

    fn problem(&mut self, setting: &'static str, text: String) {
        self.unreadable.push(Problem { setting, text });
    }

    /// Returns the setting's value, or else its default.
    pub fn get(&self, name: &str) -> Option<&str> {
        let setting = SETTINGS.iter().find(|setting| setting.name == name)?;
        match self.values.get(setting.name) {
            Some((value, _)) => Some(value),
            None => setting.default,
        }
    }

    /// Returns where the value came from.
    pub fn source(&self, name: &str) -> Source {
        let value = self.values.get(name);
        value.map_or(Source::Default, |(_, source)| source.clone())
    }

    /// Replaces a setting's default with a command's own.
    pub fn set_default(&mut self, name: &'static str, value: impl Into<String>) {
        self.values
            .entry(name)
            .or_insert_with(|| (value.into(), Source::Default));
    }
}
