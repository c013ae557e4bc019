//! The address of a JWK set.

use std::fmt;
use std::str::FromStr;

use crate::http_url::{HttpUrl, InvalidHttpUrl};

/// An address that keys may be fetched from: `https`, or `http` to this machine. Its
/// `Display` and `Debug` omit the query, which may contain a secret.
#[derive(Clone)]
pub struct JwksUrl(HttpUrl);

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
    pub(super) fn into_inner(self) -> HttpUrl {
        self.0
    }
}

impl FromStr for JwksUrl {
    type Err = InvalidJwksUrl;

    fn from_str(text: &str) -> Result<Self, InvalidJwksUrl> {
        let url = HttpUrl::parse(text).map_err(|invalid| match invalid {
            InvalidHttpUrl::Malformed => InvalidJwksUrl::Malformed,
            InvalidHttpUrl::Scheme => InvalidJwksUrl::Insecure,
            InvalidHttpUrl::Credentials => InvalidJwksUrl::Credentials,
        })?;
        match url.is_encrypted() || url.is_loopback() {
            true => Ok(Self(url)),
            false => Err(InvalidJwksUrl::Insecure),
        }
    }
}

impl fmt::Display for JwksUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl fmt::Debug for JwksUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
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
            assert_eq!(outcome.map(|url| url.to_string()), Err(why), "{refused}");
        }
    }
}
