//! Turns flags and environment variables into a typed [`Config`].
//!
//! [`Settings`] holds the text of each setting and its source; [`Config`] holds what the
//! settings mean. All problems are found at once and reported by the setting's name,
//! without repeating a secret.

mod reader;
mod settings;
mod table;

use std::path::PathBuf;
use std::time::Duration;

use chat_adapters::HookUrl;
use chat_adapters::access_hook::AccessHookOptions;
use chat_adapters::jwt::JwtOptions;
use chat_adapters::postgres::PostgresUrl;
use chat_adapters::redis::RedisOptions;
use chat_adapters::standard_webhooks::Signer;
use chat_domain::RoomKind;
use chat_domain::ports::OutboxKinds;
use tracing_subscriber::EnvFilter;

use self::reader::Reader;
use crate::logging::LogFormat;
use crate::origin::AllowedOrigins;
use crate::{ApiKeys, Limits, TraceEndpoint, TrustedProxies};

pub use settings::{Settings, Source};
pub use table::{SETTINGS, Setting, flags};

/// The configuration of `serve` and `dev`.
pub struct Config {
    /// The address or name to listen on.
    pub host: String,
    /// The port to listen on; 0 for any free port.
    pub port: u16,
    /// Where messages are stored.
    pub storage: StorageConfig,
    /// Where several nodes exchange hints; `None` for one node.
    pub redis: Option<RedisOptions>,
    /// What `serve` does about pending migrations.
    pub migrate: Migrate,
    /// How tokens are verified.
    pub jwt: JwtOptions,
    /// Which web pages may connect.
    pub origins: AllowedOrigins,
    /// The reverse proxies that name their client's address.
    pub trusted_proxies: TrustedProxies,
    /// What kind of room one without rules is.
    pub room_default: RoomKind,
    /// The server API; `None` if it does not exist.
    pub api: Option<ApiConfig>,
    /// Where the product is asked about users without membership; `None` if it is not.
    pub access_hook: Option<AccessHookOptions>,
    /// Webhooks; `None` if there are none.
    pub webhooks: Option<WebhookConfig>,
    /// Where traces are exported; `None` if they are not.
    pub traces: Option<TraceEndpoint>,
    /// The operator's limits.
    pub limits: Limits,
}

/// The server API.
pub struct ApiConfig {
    /// The keys.
    pub keys: ApiKeys,
    /// The file that holds them, if one does.
    pub file: Option<PathBuf>,
    /// The port at which it alone is served, if it has one of its own; 0 for any free port.
    pub port: Option<u16>,
}

/// Where webhooks are sent.
pub struct WebhookConfig {
    /// The receiver.
    pub url: HookUrl,
    /// Signs the calls.
    pub signer: Signer,
    /// What is reported.
    pub kinds: OutboxKinds,
    /// How long after a message was stored it is reported to be unread.
    pub notify_after: Duration,
}

/// Where messages are stored, and over how many connections.
pub struct StorageConfig {
    /// The database.
    pub database: DatabaseUrl,
    /// The maximum number of connections.
    pub pool_size: usize,
}

/// The address of a database.
#[derive(Debug, Clone)]
pub enum DatabaseUrl {
    /// A SQLite file.
    Sqlite(PathBuf),
    /// A PostgreSQL server.
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
    /// Which lines.
    pub filter: EnvFilter,
    /// In which format.
    pub format: LogFormat,
}

/// What is wrong with a setting, and what to do about it. Contains no secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The setting's name, which begins the sentence.
    pub setting: &'static str,
    /// The rest of the sentence.
    pub text: String,
}

/// All problems of a configuration, displayed in one line.
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

impl Config {
    /// Reads all settings.
    ///
    /// # Errors
    /// All problems that they have, including settings that this version does not
    /// implement.
    pub fn read(settings: &Settings) -> Result<Self, Problems> {
        let mut reader = Reader::new(settings);
        let host = reader.text("HOST");
        let port = reader.parse("PORT", "a port from 0 to 65535");
        let storage = reader.storage();
        let redis = reader.redis();
        reader.refuse_redis_with_sqlite(storage.as_ref());
        let migrate = reader.choice("MIGRATE", &[("on", Migrate::On), ("off", Migrate::Off)]);
        let jwt = reader.jwt();
        let origins = reader.origins();
        let trusted_proxies = reader.trusted_proxies();
        let room_default = reader.room_default();
        let api = reader.api(port);
        let signer = reader.signer();
        let access_hook = reader.access_hook(signer.clone());
        let webhooks = reader.webhooks(signer);
        let traces = reader.traces();
        let limits = reader.limits();
        reader.log();
        // Each value that is missing here has left a problem.
        let config = (|| {
            Some(Self {
                host: host?,
                port: port?,
                storage: storage?,
                redis: redis?,
                migrate: migrate?,
                jwt: jwt?,
                origins: origins?,
                trusted_proxies: trusted_proxies?,
                room_default: room_default?,
                api: api?,
                access_hook: access_hook?,
                webhooks: webhooks?,
                traces: traces?,
                limits: limits?,
            })
        })();
        reader.finish(config)
    }
}

impl StorageConfig {
    /// Reads the settings of the database, for commands that need no others.
    ///
    /// # Errors
    /// All problems that they have.
    pub fn read(settings: &Settings) -> Result<Self, Problems> {
        let mut reader = Reader::new(settings);
        let storage = reader.storage();
        reader.finish(storage)
    }
}

impl LogConfig {
    /// Reads the settings of the log.
    ///
    /// # Errors
    /// All problems that they have.
    pub fn read(settings: &Settings) -> Result<Self, Problems> {
        let mut reader = Reader::new(settings);
        let log = reader.log();
        reader.finish(log)
    }
}

/// Reads the settings of tokens, for commands that need no others.
///
/// # Errors
/// All problems that they have.
pub fn read_jwt(settings: &Settings) -> Result<JwtOptions, Problems> {
    let mut reader = Reader::new(settings);
    let jwt = reader.jwt();
    reader.finish(jwt)
}

/// Reads the settings of Redis, for commands that need no others. `None` if there is none.
///
/// # Errors
/// All problems that they have.
pub fn read_redis(settings: &Settings) -> Result<Option<RedisOptions>, Problems> {
    let mut reader = Reader::new(settings);
    let redis = reader.redis();
    reader.finish(redis)
}

/// Reads what is reported to the product's backend, for commands that change rooms.
///
/// # Errors
/// All problems that the settings of webhooks have.
pub fn read_webhook_kinds(settings: &Settings) -> Result<OutboxKinds, Problems> {
    let mut reader = Reader::new(settings);
    let signer = reader.signer();
    let webhooks = reader.webhooks(signer);
    let kinds = webhooks.map(|webhooks| webhooks.map_or(OutboxKinds::NONE, |it| it.kinds));
    reader.finish(kinds)
}

/// Reads the kind of rooms without rules alone, for commands that only need it.
///
/// # Errors
/// All problems that it has.
pub fn read_room_default(settings: &Settings) -> Result<RoomKind, Problems> {
    let mut reader = Reader::new(settings);
    let kind = reader.room_default();
    reader.finish(kind)
}

#[cfg(test)]
mod tests;
