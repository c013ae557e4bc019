//! Addresses of HTTP servers that the gateway calls.

use std::fmt;

use url::{Host, Url};

/// An address with the scheme `https` or `http`, without a user and a password. Its `Display`
/// and `Debug` omit the query, which may contain a secret.
#[derive(Clone)]
pub(crate) struct HttpUrl(Url);

/// Why a text is not an [`HttpUrl`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum InvalidHttpUrl {
    Malformed,
    Scheme,
    Credentials,
}

impl HttpUrl {
    pub(crate) fn parse(text: &str) -> Result<Self, InvalidHttpUrl> {
        let url = Url::parse(text).map_err(|_| InvalidHttpUrl::Malformed)?;
        if !matches!(url.scheme(), "https" | "http") {
            return Err(InvalidHttpUrl::Scheme);
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(InvalidHttpUrl::Credentials);
        }
        Ok(Self(url))
    }

    pub(crate) fn is_encrypted(&self) -> bool {
        self.0.scheme() == "https"
    }

    /// Returns whether the host is this machine by its name or address.
    pub(crate) fn is_loopback(&self) -> bool {
        match self.0.host() {
            Some(Host::Domain(name)) => name == "localhost",
            Some(Host::Ipv4(address)) => address.is_loopback(),
            Some(Host::Ipv6(address)) => address.is_loopback(),
            None => false,
        }
    }

    /// Returns the host as a name or address for a connection.
    pub(crate) fn host(&self) -> String {
        match self.0.host() {
            Some(Host::Ipv6(address)) => address.to_string(),
            Some(host) => host.to_string(),
            None => String::new(),
        }
    }

    pub(crate) fn port(&self) -> u16 {
        self.0.port_or_known_default().unwrap_or(443)
    }

    /// Returns the value of the `Host` header.
    pub(crate) fn authority(&self) -> String {
        let host = self.0.host_str().unwrap_or_default();
        match self.0.port() {
            Some(port) => format!("{host}:{port}"),
            None => host.to_owned(),
        }
    }

    /// Returns the path and the query.
    pub(crate) fn target(&self) -> String {
        match self.0.query() {
            Some(query) => format!("{}?{query}", self.0.path()),
            None => self.0.path().to_owned(),
        }
    }
}

impl fmt::Display for HttpUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (scheme, path) = (self.0.scheme(), self.0.path());
        write!(f, "{scheme}://{}{path}", self.authority())
    }
}

impl fmt::Debug for HttpUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_query_is_sent_but_not_shown() {
        let url = "https://issuer.example:8443/jwks?key=hunter2#x";
        let url = HttpUrl::parse(url).unwrap();
        assert_eq!(url.target(), "/jwks?key=hunter2");
        assert_eq!(url.authority(), "issuer.example:8443");
        assert_eq!(url.to_string(), "https://issuer.example:8443/jwks");
        assert_eq!(format!("{url:?}"), url.to_string());
        let ipv6 = HttpUrl::parse("http://[::1]:8080").unwrap();
        assert_eq!((ipv6.host().as_str(), ipv6.port()), ("::1", 8080));
        assert_eq!(ipv6.authority(), "[::1]:8080");
    }
}
