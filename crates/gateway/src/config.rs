//! Flags and environment, to a typed [`Config`].
//!
//! [`Settings`] is what was said: each setting's text and where it came from.
//! [`Config`] is what it means. Between the two, everything that is wrong is found
//! at once, by name, and no secret is repeated.

mod settings;

use std::path::PathBuf;
use std::time::Duration;

use chat_adapters::jwt::{JwtOptions, Secret};
use chat_adapters::postgres::PostgresUrl;
use tracing_subscriber::EnvFilter;

use crate::Limits;
use crate::logging::LogFormat;
use crate::origin::AllowedOrigins;

pub use settings::{SETTINGS, Setting, Settings, Source, flags};

/// A gateway's configuration, as `serve` and `dev` use it.
pub struct Config {
    /// The host to listen on.
    pub host: String,
    /// The port to listen on; 0 for any that is free.
    pub port: u16,
    /// Where messages are stored.
    pub storage: StorageConfig,
    /// What `serve` does about pending migrations.
    pub migrate: Migrate,
    /// What tokens are checked against.
    pub jwt: JwtOptions,
    /// Which web pages may connect.
    pub origins: AllowedOrigins,
    /// What one connection and one packet may be.
    pub limits: Limits,
}

/// Where messages are stored, and with how many connections.
pub struct StorageConfig {
    /// The database.
    pub database: DatabaseUrl,
    /// The most connections.
    pub pool_size: usize,
}

/// A database's address.
#[derive(Debug, Clone)]
pub enum DatabaseUrl {
    /// A file.
    Sqlite(PathBuf),
    /// A server.
    Postgres(Box<PostgresUrl>),
}

/// What `serve` does about pending migrations.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Migrate {
    /// It applies them.
    On,
    /// It refuses to start.
    Off,
}

/// How log lines are written.
pub struct LogConfig {
    /// Which.
    pub filter: EnvFilter,
    /// In which form.
    pub format: LogFormat,
}

/// What is wrong with a setting, and what to do about it. Shows no secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The setting's name.
    pub setting: &'static str,
    /// The rest of the sentence.
    pub text: String,
}

/// Everything that is wrong with a configuration, in one line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problems(pub Vec<Problem>);

impl std::fmt::Display for Problems {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (n, problem) in self.0.iter().enumerate() {
            let separator = if n == 0 { "" } else { "; " };
            write!(f, "{separator}{} {}", problem.setting, problem.text)?;
        }
        Ok(())
    }
}

impl std::error::Error for Problems {}

/// Reads settings, and collects what is wrong with them.
struct Reader<'a> {
    settings: &'a Settings,
    problems: Vec<Problem>,
}

impl Config {
    /// What the settings mean.
    ///
    /// # Errors
    /// All that is wrong with them.
    pub fn read(settings: &Settings) -> Result<Self, Problems> {
        let mut reader = Reader::new(settings);
        reader.check_unimplemented();
        let host = reader.text("HOST");
        let port = reader.parse("PORT", "a port from 0 to 65535");
        let storage = reader.storage();
        let migrate = reader.choice("MIGRATE", &[("on", Migrate::On), ("off", Migrate::Off)]);
        let jwt = reader.jwt();
        let origins = reader.origins();
        let max_in_flight = reader.parse("MAX_IN_FLIGHT", "a number, 0 for no limit");
        let max_packet_bytes = reader.parse("MAX_PACKET_BYTES", "bytes, 0 for no limit");
        reader.log();
        // Each that is missing has left a problem.
        let config = (|| {
            Some(Self {
                host: host?,
                port: port?,
                storage: storage?,
                migrate: migrate?,
                jwt: jwt?,
                origins: origins?,
                limits: Limits {
                    max_in_flight: max_in_flight?,
                    max_packet_bytes: max_packet_bytes?,
                },
            })
        })();
        reader.finish(config)
    }
}

impl StorageConfig {
    /// What the settings of the database mean, for commands that need no other.
    ///
    /// # Errors
    /// All that is wrong with them.
    pub fn read(settings: &Settings) -> Result<Self, Problems> {
        let mut reader = Reader::new(settings);
        let storage = reader.storage();
        reader.finish(storage)
    }
}

impl LogConfig {
    /// What the settings of the log mean.
    ///
    /// # Errors
    /// All that is wrong with them.
    pub fn read(settings: &Settings) -> Result<Self, Problems> {
        let mut reader = Reader::new(settings);
        let log = reader.log();
        reader.finish(log)
    }
}

/// What the settings of tokens mean, for commands that need no other.
///
/// # Errors
/// All that is wrong with them.
pub fn read_jwt(settings: &Settings) -> Result<JwtOptions, Problems> {
    let mut reader = Reader::new(settings);
    let jwt = reader.jwt();
    reader.finish(jwt)
}

impl<'a> Reader<'a> {
    fn new(settings: &'a Settings) -> Self {
        Self {
            settings,
            problems: settings.unreadable.clone(),
        }
    }

    fn finish<T>(self, value: Option<T>) -> Result<T, Problems> {
        match value {
            Some(value) if self.problems.is_empty() => Ok(value),
            _ => Err(Problems(self.problems)),
        }
    }

    fn problem<T>(&mut self, setting: &'static str, text: impl Into<String>) -> Option<T> {
        self.problems.push(Problem {
            setting,
            text: text.into(),
        });
        None
    }

    fn text(&mut self, name: &'static str) -> Option<String> {
        match self.settings.get(name) {
            Some(text) => Some(text.to_owned()),
            None => self.problem(name, "is not set"),
        }
    }

