//! Rooms with rules: who may do what, and what happens when that changes.

mod exact;

use serde_json::{Value, json};

use crate::support::client::Client;
use crate::support::{Database, Gateway, command};

crate::on_each_database!(
    a_private_room_exists_for_its_members_only,
    a_banned_user_leaves_at_once_and_does_not_find_the_room,
    a_muted_user_reads_and_does_not_write,
    frozen_rooms_and_slow_mode_bind_members_only,
    the_last_owner_stays,
    members_and_rooms_are_listed_and_announced,
    a_room_that_becomes_private_excludes_all_others,
    what_a_shell_changes_reaches_a_running_gateway,
);

pub(crate) const ROOM: u64 = 7;

/// Runs a command of the operator's, as with the gateway's settings.
pub(crate) fn operate(database: &Database, arguments: &[&str]) -> String {
    let (name, arguments) = arguments.split_first().unwrap();
    let mut command = command(name);
    command.env("DATABASE_URL", database.url()).args(arguments);
    let done = command.output().unwrap();
    let error = String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success(), "{arguments:?}: {error}");
    String::from_utf8(done.stdout).unwrap()
}

/// Creates the room, of this kind and with these members.
pub(crate) fn create(database: &Database, kind: &str, members: &[(&str, &str)]) {
    let room = ROOM.to_string();
    operate(
        database,
        &["room", "create", "--room", &room, "--kind", kind],
    );
    for (user, role) in members {
        let member = ["--room", &room, "--user", user, "--role", role];
        operate(database, &[&["member", "add"], &member[..]].concat());
    }
}

/// Calls an event about the room, with these fields besides its number.
pub(crate) async fn call(client: &mut Client, event: &str, fields: Value) -> Value {
    let mut payload = json!({ "roomId": ROOM });
    payload
        .as_object_mut()
        .unwrap()
        .extend(fields.as_object().unwrap().clone());
    client.call(event, &payload).await
}

async fn code(client: &mut Client, event: &str, fields: Value) -> String {
    let answer = call(client, event, fields).await;
    client.take_events();
    match answer["ok"].as_bool() {
        Some(true) => "ok".to_owned(),
        _ => answer["error"]["code"].as_str().unwrap().to_owned(),
    }
}

async fn a_private_room_exists_for_its_members_only(database: &Database) {
    let gateway = Gateway::start(database);
    create(database, "private", &[("ada", "owner"), ("bob", "reader")]);
    let mut ada = gateway.connect("ada").await;
    let mut bob = gateway.connect("bob").await;
    let mut eve = gateway.connect("eve").await;
    ada.join(ROOM).await;
    bob.join(ROOM).await;
    assert_eq!(ada.send(ROOM, "hello").await["ok"], true);
    assert_eq!(bob.event("newMessage").await["content"], "hello");
    let refused = call(&mut bob, "sendMessage", json!({"content": "x"})).await;
    assert_eq!(refused["error"]["code"], "forbidden", "{refused}");
    assert_eq!(refused["error"]["reason"], "role", "{refused}");
    for (event, fields) in [
        ("joinRoom", json!({})),
        ("sendMessage", json!({"content": "x"})),
        ("listMessages", json!({})),
        ("markRead", json!({"seq": 1})),
        ("getRoom", json!({})),
        ("listMembers", json!({})),
        ("setRoom", json!({"name": "x"})),
        ("setMember", json!({"userId": "eve", "role": "member"})),
        ("removeMember", json!({"userId": "ada"})),
        ("banMember", json!({"userId": "ada"})),
        ("muteMember", json!({"userId": "ada"})),
    ] {
        assert_eq!(code(&mut eve, event, fields).await, "not_found", "{event}");
    }
    // A member that is added may join; one that is removed leaves.
    let added = json!({"userId": "eve", "role": "member"});
    let member = call(&mut ada, "setMember", added).await["member"].clone();
    assert_eq!(
        (&member["userId"], &member["role"]),
        (&json!("eve"), &json!("member"))
    );
    eve.join(ROOM).await;
    assert_eq!(
        code(&mut ada, "removeMember", json!({"userId": "eve"})).await,
        "ok"
    );
    let left = eve.event("leftRoom").await;
    assert_eq!(left, json!({"roomId": ROOM, "reason": "removed"}));
    assert_eq!(code(&mut eve, "joinRoom", json!({})).await, "not_found");
}

