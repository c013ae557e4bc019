//! Joining a room that the connection has joined already, while the database cannot be
//! read: the client learns what it did not receive, and no message is lost in silence.

use serde_json::{Value, json};
use tokio::net::TcpSocket;

use crate::support::client::Client;
use crate::support::{Database, Gateway, token};

crate::on_each_database!(
    a_replay_that_breaks_off_reports_the_rest_as_missed_and_the_member_goes_live,
    a_replay_that_cannot_begin_reports_all_of_it_as_missed_and_the_member_goes_live,
    a_rejoin_that_is_refused_leaves_the_member_in_the_room_without_a_gap,
);

/// How many messages a replay has that is longer than what fits between the two ends of a
/// connection, and how many characters of four bytes each of them has.
const MESSAGES: u64 = 200;
const CHARACTERS: u64 = 4000;

/// Stores the longest messages in room 1, without a gateway.
fn store_long_messages(database: &Database) {
    let (numbers, text) = match database {
        Database::Sqlite(_) => (
            format!(
                "(WITH RECURSIVE numbers(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers \
                 WHERE n < {MESSAGES}) SELECT n FROM numbers)"
            ),
            format!("replace(hex(zeroblob({CHARACTERS})), '00', '🦀')"),
        ),
        Database::Postgres(_) => (
            format!("generate_series(1, {MESSAGES}) AS n"),
            format!("repeat('🦀', {CHARACTERS})"),
        ),
    };
    database.sql("INSERT INTO users (id, name) VALUES ('author', 'x')");
    database.sql(&format!(
        "INSERT INTO rooms (id, last_seq) VALUES (1, {MESSAGES})"
    ));
    database.sql(&format!(
        "INSERT INTO messages (room_id, seq, user_id, content, created_at) \
         SELECT 1, n, 'author', {text}, '2026-01-31T12:00:00.000Z' FROM {numbers}"
    ));
    let stored = "SELECT count(*), sum(length(content)) FROM messages";
    let characters = MESSAGES * CHARACTERS;
    assert_eq!(database.sql(stored), format!("{MESSAGES}|{characters}"));
}

/// Makes all reads of a table fail until it is renamed back.
fn hide(database: &Database, table: &str) {
    database.sql(&format!("ALTER TABLE {table} RENAME TO hidden"));
}

fn unhide(database: &Database, table: &str) {
    database.sql(&format!("ALTER TABLE hidden RENAME TO {table}"));
}

/// Returns the numbers of the messages that the client may have missed, read page by page.
async fn page_through(client: &mut Client, missed: &Value) -> Vec<u64> {
    let (from, to) = (
        missed["from"].as_u64().unwrap(),
        missed["to"].as_u64().unwrap(),
    );
    let mut found = Vec::new();
    let mut after = from - 1;
    while after < to {
        let page = json!({"roomId": 1, "afterSeq": after, "limit": 200});
        let page = client.call("listMessages", &page).await;
        let messages = page["messages"].as_array().unwrap();
        found.extend(messages.iter().map(|m| m["seq"].as_u64().unwrap()));
        after = *found.last().unwrap();
    }
    found
}

