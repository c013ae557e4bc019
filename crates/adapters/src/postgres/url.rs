//! The URL `postgres://…`, with libpq's `sslmode` and `sslrootcert`.

use std::path::PathBuf;
use std::str::FromStr;

use chat_domain::one_line;
use tokio_postgres::config::SslMode;

/// The address of a PostgreSQL database, and how to connect to it. Its `Debug` output
/// contains no password.
#[derive(Debug, Clone)]
pub struct PostgresUrl {
    pub(super) config: tokio_postgres::Config,
    pub(super) verify: Verify,
    pub(super) root_certificates: Option<PathBuf>,
}

/// What is verified about the server's certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verify {
    /// Nothing: `disable`, `prefer` and `require`.
    Nothing,
    /// A trusted authority signed it: `verify-ca`.
    Authority,
    /// That, and it is for this host: `verify-full`.
    Host,
}

/// Why a text is not a valid [`PostgresUrl`]. Never contains the password.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct InvalidUrl(String);

impl FromStr for PostgresUrl {
    type Err = InvalidUrl;

    fn from_str(text: &str) -> Result<Self, InvalidUrl> {
        let (base, query) = text.split_once('?').unwrap_or((text, ""));
        if !base.starts_with("postgres://") && !base.starts_with("postgresql://") {
            return Err(InvalidUrl("must start with postgres://".into()));
        }
        // What follows may be the end of a password, and must not appear in an error.
        if query.contains('@') {
            return Err(InvalidUrl(
                "has an @ after a ?: write ? as %3F in a password, and @ as %40 in a parameter"
                    .into(),
            ));
        }
        let mut ssl_mode = None;
        let mut root_certificates = None;
        let mut rest = form_urlencoded::Serializer::new(String::new());
        for (key, value) in form_urlencoded::parse(query.as_bytes()) {
            match &*key {
                "sslmode" => ssl_mode = Some(value.into_owned()),
                "sslrootcert" => root_certificates = Some(PathBuf::from(&*value)),
                "sslcert" | "sslkey" | "sslcrl" => {
                    return Err(InvalidUrl(format!("{key} is not supported")));
                }
                _ => {
                    rest.append_pair(&key, &value);
                }
            }
        }
        // The other settings are the driver's, which expects spaces as %20.
        let rest = rest.finish().replace('+', "%20");
        let mut config = tokio_postgres::Config::from_str(&format!("{base}?{rest}"))
            .map_err(|error| InvalidUrl(one_line(&error)))?;
        if config.get_hosts().is_empty() {
            return Err(InvalidUrl("names no host".into()));
        }
        let (mode, verify) = match ssl_mode.as_deref() {
            Some("disable") => (SslMode::Disable, Verify::Nothing),
            None | Some("prefer") => (SslMode::Prefer, Verify::Nothing),
            // libpq: with a root certificate, `require` means `verify-ca`.
            Some("require") if root_certificates.is_some() => (SslMode::Require, Verify::Authority),
            Some("require") => (SslMode::Require, Verify::Nothing),
            Some("verify-ca") => (SslMode::Require, Verify::Authority),
            Some("verify-full") => (SslMode::Require, Verify::Host),
            Some(other) => {
                return Err(InvalidUrl(format!(
                    "sslmode={other} is not one of disable, prefer, require, verify-ca, verify-full"
                )));
            }
        };
        config.ssl_mode(mode);
        if config.get_application_name().is_none() {
            config.application_name("chat-gateway");
        }
        Ok(Self {
            config,
            verify,
            root_certificates,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<PostgresUrl, InvalidUrl> {
        text.parse()
    }

    #[test]
    fn both_schemes_are_equivalent() {
        for scheme in ["postgres", "postgresql"] {
            let url = parse(&format!("{scheme}://ada@db.example:6432/chat")).unwrap();
            assert_eq!(url.config.get_ports(), [6432]);
            assert_eq!(url.config.get_dbname(), Some("chat"));
            assert_eq!(url.config.get_ssl_mode(), SslMode::Prefer);
        }
    }

    #[test]
    fn ssl_modes_mean_what_they_mean_in_libpq() {
        let of = |query: &str| {
            let url = parse(&format!("postgres://localhost/chat?{query}")).unwrap();
            (url.config.get_ssl_mode(), url.verify)
        };
        assert_eq!(of("sslmode=disable"), (SslMode::Disable, Verify::Nothing));
        assert_eq!(of("sslmode=require"), (SslMode::Require, Verify::Nothing));
        assert_eq!(
            of("sslmode=require&sslrootcert=/ca.pem"),
            (SslMode::Require, Verify::Authority)
        );
        assert_eq!(
            of("sslmode=verify-full&sslrootcert=%2Fmy+ca.pem"),
            (SslMode::Require, Verify::Host)
        );
    }

    #[test]
    fn other_settings_reach_the_driver() {
        let url = parse("postgres://localhost/chat?options=-c%20search_path%3Dx&sslmode=disable");
        assert_eq!(url.unwrap().config.get_options(), Some("-c search_path=x"));
    }

    #[test]
    fn an_error_states_what_is_wrong_and_not_the_password() {
        for (text, says) in [
            ("mysql://localhost/chat", "postgres://"),
            (
                "postgres://u:hunter2@localhost/chat?sslmode=maybe",
                "sslmode=maybe",
            ),
            ("postgres://u:hunter2@localhost/chat?sslcert=x", "sslcert"),
            ("postgres://u:hunter2@localhost/chat?nonsense=1", "nonsense"),
            ("postgres://u:hunter2@localhost:port/chat", "port"),
            ("postgres:///chat", "host"),
            ("postgres://u:x?hunter2@localhost/chat", "%3F"),
            (
                "postgres://localhost/chat?sslmode=x,redis://:hunter2@h",
                "%3F",
            ),
        ] {
            let error = parse(text).unwrap_err().to_string();
            assert!(error.contains(says), "{text}: {error}");
            assert!(!error.contains("hunter2"), "{error}");
        }
    }
}
