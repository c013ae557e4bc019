//! The URL `redis://…` or `rediss://…`.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use redis::{ConnectionAddr, ConnectionInfo, ProtocolVersion, RedisConnectionInfo};

/// The address of a Redis server, and how to connect to it. Its `Debug` output contains no
/// password.
#[derive(Clone)]
pub struct RedisUrl {
    pub(super) host: String,
    pub(super) port: u16,
    /// The user, and the protocol.
    pub(super) login: RedisConnectionInfo,
    pub(super) encryption: Encryption,
}

/// Whether connections are encrypted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Encryption {
    /// `redis`.
    None,
    /// `rediss`: the certificate must be for the host, and signed by an authority of this
    /// file, or else by one that the system trusts.
    Tls { root_certificates: Option<PathBuf> },
}

/// Why a text is not a valid [`RedisUrl`]. Never contains the password.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct InvalidRedisUrl(String);

impl FromStr for RedisUrl {
    type Err = InvalidRedisUrl;

    fn from_str(text: &str) -> Result<Self, InvalidRedisUrl> {
        let invalid = |text: &str| InvalidRedisUrl(text.to_owned());
        let (scheme, rest) = text.split_once("://").unwrap_or_default();
        let is_encrypted = match scheme {
            "redis" => false,
            "rediss" => true,
            "redis+unix" | "unix" => return Err(invalid("Unix sockets are not supported")),
            _ if scheme.contains("sentinel") => return Err(invalid("Sentinel is not supported")),
            _ if scheme.contains("cluster") => {
                return Err(invalid("Redis Cluster is not supported"));
            }
            _ => return Err(invalid("must start with redis:// or rediss://")),
        };
        if rest.contains('#') {
            return Err(invalid("a fragment (#) is not supported"));
        }
        let (base, query) = rest.split_once('?').unwrap_or((rest, ""));
        // What follows may be the end of a password, and must not appear in an error.
        if query.contains('@') {
            return Err(invalid(
                "has an @ after a ?: write ? as %3F in a password, and @ as %40 in a parameter",
            ));
        }
        let mut root_certificates = None;
        for (key, value) in form_urlencoded::parse(query.as_bytes()) {
            match &*key {
                "sslrootcert" if is_encrypted => {
                    root_certificates = Some(PathBuf::from(&*value));
                }
                _ => return Err(InvalidRedisUrl(format!("{key} is not supported"))),
            }
        }
        // TLS is not the driver's: its URL says how to reach the server, and as which user.
        let info = ConnectionInfo::from_str(&format!("redis://{base}"))
            .map_err(|_| invalid("is not a valid URL: use redis://USER:PASSWORD@HOST:PORT"))?;
        let ConnectionAddr::Tcp(host, port) = info.addr() else {
            return Err(invalid("names no host"));
        };
        if host.is_empty() {
            return Err(invalid("names no host"));
        }
        let login = info.redis_settings().clone();
        Ok(Self {
            host: host.clone(),
            port: *port,
            // Channels belong to no database, so none is selected.
            login: login
                .set_db(0)
                .set_protocol(ProtocolVersion::RESP3)
                .set_skip_set_lib_name(),
            encryption: match is_encrypted {
                false => Encryption::None,
                true => Encryption::Tls { root_certificates },
            },
        })
    }
}

impl fmt::Debug for RedisUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisUrl")
            .field("host", &self.host)
            .field("port", &self.port)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<RedisUrl, InvalidRedisUrl> {
        text.parse()
    }

    #[test]
    fn a_url_names_a_host_and_optionally_a_port_a_user_and_a_database() {
        let url = parse("redis://chat:p%40ss@redis.example:6380/3").unwrap();
        assert_eq!((url.host.as_str(), url.port), ("redis.example", 6380));
        assert_eq!(url.login.username(), Some("chat"));
        assert_eq!(url.login.password(), Some("p@ss"));
        assert_eq!(url.encryption, Encryption::None);
        let url = parse("redis://:hunter2@[::1]").unwrap();
        assert_eq!((url.host.as_str(), url.port), ("::1", 6379));
        assert_eq!(url.login.username(), None);
        assert!(!format!("{url:?}").contains("hunter2"));
    }

    #[test]
    fn a_password_with_reserved_characters_is_not_repeated() {
        for url in [
            "redis://:x?hunter2@h",
            "redis://:x/hunter2@h",
            "redis://:x#hunter2@h",
        ] {
            let error = parse(url).unwrap_err().to_string();
            assert!(!error.contains("hunter2"), "{error}");
        }
        let error = parse("redis://:x?y@h").unwrap_err().to_string();
        assert!(error.contains("%3F"), "{error}");
    }

    #[test]
    fn rediss_is_encrypted_and_may_name_its_authority() {
        let encryption = |text| parse(text).unwrap().encryption;
        let trusting = |root_certificates| Encryption::Tls { root_certificates };
        assert_eq!(encryption("rediss://h"), trusting(None));
        assert_eq!(
            encryption("rediss://h?sslrootcert=%2Fmy+ca.pem"),
            trusting(Some("/my ca.pem".into()))
        );
    }

    #[test]
    fn an_error_states_what_is_wrong_and_not_the_password() {
        for (text, says) in [
            ("u:hunter2@h", "must start with redis://"),
            ("http://u:hunter2@h", "must start with redis://"),
            ("redis+unix:///run/redis.sock?pass=hunter2", "Unix sockets"),
            ("unix:///run/redis.sock?pass=hunter2", "Unix sockets"),
            ("redis+sentinel://:hunter2@h/master", "Sentinel"),
            ("redis-sentinel://:hunter2@h/master", "Sentinel"),
            ("rediss+cluster://:hunter2@h", "Redis Cluster"),
            ("redis://:hunter2@h/0?protocol=resp2", "protocol"),
            ("redis://:hunter2@h?sslrootcert=/ca.pem", "sslrootcert"),
            ("rediss://:hunter2@h#insecure", "fragment"),
            ("redis://:hunter2@h/database", "not a valid URL"),
            ("redis://:hunter2@h:port", "not a valid URL"),
            ("redis://", "not a valid URL"),
        ] {
            let error = parse(text).unwrap_err().to_string();
            assert!(error.contains(says), "{text}: {error}");
            assert!(!error.contains("hunter2"), "{error}");
        }
    }
}
