//! What the hook has granted holds until the connection leaves the room.

use serde_json::json;

use super::{OPEN, ROOM, code, connect, grants, join, send, start};
use crate::rules::{call, create};
use crate::support::hook::{Answer, Hook};
use crate::support::{Database, now, sign};

crate::on_each_database!(
    a_granted_role_survives_changes_of_rules_and_ends_with_the_stay,
    membership_takes_over_and_a_ban_ends_it,
);

async fn a_granted_role_survives_changes_of_rules_and_ends_with_the_stay(database: &Database) {
    let hook = Hook::start(grants("moderator")).await;
    let gateway = start(database, &hook, &[]);
    create(database, "private", &[("ada", "owner")]);
    let mut ada = gateway.connect("ada").await;
    ada.join(ROOM).await;
    let mut bob = gateway.connect("bob").await;
    assert_eq!(join(&mut bob, ROOM).await, "ok");
    for change in [
        json!({ "frozen": true }),
        json!({ "slowModeSeconds": 60 }),
        json!({ "kind": "open" }),
        json!({ "kind": "private" }),
    ] {
        let changed = call(&mut ada, "setRoom", change.clone()).await;
        assert_eq!(changed["ok"], true, "{changed}");
        // A member could not write now.
        assert_eq!(send(&mut bob, ROOM).await, "ok", "{change}");
        bob.event("roomChanged").await;
        assert_eq!(
            code(&mut bob, "getRoom", json!({ "roomId": ROOM })).await,
            "ok"
        );
    }
    let muted = call(&mut bob, "muteMember", json!({ "userId": "eve" })).await;
    assert_eq!(muted["ok"], true, "{muted}");
    // A new token changes nothing about it.
    let claims = json!({ "sub": "bob", "plan": "b", "exp": now() + 600 });
    let renewed = json!({ "token": sign(&claims) });
    assert_eq!(code(&mut bob, "renewToken", renewed).await, "ok");
    let frozen = call(&mut ada, "setRoom", json!({ "name": "x" })).await;
    assert_eq!(frozen["ok"], true, "{frozen}");
    assert_eq!(send(&mut bob, ROOM).await, "ok");
    assert_eq!(hook.calls().len(), 1);

    assert_eq!(
        code(&mut bob, "leaveRoom", json!({ "roomId": ROOM })).await,
        "ok"
    );
    for event in ["getRoom", "listMembers"] {
        let answer = code(&mut bob, event, json!({ "roomId": ROOM })).await;
        assert_eq!(answer, "not_found", "{event}");
    }
    assert_eq!(send(&mut bob, ROOM).await, "not_found");
    hook.answer(grants("reader"));
    assert_eq!(join(&mut bob, ROOM).await, "ok");
    assert_eq!(send(&mut bob, ROOM).await, "forbidden");
    // The claims of the token that is in force.
    assert_eq!(hook.calls()[1].json()["claims"], claims);
}

async fn membership_takes_over_and_a_ban_ends_it(database: &Database) {
    let hook = Hook::start(grants("moderator")).await;
    let gateway = start(database, &hook, &[]);
    create(database, "private", &[("ada", "owner")]);
    let mut ada = gateway.connect("ada").await;
    ada.join(ROOM).await;
    let mut bob = gateway.connect("bob").await;
    assert_eq!(join(&mut bob, ROOM).await, "ok");
    let bob_is = json!({ "userId": "bob" });
    let reader = json!({ "userId": "bob", "role": "reader" });
    assert_eq!(call(&mut ada, "setMember", reader).await["ok"], true);
    assert_eq!(send(&mut bob, ROOM).await, "forbidden");
    // Its end ends the stay too.
    assert_eq!(
        call(&mut ada, "removeMember", bob_is.clone()).await["ok"],
        true
    );
    let left = bob.event("leftRoom").await;
    assert_eq!(left, json!({ "roomId": ROOM, "reason": "removed" }));
    assert_eq!(hook.calls().len(), 1);

    assert_eq!(join(&mut bob, ROOM).await, "ok");
    assert_eq!(send(&mut bob, ROOM).await, "ok");
    assert_eq!(hook.calls().len(), 2);
    assert_eq!(
        call(&mut ada, "banMember", bob_is.clone()).await["ok"],
        true
    );
    let left = bob.event("leftRoom").await;
    assert_eq!(left, json!({ "roomId": ROOM, "reason": "banned" }));
    assert_eq!(join(&mut bob, ROOM).await, "not_found");
    assert_eq!(hook.calls().len(), 2);
    assert_eq!(call(&mut ada, "unbanMember", bob_is).await["ok"], true);
    assert_eq!(
        code(&mut bob, "getRoom", json!({ "roomId": ROOM })).await,
        "not_found"
    );
    assert_eq!(join(&mut bob, ROOM).await, "ok");
    assert_eq!(hook.calls().len(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_joins_again_and_is_denied_leaves() {
    let database = Database::sqlite();
    let hook = Hook::start(grants("member")).await;
    let gateway = start(&database, &hook, &[]);
    let mut ada = gateway.connect("ada").await;
    let mut bob = gateway.connect("bob").await;
    for client in [&mut ada, &mut bob] {
        assert_eq!(join(client, OPEN).await, "ok");
    }
    // Without an answer, it remains in the room.
    hook.answer(Answer::Status(500));
    assert_eq!(join(&mut bob, OPEN).await, "unavailable");
    assert_eq!(send(&mut bob, OPEN).await, "ok");
    bob.take_events();
    hook.answer(Answer::Json(json!({ "allow": false })));
    assert_eq!(join(&mut bob, OPEN).await, "not_found");
    let events = bob.take_events();
    assert_eq!(
        events[0],
        (
            "leftRoom".to_owned(),
            json!({ "roomId": OPEN, "reason": "removed" })
        )
    );
    assert_eq!(send(&mut ada, OPEN).await, "ok");
    assert_eq!(send(&mut bob, OPEN).await, "not_in_room");
    let received = bob.take_events();
    assert!(
        received.iter().all(|(event, _)| event == "error"),
        "{received:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_does_not_get_in_has_no_grant() {
    let database = Database::sqlite();
    let hook = Hook::start(grants("owner")).await;
    let gateway = start(&database, &hook, &[("MAX_ROOMS", "1")]);
    let mut ada = connect(&gateway, &json!({ "sub": "ada" })).await;
    assert_eq!(join(&mut ada, OPEN).await, "ok");
    assert_eq!(join(&mut ada, 2).await, "limit_exceeded");
    assert_eq!(
        code(&mut ada, "getRoom", json!({ "roomId": 2 })).await,
        "not_found"
    );
    assert_eq!(hook.calls().len(), 1);
}
