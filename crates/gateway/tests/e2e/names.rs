//! The authors' names: that of the token in a live message, and the latest stored one in
//! what is read from the database.

use serde_json::{Value, json};

use crate::support::client::Client;
use crate::support::{Database, Gateway, token};

crate::on_each_database!(a_renamed_author_has_the_tokens_name_live_and_the_latest_one_in_the_log);

fn name(message: &Value) -> &str {
    message["user"]["name"].as_str().unwrap()
}

/// Requires that history, a replay and a repeat's answer all show this name.
async fn assert_log_shows(gateway: &Gateway, latest: &str, author: &mut Client, sent: &Value) {
    let mut reader = gateway.connect("reader").await;
    let join = json!({"roomId": 1, "afterSeq": 0});
    let newest = reader.call("joinRoom", &join).await["seq"]
        .as_u64()
        .unwrap();
    let replayed = reader.take_events();
    let replayed = replayed.iter().filter(|(name, _)| name == "newMessage");
    let replayed: Vec<_> = replayed.map(|(_, message)| name(message)).collect();
    assert_eq!(replayed, vec![latest; newest as usize], "in the replay");
    for bounds in [
        json!({}),
        json!({"afterSeq": 0}),
        json!({"beforeSeq": newest + 1}),
    ] {
        let mut request = bounds;
        request["roomId"] = json!(1);
        let page = reader.call("listMessages", &request).await;
        let messages = page["messages"].as_array().unwrap();
        let names: Vec<_> = messages.iter().map(name).collect();
        assert_eq!(names, vec![latest; newest as usize], "in {request}");
    }
    let repeat = author.call("sendMessage", sent).await;
    assert_eq!(
        (&repeat["message"]["seq"], name(&repeat["message"])),
        (&json!(1), latest)
    );
}

async fn a_renamed_author_has_the_tokens_name_live_and_the_latest_one_in_the_log(
    database: &Database,
) {
    let gateway = Gateway::start(database);
    let mut member = gateway.connect("member").await;
    member.join(1).await;
    let mut ada = Client::connect(gateway.address, &token("1", "Ada")).await;
    ada.join(1).await;
    let sent = json!({"roomId": 1, "content": "x", "clientMessageId": "first"});
    let first = ada.call("sendMessage", &sent).await;
    assert_eq!(name(&first["message"]), "Ada");
    assert_eq!(name(&member.event("newMessage").await), "Ada");

    // A token with another name changes nothing until it sends a message, and a repeat is
    // not one.
    let mut countess = Client::connect(gateway.address, &token("1", "Countess")).await;
    countess.join(1).await;
    assert_log_shows(&gateway, "Ada", &mut countess, &sent).await;

    let second = countess.send(1, "y").await;
    assert_eq!(name(&second["message"]), "Countess");
    assert_eq!(name(&member.event("newMessage").await), "Countess");
    assert_log_shows(&gateway, "Countess", &mut ada, &sent).await;

    // The older connection still has its own token.
    let third = ada.send(1, "z").await;
    assert_eq!(name(&third["message"]), "Ada");
    assert_eq!(name(&member.event("newMessage").await), "Ada");
    assert_log_shows(&gateway, "Ada", &mut countess, &sent).await;
    assert_eq!(database.sql("SELECT name FROM users WHERE id = '1'"), "Ada");
}
