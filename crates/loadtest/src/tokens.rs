//! The tokens of the users that connect.

use std::time::{SystemTime, UNIX_EPOCH};

use aws_lc_rs::hmac;
use serde_json::{Value, json};

/// Longer than any run.
const TOKEN_SECONDS: u64 = 24 * 60 * 60;

/// One token for each connection.
pub struct Tokens(Source);

enum Source {
    /// For the users 1, 2, 3 …, signed when a connection needs one.
    Minted(Box<Minter>),
    Listed(Vec<String>),
}

struct Minter {
    key: hmac::Key,
    issuer: Option<String>,
    audience: Option<String>,
}

impl Tokens {
    /// Mints a token for each of the users 1, 2, 3 … with this HS256 secret.
    #[must_use]
    pub fn minted(secret: &[u8], issuer: Option<String>, audience: Option<String>) -> Self {
        Self(Source::Minted(Box::new(Minter {
            key: hmac::Key::new(hmac::HMAC_SHA256, secret),
            issuer,
            audience,
        })))
    }

    /// Reads tokens from a text, one per line, with or without `Bearer `.
    ///
    /// # Errors
    /// A line is not a token, or there are fewer tokens than connections.
    pub fn listed(text: &str, connections: usize) -> Result<Self, String> {
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
                        "token {} contains a character that is not valid in a token",
                        n + 1
                    ))
                }
            })
            .collect::<Result<Vec<_>, _>>()?;
        if tokens.len() < connections {
            return Err(format!(
                "contains {} tokens, but {connections} connections need one each",
                tokens.len()
            ));
        }
        Ok(Self(Source::Listed(tokens)))
    }

    /// Returns the token of the nth connection, counted from 0.
    pub(crate) fn token(&self, connection: usize) -> String {
        match &self.0 {
            Source::Listed(tokens) => tokens.get(connection).cloned().unwrap_or_default(),
            Source::Minted(minter) => minter.mint(connection + 1),
        }
    }
}

impl Minter {
    fn mint(&self, user: usize) -> String {
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        let now = now.map_or(0, |now| now.as_secs());
        // The subject is a number because servers of the founding contract require one.
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
    fn base64url_matches_the_standard() {
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
    fn listed_tokens_are_validated_before_any_is_sent() {
        let tokens =
            Tokens::listed("a.b.c\n\n Bearer d.e.f \n", 2).unwrap_or_else(|e| panic!("{e}"));
        assert_eq!(tokens.token(1), "d.e.f");
        for (text, says) in [("a.b.c", "1 tokens"), ("a\"b\nc", "token 1")] {
            let error = Tokens::listed(text, 2).err().unwrap();
            assert!(error.contains(says), "{error}");
        }
    }
}
