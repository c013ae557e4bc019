//! Users: their inboxes, their connections and their tokens.

use std::time::Duration;

use serde_json::{Value, json};

use super::{Api, KEYS, start};
use crate::nodes::group::Group;
use crate::revocation::issued;
use crate::support::client::Client;
use crate::support::{DEADLINE, Database, Gateway};

crate::on_each_database!(
    the_inbox_of_a_user_is_returned_in_pages,
    a_disconnected_user_may_connect_again,
    tokens_are_refused_until_their_revocation_is_lifted,
);

/// Within what time every node acts that Redis reaches.
const WITH_REDIS: Duration = Duration::from_secs(1);

fn rooms(page: &Value) -> Vec<u64> {
    let rooms = page["rooms"].as_array().unwrap().iter();
    rooms.map(|room| room["roomId"].as_u64().unwrap()).collect()
}

async fn the_inbox_of_a_user_is_returned_in_pages(database: &Database) {
    let gateway = start(database);
    let api = Api::of(&gateway);
    let empty = json!({ "rooms": [], "unreadTotal": 0 });
    assert_eq!(api.get("/users/ada/rooms").await.body(200), empty);
    for room in [1, 2, 3] {
        let member = json!({ "role": "member", "name": "Ada" });
        let path = format!("/rooms/{room}/members/ada");
        api.put(&path, &member).await.body(200);
        let message = json!({ "userId": "bot", "name": "Bot", "content": "hello" });
        let path = format!("/rooms/{room}/messages");
        api.post(&path, &message).await.body(201);
    }
    let page = api.get("/users/ada/rooms?limit=200").await.body(200);
    assert_eq!(
        (rooms(&page), &page["unreadTotal"]),
        (vec![3, 2, 1], &json!(3))
    );
    assert_eq!(page.get("next"), None);
    // What a socket sees is the same.
    let mut ada = gateway.connect("ada").await;
    let seen = ada.call("listRooms", &json!({})).await;
    assert_eq!(seen["rooms"], page["rooms"]);

    let first = api.get("/users/ada/rooms?limit=2").await.body(200);
    assert_eq!(
        (rooms(&first), &first["unreadTotal"]),
        (vec![3, 2], &json!(3))
    );
    let after = first["next"].as_str().unwrap();
    let path = format!("/users/ada/rooms?limit=2&after={after}");
    let second = api.get(&path).await.body(200);
    assert_eq!((rooms(&second), second.get("next")), (vec![1], None));

    let read = json!({ "roomId": 3, "seq": 1 });
    ada.join(3).await;
    assert_eq!(ada.call("markRead", &read).await["ok"], true);
    let unread = api.get("/users/ada/unread").await.body(200);
    assert_eq!(unread, json!({ "unreadTotal": 2 }));
    for (query, field) in [
        ("limit=0", "limit"),
        ("limit=201", "limit"),
        ("after=", "after"),
        ("after=3", "after"),
        ("after=1-01", "after"),
    ] {
        let answer = api.get(&format!("/users/ada/rooms?{query}")).await;
        assert_eq!(
            answer.error(),
            (400, "invalid_payload".to_owned()),
            "{query}"
        );
        assert_eq!(answer.field(), field, "{query}");
    }
    let long = "x".repeat(256);
    for path in ["rooms", "unread"] {
        let answer = api.get(&format!("/users/{long}/{path}")).await;
        assert_eq!(
            (answer.error().0, answer.field()),
            (400, "userId".to_owned())
        );
    }
}

/// Returns the answer to a handshake with this token.
async fn handshake(gateway: &Gateway, token: &str) -> String {
    let mut client = Client::open(gateway.address).await;
    let auth = json!({ "token": token });
    client.send_packet(&format!("40{auth}")).await;
    client.packet().await.unwrap()
}

const REVOKED: &str = r#"44{"message":"token_revoked"}"#;