async fn a_replay_that_breaks_off_reports_the_rest_as_missed_and_the_member_goes_live(
    database: &Database,
) {
    let gateway = Gateway::start(database);
    store_long_messages(database);
    // With a small receive buffer, the replay waits for the client to read.
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    let stream = socket.connect(gateway.address).await.unwrap();
    let reader = token("reader", "x");
    let mut reader = Client::connect_through(stream, gateway.address, &reader).await;
    assert_eq!(reader.join(1).await, MESSAGES);
    reader.take_events();
    let join = json!({"roomId": 1, "afterSeq": 0});
    let rejoining = reader.start("joinRoom", &join).await;
    assert_eq!(reader.event("newMessage").await["seq"], 1);
    hide(database, "messages");

    let joined = reader.ack(rejoining).await;
    let events = reader.take_events();
    let (last, replayed) = events.split_last().unwrap();
    let replayed: Vec<_> = replayed
        .iter()
        .map(|(name, message)| {
            assert_eq!(name, "newMessage");
            message["seq"].as_u64().unwrap()
        })
        .collect();
    let end = 1 + replayed.len() as u64;
    assert_eq!(replayed, (2..=end).collect::<Vec<_>>());
    assert!(end < MESSAGES, "the replay was complete");
    let missed = json!({"from": end + 1, "to": MESSAGES});
    assert_eq!(
        (last.0.as_str(), &last.1["missed"]),
        ("joinedRoom", &missed)
    );
    assert_eq!(
        (&joined["ok"], &joined["seq"], &joined["missed"]),
        (&json!(true), &json!(MESSAGES), &missed)
    );

    unhide(database, "messages");
    assert_eq!(reader.send(1, "live").await["message"]["seq"], MESSAGES + 1);
    assert_eq!(reader.any_event().await.1["seq"], MESSAGES + 1);
    let found = page_through(&mut reader, &missed).await;
    assert_eq!(
        found[..(MESSAGES - end) as usize],
        (end + 1..=MESSAGES).collect::<Vec<_>>()
    );
}

async fn a_replay_that_cannot_begin_reports_all_of_it_as_missed_and_the_member_goes_live(
    database: &Database,
) {
    let gateway = Gateway::start(database);
    let mut ada = gateway.connect("1").await;
    ada.join(1).await;
    for _ in 0..3 {
        ada.send(1, "x").await;
    }
    ada.take_events();
    hide(database, "messages");
    let joined = ada
        .call("joinRoom", &json!({"roomId": 1, "afterSeq": 1}))
        .await;
    let missed = json!({"from": 2, "to": 3});
    assert_eq!((&joined["ok"], &joined["missed"]), (&json!(true), &missed));
    let events = ada.take_events();
    assert_eq!(events.len(), 1, "{events:?}");
    assert_eq!(
        (events[0].0.as_str(), &events[0].1["missed"]),
        ("joinedRoom", &missed)
    );
    unhide(database, "messages");
    assert_eq!(page_through(&mut ada, &missed).await, [2, 3]);
    ada.send(1, "live").await;
    assert_eq!(ada.any_event().await.1["seq"], 4);
}

async fn a_rejoin_that_is_refused_leaves_the_member_in_the_room_without_a_gap(database: &Database) {
    let gateway = Gateway::start(database);
    let (mut ada, mut grace) = (gateway.connect("1").await, gateway.connect("2").await);
    ada.join(1).await;
    grace.join(1).await;
    ada.send(1, "one").await;
    assert_eq!(grace.event("newMessage").await["seq"], 1);
    hide(database, "rooms");
    for join in [json!({"roomId": 1, "afterSeq": 0}), json!({"roomId": 1})] {
        let refused = grace.call("joinRoom", &join).await;
        assert_eq!(refused["ok"], false, "{refused}");
        assert_eq!(refused["error"]["code"], "unavailable");
        let (name, error) = grace.any_event().await;
        assert_eq!(name, "error");
        assert_eq!(
            (&error["code"], &error["event"], &error["roomId"]),
            (&json!("unavailable"), &json!("joinRoom"), &json!(1))
        );
    }
    unhide(database, "rooms");
    // What another process stores has no hint, and still arrives.
    database.sql(
        "INSERT INTO messages (room_id, seq, user_id, content, created_at) \
         VALUES (1, 2, '1', 'two', '2026-01-31T12:00:00.000Z')",
    );
    database.sql("UPDATE rooms SET last_seq = 2");
    assert_eq!(ada.send(1, "three").await["message"]["seq"], 3);
    assert_eq!(grace.send(1, "four").await["message"]["seq"], 4);
    for seq in 2..=4 {
        let (name, message) = grace.any_event().await;
        assert_eq!(
            (name.as_str(), &message["seq"]),
            ("newMessage", &json!(seq))
        );
    }
}
