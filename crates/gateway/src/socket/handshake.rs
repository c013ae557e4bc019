//! The handshake: finding the token, and the reason that a refused client receives.

use std::convert::Infallible;
use std::sync::Arc;

use chat_domain::Identity;
use chat_domain::use_cases::ConnectError;
use http::header::AUTHORIZATION;
use http::request::Parts;
use serde::Deserialize;
use serde_json::value::RawValue;
use socketioxide::adapter::Adapter;
use socketioxide::handler::FromConnectParts;
use socketioxide::socket::Socket;
use socketioxide_core::Value;

use crate::codes::ErrorCode;
use crate::gateway::Gateway;

/// Why a client is refused; its `Display` is the wire's message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{}", self.wire().name())]
pub(crate) enum Refusal {
    TokenMissing,
    TokenInvalid,
    TokenExpired,
    TokenRevoked,
    Unavailable,
    TooManyConnections,
}

impl Refusal {
    /// All reasons, in the order of their declaration.
    pub(crate) const ALL: [Self; 6] = [
        Self::TokenMissing,
        Self::TokenInvalid,
        Self::TokenExpired,
        Self::TokenRevoked,
        Self::Unavailable,
        Self::TooManyConnections,
    ];

    /// Returns the code among those of the whole wire.
    pub(crate) fn wire(self) -> ErrorCode {
        match self {
            Self::TokenMissing => ErrorCode::TokenMissing,
            Self::TokenInvalid => ErrorCode::TokenInvalid,
            Self::TokenExpired => ErrorCode::TokenExpired,
            Self::TokenRevoked => ErrorCode::TokenRevoked,
            Self::Unavailable => ErrorCode::Unavailable,
            Self::TooManyConnections => ErrorCode::TooManyConnections,
        }
    }
}

// One that is added after the last is not forgotten.
const _: () = assert!(Refusal::ALL.len() == Refusal::TooManyConnections as usize + 1);

/// The payload of CONNECT, as it was sent.
pub(crate) struct Auth(pub(crate) Option<String>);

impl<A: Adapter> FromConnectParts<A> for Auth {
    type Error = Infallible;

    fn from_connect_parts(_: &Arc<Socket<A>>, auth: &Option<Value>) -> Result<Self, Infallible> {
        Ok(Self(match auth {
            Some(Value::Str(json, _)) => Some(json.to_string()),
            _ => None,
        }))
    }
}

/// Verifies the client's token.
pub(crate) async fn authenticate(
    gateway: &Gateway,
    auth: &Auth,
    request: &Parts,
) -> Result<Identity, Refusal> {
    let token = find_token(auth, request)?;
    match gateway.connect.execute(token.as_deref()).await {
        Ok(identity) => Ok(identity),
        Err(error) => {
            let refusal = match &error {
                ConnectError::TokenMissing => Refusal::TokenMissing,
                ConnectError::TokenInvalid(_) => Refusal::TokenInvalid,
                ConnectError::TokenExpired => Refusal::TokenExpired,
                ConnectError::TokenRevoked => Refusal::TokenRevoked,
                ConnectError::Unavailable(_) => Refusal::Unavailable,
            };
            let cause = std::error::Error::source(&error).map(ToString::to_string);
            tracing::debug!(%refusal, cause, "a token is refused");
            Err(refusal)
        }
    }
}

/// Finds the token in the first place that holds one: the `auth` object, the
/// `Authorization` header, the query. That place decides, even if its token is invalid.
pub(crate) fn find_token(auth: &Auth, request: &Parts) -> Result<Option<String>, Refusal> {
    if let Some(json) = auth
        .0
        .as_deref()
        .map(str::trim)
        .filter(|json| !json.is_empty())
        && let Some(token) = token_of_auth(json)?
    {
        return Ok(Some(token));
    }
    if let Some(header) = request.headers.get(AUTHORIZATION) {
        let header = header.to_str().map_err(|_| Refusal::TokenInvalid)?;
        return Ok(Some(header.to_owned()));
    }
    let query = request.uri.query().unwrap_or_default();
    Ok(form_urlencoded::parse(query.as_bytes())
        .find(|(key, _)| key == "token")
        .map(|(_, token)| token.into_owned()))
}

fn token_of_auth(json: &str) -> Result<Option<String>, Refusal> {
    #[derive(Deserialize)]
    struct WithToken<'a> {
        #[serde(borrow)]
        token: Option<&'a RawValue>,
    }
    // Only an object can hold a token; other JSON holds none.
    if !json.starts_with('{') {
        let is_json = serde_json::from_str::<serde::de::IgnoredAny>(json).is_ok();
        return is_json.then_some(None).ok_or(Refusal::TokenInvalid);
    }
    let auth: WithToken<'_> = serde_json::from_str(json).map_err(|_| Refusal::TokenInvalid)?;
    auth.token
        .map(|token| serde_json::from_str(token.get()).map_err(|_| Refusal::TokenInvalid))
        .transpose()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Finds the token in an `auth` payload, a header and a query.
    fn find(auth: &str, header: &str, query: &str) -> Result<Option<String>, Refusal> {
        let mut request = http::Request::builder().uri(format!("/socket.io/?EIO=4{query}"));
        if !header.is_empty() {
            request = request.header(AUTHORIZATION, header);
        }
        let (parts, ()) = request.body(()).unwrap().into_parts();
        let auth = Auth((!auth.is_empty()).then(|| auth.to_owned()));
        find_token(&auth, &parts)
    }

    fn found(token: &str) -> Result<Option<String>, Refusal> {
        Ok(Some(token.to_owned()))
    }

    #[test]
    fn the_first_place_that_holds_a_token_decides() {
        let all = (r#"{"token":"a"}"#, "Bearer h", "&token=q");
        assert_eq!(find(all.0, all.1, all.2), found("a"));
        assert_eq!(find("", all.1, all.2), found("Bearer h"));
        assert_eq!(find("", "", all.2), found("q"));
        assert_eq!(find("", "", ""), Ok(None));
    }

    #[test]
    fn null_holds_no_token_but_an_empty_string_does() {
        for none in ["", "{}", r#"{"token":null}"#, "null", "[]", "\"x\"", "7"] {
            assert_eq!(find(none, "", "&token=q"), found("q"), "{none}");
        }
        assert_eq!(find(r#"{"token":""}"#, "Bearer h", ""), found(""));
        assert_eq!(find("", "", "&token="), found(""));
    }

    #[test]
    fn a_token_that_is_not_a_string_is_invalid() {
        for wrong in [
            r#"{"token":7}"#,
            r#"{"token":["a"]}"#,
            r#"{"token":{}}"#,
            "{",
            "{token}",
        ] {
            assert_eq!(
                find(wrong, "Bearer h", "&token=q"),
                Err(Refusal::TokenInvalid),
                "{wrong}"
            );
        }
        assert_eq!(find("", "Bearer é", "&token=q"), Err(Refusal::TokenInvalid));
    }

    #[test]
    fn a_token_in_the_query_is_decoded() {
        assert_eq!(
            find("", "", "&token=Bearer%20a.b%2Bc"),
            found("Bearer a.b+c")
        );
    }
}
