//! Which web pages may use the gateway, and under which names they may address it.

use std::str::FromStr;

use ::http::header::HOST;
use ::http::request::Parts;
use ::http::{HeaderMap, HeaderValue};
use url::{Host, Url};

/// A web origin: scheme, host and port, as a browser sends it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin(String);

/// A text that is not a valid [`Origin`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("\"{0}\" is not a valid origin such as https://app.example.com")]
pub struct InvalidOrigin(String);

impl FromStr for Origin {
    type Err = InvalidOrigin;

    /// Accepts a trailing slash, but no path.
    fn from_str(text: &str) -> Result<Self, InvalidOrigin> {
        match parse_bare_url(text) {
            Some(url) => Ok(Self(url.origin().ascii_serialization())),
            None => Err(InvalidOrigin(text.to_owned())),
        }
    }
}

impl std::fmt::Display for Origin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

/// Under which names a gateway may be addressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum ServedHosts {
    /// Any name: a production gateway does not know the names that lead to it.
    #[default]
    Any,
    /// `localhost`, `127.0.0.0/8` and `[::1]`, with any port. A web page can make its
    /// own name resolve to a loopback address (DNS rebinding), but a browser still
    /// sends that name as `Host`.
    LoopbackOnly,
}

impl ServedHosts {
    /// Reports whether a request with these headers addresses the gateway by a name that
    /// it serves.
    pub(crate) fn allow(self, headers: &HeaderMap) -> bool {
        match self {
            Self::Any => true,
            Self::LoopbackOnly => is_addressed_to_loopback(headers),
        }
    }
}

/// The origins whose pages may use the gateway: the configured ones, and the gateway's
/// own.
#[derive(Debug, Clone, Default)]
pub struct AllowedOrigins {
    configured: Vec<Origin>,
    served_hosts: ServedHosts,
}

impl AllowedOrigins {
    /// Allows these origins beside the gateway's own.
    pub fn new(configured: Vec<Origin>) -> Self {
        Self {
            configured,
            served_hosts: ServedHosts::default(),
        }
    }

    /// Restricts the gateway's own origin to the names under which it may be addressed.
    #[must_use]
    pub(crate) fn with_served_hosts(self, served_hosts: ServedHosts) -> Self {
        Self {
            served_hosts,
            ..self
        }
    }

    /// Returns the configured origins, without the gateway's own.
    pub fn configured(&self) -> &[Origin] {
        &self.configured
    }

    /// Reports whether a page of this origin may make this request.
    pub(crate) fn allow(&self, origin: &HeaderValue, request: &Parts) -> bool {
        let Some(origin) = origin.to_str().ok().and_then(parse_bare_url) else {
            return false;
        };
        let serialized = origin.origin().ascii_serialization();
        self.configured.iter().any(|o| o.0 == serialized)
            || (self.served_hosts.allow(&request.headers) && is_own(&origin, &request.headers))
    }
}

/// Reports whether the origin's host and port are those that the request was sent to.
fn is_own(origin: &Url, headers: &HeaderMap) -> bool {
    // `Host` omits the scheme's default port, as the origin does.
    addressed_url(origin.scheme(), headers).is_some_and(|own| {
        own.host() == origin.host() && own.port_or_known_default() == origin.port_or_known_default()
    })
}

/// Reports whether `Host` is a loopback name.
fn is_addressed_to_loopback(headers: &HeaderMap) -> bool {
    let url = addressed_url("http", headers);
    match url.as_ref().and_then(Url::host) {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    }
}

/// Returns `Host` as a URL of this scheme.
fn addressed_url(scheme: &str, headers: &HeaderMap) -> Option<Url> {
    let host = headers.get(HOST)?.to_str().ok()?;
    parse_bare_url(&format!("{scheme}://{host}"))
}

