//! Rooms: created, changed, returned and listed.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use super::{Api, start};
use crate::support::Database;

crate::on_each_database!(
    a_room_is_created_then_changed_and_announced,
    a_deleted_room_is_left_and_its_number_is_used_again,
);

/// How long a small room may take to be deleted on a busy machine.
const DELETION: Duration = Duration::from_secs(30);

async fn a_room_is_created_then_changed_and_announced(database: &Database) {
    let gateway = start(database);
    let api = Api::of(&gateway);
    assert_eq!(api.get("/rooms/7").await.error(), (404, "not_found".into()));
    let created = api.put("/rooms/7", &json!({})).await.body(201);
    let mut expected = json!({
        "roomId": 7, "kind": "open", "name": null, "frozen": false, "slowModeSeconds": 0,
        "metadata": {}, "createdAt": created["createdAt"], "memberCount": 0
    });
    assert_eq!(created, expected);
    assert!(created["createdAt"].is_string());
    assert_eq!(api.put("/rooms/7", &json!({})).await.body(200), expected);

    let mut ada = gateway.connect("ada").await;
    ada.join(7).await;
    let settings = json!({
        "name": "Support", "frozen": true, "slowModeSeconds": 5, "metadata": { "a": 1.0 },
        "kind": null, "unknown": [1]
    });
    let changed = api.put("/rooms/7", &settings).await.body(200);
    expected["name"] = json!("Support");
    expected["frozen"] = json!(true);
    expected["slowModeSeconds"] = json!(5);
    expected["metadata"] = json!({ "a": 1.0 });
    assert_eq!(changed, expected);
    let event = ada.event("roomChanged").await;
    assert_eq!(event, json!({ "roomId": 7, "room": expected }));
    assert_eq!(api.get("/rooms/7").await.body(200), expected);

    // A room that becomes private excludes all others.
    api.put("/rooms/7", &json!({ "kind": "private" }))
        .await
        .body(200);
    assert_eq!(
        ada.event("leftRoom").await,
        json!({ "roomId": 7, "reason": "removed" })
    );

    // A room that has only messages exists, without settings.
    let mut bob = gateway.connect("bob").await;
    bob.join(8).await;
    assert_eq!(bob.send(8, "hello").await["ok"], true);
    let room = api.get("/rooms/8").await.body(200);
    assert_eq!(room["createdAt"], Value::Null);
    api.put("/rooms/8", &json!({})).await.body(201);
}

async fn a_deleted_room_is_left_and_its_number_is_used_again(database: &Database) {
    let gateway = start(database);
    let api = Api::of(&gateway);
    // There is nothing to delete.
    assert_eq!(api.delete("/rooms/7").await.status, 204);
    let owner = json!({ "role": "owner" });
    api.put("/rooms/7/members/ada", &owner).await.body(200);
    let message = json!({ "userId": "bot", "content": "hello", "clientMessageId": "1" });
    let posted = api.post("/rooms/7/messages", &message).await.body(201);
    assert_eq!(posted["seq"], 1);
    let mut ada = gateway.connect("ada").await;
    ada.join(7).await;

    assert_eq!(api.delete("/rooms/7").await.status, 204);
    assert_eq!(api.delete("/rooms/7").await.status, 204);
    let left = ada.event("leftRoom").await;
    assert_eq!(left, json!({ "roomId": 7, "reason": "closed" }));
    for path in ["", "/members", "/bans", "/mutes", "/messages"] {
        let answer = api.get(&format!("/rooms/7{path}")).await;
        assert_eq!(answer.error(), (404, "not_found".into()), "{path}");
    }
    assert_eq!(api.get("/rooms").await.body(200), json!({ "rooms": [] }));
    let inbox = api.get("/users/ada/rooms").await.body(200);
    assert_eq!(inbox, json!({ "rooms": [], "unreadTotal": 0 }));
    // It begins to be deleted two seconds later.
    let conflict = (409, "conflict".to_owned());
    let members = json!({ "members": [{ "userId": "ada", "role": "owner" }] });
    assert_eq!(api.put("/rooms/7", &json!({})).await.error(), conflict);
    let put = api.put("/rooms/7/members/ada", &owner).await;
    assert_eq!(put.error(), conflict);
    let set = api.post("/rooms/7/members", &members).await;
    assert_eq!(set.error(), conflict);
    let ban = api.put("/rooms/7/bans/ada", &json!({})).await;
    assert_eq!(ban.error(), conflict);
    let post = api.post("/rooms/7/messages", &message).await;
    assert_eq!(post.error(), conflict);

    let began = Instant::now();
    while api.put("/rooms/7", &json!({})).await.status == 409 {
        assert!(began.elapsed() < DELETION, "the room is not deleted");
        sleep(Duration::from_millis(50)).await;
    }
    let room = api.get("/rooms/7").await.body(200);
    assert_eq!(
        (&room["name"], &room["memberCount"]),
        (&Value::Null, &json!(0))
    );
    // It is another message, in another room.
    let posted = api.post("/rooms/7/messages", &message).await.body(201);
    assert_eq!(posted["seq"], 1);
    assert_eq!(ada.join(7).await, 1);
}
