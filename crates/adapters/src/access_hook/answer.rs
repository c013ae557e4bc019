//! What the product answers.

use std::time::Duration;

use chat_domain::{BoxError, Role};
use serde::Deserialize;
use serde_json::Value;

const DEFAULT_TTL: Duration = Duration::from_secs(30);
const MAX_TTL: Duration = Duration::from_secs(3600);

/// A valid answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Answer {
    /// The granted role; `None`: the user may not join.
    pub(super) role: Option<Role>,
    /// For how long it may be given again.
    pub(super) ttl: Duration,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Body {
    allow: bool,
    role: Option<String>,
    ttl_seconds: Option<u64>,
}

impl Answer {
    /// Reads `{ "allow": bool, "role"?, "ttlSeconds"? }`. Unknown keys are ignored.
    pub(super) fn parse(body: &[u8]) -> Result<Self, BoxError> {
        // An array of the values, in their order, would be one to serde, which also passes over
        // what is not Unicode in unknown keys.
        if !serde_json::from_slice::<Value>(body)?.is_object() {
            return Err("the response is not a JSON object".into());
        }
        let body: Body = serde_json::from_slice(body)?;
        let role = match body.role.as_deref() {
            None => Role::Member,
            Some(name) => Role::from_name(name)
                .ok_or("role is not one of reader, member, moderator and owner")?,
        };
        let ttl = body.ttl_seconds.map(Duration::from_secs);
        Ok(Self {
            role: body.allow.then_some(role),
            ttl: ttl.unwrap_or(DEFAULT_TTL).min(MAX_TTL),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_has_defaults_and_limits() {
        for (body, role, seconds) in [
            (r#"{"allow":true}"#, Some(Role::Member), 30),
            (r#" {"allow":true,"role":"owner"}"#, Some(Role::Owner), 30),
            (
                r#"{"allow":true,"role":null,"x":1}"#,
                Some(Role::Member),
                30,
            ),
            (r#"{"allow":true,"ttlSeconds":0}"#, Some(Role::Member), 0),
            (r#"{"allow":false,"ttlSeconds":3600}"#, None, 3600),
            (r#"{"allow":false,"ttlSeconds":3601}"#, None, 3600),
            (r#"{"allow":false,"role":"member"}"#, None, 30),
        ] {
            let answer = Answer::parse(body.as_bytes()).unwrap();
            let ttl = Duration::from_secs(seconds);
            assert_eq!(answer, Answer { role, ttl }, "{body}");
        }
    }

    #[test]
    fn what_is_not_an_answer_admits_no_user() {
        for body in [
            "",
            "true",
            "null",
            "[true]",
            "{}",
            r#"{"allow":"true"}"#,
            r#"{"allow":1}"#,
            r#"{"allow":null}"#,
            r#"{"allow":true,"allow":false}"#,
            r#"{"allow":true,"role":"admin"}"#,
            r#"{"allow":true,"role":"Owner"}"#,
            r#"{"allow":true,"role":7}"#,
            r#"{"allow":true,"ttlSeconds":-1}"#,
            r#"{"allow":true,"ttlSeconds":1.5}"#,
            r#"{"allow":true,"ttlSeconds":"30"}"#,
            r#"{"allow":true} x"#,
            "<html>",
        ] {
            assert!(Answer::parse(body.as_bytes()).is_err(), "{body}");
        }
        assert!(Answer::parse(b"{\"allow\":true,\"\xa4\":0}").is_err());
    }
}
