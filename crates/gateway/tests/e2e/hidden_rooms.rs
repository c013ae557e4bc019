//! A room that a user may not see is, to that user, a room that does not exist.

use serde_json::{Value, json};

use crate::support::client::Client;
use crate::support::{Database, Gateway, now, sign};

crate::on_each_database!(
    every_event_answers_for_a_hidden_room_as_for_one_that_does_not_exist,
    events_in_hidden_rooms_change_nothing,
);

/// The room that both users may see.
const COMMON: u64 = 1;
/// Rooms that only Ada may see: with one message, with several, joined at the moment or not,
/// and with the largest number.
const HIDDEN: [u64; 4] = [2, 3, 40, 9_007_199_254_740_991];
/// Rooms that nothing was ever stored in.
const ABSENT: [u64; 3] = [4, 41, 9_007_199_254_740_990];

/// Every event, in every form, for this room.
fn events(room: u64) -> Vec<(&'static str, Value)> {
    let content = json!("hello");
    vec![
        ("joinRoom", json!({"roomId": room})),
        ("joinRoom", json!({"roomId": room, "afterSeq": 0})),
        ("joinRoom", json!({"roomId": room, "afterSeq": 1})),
        ("sendMessage", json!({"roomId": room, "content": content})),
        (
            "sendMessage",
            json!({"roomId": room, "content": content, "clientMessageId": "1"}),
        ),
        ("listMessages", json!({"roomId": room})),
        ("listMessages", json!({"roomId": room, "beforeSeq": 2})),
        (
            "listMessages",
            json!({"roomId": room, "afterSeq": 0, "limit": 1}),
        ),
        ("markRead", json!({"roomId": room, "seq": 1})),
        ("leaveRoom", json!({"roomId": room})),
        // Malformed for whatever room.
        ("joinRoom", json!({"roomId": room, "afterSeq": -1})),
        ("sendMessage", json!({"roomId": room, "content": ""})),
        ("listMessages", json!({"roomId": room, "limit": 0})),
        ("markRead", json!({"roomId": room})),
        ("getRoom", json!({"roomId": room})),
    ]
}

/// Ada, who has written in the hidden rooms, and Eve, who may see only the common one.
async fn start(database: &Database) -> (Gateway, Client, Client) {
    let gateway = Gateway::start(database);
    let mut ada = gateway.connect("ada").await;
    for room in HIDDEN.into_iter().chain([COMMON]) {
        ada.join(room).await;
        for id in ["1", "2"] {
            let message = json!({"roomId": room, "content": "hello", "clientMessageId": id});
            assert_eq!(ada.call("sendMessage", &message).await["ok"], true);
        }
    }
    ada.call("leaveRoom", &json!({"roomId": HIDDEN[0]})).await;
    let claims = json!({"sub": "eve", "exp": now() + 600, "rooms": [COMMON]});
    let mut eve = Client::connect(gateway.address, &sign(&claims)).await;
    eve.join(COMMON).await;
    ada.take_events();
    eve.take_events();
    (gateway, ada, eve)
}

/// Sends all events for a room. Returns the acknowledgements and everything else that came,
/// with the room's number replaced.
async fn answers(client: &mut Client, room: u64) -> Vec<String> {
    let mut answers = Vec::new();
    for (event, payload) in events(room) {
        let answer = client.call(event, &payload).await;
        let others = client.take_events();
        let all = json!([event, answer, others]).to_string();
        answers.push(all.replace(&format!("\"roomId\":{room}"), "\"roomId\":N"));
    }
    answers
}

async fn every_event_answers_for_a_hidden_room_as_for_one_that_does_not_exist(database: &Database) {
    let (_gateway, _ada, mut eve) = start(database).await;
    let absent = answers(&mut eve, ABSENT[0]).await;
    // From here on, every query about a room waits on PostgreSQL.
    let lock = match database {
        Database::Sqlite(_) => None,
        Database::Postgres(_) => Some(
            database
                .begin("LOCK TABLE messages, rooms, users, read_pointers IN ACCESS EXCLUSIVE MODE"),
        ),
    };
    for room in ABSENT.into_iter().chain(HIDDEN) {
        assert_eq!(answers(&mut eve, room).await, absent, "room {room}");
    }
    drop(lock);
    for answer in &absent[..9] {
        assert!(answer.contains("\"code\":\"not_found\""), "{answer}");
    }
    assert!(absent[9].contains("\"ok\":true"), "{}", absent[9]);
}

async fn events_in_hidden_rooms_change_nothing(database: &Database) {
    const STATE: &str = "SELECT room_id, seq, user_id, content FROM messages ORDER BY 1, 2;; \
                         SELECT id, last_seq FROM rooms ORDER BY 1;; \
                         SELECT room_id, user_id, seq FROM read_pointers ORDER BY 1, 2";
    let state = || {
        let statements = STATE.split(";;").map(|sql| database.sql(sql));
        statements.collect::<Vec<_>>()
    };
    let (_gateway, mut ada, mut eve) = start(database).await;
    let before = state();
    for room in HIDDEN.into_iter().chain(ABSENT) {
        answers(&mut eve, room).await;
    }
    assert_eq!(state(), before);
    // Nothing was announced either: the next event is that of the next message.
    let sent = eve.send(COMMON, "in the common room").await;
    assert_eq!(sent["ok"], true, "{sent}");
    let (name, message) = ada.any_event().await;
    assert_eq!(
        (name.as_str(), &message["roomId"]),
        ("newMessage", &json!(COMMON))
    );
}

/// What a user no longer may see is gone, as if it had never existed.
#[tokio::test(flavor = "multi_thread")]
async fn a_room_that_a_renewed_token_hides_does_not_exist_any_more() {
    let database = Database::sqlite();
    let (_gateway, _ada, mut eve) = start(&database).await;
    let absent = answers(&mut eve, ABSENT[0]).await;
    let claims = json!({"sub": "eve", "exp": now() + 600, "rooms": [7]});
    let renewed = eve
        .call("renewToken", &json!({ "token": sign(&claims) }))
        .await;
    assert_eq!(renewed["ok"], true, "{renewed}");
    eve.take_events();
    assert_eq!(answers(&mut eve, COMMON).await, absent);
}
