//! Commands to all nodes:
//!
//! ```json
//! {"v":1,"disconnect":{"user":"42","number":1769860800500123}}
//! {"v":1,"revoke":{"user":"42","number":3,"issuedBefore":1769860800500}}
//! {"v":1,"revoke":{"user":"42","number":4}}
//! ```
//!
//! A disconnection that is not stored has no `number`. `issuedBefore` is in milliseconds since
//! 1970; without it, the revocation is lifted.

use std::borrow::Cow;

use chat_domain::ports::NodeCommand;
use chat_domain::{Disconnection, Revocation, Timestamp, UserId};
use serde::{Deserialize, Serialize};

use super::VERSION;

#[derive(Serialize, Deserialize)]
struct Command<'a> {
    v: u32,
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    disconnect: Option<Disconnect<'a>>,
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    revoke: Option<Revoke<'a>>,
}

#[derive(Serialize, Deserialize)]
struct Disconnect<'a> {
    #[serde(borrow)]
    user: Cow<'a, str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    number: Option<u64>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Revoke<'a> {
    #[serde(borrow)]
    user: Cow<'a, str>,
    number: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    issued_before: Option<i64>,
}

/// Encodes a command.
pub(in crate::redis) fn encode_command(command: &NodeCommand) -> Vec<u8> {
    let command = match command {
        NodeCommand::DisconnectUser(disconnection) => Command {
            v: VERSION,
            disconnect: Some(Disconnect {
                user: disconnection.user_id.as_str().into(),
                number: disconnection.number,
            }),
            revoke: None,
        },
        NodeCommand::RevokeTokens(revocation) => Command {
            v: VERSION,
            disconnect: None,
            revoke: Some(Revoke {
                user: revocation.user_id.as_str().into(),
                number: revocation.number,
                issued_before: revocation.issued_before.map(Timestamp::unix_millis),
            }),
        },
    };
    match serde_json::to_vec(&command) {
        Ok(json) => json,
        // Its keys are strings, and none of its parts can fail.
        Err(error) => unreachable!("a command cannot be encoded: {error}"),
    }
}

/// Reads a command; `None` if it cannot be interpreted.
pub(in crate::redis) fn parse_command(payload: &[u8]) -> Option<NodeCommand> {
    match serde_json::from_slice(payload).ok()? {
        Command {
            v: VERSION,
            disconnect: Some(Disconnect { user, number }),
            revoke: None,
        } => Some(NodeCommand::DisconnectUser(Disconnection {
            user_id: UserId::new(user).ok()?,
            number,
        })),
        Command {
            v: VERSION,
            disconnect: None,
            revoke: Some(revoked),
        } => Some(NodeCommand::RevokeTokens(Revocation {
            user_id: UserId::new(revoked.user).ok()?,
            number: revoked.number,
            issued_before: revoked.issued_before.map(Timestamp::from_unix_millis),
        })),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_format_of_commands_is_the_documented_one() {
        let user_id = UserId::new("42").unwrap();
        let disconnect = |number| {
            NodeCommand::DisconnectUser(Disconnection {
                user_id: user_id.clone(),
                number,
            })
        };
        let revoke = |issued_before: Option<i64>| {
            NodeCommand::RevokeTokens(Revocation {
                user_id: user_id.clone(),
                number: 3,
                issued_before: issued_before.map(Timestamp::from_unix_millis),
            })
        };
        for (json, command) in [
            (r#"{"v":1,"disconnect":{"user":"42"}}"#, disconnect(None)),
            (
                r#"{"v":1,"disconnect":{"user":"42","number":7}}"#,
                disconnect(Some(7)),
            ),
            (
                r#"{"v":1,"revoke":{"user":"42","number":3,"issuedBefore":1769860800500}}"#,
                revoke(Some(1_769_860_800_500)),
            ),
            (r#"{"v":1,"revoke":{"user":"42","number":3}}"#, revoke(None)),
        ] {
            assert_eq!(parse_command(json.as_bytes()), Some(command.clone()));
            assert_eq!(encode_command(&command), json.as_bytes());
            let later = json.replace("}}", r#","later":1},"later":1}"#);
            assert_eq!(parse_command(later.as_bytes()), Some(command));
        }
    }

    #[test]
    fn a_command_that_cannot_be_interpreted_is_none() {
        for json in [
            r#"{"v":2,"disconnect":{"user":"42"}}"#,
            r#"{"v":1,"revoke":{"user":"42"}}"#,
            r#"{"v":1,"revoke":{"user":"","number":1}}"#,
            r#"{"v":1,"revoke":{"user":"42","number":-1}}"#,
            r#"{"v":1,"revoke":{"user":"42","number":1,"issuedBefore":"now"}}"#,
            r#"{"v":1,"revoke":{"user":"42","number":1},"disconnect":{"user":"42"}}"#,
            r#"{"v":1,"erase":{"user":"42"}}"#,
            r#"{"v":1,"disconnect":{"user":""}}"#,
        ] {
            assert_eq!(parse_command(json.as_bytes()), None, "{json}");
        }
    }
}