async fn a_disconnected_user_may_connect_again(database: &Database) {
    let gateway = start(database);
    let api = Api::of(&gateway);
    // A path can name every user.
    let mut ending = gateway.connect("a/b").await;
    let mut staying = gateway.connect("a").await;
    let closed = api.send("POST", "/users/a%2Fb/disconnect", super::KEY, None, "");
    assert_eq!(closed.await.status, 204);
    ending.read_to_end(DEADLINE).await;
    staying.join(1).await;
    gateway.connect("a/b").await.join(1).await;
    // Without connections, there is nothing to do.
    let closed = api.send("POST", "/users/nobody/disconnect", super::KEY, None, "");
    assert_eq!(closed.await.status, 204);
}

async fn tokens_are_refused_until_their_revocation_is_lifted(database: &Database) {
    let gateway = start(database);
    let api = Api::of(&gateway);
    let path = "/users/42/revoke";
    let [old, recent] = [Some(200), Some(50)].map(|ago| issued("42", ago));
    let mut ending = Client::connect(gateway.address, &old).await;
    let mut staying = Client::connect(gateway.address, &recent).await;
    let before = crate::support::now().cast_signed() - 100;
    let before = chat_domain::Timestamp::from_unix_millis(before * 1000).to_string();
    let revoked = json!({ "issuedBefore": before });
    assert_eq!(api.post(path, &revoked).await.body(200), revoked);
    ending.read_to_end(DEADLINE).await;
    assert_eq!(handshake(&gateway, &old).await, REVOKED);
    staying.join(1).await;

    // What is revoked stays revoked.
    let less = json!({ "issuedBefore": "1970-01-01T00:00:00Z" });
    assert_eq!(api.post(path, &less).await.body(200), revoked);
    for (body, field) in [
        (
            json!({ "issuedBefore": "9999-01-01T00:00:00Z" }),
            "issuedBefore",
        ),
        (
            json!({ "issuedBefore": "1969-12-31T23:59:59Z" }),
            "issuedBefore",
        ),
        (json!({ "issuedBefore": 1_769_860_800 }), "issuedBefore"),
        (json!({ "issuedBefore": "now" }), "issuedBefore"),
        (json!([]), ""),
    ] {
        let answer = api.post(path, &body).await;
        assert_eq!(
            answer.error(),
            (400, "invalid_payload".to_owned()),
            "{body}"
        );
        assert_eq!(answer.field(), field, "{body}");
    }
    // Without a time: now. The body may be left out.
    for (content_type, body) in [
        (None, ""),
        (Some("application/json"), "null"),
        (Some("application/json"), "{}"),
        (Some("application/json"), r#"{"issuedBefore":null}"#),
    ] {
        let answer = api.send("POST", path, super::KEY, content_type, body).await;
        let now = answer.body(200)["issuedBefore"].clone();
        assert!(now.as_str().unwrap() > before.as_str(), "{now}");
    }
    let undeclared = api.send("POST", path, super::KEY, None, "{}").await;
    assert_eq!(undeclared.status, 415);
    staying.read_to_end(DEADLINE).await;
    assert_eq!(handshake(&gateway, &recent).await, REVOKED);

    for _ in 0..2 {
        assert_eq!(api.delete(path).await.status, 204);
        assert!(handshake(&gateway, &old).await.starts_with("40{"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn users_are_disconnected_and_their_tokens_refused_on_all_nodes() {
    let group = Group::start_with(2, &[KEYS]).await;
    let api = Api::of(&group.nodes[0]);
    let token = issued("42", Some(9));
    for path in ["/users/42/disconnect", "/users/42/revoke"] {
        let mut ending = Vec::new();
        for node in &group.nodes {
            ending.push(Client::connect(node.address, &token).await);
        }
        let answer = api.send("POST", path, super::KEY, None, "").await;
        assert!(matches!(answer.status, 200 | 204), "{answer:?}");
        for client in &mut ending {
            client.read_to_end(WITH_REDIS).await;
        }
    }
    for node in &group.nodes {
        assert_eq!(handshake(node, &token).await, REVOKED);
    }
    assert_eq!(api.delete("/users/42/revoke").await.status, 204);
    assert!(handshake(&group.nodes[0], &token).await.starts_with("40{"));
}
