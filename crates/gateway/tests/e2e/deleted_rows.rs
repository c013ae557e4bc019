//! Messages whose rows an operator has deleted.

use serde_json::json;

use crate::support::{Database, Gateway};

crate::on_each_database!(a_client_message_id_is_free_again_once_its_message_is_deleted);

async fn a_client_message_id_is_free_again_once_its_message_is_deleted(database: &Database) {
    let gateway = Gateway::start(database);
    let (mut ada, mut grace) = (gateway.connect("1").await, gateway.connect("2").await);
    ada.join(1).await;
    grace.join(1).await;
    grace.event("joinedRoom").await;
    let sent = json!({"roomId": 1, "content": "x", "clientMessageId": "c0ffee-1"});
    let first = ada.call("sendMessage", &sent).await;
    assert_eq!(first["message"]["seq"], 1);
    // A repeat makes the gateway look ids up before it stores what comes next.
    assert_eq!(ada.call("sendMessage", &sent).await, first);
    database.sql("DELETE FROM messages WHERE seq = 1");

    let again = ada.call("sendMessage", &sent).await;
    assert_eq!(again["message"]["seq"], 2, "{again}");
    assert_ne!(again["message"]["id"], first["message"]["id"]);
    assert_eq!(
        ada.call("sendMessage", &sent).await,
        again,
        "a repeat of the new message"
    );
    // Other content under the id is possible again, too.
    database.sql("DELETE FROM messages WHERE seq = 2");
    let other = json!({"roomId": 1, "content": "y", "clientMessageId": "c0ffee-1"});
    let other = ada.call("sendMessage", &other).await;
    assert_eq!(other["message"]["seq"], 3, "{other}");

    // Each stored message was broadcast, and once.
    let barrier = ada.send(1, "barrier").await;
    for message in [&first, &again, &other, &barrier] {
        let (name, payload) = grace.any_event().await;
        assert_eq!(
            (name.as_str(), &payload),
            ("newMessage", &message["message"])
        );
    }
    let rows = database.sql("SELECT seq, content FROM messages ORDER BY seq");
    assert_eq!(rows, "3|y\n4|barrier");
}
