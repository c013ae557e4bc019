//! Every setting: its name, its default, and what was said about it.

use std::collections::BTreeMap;

use clap::{Arg, ArgMatches};

use super::Problem;

/// A setting, as operators know it.
#[derive(Debug)]
pub struct Setting {
    /// Its name in the environment; the flag is the same in lower case with
    /// hyphens.
    pub name: &'static str,
    /// Its value when nothing is said.
    pub default: Option<&'static str>,
    /// What it is, in a line.
    pub help: &'static str,
    /// Whether it can also be given as a file, by `…_FILE`.
    pub is_secret: bool,
    /// Whether this version does what it says.
    pub is_implemented: bool,
}

/// All settings, in the order in which they are shown.
pub const SETTINGS: &[Setting] = &[
    setting("HOST", "0.0.0.0", "where to listen"),
    setting("PORT", "3001", "where to listen"),
    setting(
        "DATABASE_URL",
        "sqlite://data/chat.db",
        "sqlite://PATH or postgres://…",
    ),
    optional(
        "DATABASE_POOL_SIZE",
        "database connections; sized to the work if unset",
    ),
    setting(
        "MIGRATE",
        "on",
        "on: apply pending migrations; off: refuse to start with any",
    ),
    later(None, "REDIS_URL", "several nodes"),
    secret(
        "JWT_SECRET",
        "the HS256 secret that signs tokens, 32 bytes at least",
    ),
    secret(
        "JWT_SECRET_PREVIOUS",
        "the HS256 secret before that; it only verifies",
    ),
    later(
        None,
        "JWT_PUBLIC_KEY_FILE",
        "RS256, ES256 or EdDSA instead of a secret",
    ),
    later(
        None,
        "JWKS_URL",
        "RS256, ES256 or EdDSA instead of a secret",
    ),
    optional("JWT_ISSUER", "checked against iss when set"),
    optional("JWT_AUDIENCE", "checked against aud when set"),
    setting("JWT_LEEWAY", "5", "how much clocks may differ, in seconds"),
    setting(
        "FRONTEND_URL",
        "http://localhost:3000",
        "allowed origins, comma-separated",
    ),
    later(Some("50"), "MESSAGE_RATE", "events a second for each user"),
    setting(
        "MAX_IN_FLIGHT",
        "256",
        "events of one connection in progress; 0: no limit",
    ),
    later(Some("200"), "MAX_ROOMS", "rooms joined on one connection"),
    later(
        Some("50"),
        "MAX_CONNECTIONS_PER_USER",
        "connections of one user on one node",
    ),
    setting(
        "MAX_PACKET_BYTES",
        "65536",
        "one incoming packet, in bytes; 0: no limit",
    ),
    setting("RUST_LOG", "info", "which log lines are written"),
    setting(
        "LOG_FORMAT",
        "auto",
        "pretty, json, or auto: pretty on a terminal",
    ),
];

const fn optional(name: &'static str, help: &'static str) -> Setting {
    Setting {
        name,
        default: None,
        help,
        is_secret: false,
        is_implemented: true,
    }
}

const fn setting(name: &'static str, default: &'static str, help: &'static str) -> Setting {
    Setting {
        default: Some(default),
        ..optional(name, help)
    }
}

const fn secret(name: &'static str, help: &'static str) -> Setting {
    Setting {
        is_secret: true,
        ..optional(name, help)
    }
}

const fn later(default: Option<&'static str>, name: &'static str, help: &'static str) -> Setting {
    Setting {
        default,
        is_implemented: false,
        ..optional(name, help)
    }
}

/// Where a setting's value came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// Nothing was said.
    Default,
    /// The environment.
    Environment,
    /// A flag.
    Flag,
    /// The file of this path.
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

/// What was said about each setting. Has no `Debug`: it holds secrets.
#[derive(Default)]
pub struct Settings {
    said: BTreeMap<&'static str, (String, Source)>,
    /// What was said and cannot be read: a file that is missing, say.
    pub(super) unreadable: Vec<Problem>,
}

impl Settings {
    /// What flags and environment say; a flag beats the environment.
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
        let said = |name: &str| {
            let flag = flags.try_get_one::<String>(name).ok().flatten();
            flag.map(|value| (value.clone(), Source::Flag)).or_else(|| {
                // A variable that is set to nothing is as good as unset: so do
                // compose files write what is optional.
                let value = environment(name).filter(|value| !value.is_empty())?;
                Some((value, Source::Environment))
            })
        };
        let value = said(setting.name);
        let file = setting
            .is_secret
            .then(|| said(&file_name(setting)))
            .flatten();
        match (value, file) {
            (Some(_), Some(_)) => {
                let text = format!("is given twice: unset it or {}", file_name(setting));
                self.problem(setting.name, text);
            }
            (Some(value), None) => {
                self.said.insert(setting.name, value);
            }
            (None, Some((path, _))) => match std::fs::read_to_string(&path) {
                Ok(text) => {
                    // Editors end a file with a newline; no secret does.
                    let text = text.trim_end_matches(['\r', '\n']).to_owned();
                    self.said.insert(setting.name, (text, Source::File(path)));
                }
                Err(error) => {
                    let text = format!("cannot be read from {path}: {error}");
                    self.problem(setting.name, text);
                }
            },
            (None, None) => {}
        }
    }

    fn problem(&mut self, setting: &'static str, text: String) {
        self.unreadable.push(Problem { setting, text });
    }

    /// The setting's value, or its default. A setting that is not implemented has
    /// no default in effect.
    pub fn get(&self, name: &str) -> Option<&str> {
        let setting = SETTINGS.iter().find(|setting| setting.name == name)?;
        match self.said.get(setting.name) {
            Some((value, _)) => Some(value),
            None => setting.default.filter(|_| setting.is_implemented),
        }
    }

    /// Where the value came from.
    pub fn source(&self, name: &str) -> Source {
        let said = self.said.get(name);
        said.map_or(Source::Default, |(_, source)| source.clone())
    }

    /// Says something where nothing was said: a command's own default.
    pub fn set_default(&mut self, name: &'static str, value: impl Into<String>) {
        self.said
            .entry(name)
            .or_insert_with(|| (value.into(), Source::Default));
    }
}

fn file_name(setting: &Setting) -> String {
    format!("{}_FILE", setting.name)
}

/// A flag for each setting.
pub fn flags() -> impl Iterator<Item = Arg> {
    SETTINGS.iter().flat_map(|setting| {
        let flag = |id: String, help: String| {
            let long = id.to_lowercase().replace('_', "-");
            let value = if id.ends_with("_FILE") {
                "PATH"
            } else {
                "VALUE"
            };
            Arg::new(id)
                .long(long)
                .help(help)
                .value_name(value)
                .global(true)
        };
        let help = match (setting.default, setting.is_implemented) {
            (_, false) => format!("{} (not in this version)", setting.help),
            (Some(default), _) => format!("{} [default: {default}]", setting.help),
            (None, _) => setting.help.to_owned(),
        };
        let value = flag(setting.name.to_owned(), help);
        let file = setting
            .is_secret
            .then(|| flag(file_name(setting), "the same, in a file".to_owned()));
        std::iter::once(value).chain(file)
    })
}