async fn a_banned_user_leaves_at_once_and_does_not_find_the_room(database: &Database) {
    let gateway = Gateway::start(database);
    create(database, "open", &[("ada", "owner"), ("mo", "moderator")]);
    let mut mo = gateway.connect("mo").await;
    let mut eve = gateway.connect("eve").await;
    mo.join(ROOM).await;
    eve.join(ROOM).await;
    assert_eq!(eve.send(ROOM, "before").await["ok"], true);
    mo.event("newMessage").await;
    eve.take_events();
    assert_eq!(
        code(&mut mo, "banMember", json!({"userId": "eve"})).await,
        "ok"
    );
    // It was told before the moderator had the answer.
    assert_eq!(mo.send(ROOM, "after").await["ok"], true);
    let (event, left) = eve.any_event().await;
    // It may hear of its ban before it leaves.
    let (event, left) = match event == "memberChanged" {
        true => eve.any_event().await,
        false => (event, left),
    };
    assert_eq!(event, "leftRoom");
    assert_eq!(left, json!({"roomId": ROOM, "reason": "banned"}));
    for (event, fields) in [
        ("sendMessage", json!({"content": "x"})),
        ("listMessages", json!({})),
        ("joinRoom", json!({})),
        ("getRoom", json!({})),
        ("setMember", json!({"userId": "eve", "role": "member"})),
    ] {
        let answer = call(&mut eve, event, fields).await;
        assert_eq!(answer["error"]["code"], "not_found", "{event}: {answer}");
    }
    let others: Vec<_> = eve.take_events();
    assert!(
        others.iter().all(|(event, _)| event == "error"),
        "{others:?}"
    );
    assert_eq!(
        code(&mut mo, "banMember", json!({"userId": "ada"})).await,
        "forbidden"
    );
    assert_eq!(
        code(&mut mo, "unbanMember", json!({"userId": "eve"})).await,
        "ok"
    );
    eve.join(ROOM).await;
    assert_eq!(eve.send(ROOM, "back").await["ok"], true);
    // A ban that has expired by the database's clock is over.
    assert_eq!(
        code(
            &mut mo,
            "banMember",
            json!({"userId": "eve", "seconds": 3600})
        )
        .await,
        "ok"
    );
    assert_eq!(code(&mut eve, "joinRoom", json!({})).await, "not_found");
    expire(database, "bans");
    assert_eq!(code(&mut eve, "joinRoom", json!({})).await, "ok");
}

/// Moves the end of all bans or mutes into the past.
fn expire(database: &Database, table: &str) {
    let past = match database {
        Database::Sqlite(_) => "'2020-01-01T00:00:00.000Z'",
        Database::Postgres(_) => "now() - interval '1 second'",
    };
    database.sql(&format!("UPDATE {table} SET until = {past}"));
}

async fn a_muted_user_reads_and_does_not_write(database: &Database) {
    let gateway = Gateway::start(database);
    create(database, "open", &[("mo", "moderator")]);
    let mut mo = gateway.connect("mo").await;
    let mut eve = gateway.connect("eve").await;
    mo.join(ROOM).await;
    eve.join(ROOM).await;
    assert_eq!(eve.send(ROOM, "before").await["ok"], true);
    let mute = json!({"userId": "eve", "seconds": 3600});
    assert_eq!(code(&mut mo, "muteMember", mute).await, "ok");
    let refused = eve.send(ROOM, "muted").await["error"].clone();
    assert_eq!(refused["code"], "forbidden", "{refused}");
    assert_eq!(refused["reason"], "muted");
    assert!(
        refused["until"].as_str().unwrap().ends_with('Z'),
        "{refused}"
    );
    assert_eq!(call(&mut eve, "listMessages", json!({})).await["ok"], true);
    expire(database, "mutes");
    assert_eq!(eve.send(ROOM, "again").await["ok"], true);
    assert_eq!(
        code(&mut mo, "muteMember", json!({"userId": "eve"})).await,
        "ok"
    );
    let refused = eve.send(ROOM, "muted").await["error"].clone();
    assert_eq!(
        (&refused["reason"], &refused["until"]),
        (&json!("muted"), &Value::Null)
    );
    assert_eq!(
        code(&mut mo, "unmuteMember", json!({"userId": "eve"})).await,
        "ok"
    );
    assert_eq!(eve.send(ROOM, "at last").await["message"]["seq"], 3);
}

