//! Errors of the gateway itself: the client receives an id, and the log states the cause
//! under the same id.

use serde_json::{Value, json};

use crate::support::client::Client;
use crate::support::{Database, Gateway};

crate::on_each_database!(
    a_stored_row_that_is_not_valid_is_an_internal_error_with_its_log_id,
    a_repeat_of_a_row_that_is_not_valid_fails_alone,
);

/// Requires that both the `error` event and the acknowledgement report an internal error,
/// and that the gateway has logged this cause with the id in its message. Returns the id.
async fn assert_internal(
    gateway: &mut Gateway,
    client: &mut Client,
    event: &str,
    payload: &Value,
    cause: &str,
) -> String {
    client.take_events();
    let answer = client.call(event, payload).await;
    let message = answer["error"]["message"].as_str().unwrap_or_default();
    assert_eq!(
        answer,
        json!({"ok": false,
            "error": {"code": "internal", "message": message, "retryable": false}})
    );
    let error = client.event("error").await;
    assert_eq!(error["code"], "internal", "{error}");
    assert_eq!(error["message"], message);
    assert_eq!(error["event"], event);
    assert_eq!(error["retryable"], false);
    let id = message
        .strip_prefix("internal server error, logged as ")
        .unwrap_or_else(|| panic!("{message}"));
    assert!(!message.contains(cause), "the cause is sent: {message}");

    let line = gateway.wait_for_log(|log| {
        let lines = log.lines().map(|line| serde_json::from_str(line).unwrap());
        let mut lines = lines.filter(|line: &Value| line["id"] == *id);
        let line = lines.next();
        assert!(lines.next().is_none(), "{id} is in two lines");
        line
    });
    assert_eq!(line["level"], "ERROR", "{line}");
    let logged = line["error"].as_str().unwrap_or_default();
    assert!(logged.contains(cause), "{line}");
    id.to_owned()
}

async fn a_stored_row_that_is_not_valid_is_an_internal_error_with_its_log_id(database: &Database) {
    let mut gateway = Gateway::start(database);
    let mut ada = gateway.connect("1").await;
    let mut bystander = gateway.connect("2").await;
    ada.join(1).await;
    bystander.join(1).await;
    ada.send(1, "one").await;
    database.sql("UPDATE messages SET content = '' WHERE seq = 1");

    let page = json!({"roomId": 1});
    let cause = "must not be empty or only whitespace";
    let first = assert_internal(&mut gateway, &mut ada, "listMessages", &page, cause).await;
    let second = assert_internal(&mut gateway, &mut ada, "listMessages", &page, cause).await;
    assert_ne!(first, second, "each error has an id of its own");

    // The connection stays usable, and so do the others.
    assert_eq!(ada.send(1, "two").await["message"]["seq"], 2);
    bystander.event("newMessage").await;
    assert_eq!(bystander.event("newMessage").await["content"], "two");
    let rest = json!({"roomId": 1, "afterSeq": 1});
    let rest = ada.call("listMessages", &rest).await;
    assert_eq!(rest["messages"][0]["content"], "two", "{rest}");
    // A replay that reaches the row reports it as missed, and the member goes live.
    let joined = bystander
        .call("joinRoom", &json!({"roomId": 1, "afterSeq": 0}))
        .await;
    assert_eq!(joined["missed"], json!({"from": 1, "to": 2}), "{joined}");
    ada.send(1, "three").await;
    assert_eq!(bystander.event("newMessage").await["seq"], 3);
}

/// The messages of other senders that are stored at the same time are not affected.
async fn a_repeat_of_a_row_that_is_not_valid_fails_alone(database: &Database) {
    let mut gateway = Gateway::start(database);
    let (mut ada, mut grace) = (gateway.connect("1").await, gateway.connect("2").await);
    ada.join(1).await;
    grace.join(2).await;
    let sent = json!({"roomId": 1, "content": "one", "clientMessageId": "c0ffee-1"});
    assert_eq!(ada.call("sendMessage", &sent).await["ok"], true);
    database.sql("UPDATE messages SET content = ' ' WHERE seq = 1");
    let cause = "must not be empty or only whitespace";
    assert_internal(&mut gateway, &mut ada, "sendMessage", &sent, cause).await;

    // The messages that arrive during a commit are stored together.
    let mut repeats = Vec::new();
    let mut others = Vec::new();
    for n in 0..100 {
        repeats.push(ada.start("sendMessage", &sent).await);
        let other =
            json!({"roomId": 2, "content": n.to_string(), "clientMessageId": n.to_string()});
        others.push(grace.start("sendMessage", &other).await);
    }
    for (other, seq) in others.into_iter().zip(1..) {
        let answer = grace.ack(other).await;
        assert_eq!(answer["message"]["seq"], seq, "{answer}");
    }
    for repeat in repeats {
        let answer = ada.ack(repeat).await;
        assert_eq!(answer["error"]["code"], "internal", "{answer}");
    }
    assert_eq!(ada.send(1, "two").await["message"]["seq"], 2);
    assert_eq!(
        database.sql("SELECT count(*) FROM messages WHERE room_id = 1"),
        "2"
    );
}
