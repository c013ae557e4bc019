//! Rooms: created, changed, returned and listed.

use serde_json::{Value, json};

use super::{Api, start};
use crate::support::Database;

crate::on_each_database!(a_room_is_created_then_changed_and_announced);

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
