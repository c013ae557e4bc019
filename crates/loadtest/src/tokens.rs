//! The tokens of the users that connect.

use std::time::{SystemTime, UNIX_EPOCH};

use chat_adapters::jwt::Secret;
use serde::Serialize;

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
    secret: Secret,
    issuer: Option<String>,
    audience: Option<String>,
}

/// The subject is a number, unlike in the tokens of the command `token`, because servers
/// of the founding contract require one.
#[derive(Serialize)]
struct Claims<'a> {
    sub: usize,
    name: String,
    iat: u64,
    exp: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    iss: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    aud: Option<&'a str>,
}

impl Tokens {
    /// Mints a token for each of the users 1, 2, 3 … with this HS256 secret.
    #[must_use]
    pub fn minted(secret: Secret, issuer: Option<String>, audience: Option<String>) -> Self {
        Self(Source::Minted(Box::new(Minter {
            secret,
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
    ///
    /// # Errors
    /// The token could not be signed.
    pub(crate) fn token(&self, connection: usize) -> Result<String, String> {
        match &self.0 {
            Source::Listed(tokens) => Ok(tokens.get(connection).cloned().unwrap_or_default()),
            Source::Minted(minter) => minter.mint(connection + 1),
        }
    }
}

impl Minter {
    fn mint(&self, user: usize) -> Result<String, String> {
        let token = self.secret.sign(&self.claims(user));
        token.map_err(|error| format!("the token of user {user} could not be signed: {error}"))
    }

    fn claims(&self, user: usize) -> Claims<'_> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        let now = now.map_or(0, |now| now.as_secs());
        Claims {
            sub: user,
            name: format!("user{user}"),
            iat: now,
            exp: now + TOKEN_SECONDS,
            iss: self.issuer.as_deref(),
            aud: self.audience.as_deref(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use chat_adapters::jwt::{JwtAuthenticator, JwtOptions, KeySource};
    use chat_domain::ports::Authenticator as _;

    use super::*;

    fn minter() -> Minter {
        Minter {
            secret: Secret::new(*b"0123456789abcdef0123456789abcdef").unwrap(),
            issuer: Some("shop".to_owned()),
            audience: Some("chat".to_owned()),
        }
    }

    #[test]
    fn the_subject_of_a_minted_token_is_a_number() {
        let claims = serde_json::to_value(minter().claims(7)).unwrap();
        assert_eq!(claims["sub"], 7);
    }

    #[pollster::test]
    async fn a_minted_token_is_accepted_by_the_gateways_authenticator() {
        let minter = minter();
        let authenticator = JwtAuthenticator::new(&JwtOptions {
            keys: KeySource::Secrets {
                current: minter.secret.clone(),
                previous: None,
            },
            issuer: minter.issuer.clone(),
            audience: minter.audience.clone(),
            leeway: Duration::ZERO,
        })
        .unwrap();
        let tokens = Tokens(Source::Minted(Box::new(minter)));
        let token = tokens.token(6).unwrap();
        let identity = authenticator.authenticate(&token).await.unwrap();
        assert_eq!(identity.user.id.as_str(), "7");
    }

    #[test]
    fn listed_tokens_are_validated_before_any_is_sent() {
        let tokens =
            Tokens::listed("a.b.c\n\n Bearer d.e.f \n", 2).unwrap_or_else(|e| panic!("{e}"));
        assert_eq!(tokens.token(1).unwrap(), "d.e.f");
        for (text, says) in [("a.b.c", "1 tokens"), ("a\"b\nc", "token 1")] {
            let error = Tokens::listed(text, 2).err().unwrap();
            assert!(error.contains(says), "{error}");
        }
    }
}
