//! Who may edit, delete and react, over sockets: every role, in every state of the room.

use serde_json::{Value, json};

use crate::api::{Api, start};
use crate::support::Database;
use crate::support::client::Client;

crate::on_each_database!(every_role_may_do_exactly_what_the_table_says);

/// Without membership, and with each role.
const USERS: [&str; 5] = ["guest", "reader", "member", "moderator", "owner"];

/// The room's state, and what each user is answered in it: to an edit of its own message and of
/// another's, to a reaction and its clearing, and to a deletion of another's message and of its
/// own. `ok`, or the reason of `forbidden`, or the code.
type Table = (&'static str, [&'static str; 5]);

const TABLES: [Table; 6] = [
    (
        "normal",
        [
            "ok     author     ok        ok        role      ok",
            "role   author     role      role      role      role",
            "ok     author     ok        ok        role      ok",
            "ok     author     ok        ok        ok        ok",
            "ok     author     ok        ok        ok        ok",
        ],
    ),
    (
        // It is between messages that slow mode asks for a pause.
        "slow",
        [
            "ok     author     ok        ok        role      ok",
            "role   author     role      role      role      role",
            "ok     author     ok        ok        role      ok",
            "ok     author     ok        ok        ok        ok",
            "ok     author     ok        ok        ok        ok",
        ],
    ),
    (
        "frozen",
        [
            "frozen author     frozen    frozen    role      frozen",
            "role   author     role      role      role      role",
            "frozen author     frozen    frozen    role      frozen",
            "ok     author     ok        ok        ok        ok",
            "ok     author     ok        ok        ok        ok",
        ],
    ),
    (
        // To keep order is not to write.
        "muted",
        [
            "muted  author     muted     muted     role      muted",
            "role   author     role      role      role      role",
            "muted  author     muted     muted     role      muted",
            "muted  author     muted     muted     ok        ok",
            "muted  author     muted     muted     ok        ok",
        ],
    ),
    (
        "muted and frozen",
        [
            "muted  author     muted     muted     role      muted",
            "role   author     role      role      role      role",
            "muted  author     muted     muted     role      muted",
            "muted  author     muted     muted     ok        ok",
            "muted  author     muted     muted     ok        ok",
        ],
    ),
    (
        "banned",
        [
            "not_found not_found not_found not_found not_found not_found",
            "not_found not_found not_found not_found not_found not_found",
            "not_found not_found not_found not_found not_found not_found",
            "not_found not_found not_found not_found not_found not_found",
            "not_found not_found not_found not_found not_found not_found",
        ],
    ),
];

async fn every_role_may_do_exactly_what_the_table_says(database: &Database) {
    let gateway = start(database);
    let api = Api::of(&gateway);
    let mut clients = Vec::new();
    for user in USERS {
        clients.push((user, gateway.connect(user).await));
    }
    for (room, (state, expected)) in (1..).zip(TABLES) {
        fill(api, room).await;
        for (_, client) in &mut clients {
            client.join(room).await;
        }
        enter_state(api, room, state).await;
        let mut made = 0;
        for (place, (user, client)) in (0..).zip(&mut clients) {
            let outcomes = outcomes(client, room, place).await;
            let expected: Vec<_> = expected[place as usize].split_whitespace().collect();
            assert_eq!(outcomes, expected, "{user}, {state}");
            made += outcomes.iter().filter(|outcome| *outcome == "ok").count();
        }
        // What was refused changed nothing.
        let path = format!("/rooms/{room}/changes?afterRev=0");
        let changes = api.get(&path).await.body(200);
        let messages = changes["messages"].as_array().unwrap();
        let newest = messages.last().map_or(0, |m| m["rev"].as_u64().unwrap());
        assert_eq!(newest, made as u64, "{state}");
    }
}

/// Stores a message of each user, and one more for each that another user has written.
async fn fill(api: Api, room: u64) {
    let path = format!("/rooms/{room}");
    let kind = json!({"kind": "open"});
    assert!(api.put(&path, &kind).await.status < 300);
    // The last owner could not be banned.
    for user in USERS[1..].iter().chain(&["founder"]) {
        let role = match *user {
            "founder" => "owner",
            role => role,
        };
        let path = format!("{path}/members/{user}");
        api.put(&path, &json!({"role": role})).await.body(200);
    }
    for user in USERS.iter().chain(&["founder"; USERS.len()]) {
        let message = json!({"userId": user, "content": "x"});
        api.post(&format!("{path}/messages"), &message)
            .await
            .body(201);
    }
}

async fn enter_state(api: Api, room: u64, state: &str) {
    let path = format!("/rooms/{room}");
    let settings = match state {
        "slow" => json!({"slowModeSeconds": 3600}),
        state if state.contains("frozen") => json!({"frozen": true}),
        _ => json!({}),
    };
    api.put(&path, &settings).await.body(200);
    let sanction = match state {
        "banned" => "bans",
        state if state.contains("muted") => "mutes",
        _ => return,
    };
    for user in USERS {
        let path = format!("{path}/{sanction}/{user}");
        assert_eq!(api.put(&path, &json!({})).await.status, 204, "{path}");
    }
}

/// Does everything once, as the user in this place.
async fn outcomes(client: &mut Client, room: u64, place: u64) -> Vec<String> {
    let own = 1 + place;
    let other = own + USERS.len() as u64;
    let calls = [
        ("editMessage", json!({"seq": own, "content": "y"})),
        ("editMessage", json!({"seq": other, "content": "y"})),
        ("setReaction", json!({"seq": other, "key": "+", "on": true})),
        (
            "setReaction",
            json!({"seq": other, "key": "+", "on": false}),
        ),
        ("deleteMessage", json!({"seq": other})),
        ("deleteMessage", json!({"seq": own})),
    ];
    let mut outcomes = Vec::new();
    for (event, mut payload) in calls {
        payload["roomId"] = json!(room);
        let answer = client.call(event, &payload).await;
        client.take_events();
        outcomes.push(outcome(&answer));
    }
    outcomes
}

fn outcome(answer: &Value) -> String {
    if answer["ok"] == true {
        return "ok".to_owned();
    }
    let error = &answer["error"];
    assert_eq!(error["retryable"], false, "{error}");
    let named = match error["code"] == "forbidden" {
        true => &error["reason"],
        false => &error["code"],
    };
    named.as_str().unwrap().to_owned()
}