async fn frozen_rooms_and_slow_mode_bind_members_only(database: &Database) {
    let gateway = Gateway::start(database);
    create(database, "open", &[("ada", "owner")]);
    let mut ada = gateway.connect("ada").await;
    let mut eve = gateway.connect("eve").await;
    ada.join(ROOM).await;
    eve.join(ROOM).await;
    assert_eq!(
        code(&mut ada, "setRoom", json!({"frozen": true})).await,
        "ok"
    );
    let refused = eve.send(ROOM, "x").await["error"].clone();
    assert_eq!(
        (&refused["code"], &refused["reason"]),
        (&json!("forbidden"), &json!("frozen"))
    );
    assert_eq!(ada.send(ROOM, "I may").await["ok"], true);
    let slow = json!({"frozen": false, "slowModeSeconds": 3600});
    assert_eq!(code(&mut ada, "setRoom", slow).await, "ok");
    assert_eq!(eve.send(ROOM, "first").await["ok"], true);
    let refused = eve.send(ROOM, "second").await["error"].clone();
    assert_eq!(refused["code"], "rate_limited", "{refused}");
    let wait = refused["retryAfterMs"].as_u64().unwrap();
    assert!((3_500_000..=3_600_000).contains(&wait), "{refused}");
    for _ in 0..3 {
        assert_eq!(ada.send(ROOM, "I may").await["ok"], true);
    }
    // Fred's acknowledgement is lost, and so he sends it again.
    let mut fred = gateway.connect("fred").await;
    fred.join(ROOM).await;
    let sent = json!({"roomId": ROOM, "content": "once", "clientMessageId": "f-1"});
    let first = fred.call("sendMessage", &sent).await;
    assert_eq!(fred.call("sendMessage", &sent).await, first);
    let other = json!({"roomId": ROOM, "content": "twice", "clientMessageId": "f-1"});
    let refused = fred.call("sendMessage", &other).await;
    assert_eq!(refused["error"]["code"], "conflict");
    assert_eq!(
        code(&mut ada, "setRoom", json!({"slowModeSeconds": 0})).await,
        "ok"
    );
    assert_eq!(eve.send(ROOM, "second").await["ok"], true);
}

async fn the_last_owner_stays(database: &Database) {
    let gateway = Gateway::start(database);
    create(database, "private", &[("ada", "owner"), ("bob", "member")]);
    let mut ada = gateway.connect("ada").await;
    assert_eq!(
        code(&mut ada, "removeMember", json!({"userId": "ada"})).await,
        "conflict"
    );
    let demote = json!({"userId": "ada", "role": "member"});
    assert_eq!(
        code(&mut ada, "setMember", demote.clone()).await,
        "conflict"
    );
    let promote = json!({"userId": "bob", "role": "owner"});
    assert_eq!(code(&mut ada, "setMember", promote).await, "ok");
    assert_eq!(code(&mut ada, "setMember", demote).await, "ok");
    assert_eq!(
        code(&mut ada, "setRoom", json!({"name": "x"})).await,
        "forbidden"
    );
}

