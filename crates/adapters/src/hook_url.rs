//! The addresses of the product's backend that the gateway calls.

use std::fmt;
use std::str::FromStr;

use crate::http_url::{HttpUrl, InvalidHttpUrl};

/// An address that the gateway calls: `https`, or `http` in a network that the operator trusts.
/// Its `Display` and `Debug` omit the query, which may contain a secret.
#[derive(Clone)]
pub struct HookUrl(HttpUrl);

/// Why an address is not a [`HookUrl`]. Never repeats it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidHookUrl {
    /// It is not a URL.
    #[error("is not a valid URL such as https://backend.example/chat")]
    Malformed,
    /// It has another scheme.
    #[error("must start with https:// or http://")]
    Scheme,
    /// It has a user or a password.
    #[error("must not contain a user or a password: calls are signed")]
    Credentials,
}

impl HookUrl {
    /// Returns whether others can read and change what is sent: it is neither encrypted nor for
    /// this machine.
    pub fn is_exposed(&self) -> bool {
        !self.0.is_encrypted() && !self.0.is_loopback()
    }

    pub(crate) fn into_inner(self) -> HttpUrl {
        self.0
    }
}

impl FromStr for HookUrl {
    type Err = InvalidHookUrl;

    fn from_str(text: &str) -> Result<Self, InvalidHookUrl> {
        HttpUrl::parse(text)
            .map(Self)
            .map_err(|invalid| match invalid {
                InvalidHttpUrl::Malformed => InvalidHookUrl::Malformed,
                InvalidHttpUrl::Scheme => InvalidHookUrl::Scheme,
                InvalidHttpUrl::Credentials => InvalidHookUrl::Credentials,
            })
    }
}

impl fmt::Display for HookUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl fmt::Debug for HookUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hook_is_called_over_http_without_credentials_in_its_url() {
        let url: HookUrl = "http://backend:8080/chat?key=hunter2".parse().unwrap();
        assert_eq!(url.to_string(), "http://backend:8080/chat");
        for (text, is_exposed) in [
            ("http://backend/", true),
            ("http://127.0.0.1:8080/", false),
            ("https://backend.example/", false),
        ] {
            assert_eq!(text.parse::<HookUrl>().unwrap().is_exposed(), is_exposed);
        }
        for (text, expected) in [
            ("backend.example/chat", InvalidHookUrl::Malformed),
            ("file:///etc/passwd", InvalidHookUrl::Scheme),
            ("https://u:hunter2@h/", InvalidHookUrl::Credentials),
        ] {
            assert_eq!(text.parse::<HookUrl>().err(), Some(expected), "{text}");
        }
    }
}