/// Parses a URL that has a scheme, a host and perhaps a port, and nothing else.
fn parse_bare_url(text: &str) -> Option<Url> {
    let url = Url::parse(text).ok()?;
    let is_bare = matches!(url.scheme(), "http" | "https")
        && url.path() == "/"
        && url.query().is_none()
        && url.fragment().is_none()
        && url.username().is_empty()
        && url.password().is_none();
    is_bare.then_some(url)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(host: &str) -> Parts {
        let request = ::http::Request::builder().header(HOST, host);
        request.body(()).unwrap().into_parts().0
    }

    fn origins(configured: &[&str]) -> AllowedOrigins {
        AllowedOrigins::new(configured.iter().map(|o| o.parse().unwrap()).collect())
    }

    fn allows(configured: &[&str], origin: &str, host: &str) -> bool {
        origins(configured).allow(&origin.parse().unwrap(), &request(host))
    }

    #[test]
    fn configured_origins_and_the_own_origin_are_allowed() {
        let configured = ["https://app.example.com", "http://localhost:3000/"];
        let allows = |origin, host| allows(&configured, origin, host);
        assert!(allows("https://app.example.com", "chat.example.com"));
        assert!(allows("http://localhost:3000", "localhost:3001"));
        assert!(allows("http://127.0.0.1:3001", "127.0.0.1:3001"));
        assert!(allows("https://chat.example.com", "chat.example.com"));
        assert!(allows("https://chat.example.com", "Chat.Example.com:443"));
    }

    #[test]
    fn every_other_origin_is_refused() {
        let configured = ["https://app.example.com"];
        let allows = |origin, host| allows(&configured, origin, host);
        for origin in [
            "https://app.example.com.evil.com",
            "http://app.example.com",
            "https://app.example.com:8443",
            "https://evil.com",
            "null",
            "",
            "chat.example.com",
            "file://chat.example.com",
        ] {
            assert!(!allows(origin, "chat.example.com"), "{origin}");
        }
        assert!(!allows("http://127.0.0.1:3002", "127.0.0.1:3001"));
    }

    #[test]
    fn an_origin_with_a_path_a_user_or_another_scheme_is_not_valid() {
        for invalid in [
            "*",
            "",
            "app.example.com",
            "https://a/b",
            "https://u@a",
            "ws://a",
            "a:b",
        ] {
            assert!(invalid.parse::<Origin>().is_err(), "{invalid}");
        }
        let origin: Origin = "HTTPS://App.example.com:443/".parse().unwrap();
        assert_eq!(origin.to_string(), "https://app.example.com");
    }

    #[test]
    fn a_gateway_for_loopback_names_serves_no_other_host() {
        let loopback = ServedHosts::LoopbackOnly;
        let dev = origins(&["https://app.example.com"]).with_served_hosts(loopback);
        for host in [
            "localhost",
            "localhost:3001",
            "LOCALHOST:3001",
            "127.0.0.1",
            "127.0.0.1:3001",
            "127.8.9.10:80",
            "[::1]",
            "[::1]:3001",
        ] {
            assert!(loopback.allow(&request(host).headers), "{host}");
            let own = format!("http://{host}").parse().unwrap();
            assert!(dev.allow(&own, &request(host)), "{host}");
        }
        for host in [
            "",
            "evil.example.com",
            "evil.example.com:3001",
            "localhost.evil.com",
            "127.0.0.1.evil.com",
            "evil.com@localhost",
            "localhost:3001/x",
            "128.0.0.1",
            "[::2]",
            "0.0.0.0:3001",
        ] {
            assert!(!loopback.allow(&request(host).headers), "{host}");
            assert!(ServedHosts::Any.allow(&request(host).headers), "{host}");
            if let Ok(own) = format!("http://{host}").parse() {
                assert!(!dev.allow(&own, &request(host)), "{host}");
            }
        }
        // Configured origins remain allowed if the host has a loopback name.
        let app = "https://app.example.com".parse().unwrap();
        assert!(dev.allow(&app, &request("localhost:3001")));
        assert!(!loopback.allow(&HeaderMap::new()));
    }
}