async fn members_and_rooms_are_listed_and_announced(database: &Database) {
    let gateway = Gateway::start(database);
    create(database, "open", &[("ada", "owner")]);
    let mut ada = gateway.connect("ada").await;
    let mut eve = gateway.connect("eve").await;
    ada.join(ROOM).await;
    eve.join(ROOM).await;
    eve.take_events();
    let patch = json!({"name": "Tea", "metadata": {"color": "green"}});
    let room = call(&mut ada, "setRoom", patch).await["room"].clone();
    assert_eq!(
        eve.event("roomChanged").await,
        json!({"roomId": ROOM, "room": room})
    );
    assert_eq!(room["name"], "Tea");
    assert_eq!(room["metadata"], json!({"color": "green"}));
    assert_eq!(room["memberCount"], 1);
    assert_eq!(call(&mut eve, "getRoom", json!({})).await["room"], room);
    // In an open room, a user may become a member by itself, and cease to be one.
    assert_eq!(
        code(
            &mut eve,
            "setMember",
            json!({"userId": "eve", "role": "owner"})
        )
        .await,
        "forbidden"
    );
    let member = json!({"userId": "eve", "role": "member"});
    let added = call(&mut eve, "setMember", member.clone()).await["member"].clone();
    let page = call(&mut ada, "listMembers", json!({"limit": 1})).await;
    assert_eq!(page["hasMore"], true);
    assert_eq!(page["members"][0]["userId"], "ada");
    let page = call(&mut ada, "listMembers", json!({"after": "ada"})).await;
    assert_eq!(page["members"], json!([added]));
    assert_eq!(page["hasMore"], false);
    assert_eq!(code(&mut eve, "setMember", member).await, "ok");
    assert_eq!(
        code(&mut eve, "removeMember", json!({"userId": "eve"})).await,
        "ok"
    );
    for role in [json!("member"), Value::Null] {
        let change = ada.event("memberChanged").await;
        assert_eq!(change["member"]["userId"], "eve");
        assert_eq!(change["member"]["role"], role, "{change}");
        assert_eq!(change["by"], "eve");
    }
    // It is still in the open room, without membership.
    assert_eq!(eve.send(ROOM, "still here").await["ok"], true);
    assert_eq!(
        call(&mut ada, "getRoom", json!({})).await["room"]["memberCount"],
        1
    );
}

async fn a_room_that_becomes_private_excludes_all_others(database: &Database) {
    let gateway = Gateway::start(database);
    create(database, "open", &[("ada", "owner"), ("bob", "member")]);
    let mut ada = gateway.connect("ada").await;
    let mut bob = gateway.connect("bob").await;
    let mut eve = gateway.connect("eve").await;
    for client in [&mut ada, &mut bob, &mut eve] {
        client.join(ROOM).await;
        client.take_events();
    }
    assert_eq!(
        code(&mut ada, "setRoom", json!({"kind": "private"})).await,
        "ok"
    );
    let left = eve.event("leftRoom").await;
    assert_eq!(left, json!({"roomId": ROOM, "reason": "removed"}));
    assert_eq!(bob.send(ROOM, "among us").await["ok"], true);
    assert_eq!(code(&mut eve, "listMessages", json!({})).await, "not_found");
    assert_eq!(eve.take_events(), []);
}

async fn what_a_shell_changes_reaches_a_running_gateway(database: &Database) {
    let gateway = Gateway::start(database);
    let mut eve = gateway.connect("eve").await;
    eve.join(ROOM).await;
    assert_eq!(eve.send(ROOM, "hello").await["ok"], true);
    create(database, "open", &[("ada", "owner")]);
    let room = ROOM.to_string();
    assert_eq!(
        operate(database, &["member", "list", "--room", &room]),
        "ada owner\n"
    );
    operate(database, &["ban", "--room", &room, "--user", "eve"]);
    let left = eve.event("leftRoom").await;
    assert_eq!(left, json!({"roomId": ROOM, "reason": "banned"}));
    assert_eq!(
        code(&mut eve, "sendMessage", json!({"content": "x"})).await,
        "not_found"
    );
    assert!(operate(database, &["room", "show", "--room", &room]).contains("members 1"));
}