    fn parse<T: std::str::FromStr>(&mut self, name: &'static str, expected: &str) -> Option<T> {
        let text = self.text(name)?;
        match text.parse() {
            Ok(value) => Some(value),
            Err(_) => self.problem(name, format!("must be {expected}, not \"{text}\"")),
        }
    }

    fn choice<T: Copy>(&mut self, name: &'static str, choices: &[(&str, T)]) -> Option<T> {
        let text = self.text(name)?;
        if let Some((_, value)) = choices.iter().find(|(choice, _)| *choice == text) {
            return Some(*value);
        }
        let names: Vec<&str> = choices.iter().map(|(choice, _)| *choice).collect();
        let (last, others) = names.split_last().unwrap_or((&"", &[]));
        let expected = format!("{} or {last}", others.join(", "));
        self.problem(name, format!("must be {expected}, not \"{text}\""))
    }

    /// A setting that would change nothing must not look as if it did.
    fn check_unimplemented(&mut self) {
        for setting in SETTINGS.iter().filter(|setting| !setting.is_implemented) {
            // 0 asks for no limit, and this version sets none.
            let is_no_limit = setting.default.is_some();
            match self.settings.get(setting.name) {
                None => {}
                Some("0") if is_no_limit => {}
                Some(_) => {
                    let or_zero = if is_no_limit { " or set it to 0" } else { "" };
                    let text = format!("is not implemented in this version: unset it{or_zero}");
                    self.problem::<()>(setting.name, text);
                }
            }
        }
    }

    fn storage(&mut self) -> Option<StorageConfig> {
        let url = self.text("DATABASE_URL")?;
        let database = self.database(&url);
        let pool_size = match self.settings.get("DATABASE_POOL_SIZE") {
            None => Some(match database {
                // A commit waits for the disk, not for a core.
                Some(DatabaseUrl::Postgres(_)) => 16,
                _ => 4,
            }),
            Some(text) => match text.parse() {
                Ok(0) | Err(_) => {
                    let text = format!("must be a number from 1 on, not \"{text}\"");
                    self.problem("DATABASE_POOL_SIZE", text)
                }
                Ok(size) => Some(size),
            },
        };
        Some(StorageConfig {
            database: database?,
            pool_size: pool_size?,
        })
    }

    fn database(&mut self, url: &str) -> Option<DatabaseUrl> {
        const NAME: &str = "DATABASE_URL";
        if let Some(path) = url.strip_prefix("sqlite://") {
            if path.is_empty() {
                return self.problem(NAME, "names no file: write sqlite://data/chat.db");
            }
            return Some(DatabaseUrl::Sqlite(path.into()));
        }
        if url.starts_with("postgres://") || url.starts_with("postgresql://") {
            return match url.parse::<PostgresUrl>() {
                Ok(url) => Some(DatabaseUrl::Postgres(Box::new(url))),
                Err(error) => self.problem(NAME, format!("is malformed: {error}")),
            };
        }
        self.problem(NAME, "must start with sqlite:// or postgres://")
    }

    fn jwt(&mut self) -> Option<JwtOptions> {
        let secret = match self.settings.get("JWT_SECRET") {
            Some(_) => self.secret("JWT_SECRET"),
            None => {
                let text = "is not set: give the secret that signs your product's tokens, \
                     32 random bytes at least (openssl rand -base64 32)";
                self.problem("JWT_SECRET", text)
            }
        };
        let has_previous = self.settings.get("JWT_SECRET_PREVIOUS").is_some();
        let previous = has_previous.then(|| self.secret("JWT_SECRET_PREVIOUS"));
        let leeway = self.parse("JWT_LEEWAY", "seconds");
        Some(JwtOptions {
            secret: secret?,
            previous_secret: match previous {
                Some(previous) => Some(previous?),
                None => None,
            },
            issuer: self.settings.get("JWT_ISSUER").map(str::to_owned),
            audience: self.settings.get("JWT_AUDIENCE").map(str::to_owned),
            // A leeway of more than a day is a typing error that would open doors.
            leeway: match leeway? {
                seconds @ 0..=86_400 => Duration::from_secs(seconds),
                _ => return self.problem("JWT_LEEWAY", "must be at most 86400 seconds"),
            },
        })
    }

    fn secret(&mut self, name: &'static str) -> Option<Secret> {
        match Secret::new(self.settings.get(name)?.as_bytes()) {
            Ok(secret) => Some(secret),
            Err(weak) => {
                let text = format!("{weak}: make one with openssl rand -base64 32");
                self.problem(name, text)
            }
        }
    }

    fn origins(&mut self) -> Option<AllowedOrigins> {
        let text = self.text("FRONTEND_URL")?;
        let origins = text
            .split(',')
            .map(str::trim)
            .filter(|origin| !origin.is_empty());
        match origins.map(str::parse).collect() {
            Ok(origins) => Some(AllowedOrigins::new(origins)),
            Err(error) => {
                let error: crate::origin::InvalidOrigin = error;
                self.problem("FRONTEND_URL", format!("is malformed: {error}"))
            }
        }
    }

    fn log(&mut self) -> Option<LogConfig> {
        let filter = self.text("RUST_LOG")?;
        let filter = match EnvFilter::builder().parse(&filter) {
            Ok(filter) => Some(filter),
            Err(_) => self.problem(
                "RUST_LOG",
                "is no filter: write info, or chat_gateway=debug",
            ),
        };
        let format = self.choice(
            "LOG_FORMAT",
            &[
                ("auto", LogFormat::Auto),
                ("pretty", LogFormat::Pretty),
                ("json", LogFormat::Json),
            ],
        );
        Some(LogConfig {
            filter: filter?,
            format: format?,
        })
    }
}

#[cfg(test)]
mod tests;
