//! The server that is measured, and the tokens that it lets in.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, ToSocketAddrs as _};
use std::time::{SystemTime, UNIX_EPOCH};

use aws_lc_rs::hmac;
use chat_domain::BoxError;
use serde_json::{Value, json};
use url::Url;

use crate::config::{Settings, read_jwt};

/// Longer than any run.
const TOKEN_SECONDS: u64 = 24 * 60 * 60;

/// How many connections have one source address. Linux gives out every other one of some
/// 28,000 ports, and for each of the rest looks through all of them.
const CONNECTIONS_PER_SOURCE: usize = 10_000;

pub(super) struct Target {
    pub(super) address: SocketAddr,
    /// As it stands in the request's `Host`.
    host: String,
}

impl Target {
    /// # Errors
    /// An address that cannot be used, and why.
    pub(super) fn parse(text: &str) -> Result<Self, BoxError> {
        let url: Url = text
            .parse()
            .map_err(|error| format!("--url is no URL: {error}"))?;
        match url.scheme() {
            "http" | "ws" => {}
            "https" | "wss" => {
                return Err(
                    "--url: the load test speaks no TLS: give the http address of the \
                            server itself"
                        .into(),
                );
            }
            other => return Err(format!("--url must start with http://, not {other}://").into()),
        }
        let host = url.host_str().ok_or("--url names no host")?;
        let port = url.port_or_known_default().ok_or("--url names no port")?;
        let host = format!("{host}:{port}");
        let mut addresses = host
            .to_socket_addrs()
            .map_err(|error| format!("--url: {host} cannot be found: {error}"))?;
        let address = addresses
            .next()
            .ok_or_else(|| format!("--url: {host} has no address"))?;
        Ok(Self { address, host })
    }

    /// What makes a connection a WebSocket. The key is always the same one: it guards
    /// against caches, and there are none here.
    pub(super) fn upgrade(&self) -> String {
        format!(
            "GET /socket.io/?EIO=4&transport=websocket HTTP/1.1\r\nHost: {}\r\n\
             Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
             Sec-WebSocket-Key: Y2hhdC1nYXRld2F5IGxvYQ==\r\n\r\n",
            self.host
        )
    }

    /// Where a connection comes from: one address has too few ports for very many. Only
    /// Linux has all of 127.0.0.0/8 without being told.
    pub(super) fn source(&self, connection: usize) -> Option<IpAddr> {
        let is_loopback = self.address.is_ipv4() && self.address.ip().is_loopback();
        let group = connection / CONNECTIONS_PER_SOURCE;
        if group == 0 || !is_loopback || cfg!(not(target_os = "linux")) {
            return None;
        }
        let last = u8::try_from(1 + group).ok()?;
        Some(Ipv4Addr::new(127, 0, 0, last).into())
    }
}

/// One token for each user.
pub(super) enum Tokens {
    /// Of the users 1, 2, 3 …, signed with the configured secret.
    Minted(Box<Minter>),
    /// Somebody else's.
    Listed(Vec<String>),
}

pub(super) struct Minter {
    key: hmac::Key,
    issuer: Option<String>,
    audience: Option<String>,
}

impl Tokens {
    /// # Errors
    /// All that is wrong with the settings of tokens.
    pub(super) fn minted(settings: &Settings) -> Result<Self, BoxError> {
        let options = read_jwt(settings).map_err(|error| {
            format!("{error}; or give the tokens of another server's users with --tokens-file")
        })?;
        let secret = settings.get("JWT_SECRET").unwrap_or_default();
        Ok(Self::Minted(Box::new(Minter {
            key: hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes()),
            issuer: options.issuer,
            audience: options.audience,
        })))
    }

    /// The tokens in a text, one a line.
    ///
    /// # Errors
    /// A line that is no token, or too few of them.
    pub(super) fn listed(text: &str, needed: usize) -> Result<Self, String> {
        let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
        let tokens = lines
            .enumerate()
            .map(|(n, line)| {
                let token = line.strip_prefix("Bearer ").unwrap_or(line);
                let is_token =
                    |byte: u8| byte.is_ascii_alphanumeric() || b"-._~+/=".contains(&byte);
                if token.bytes().all(is_token) {
                    Ok(token.to_owned())
                } else {
                    Err(format!(
                        "token {} holds a character that no token has",
                        n + 1
                    ))
                }
            })
            .collect::<Result<Vec<_>, _>>()?;
        if tokens.len() < needed {
            let there = tokens.len();
            return Err(format!(
                "it holds {there} tokens, and each of {needed} connections needs one"
            ));
        }
        Ok(Self::Listed(tokens))
    }

    /// The token of the nth connection, from 0 on.
    pub(super) fn token(&self, connection: usize) -> String {
        match self {
            Self::Listed(tokens) => tokens.get(connection).cloned().unwrap_or_default(),
            Self::Minted(minter) => minter.mint(connection + 1),
        }
    }
}

