//! The inbox: which rooms it lists, in which order, and what is unread there.

use serde_json::{Value, json};

use crate::support::client::Client;
use crate::support::{Database, Gateway, command, now, sign};

crate::on_each_database!(
    the_inbox_lists_rooms_with_what_is_unread,
    the_pages_of_an_inbox_are_connected,
    a_page_of_large_summaries_ends_early,
    a_room_outside_of_the_tokens_claim_is_neither_listed_nor_counted,
    notify_is_set_by_members_only,
);

/// Runs a command of the operator's about a room.
pub(crate) fn operate(database: &Database, room: u64, command_and_rest: &[&str]) {
    let (name, arguments) = command_and_rest.split_first().unwrap();
    let mut command = command(name);
    command.env("DATABASE_URL", database.url()).args(arguments);
    let done = command
        .args(["--room", &room.to_string()])
        .output()
        .unwrap();
    let error = String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success(), "{command_and_rest:?}: {error}");
}

pub(crate) fn create(database: &Database, room: u64, kind: &str, members: &[&str]) {
    operate(database, room, &["room", "create", "--kind", kind]);
    for user in members {
        let role = ["--user", user, "--role", "member"];
        operate(database, room, &[&["member", "add"], &role[..]].concat());
    }
}

async fn list(client: &mut Client, payload: Value) -> Value {
    let page = client.call("listRooms", &payload).await;
    assert_eq!(page["ok"], true, "{page}");
    page
}

fn rooms(page: &Value) -> Vec<u64> {
    let rooms = page["rooms"].as_array().unwrap().iter();
    rooms.map(|room| room["roomId"].as_u64().unwrap()).collect()
}

async fn code(client: &mut Client, event: &str, payload: Value) -> Value {
    let answer = client.call(event, &payload).await;
    client.take_events();
    answer["error"]["code"].clone()
}

async fn the_inbox_lists_rooms_with_what_is_unread(database: &Database) {
    let gateway = Gateway::start(database);
    for room in [1, 2] {
        create(database, room, "private", &["ada", "bob"]);
    }
    create(database, 3, "open", &["ada"]);
    let mut ada = gateway.connect("ada").await;
    let mut bob = gateway.connect("bob").await;
    let mut eve = gateway.connect("eve").await;
    assert_eq!(
        list(&mut eve, json!({})).await,
        json!({"ok": true, "rooms": [], "unreadTotal": 0})
    );
    let empty = list(&mut ada, json!({})).await;
    assert_eq!(rooms(&empty), [3, 2, 1]);
    assert_eq!(
        empty["rooms"][0],
        json!({
            "roomId": 3, "kind": "open", "name": null, "metadata": {}, "role": "member",
            "notify": "all", "seq": 0, "rev": 0, "readSeq": 0, "unread": 0, "mentions": 0
        })
    );
    bob.join(1).await;
    bob.join(2).await;
    eve.join(3).await;
    for (sender, room) in [(&mut bob, 2), (&mut eve, 3)] {
        assert_eq!(sender.send(room, "hello").await["ok"], true);
    }
    for content in ["one", "two"] {
        assert_eq!(bob.send(1, content).await["ok"], true);
    }
    let page = list(&mut ada, json!({})).await;
    assert_eq!(
        (rooms(&page), &page["unreadTotal"]),
        (vec![1, 3, 2], &json!(4))
    );
    let summary = &page["rooms"][0];
    assert_eq!(
        (&summary["seq"], &summary["unread"]),
        (&json!(2), &json!(2))
    );
    // As in a page of history.
    ada.join(1).await;
    let history = ada.call("listMessages", &json!({"roomId": 1})).await;
    assert_eq!(summary["lastMessage"], history["messages"][1]);
    let read = json!({"roomId": 1, "seq": 1});
    assert_eq!(ada.call("markRead", &read).await["ok"], true);
    let page = list(&mut ada, json!({})).await;
    assert_eq!(
        (&page["rooms"][0]["readSeq"], &page["unreadTotal"]),
        (&json!(1), &json!(3))
    );
    // What an author has written is not unread to it, and an open room without membership is
    // not in an inbox.
    let page = list(&mut bob, json!({})).await;
    assert_eq!(
        (rooms(&page), &page["unreadTotal"]),
        (vec![1, 2], &json!(0))
    );
    assert_eq!(list(&mut eve, json!({})).await["rooms"], json!([]));
    operate(database, 1, &["member", "remove", "--user", "ada"]);
    operate(database, 2, &["ban", "--user", "ada"]);
    let page = list(&mut ada, json!({})).await;
    assert_eq!((rooms(&page), &page["unreadTotal"]), (vec![3], &json!(1)));
}

