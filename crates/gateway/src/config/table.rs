//! The table of settings: every name that operators know, and its default.

use clap::Arg;

/// A setting, as operators know it.
#[derive(Debug)]
pub struct Setting {
    /// Its name in the environment. Its flag is the name in lower case with hyphens.
    pub name: &'static str,
    /// Its value when it is not set.
    pub default: Option<&'static str>,
    /// A summary in one line.
    pub help: &'static str,
    /// Whether it is a secret: never shown, and also accepted as a file (`…_FILE`).
    pub is_secret: bool,
}

impl Setting {
    /// Returns the name of the variable that holds the path of the secret's file.
    pub(super) fn file_name(&self) -> Option<String> {
        self.is_secret.then(|| format!("{}_FILE", self.name))
    }
}

/// All settings, in the order of `docs/configuration.md`.
pub const SETTINGS: &[Setting] = &[
    setting("HOST", "0.0.0.0", "address or name to listen on"),
    setting("PORT", "3001", "port to listen on; 0: any free port"),
    setting(
        "DATABASE_URL",
        "sqlite://data/chat.db",
        "sqlite://PATH or postgres://…",
    ),
    optional(
        "DATABASE_POOL_SIZE",
        "database connections; sized to the workload if unset",
    ),
    setting(
        "MIGRATE",
        "on",
        "on: apply pending migrations; off: refuse to start while migrations are pending",
    ),
    optional(
        "REDIS_URL",
        "redis://… or rediss://…; enables several nodes on one PostgreSQL",
    ),
    secret(
        "JWT_SECRET",
        "HS256 secret that signs tokens, at least 32 bytes",
    ),
    secret(
        "JWT_SECRET_PREVIOUS",
        "previous HS256 secret; it only verifies",
    ),
    optional(
        "JWT_PUBLIC_KEY_FILE",
        "PEM file of RS256, ES256 or EdDSA public keys, instead of a secret",
    ),
    optional(
        "JWKS_URL",
        "https://… of the issuer's public keys, instead of a secret",
    ),
    optional(
        "JWT_ALGORITHMS",
        "accepted algorithms of public keys, comma-separated; those of the keys if unset",
    ),
    optional("JWT_ISSUER", "required value of iss"),
    optional("JWT_AUDIENCE", "required value of aud"),
    setting("JWT_LEEWAY", "5", "tolerated clock difference, in seconds"),
    setting(
        "FRONTEND_URL",
        "http://localhost:3000",
        "allowed origins, comma-separated",
    ),
    setting(
        "MESSAGE_RATE",
        "50",
        "events that write, joins and getRoom, per second and user; 0: no limit",
    ),
    setting(
        "CONNECT_RATE",
        "0",
        "handshakes per second and address; 0: no limit",
    ),
    optional(
        "TRUSTED_PROXIES",
        "networks whose X-Forwarded-For is trusted, comma-separated",
    ),
    setting(
        "ROOM_DEFAULT",
        "open",
        "kind of a room without rules: open or private",
    ),
    secret(
        "API_KEYS",
        "keys of the server API, one name:key per line; without keys, it does not exist",
    ),
    optional(
        "API_PORT",
        "port of the server API alone; PORT if unset; 0: any free port",
    ),
    optional(
        "ACCESS_URL",
        "https://… of the access hook, which decides about joins without membership",
    ),
    optional(
        "WEBHOOK_URL",
        "https://… or http://… of the receiver of webhooks; without it, there are none",
    ),
    secret(
        "WEBHOOK_SECRET",
        "whsec_… that signs webhooks and calls of the access hook",
    ),
    secret(
        "WEBHOOK_SECRET_PREVIOUS",
        "previous whsec_…; it signs as well",
    ),
    optional(
        "WEBHOOK_EVENTS",
        "types of webhooks, comma-separated; all if unset",
    ),
    setting(
        "NOTIFY_AFTER",
        "30",
        "seconds after which members who have not read are reported: messages.unread",
    ),
    setting(
        "REDIS_PREFIX",
        "chat:",
        "prefix of every Redis key and channel",
    ),
    optional(
        "OTEL_EXPORTER_OTLP_ENDPOINT",
        "collector to which traces are exported, by OTLP over HTTP",
    ),
    setting(
        "MAX_IN_FLIGHT",
        "256",
        "events in progress per connection; 0: no limit",
    ),
    setting(
        "MAX_ROOMS",
        "200",
        "joined rooms per connection; 0: no limit",
    ),
    setting(
        "MAX_CONNECTIONS_PER_USER",
        "50",
        "connections per user and node; 0: no limit",
    ),
    optional(
        "MAX_CONNECTIONS",
        "connections per node; as many as files can be open if unset; 0: no limit",
    ),
    setting(
        "MAX_PACKET_BYTES",
        "65536",
        "size of an incoming packet; 0: no limit",
    ),
    setting("RUST_LOG", "info", "filter of log lines"),
    setting(
        "LOG_FORMAT",
        "auto",
        "pretty, json, or auto: pretty on a terminal, json otherwise",
    ),
];

const fn optional(name: &'static str, help: &'static str) -> Setting {
    Setting {
        name,
        default: None,
        help,
        is_secret: false,
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

/// Returns the flags of all settings.
pub fn flags() -> impl Iterator<Item = Arg> {
    SETTINGS.iter().flat_map(|setting| {
        let help = match setting.default {
            Some(default) => format!("{} [default: {default}]", setting.help),
            None => setting.help.to_owned(),
        };
        let value = flag(setting.name.to_owned(), help, "VALUE");
        let file = setting
            .file_name()
            .map(|name| flag(name, format!("file that holds {}", setting.name), "PATH"));
        std::iter::once(value).chain(file)
    })
}

fn flag(name: String, help: String, value: &'static str) -> Arg {
    let long = name.to_lowercase().replace('_', "-");
    Arg::new(name)
        .long(long)
        .help(help)
        .value_name(value)
        .global(true)
}

#[cfg(test)]
mod tests;
