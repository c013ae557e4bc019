//! What a token whose signature is valid states.

use std::collections::BTreeSet;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chat_domain::{DisplayName, Identity, RoomAccess, RoomId, Timestamp, User, UserId, Visibility};
use serde::Deserialize;
use serde_json::Value;

/// The claims that matter here. A claim that occurs twice makes the token invalid.
#[derive(Deserialize)]
pub(super) struct Claims {
    sub: Option<Value>,
    exp: f64,
    iat: Option<Value>,
    iss: Option<Value>,
    name: Option<Value>,
    username: Option<Value>,
    preferred_username: Option<Value>,
    rooms: Option<Value>,
    invisible: Option<Value>,
}

impl Claims {
    /// Returns the identity that the claims state `now`. With `issuer`, `iss` must be that.
    ///
    /// `iat` matters only to the revocation of tokens, and is not required to be valid: one that
    /// is not a number, or that lies in the future by more than the leeway, counts as none. Such a
    /// token would otherwise escape a revocation.
    ///
    /// # Errors
    /// What is wrong with a claim.
    pub(super) fn identity(
        self,
        issuer: Option<&str>,
        leeway: Duration,
        now: Timestamp,
    ) -> Result<Identity, &'static str> {
        if let Some(issuer) = issuer
            && self.iss.as_ref().and_then(Value::as_str) != Some(issuer)
        {
            return Err("iss is not the configured issuer");
        }
        let subject = match self.sub {
            Some(Value::String(subject)) => subject,
            Some(Value::Number(number)) if number.is_i64() || number.is_u64() => number.to_string(),
            Some(_) => return Err("sub is neither a string nor an integer"),
            None => return Err("sub is missing"),
        };
        let name = [self.name, self.username, self.preferred_username]
            .into_iter()
            .find_map(|claim| match claim {
                Some(Value::String(name)) if !name.trim().is_empty() => Some(name),
                _ => None,
            });
        let user = User {
            name: DisplayName::from_text(name.as_deref().unwrap_or(&subject)),
            id: UserId::new(subject).map_err(|_| "sub is empty, too long or contains NUL")?,
        };
        let rooms = match self.rooms {
            None | Some(Value::Null) => RoomAccess::All,
            Some(Value::Array(rooms)) => RoomAccess::Only(
                rooms
                    .iter()
                    // An integer that is not a valid room number admits to no room.
                    .filter_map(|room| match room {
                        Value::Number(n) if n.is_i64() || n.is_u64() => {
                            Some(Ok(n.as_u64().and_then(|n| RoomId::new(n).ok())?))
                        }
                        _ => Some(Err("rooms contains a value that is not an integer")),
                    })
                    .collect::<Result<BTreeSet<_>, _>>()?,
            ),
            Some(_) => return Err("rooms is not an array of integers"),
        };
        let visibility = match self.invisible {
            None | Some(Value::Null | Value::Bool(false)) => Visibility::Visible,
            Some(Value::Bool(true)) => Visibility::Invisible,
            // A product that wants to hide a user must not be misunderstood.
            Some(_) => return Err("invisible is not a boolean"),
        };
        let issued_at = self.iat.as_ref().and_then(Value::as_f64).map(at);
        let latest = now.unix_millis().saturating_add(millis(leeway));
        Ok(Identity {
            user,
            rooms,
            visibility,
            issued_at: issued_at.filter(|issued_at| issued_at.unix_millis() <= latest),
            expires_at: at(self.exp),
            valid_until: at(self.exp + leeway.as_secs_f64()),
            grants: None,
        })
    }
}

/// Returns all claims of a token that was verified, as it states them.
///
/// # Errors
/// They are not an object.
pub(super) fn json(token: &str) -> Result<String, &'static str> {
    let payload = token.split('.').nth(1).unwrap_or_default();
    let json = URL_SAFE_NO_PAD.decode(payload).ok();
    let json = json.and_then(|json| String::from_utf8(json).ok());
    json.filter(|json| json.trim_ascii_start().starts_with('{'))
        .ok_or("the claims are not a JSON object")
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

/// RFC 7519, section 2: a date may have a fraction.
fn at(numeric_date: f64) -> Timestamp {
    // `as` saturates.
    Timestamp::from_unix_millis((numeric_date * 1000.0) as i64)
}
