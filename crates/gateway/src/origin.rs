//! Which web pages may talk to the gateway.

use std::str::FromStr;

use ::http::HeaderValue;
use ::http::header::HOST;
use ::http::request::Parts;

/// A web origin: scheme, host and port, as a browser sends it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin(String);

/// A text that is no [`Origin`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("\"{0}\", which is no origin like https://app.example.com")]
pub struct InvalidOrigin(String);

impl FromStr for Origin {
    type Err = InvalidOrigin;

    /// A trailing slash is allowed, a path is not.
    fn from_str(text: &str) -> Result<Self, InvalidOrigin> {
        let invalid = || InvalidOrigin(text.to_owned());
        let url = url::Url::parse(text).map_err(|_| invalid())?;
        let is_bare = matches!(url.scheme(), "http" | "https")
            && url.path() == "/"
            && url.query().is_none()
            && url.fragment().is_none()
            && url.username().is_empty()
            && url.password().is_none();
        if !is_bare {
            return Err(invalid());
        }
        Ok(Self(url.origin().ascii_serialization()))
    }
}

impl std::fmt::Display for Origin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

/// The origins that may: the configured ones, and the gateway's own.
#[derive(Debug, Clone, Default)]
pub struct AllowedOrigins(pub Vec<Origin>);

impl AllowedOrigins {
    /// Whether a page of this origin may make this request.
    pub(crate) fn allow(&self, origin: &HeaderValue, request: &Parts) -> bool {
        let Ok(origin) = origin.to_str() else {
            return false;
        };
        let Ok(url) = url::Url::parse(origin) else {
            return false;
        };
        let normal = url.origin().ascii_serialization();
        self.0.iter().any(|allowed| allowed.0 == normal) || is_own(&url, request)
    }
}

/// Whether the origin's host and port are those that the request was sent to.
fn is_own(origin: &url::Url, request: &Parts) -> bool {
    let Some(host) = request
        .headers
        .get(HOST)
        .and_then(|host| host.to_str().ok())
    else {
        return false;
    };
    // `Host` leaves out the scheme's default port, as the origin does.
    let Ok(own) = url::Url::parse(&format!("{}://{host}", origin.scheme())) else {
        return false;
    };
    matches!(origin.scheme(), "http" | "https")
        && own.host() == origin.host()
        && own.port_or_known_default() == origin.port_or_known_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allows(configured: &[&str], origin: &str, host: &str) -> bool {
        let request = ::http::Request::builder()
            .header(HOST, host)
            .body(())
            .unwrap();
        let origins = AllowedOrigins(configured.iter().map(|o| o.parse().unwrap()).collect());
        origins.allow(&origin.parse().unwrap(), &request.into_parts().0)
    }

    #[test]
    fn configured_origins_and_the_own_one_are_allowed() {
        let configured = ["https://app.example.com", "http://localhost:3000/"];
        let allows = |origin, host| allows(&configured, origin, host);
        assert!(allows("https://app.example.com", "chat.example.com"));
        assert!(allows("http://localhost:3000", "localhost:3001"));
        assert!(allows("http://127.0.0.1:3001", "127.0.0.1:3001"));
        assert!(allows("https://chat.example.com", "chat.example.com"));
        assert!(allows("https://chat.example.com", "Chat.Example.com:443"));
    }

    #[test]
    fn every_other_origin_is_not() {
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
    fn an_origin_is_bare() {
        for wrong in [
            "*",
            "",
            "app.example.com",
            "https://a/b",
            "https://u@a",
            "ws://a",
            "a:b",
        ] {
            assert!(wrong.parse::<Origin>().is_err(), "{wrong}");
        }
        let origin: Origin = "HTTPS://App.example.com:443/".parse().unwrap();
        assert_eq!(origin.to_string(), "https://app.example.com");
    }
}
