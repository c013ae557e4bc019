//! Members who have not read.

use std::time::Duration;

use serde_json::{Value, json};

use super::start;
use crate::api::{Api, KEYS};
use crate::nodes::group::Group;
use crate::support::client::Client;
use crate::support::receiver::{Behaviour, Call, Receiver, WEBHOOK_SECRET};
use crate::support::{Database, Gateway};

crate::on_each_database!(
    members_who_have_not_read_are_reported_and_no_others,
    a_killed_gateway_still_reports_what_was_stored,
    a_call_that_a_killed_gateway_repeats_has_the_same_id,
);

const UNREAD: (&str, &str) = ("WEBHOOK_EVENTS", "messages.unread");
const SOON: (&str, &str) = ("NOTIFY_AFTER", "1");
/// Later than a gateway takes to be killed and to start.
const LATER: (&str, &str) = ("NOTIFY_AFTER", "4");

/// Makes these users members of room 1.
async fn add(gateway: &Gateway, users: &[&str]) {
    let members = users
        .iter()
        .map(|id| json!({"userId": id, "role": "member"}));
    let members: Vec<Value> = members.collect();
    let body = json!({ "members": members });
    let api = Api(gateway.address);
    api.post("/rooms/1/members", &body).await.body(200);
}

async fn joined(gateway: &Gateway, user: &str) -> Client {
    let mut client = gateway.connect(user).await;
    client.join(1).await;
    client
}

fn data(call: &Call) -> Value {
    assert_eq!(call.kind(), "messages.unread");
    call.body["data"].clone()
}

async fn members_who_have_not_read_are_reported_and_no_others(database: &Database) {
    let receiver = Receiver::start().await;
    let gateway = start(database, &receiver, &[UNREAD, SOON]);
    add(
        &gateway,
        &["ada", "away", "reader", "muted", "banned", "called"],
    )
    .await;
    let mut ada = joined(&gateway, "ada").await;
    let mut reader = joined(&gateway, "reader").await;
    for (user, notify) in [("muted", "none"), ("called", "mentions")] {
        let mut client = joined(&gateway, user).await;
        let payload = json!({"roomId": 1, "notify": notify});
        assert_eq!(client.call("setNotify", &payload).await["ok"], true);
    }
    let mentions = json!({"roomId": 1, "content": "hello", "mentions": ["called", "muted"]});
    assert_eq!(ada.call("sendMessage", &mentions).await["ok"], true);
    reader
        .call("markRead", &json!({"roomId": 1, "seq": 1}))
        .await;
    Api(gateway.address)
        .put("/rooms/1/bans/banned", &json!({}))
        .await;
    receiver.until_taken(1).await;
    let first = receiver.taken().remove(0);
    let expected = json!({
        "roomId": 1, "seq": 1, "userIds": ["away", "called"], "mentioned": ["called"],
    });
    assert_eq!(data(&first), expected);
    assert!(first.body["timestamp"].is_string());

    // No message mentions a member now.
    ada.send(1, "hello again").await;
    receiver.until_taken(2).await;
    let expected = json!({
        "roomId": 1, "seq": 2, "userIds": ["away", "reader"], "mentioned": [],
    });
    assert_eq!(data(&receiver.taken()[1]), expected);
    assert_eq!(receiver.calls().len(), 2);
}

async fn a_killed_gateway_still_reports_what_was_stored(database: &Database) {
    let receiver = Receiver::start().await;
    let mut gateway = start(database, &receiver, &[UNREAD, LATER]);
    add(&gateway, &["ada", "away"]).await;
    joined(&gateway, "ada").await.send(1, "hello").await;
    gateway.signal("KILL");
    gateway.wait();
    assert_eq!(receiver.calls().len(), 0);
    let _gateway = start(database, &receiver, &[UNREAD, LATER]);
    receiver.until_taken(1).await;
    let expected = json!({"roomId": 1, "seq": 1, "userIds": ["away"], "mentioned": []});
    assert_eq!(data(&receiver.calls()[0]), expected);
}

async fn a_call_that_a_killed_gateway_repeats_has_the_same_id(database: &Database) {
    let receiver = Receiver::start().await;
    receiver.behave(|_| Behaviour::Hang);
    let mut gateway = start(database, &receiver, &[UNREAD, SOON]);
    add(&gateway, &["ada", "away", "reader"]).await;
    joined(&gateway, "ada").await.send(1, "hello").await;
    let called = |receiver: &Receiver| !receiver.calls().is_empty();
    receiver.until(Duration::from_secs(20), called).await;
    gateway.signal("KILL");
    gateway.wait();
    receiver.behave(|_| Behaviour::Status(204));
    let _gateway = start(database, &receiver, &[UNREAD, SOON]);
    receiver.until_taken(1).await;
    let calls = receiver.calls();
    let ids: Vec<&str> = calls.iter().map(|call| &*call.id).collect();
    assert_eq!(ids, [ids[0]; 2]);
    assert_eq!(data(&calls[0]), data(&calls[1]));
}

#[tokio::test(flavor = "multi_thread")]
async fn one_of_two_nodes_reports_what_the_other_one_stored_before_it_was_killed() {
    let receiver = Receiver::start().await;
    let url = receiver.url();
    let settings = [
        ("WEBHOOK_URL", url.as_str()),
        ("WEBHOOK_SECRET", WEBHOOK_SECRET),
        UNREAD,
        LATER,
        KEYS,
    ];
    let mut group = Group::start_with(2, &settings).await;
    add(&group.nodes[0], &["ada", "away", "reader"]).await;
    let mut reader = joined(&group.nodes[1], "reader").await;
    joined(&group.nodes[0], "ada").await.send(1, "hello").await;
    reader.event("newMessage").await;
    reader
        .call("markRead", &json!({"roomId": 1, "seq": 1}))
        .await;
    group.nodes[0].signal("KILL");
    group.nodes[0].wait();
    receiver.until_taken(1).await;
    let expected = json!({"roomId": 1, "seq": 1, "userIds": ["away"], "mentioned": []});
    assert_eq!(data(&receiver.calls()[0]), expected);
    reader.send(1, "hello").await;
    receiver.until_taken(2).await;
    let expected = json!({"roomId": 1, "seq": 2, "userIds": ["ada", "away"], "mentioned": []});
    let calls = receiver.calls();
    assert_eq!((calls.len(), data(&calls[1])), (2, expected));
}
