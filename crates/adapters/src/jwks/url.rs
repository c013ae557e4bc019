//! The address of a JWK set.

use std::fmt;
use std::str::FromStr;

use url::{Host, Url};

/// An address that keys may be fetched from: `https`, or `http` to this machine. Its
/// `Display` and `Debug` omit the query, which may contain a secret.
#[derive(Clone)]
pub struct JwksUrl(Url);

/// Why an address is not a [`JwksUrl`]. Never repeats it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidJwksUrl {
    /// It is not a URL.
    #[error("is not a valid URL such as https://issuer.example/.well-known/jwks.json")]
    Malformed,
    /// Its scheme allows others to replace the keys on their way.
    #[error("must start with https:// (http:// only to a loopback address)")]
    Insecure,
    /// It has a user or a password.
    #[error("must not contain a user or a password")]
    Credentials,
}

impl JwksUrl {
    pub(super) fn is_encrypted(&self) -> bool {
        self.0.scheme() == "https"
    }

    /// Returns the host as a name or address for a connection.
    pub(super) fn host(&self) -> String {
        match self.0.host() {
            Some(Host::Ipv6(address)) => address.to_string(),
            Some(host) => host.to_string(),
            None => String::new(),
        }
    }

    pub(super) fn port(&self) -> u16 {
        self.0.port_or_known_default().unwrap_or(443)
    }

    /// Returns the value of the `Host` header.
    pub(super) fn authority(&self) -> String {
        let host = self.0.host_str().unwrap_or_default();
        match self.0.port() {
            Some(port) => format!("{host}:{port}"),
            None => host.to_owned(),
        }
    }

    /// Returns the path and the query.
    pub(super) fn target(&self) -> String {
        match self.0.query() {
            Some(query) => format!("{}?{query}", self.0.path()),
            None => self.0.path().to_owned(),
        }
    }
}

impl FromStr for JwksUrl {
    type Err = InvalidJwksUrl;

    fn from_str(text: &str) -> Result<Self, InvalidJwksUrl> {
        let url = Url::parse(text).map_err(|_| InvalidJwksUrl::Malformed)?;
        let is_local = match url.host() {
            Some(Host::Domain(name)) => name == "localhost",
            Some(Host::Ipv4(address)) => address.is_loopback(),
            Some(Host::Ipv6(address)) => address.is_loopback(),
            None => false,
        };
        match url.scheme() {
            "https" => {}
            "http" if is_local => {}
            _ => return Err(InvalidJwksUrl::Insecure),
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(InvalidJwksUrl::Credentials);
        }
        Ok(Self(url))
    }
}

impl fmt::Display for JwksUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (scheme, path) = (self.0.scheme(), self.0.path());
        write!(f, "{scheme}://{}{path}", self.authority())
    }
}

impl fmt::Debug for JwksUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_https_is_allowed_except_to_loopback() {
        for allowed in [
            "https://issuer.example/jwks.json",
            "https://issuer.example:8443/jwks.json?tenant=7",
            "http://localhost:8080/jwks.json",
            "http://127.8.0.1/jwks.json",
            "http://[::1]:8080/jwks.json",
        ] {
            assert!(allowed.parse::<JwksUrl>().is_ok(), "{allowed}");
        }
        for (refused, why) in [
            ("http://issuer.example/jwks.json", InvalidJwksUrl::Insecure),
            (
                "http://localhost.example/jwks.json",
                InvalidJwksUrl::Insecure,
            ),
            ("http://127.0.0.1.example/", InvalidJwksUrl::Insecure),
            ("http://10.0.0.1/jwks.json", InvalidJwksUrl::Insecure),
            ("file:///etc/jwks.json", InvalidJwksUrl::Insecure),
            ("ftp://localhost/jwks.json", InvalidJwksUrl::Insecure),
            ("issuer.example/jwks.json", InvalidJwksUrl::Malformed),
            ("https://", InvalidJwksUrl::Malformed),
            (
                "https://u:hunter2@issuer.example/",
                InvalidJwksUrl::Credentials,
            ),
        ] {
            let outcome = refused.parse::<JwksUrl>();
            assert_eq!(outcome.map(|url| url.target()), Err(why), "{refused}");
        }
    }

    #[test]
    fn the_query_is_sent_but_not_shown() {
        let url = "https://issuer.example:8443/jwks?key=hunter2#x";
        let url: JwksUrl = url.parse().unwrap();
        assert_eq!(url.target(), "/jwks?key=hunter2");
        assert_eq!(url.authority(), "issuer.example:8443");
        assert_eq!(url.to_string(), "https://issuer.example:8443/jwks");
        assert_eq!(format!("{url:?}"), url.to_string());
        let ipv6: JwksUrl = "http://[::1]:8080".parse().unwrap();
        assert_eq!((ipv6.host().as_str(), ipv6.port()), ("::1", 8080));
        assert_eq!(ipv6.authority(), "[::1]:8080");
    }
}
