//! The access hook decides about joins without membership.

mod calls;
mod failures;
mod grants;

use serde_json::{Value, json};

use crate::support::client::Client;
use crate::support::hook::{Answer, Hook};
use crate::support::{Database, Gateway, now, sign};

pub(super) const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
/// A room without rules.
pub(super) const OPEN: u64 = 1;
/// The room that [`rules::create`](crate::rules::create) creates.
pub(super) const ROOM: u64 = 7;

/// Starts a gateway that asks this hook, with these settings.
pub(super) fn start(database: &Database, hook: &Hook, settings: &[(&str, &str)]) -> Gateway {
    let url = hook.url();
    let required = [
        ("ACCESS_URL", url.as_str()),
        ("WEBHOOK_SECRET", SECRET),
        ("MAX_CONNECTIONS_PER_USER", "0"),
    ];
    Gateway::start_with(database, &[&required[..], settings].concat())
}

/// Returns an answer that lets a user join with this role, and is not kept.
pub(super) fn grants(role: &str) -> Answer {
    Answer::Json(json!({ "allow": true, "role": role, "ttlSeconds": 0 }))
}

/// Connects a user with these claims.
pub(super) async fn connect(gateway: &Gateway, claims: &Value) -> Client {
    let mut all = json!({ "exp": now() + 3600 });
    let added = claims.as_object().unwrap().clone();
    all.as_object_mut().unwrap().extend(added);
    Client::connect(gateway.address, &sign(&all)).await
}

/// Calls an event and returns `ok` or the code of its error.
pub(super) async fn code(client: &mut Client, event: &str, payload: Value) -> String {
    let answer = client.call(event, &payload).await;
    match answer["error"]["code"].as_str() {
        None => "ok".to_owned(),
        Some(code) => {
            let is_retryable = code == "unavailable";
            assert_eq!(answer["error"]["retryable"], is_retryable, "{answer}");
            code.to_owned()
        }
    }
}

/// Joins a room and returns `ok` or the code of the error.
pub(super) async fn join(client: &mut Client, room: u64) -> String {
    code(client, "joinRoom", json!({ "roomId": room })).await
}

/// Sends a message and returns `ok` or the code of the error.
pub(super) async fn send(client: &mut Client, room: u64) -> String {
    let message = json!({ "roomId": room, "content": "hello" });
    code(client, "sendMessage", message).await
}