impl Minter {
    fn mint(&self, user: usize) -> String {
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        let now = now.map_or(0, |now| now.as_secs());
        // The subject is a number, as the founding contract's servers want it: that of the
        // command `token` is a text.
        let mut claims = json!({
            "sub": user, "name": format!("user{user}"),
            "iat": now, "exp": now + TOKEN_SECONDS,
        });
        for (claim, value) in [("iss", &self.issuer), ("aud", &self.audience)] {
            if let Some(value) = value {
                claims[claim] = Value::from(value.as_str());
            }
        }
        let header = base64url(br#"{"alg":"HS256","typ":"JWT"}"#);
        let signed = format!("{header}.{}", base64url(claims.to_string().as_bytes()));
        let signature = hmac::sign(&self.key, signed.as_bytes());
        format!("{signed}.{}", base64url(signature.as_ref()))
    }
}

/// Base 64 for URLs, without padding (RFC 4648).
fn base64url(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let mut group = [0; 4];
        group[1..=chunk.len()].copy_from_slice(chunk);
        let group = u32::from_be_bytes(group);
        for n in 0..=chunk.len() {
            let digit = group >> (18 - 6 * n) & 63;
            text.push(char::from(DIGITS[digit as usize]));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64url_is_that_of_the_standard() {
        for (bytes, text) in [
            ("", ""),
            ("f", "Zg"),
            ("fo", "Zm8"),
            ("foo", "Zm9v"),
            ("foob", "Zm9vYg"),
            ("??>~", "Pz8-fg"),
        ] {
            assert_eq!(base64url(bytes.as_bytes()), text);
        }
    }

    #[test]
    fn addresses_that_cannot_be_used_are_refused() {
        for (text, says) in [
            ("127.0.0.1:3001", "--url is no URL"),
            ("https://chat.example", "speaks no TLS"),
            ("wss://chat.example", "speaks no TLS"),
            ("ftp://chat.example", "not ftp://"),
            ("http://no such host", "--url is no URL"),
            ("http://nowhere.invalid", "cannot be found"),
        ] {
            let error = Target::parse(text).err().unwrap().to_string();
            assert!(error.contains(says), "{text}: {error}");
        }
        let target = Target::parse("http://[::1]:3001/").unwrap();
        assert!(target.upgrade().contains("\r\nHost: [::1]:3001\r\n"));
        assert_eq!(target.source(1_000_000), None);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn very_many_connections_come_from_several_addresses() {
        let target = Target::parse("http://127.0.0.1:3001").unwrap();
        let sources = [9_999, 10_000, 29_999].map(|n| target.source(n));
        let address = |last| Some(IpAddr::from([127, 0, 0, last]));
        assert_eq!(sources, [None, address(2), address(3)]);
    }

    #[test]
    fn listed_tokens_are_looked_at_before_they_are_sent() {
        let tokens =
            Tokens::listed("a.b.c\n\n Bearer d.e.f \n", 2).unwrap_or_else(|e| panic!("{e}"));
        assert_eq!(tokens.token(1), "d.e.f");
        for (text, says) in [("a.b.c", "1 tokens"), ("a\"b\nc", "token 1")] {
            let error = Tokens::listed(text, 2).err().unwrap();
            assert!(error.contains(says), "{error}");
        }
    }
}
