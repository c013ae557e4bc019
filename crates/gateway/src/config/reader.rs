//! Parses the settings' values and collects their problems.

mod hooks;

use std::str::FromStr;
use std::time::Duration;

use chat_adapters::jwks::{JwksOptions, JwksUrl, Pace};
use chat_adapters::jwt::{
    InvalidKeyAlgorithm, JwtOptions, KeyAlgorithm, KeySource, PublicKeys, Secret,
};
use chat_adapters::postgres::PostgresUrl;
use chat_adapters::redis::{RedisOptions, RedisUrl};
use chat_domain::RoomKind;
use tracing_subscriber::EnvFilter;

use super::{
    ApiConfig, DatabaseUrl, LogConfig, Problem, Problems, Settings, Source, StorageConfig,
};
use crate::logging::LogFormat;
use crate::open_files;
use crate::origin::{AllowedOrigins, InvalidOrigin, Origin};
use crate::traces::{InvalidEndpoint, TraceEndpoint};
use crate::{ApiKeys, Limits, TrustedProxies};

/// A commit waits for the disk, not for a processor core.
const POSTGRES_POOL_SIZE: usize = 16;
const SQLITE_POOL_SIZE: usize = 4;
/// A leeway of more than a day is a typing error that would accept expired tokens.
const MAX_LEEWAY_SECONDS: u64 = 86_400;

/// Reads values. Where one is missing or malformed it returns `None` and keeps the
/// problem for [`finish`](Self::finish).
pub(super) struct Reader<'a> {
    settings: &'a Settings,
    problems: Vec<Problem>,
}

impl<'a> Reader<'a> {
    pub(super) fn new(settings: &'a Settings) -> Self {
        Self {
            settings,
            problems: settings.unreadable.clone(),
        }
    }

    /// Returns the value, unless there are problems.
    pub(super) fn finish<T>(self, value: Option<T>) -> Result<T, Problems> {
        match value {
            Some(value) if self.problems.is_empty() => Ok(value),
            _ => Err(Problems(self.problems)),
        }
    }

    pub(super) fn text(&mut self, name: &'static str) -> Option<String> {
        match self.settings.get(name) {
            Some(text) => Some(text.to_owned()),
            None => self.problem(name, "is not set"),
        }
    }

    pub(super) fn parse<T: FromStr>(&mut self, name: &'static str, expected: &str) -> Option<T> {
        let text = self.text(name)?;
        match text.parse() {
            Ok(value) => Some(value),
            Err(_) => self.problem(name, format!("must be {expected}, not \"{text}\"")),
        }
    }

    pub(super) fn choice<T: Copy>(
        &mut self,
        name: &'static str,
        choices: &[(&str, T)],
    ) -> Option<T> {
        let text = self.text(name)?;
        if let Some((_, value)) = choices.iter().find(|(choice, _)| *choice == text) {
            return Some(*value);
        }
        let names: Vec<&str> = choices.iter().map(|(choice, _)| *choice).collect();
        let (last, others) = names.split_last().unwrap_or((&"", &[]));
        let expected = format!("{} or {last}", others.join(", "));
        self.problem(name, format!("must be {expected}, not \"{text}\""))
    }