async fn the_pages_of_an_inbox_are_connected(database: &Database) {
    let gateway = Gateway::start(database);
    for room in 1..=5 {
        create(database, room, "open", &["ada"]);
    }
    let mut ada = gateway.connect("ada").await;
    let mut bob = gateway.connect("bob").await;
    bob.join(1).await;
    let first = list(&mut ada, json!({"limit": 2})).await;
    assert_eq!(rooms(&first), [5, 4]);
    assert_eq!(bob.send(1, "hello").await["ok"], true);
    let second = list(&mut ada, json!({"limit": 2, "after": first["next"]})).await;
    assert_eq!(
        (rooms(&second), &second["unreadTotal"]),
        (vec![3, 2], &json!(1))
    );
    assert!(second.get("next").is_none(), "{second}");
    let all = list(&mut ada, json!({"limit": 100})).await;
    assert_eq!(rooms(&all), [1, 5, 4, 3, 2]);
    for wrong in [
        json!({"after": "x"}),
        json!({"after": 5}),
        json!({"limit": 101}),
    ] {
        assert_eq!(code(&mut ada, "listRooms", wrong).await, "invalid_payload");
    }
}

async fn a_page_of_large_summaries_ends_early(database: &Database) {
    let gateway = Gateway::start(database);
    let mut ada = gateway.connect("ada").await;
    let content = "\u{1F980}".repeat(4000);
    for room in 1..=14 {
        create(database, room, "open", &["ada"]);
        ada.join(room).await;
        assert_eq!(ada.send(room, &content).await["ok"], true);
    }
    let mut payload = json!({});
    let mut listed = Vec::new();
    for length in [12, 2] {
        let page = list(&mut ada, payload).await;
        assert!(page.to_string().len() < 192 * 1024 + 100);
        assert_eq!(rooms(&page).len(), length);
        listed.extend(rooms(&page));
        payload = json!({"after": page["next"]});
    }
    assert_eq!(payload["after"], Value::Null);
    assert_eq!(listed, (1..=14).rev().collect::<Vec<_>>());
}

async fn a_room_outside_of_the_tokens_claim_is_neither_listed_nor_counted(database: &Database) {
    let gateway = Gateway::start(database);
    let mut bob = gateway.connect("bob").await;
    for room in 1..=3 {
        create(database, room, "open", &["ada"]);
        bob.join(room).await;
        assert_eq!(bob.send(room, "hello").await["ok"], true);
    }
    let token = sign(&json!({"sub": "ada", "exp": now() + 60, "rooms": [1, 3, 4]}));
    let mut ada = Client::connect(gateway.address, &token).await;
    let page = list(&mut ada, json!({"limit": 1})).await;
    assert_eq!((rooms(&page), &page["unreadTotal"]), (vec![3], &json!(2)));
    let page = list(&mut ada, json!({"limit": 1, "after": page["next"]})).await;
    assert_eq!((rooms(&page), page.get("next")), (vec![1], None));
    let notify = json!({"roomId": 2, "notify": "none"});
    assert_eq!(code(&mut ada, "setNotify", notify).await, "not_found");
}

async fn notify_is_set_by_members_only(database: &Database) {
    let gateway = Gateway::start(database);
    create(database, 1, "private", &["ada"]);
    create(database, 2, "open", &["ada"]);
    let mut ada = gateway.connect("ada").await;
    let mut eve = gateway.connect("eve").await;
    for notify in ["mentions", "none", "none", "all"] {
        let set = json!({"roomId": 1, "notify": notify});
        let answer = ada.call("setNotify", &set).await;
        assert_eq!(answer, json!({"ok": true, "roomId": 1, "notify": notify}));
        let page = list(&mut ada, json!({})).await;
        assert_eq!(page["rooms"][1]["notify"], notify);
        assert_eq!(page["rooms"][0]["notify"], "all");
    }
    for (room, expected) in [(1, "not_found"), (2, "forbidden"), (3, "forbidden")] {
        let set = json!({"roomId": room, "notify": "none"});
        assert_eq!(code(&mut eve, "setNotify", set).await, expected);
    }
    let wrong = json!({"roomId": 1, "notify": "never"});
    assert_eq!(code(&mut ada, "setNotify", wrong).await, "invalid_payload");
}