    pub(super) fn storage(&mut self) -> Option<StorageConfig> {
        let url = self.text("DATABASE_URL")?;
        let database = self.database(&url);
        let pool_size = match self.settings.get("DATABASE_POOL_SIZE") {
            None => Some(match database {
                Some(DatabaseUrl::Postgres(_)) => POSTGRES_POOL_SIZE,
                _ => SQLITE_POOL_SIZE,
            }),
            Some(text) => match text.parse() {
                Ok(0) | Err(_) => {
                    let text = format!("must be a number, at least 1, not \"{text}\"");
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
                return self.problem(NAME, "has no path: use sqlite://data/chat.db");
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

    pub(super) fn room_default(&mut self) -> Option<RoomKind> {
        let kinds = RoomKind::ALL.map(|kind| (kind.as_str(), kind));
        self.choice("ROOM_DEFAULT", &kinds)
    }

    /// Returns `Some(None)` if there is no server API. `port` is that of the clients.
    pub(super) fn api(&mut self, port: Option<u16>) -> Option<Option<ApiConfig>> {
        const KEYS: &str = "API_KEYS";
        const PORT: &str = "API_PORT";
        let has_port = self.settings.get(PORT).is_some();
        let own_port = has_port.then(|| self.parse(PORT, "a port from 0 to 65535"));
        let Some(text) = self.settings.get(KEYS) else {
            if has_port && !self.is_unreadable(KEYS) {
                let text = "has no effect, because API_KEYS is not set: unset it, or set \
                     API_KEYS_FILE";
                return self.problem(PORT, text);
            }
            return Some(None);
        };
        let keys = match text.parse::<ApiKeys>() {
            Ok(keys) => Some(keys),
            Err(error) => self.problem(KEYS, error.to_string()),
        };
        let own_port = own_port.map_or(Some(None), |port: Option<u16>| port.map(Some))?;
        Some(Some(ApiConfig {
            keys: keys?,
            file: match self.settings.source(KEYS) {
                Source::File(path) => Some(path.into()),
                _ => None,
            },
            // Each 0 is a port of its own.
            port: own_port.filter(|own| *own == 0 || Some(*own) != port),
        }))
    }

    /// Returns `Some(None)` if there is no Redis.
    pub(super) fn redis(&mut self) -> Option<Option<RedisOptions>> {
        let prefix = self.text("REDIS_PREFIX")?;
        let Some(url) = self.settings.get("REDIS_URL") else {
            return Some(None);
        };
        match url.parse::<RedisUrl>() {
            Ok(url) => Some(Some(RedisOptions { url, prefix })),
            Err(error) => self.problem("REDIS_URL", format!("cannot be used: {error}")),
        }
    }

    /// Several nodes cannot share a file.
    pub(super) fn refuse_redis_with_sqlite(&mut self, storage: Option<&StorageConfig>) {
        let is_sqlite = storage.is_some_and(|s| matches!(s.database, DatabaseUrl::Sqlite(_)));
        if is_sqlite && self.settings.get("REDIS_URL").is_some() {
            let text = "needs PostgreSQL, because several nodes cannot share a SQLite file: unset \
                 it, or set DATABASE_URL to postgres://…";
            self.problem::<()>("REDIS_URL", text);
        }
    }

    pub(super) fn jwt(&mut self) -> Option<JwtOptions> {
        let keys = self.keys();
        let leeway = self.parse("JWT_LEEWAY", "a number of seconds");
        Some(JwtOptions {
            keys: keys?,
            issuer: self.settings.get("JWT_ISSUER").map(str::to_owned),
            audience: self.settings.get("JWT_AUDIENCE").map(str::to_owned),
            leeway: match leeway? {
                seconds @ 0..=MAX_LEEWAY_SECONDS => Duration::from_secs(seconds),
                _ => {
                    let text = format!("must be at most {MAX_LEEWAY_SECONDS} seconds");
                    return self.problem("JWT_LEEWAY", text);
                }
            },
        })
    }

    /// Reads the one source of keys. With two, an attacker could choose.
    fn keys(&mut self) -> Option<KeySource> {
        const SECRET: &str = "JWT_SECRET";
        const FILE: &str = "JWT_PUBLIC_KEY_FILE";
        const URL: &str = "JWKS_URL";
        let set: Vec<&'static str> = [SECRET, FILE, URL]
            .into_iter()
            .filter(|name| self.settings.get(name).is_some())
            .collect();
        match set[..] {
            [] if self.is_unreadable(SECRET) => None,
            [] => {
                let text = "is not set: set it to the secret that signs your product's tokens, \
                     at least 32 random bytes (openssl rand -base64 32 generates one); or, if an \
                     issuer signs them, set JWKS_URL or JWT_PUBLIC_KEY_FILE";
                self.problem(SECRET, text)
            }
            [SECRET] => self.secrets(),
            [FILE] => self.public_keys(),
            [URL] => self.jwks(),
            [first, ref others @ ..] => {
                let others = others.join(" and ");
                let text = format!("cannot be combined with {others}: unset all but one");
                self.problem(first, text)
            }
        }
    }

    fn is_unreadable(&self, name: &str) -> bool {
        let mut unreadable = self.settings.unreadable.iter();
        unreadable.any(|problem| problem.setting == name)
    }

    fn secrets(&mut self) -> Option<KeySource> {
        let current = self.secret("JWT_SECRET");
        let has_previous = self.settings.get("JWT_SECRET_PREVIOUS").is_some();
        let previous = has_previous.then(|| self.secret("JWT_SECRET_PREVIOUS"));
        if self
            .settings
            .get("JWT_ALGORITHMS")
            .is_some_and(|it| it != "HS256")
        {
            let text =
                "names algorithms of public keys, but JWT_SECRET verifies HS256 only: unset it";
            return self.problem("JWT_ALGORITHMS", text);
        }
        Some(KeySource::Secrets {
            current: current?,
            previous: match previous {
                Some(previous) => Some(previous?),
                None => None,
            },
        })
    }

    fn public_keys(&mut self) -> Option<KeySource> {
        const NAME: &str = "JWT_PUBLIC_KEY_FILE";
        let algorithms = self.algorithms();
        let path = self.text(NAME)?;
        let pem = match std::fs::read(&path) {
            Ok(pem) => pem,
            Err(error) => return self.problem(NAME, format!("{path} cannot be read: {error}")),
        };
        match PublicKeys::from_pem(&pem, &algorithms?) {
            Ok(keys) => Some(KeySource::PublicKeys(keys)),
            Err(error) => self.problem(NAME, format!("{path} cannot be used: {error}")),
        }
    }

    fn jwks(&mut self) -> Option<KeySource> {
        let algorithms = self.algorithms();
        let url = self.text("JWKS_URL")?;
        match url.parse::<JwksUrl>() {
            Ok(url) => Some(KeySource::Jwks(JwksOptions {
                url,
                algorithms: algorithms?,
                pace: Pace::default(),
            })),
            Err(error) => self.problem("JWKS_URL", error.to_string()),
        }
    }

    /// Reads the algorithms of public keys that are accepted: by default, all that keys have.
    fn algorithms(&mut self) -> Option<Vec<KeyAlgorithm>> {
        const NAME: &str = "JWT_ALGORITHMS";
        if self.settings.get("JWT_SECRET_PREVIOUS").is_some() {
            let text = "is a secret, but JWT_SECRET is not set: unset it";
            self.problem::<()>("JWT_SECRET_PREVIOUS", text);
        }
        let Some(text) = self.settings.get(NAME) else {
            return Some(KeyAlgorithm::ALL.to_vec());
        };
        let names = text.split(',').map(str::trim);
        match names
            .map(str::parse)
            .collect::<Result<Vec<_>, InvalidKeyAlgorithm>>()
        {
            Ok(algorithms) => Some(algorithms),
            Err(_) => {
                let text = format!(
                    "must be a list of RS256, ES256 and EdDSA, as far as tokens may have them, \
                     not \"{text}\""
                );
                self.problem(NAME, text)
            }
        }
    }

    fn secret(&mut self, name: &'static str) -> Option<Secret> {
        match Secret::new(self.settings.get(name)?.as_bytes()) {
            Ok(secret) => Some(secret),
            Err(weak) => {
                let text = format!("{weak}: generate one with openssl rand -base64 32");
                self.problem(name, text)
            }
        }
    }

    pub(super) fn origins(&mut self) -> Option<AllowedOrigins> {
        let text = self.text("FRONTEND_URL")?;
        let origins = text
            .split(',')
            .map(str::trim)
            .filter(|origin| !origin.is_empty());
        let origins: Result<Vec<Origin>, InvalidOrigin> = origins.map(str::parse).collect();
        match origins {
            Ok(origins) => Some(AllowedOrigins::new(origins)),
            Err(error) => self.problem("FRONTEND_URL", format!("is malformed: {error}")),
        }
    }

    pub(super) fn trusted_proxies(&mut self) -> Option<TrustedProxies> {
        let text = self.settings.get("TRUSTED_PROXIES").unwrap_or_default();
        match text.parse() {
            Ok(proxies) => Some(proxies),
            Err(error) => self.problem("TRUSTED_PROXIES", format!("is malformed: {error}")),
        }
    }

    pub(super) fn limits(&mut self) -> Option<Limits> {
        const NUMBER: &str = "a number, or 0 for no limit";
        const RATE: &str = "a whole number per second, or 0 for no limit";
        let message_rate = self.parse("MESSAGE_RATE", RATE);
        let connect_rate = self.parse("CONNECT_RATE", RATE);
        let max_in_flight = self.parse("MAX_IN_FLIGHT", NUMBER);
        let max_rooms = self.parse("MAX_ROOMS", NUMBER);
        let max_connections_per_user = self.parse("MAX_CONNECTIONS_PER_USER", NUMBER);
        let max_connections = match self.settings.get("MAX_CONNECTIONS") {
            None => Some(open_files::connections()),
            Some(_) => self.parse("MAX_CONNECTIONS", NUMBER),
        };
        let max_packet_bytes =
            self.parse("MAX_PACKET_BYTES", "a number of bytes, or 0 for no limit");
        Some(Limits {
            message_rate: message_rate?,
            connect_rate: connect_rate?,
            max_in_flight: max_in_flight?,
            max_rooms: max_rooms?,
            max_connections_per_user: max_connections_per_user?,
            max_connections: max_connections?,
            max_packet_bytes: max_packet_bytes?,
        })
    }

    pub(super) fn traces(&mut self) -> Option<Option<TraceEndpoint>> {
        let Some(url) = self.settings.get("OTEL_EXPORTER_OTLP_ENDPOINT") else {
            return Some(None);
        };
        match url.parse() {
            Ok(endpoint) => Some(Some(endpoint)),
            Err(error) => {
                let error: InvalidEndpoint = error;
                self.problem("OTEL_EXPORTER_OTLP_ENDPOINT", error.to_string())
            }
        }
    }

    pub(super) fn log(&mut self) -> Option<LogConfig> {
        let filter = self.text("RUST_LOG")?;
        let filter = match EnvFilter::builder().parse(&filter) {
            Ok(filter) => Some(filter),
            Err(_) => self.problem(
                "RUST_LOG",
                "is not a valid filter: use info, or chat_gateway=debug",
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

    fn problem<T>(&mut self, setting: &'static str, text: impl Into<String>) -> Option<T> {
        self.problems.push(Problem {
            setting,
            text: text.into(),
        });
        None
    }
}
