//! Deleting a room: its users leave it at once, its messages go in the background, and its number
//! begins anew.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::time::{sleep, timeout};

use crate::nodes::group::{Group, until_metric};
use crate::rules::operate;
use crate::support::client::Client;
use crate::support::{Database, Gateway, metric};

crate::on_each_database!(
    a_deleted_room_is_left_at_once_and_its_number_begins_anew,
    a_deletion_goes_on_after_a_crash,
);

const ROOM: u64 = 7;
/// How long the deletion of a room in these tests may take on a busy machine.
const DEADLINE: Duration = Duration::from_secs(60);

fn delete(database: &Database) -> String {
    operate(database, &["room", "delete", "--room", &ROOM.to_string()])
}

/// Waits until no room is being deleted.
async fn until_deleted(database: &Database) {
    let began = Instant::now();
    while database.sql("SELECT count(*) FROM closed_rooms") != "0" {
        assert!(began.elapsed() < DEADLINE, "the room is not deleted");
        sleep(Duration::from_millis(50)).await;
    }
}

fn code(answer: &Value) -> Option<&str> {
    answer["error"]["code"].as_str()
}

/// Sends until the room is not found. Returns the client, and how many messages were stored.
async fn send_until_closed(mut client: Client) -> (Client, u64) {
    for stored in 0.. {
        let answer = client.send(ROOM, "x").await;
        match code(&answer) {
            None => {}
            Some("not_found") => return (client, stored),
            Some(_) => panic!("{answer}"),
        }
    }
    unreachable!("the room is closed at some time")
}

/// Reads messages, which must be in order, until the client has to leave the room; returns how
/// many there were. Nothing but refusals may follow.
async fn read_until_closed(client: &mut Client) -> u64 {
    let mut read = 0;
    loop {
        let (event, payload) = client.any_event().await;
        match event.as_str() {
            "newMessage" => {
                read += 1;
                assert_eq!(payload["seq"], read, "{payload}");
            }
            "leftRoom" => {
                assert_eq!(payload, json!({"roomId": ROOM, "reason": "closed"}));
                break;
            }
            "markedRead" | "error" | "joinedRoom" => {}
            other => panic!("{other}: {payload}"),
        }
    }
    for (event, payload) in [
        ("listMessages", json!({"roomId": ROOM})),
        ("markRead", json!({"roomId": ROOM, "seq": 1})),
        ("getRoom", json!({"roomId": ROOM})),
        ("listMembers", json!({"roomId": ROOM})),
        ("joinRoom", json!({"roomId": ROOM})),
        ("setRoom", json!({"roomId": ROOM, "frozen": true})),
    ] {
        let answer = client.call(event, &payload).await;
        assert_eq!(code(&answer), Some("not_found"), "{event}: {answer}");
        let mut later = client.take_events();
        // An exclusion that meets a join has its farewell before the refusal: once, and no other.
        let farewell = (
            "leftRoom".to_owned(),
            json!({"roomId": ROOM, "reason": "closed"}),
        );
        let at = later.iter().position(|event| *event == farewell);
        if let Some(at) = at.filter(|_| event == "joinRoom") {
            later.remove(at);
        }
        assert!(later.iter().all(|(event, _)| event == "error"), "{later:?}");
    }
    read
}

/// Lets users of these nodes send and read while the room is deleted. Returns the clients.
async fn close_in_mid_traffic(database: &Database, nodes: &[&Gateway]) -> Vec<Client> {
    let (mut sending, mut reading) = (Vec::new(), Vec::new());
    for node in nodes {
        for n in 0..3 {
            let mut reader = node.connect(&format!("reader {n}")).await;
            reader.join(ROOM).await;
            reading.push(reader);
        }
    }
    for node in nodes {
        for n in 0..3 {
            let mut sender = node.connect(&format!("sender {n}")).await;
            sender.join(ROOM).await;
            sending.push(tokio::spawn(send_until_closed(sender)));
        }
    }
    let mut watching = Vec::new();
    for mut reader in reading {
        watching.push(tokio::spawn(async move {
            let read = read_until_closed(&mut reader).await;
            (reader, read, Instant::now())
        }));
    }
    let stored = "SELECT coalesce(max(last_seq), 0) FROM rooms WHERE id = 7";
    let stored = || -> u64 { database.sql(stored).parse().unwrap() };
    while stored() < 30 {
        sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(
        delete(database),
        "room 7 is closed; the gateways delete it\n"
    );
    let closed_at = Instant::now();
    let at_closure = stored();

    let mut clients = Vec::new();
    let mut sent = 0;
    for sender in sending {
        let (client, stored) = timeout(DEADLINE, sender).await.unwrap().unwrap();
        sent += stored;
        clients.push(client);
    }
    assert_eq!(sent, at_closure, "what was acknowledged, and nothing later");
    for reader in watching {
        let (client, read, left_at) = timeout(DEADLINE, reader).await.unwrap().unwrap();
        assert!(read <= at_closure);
        let after = left_at.saturating_duration_since(closed_at);
        // A second, and what a busy machine adds.
        assert!(after < Duration::from_secs(3), "left after {after:?}");
        clients.push(client);
    }
    clients
}

/// Uses the room's number again, on all nodes.
async fn begin_anew(database: &Database, clients: &mut [Client]) {
    until_deleted(database).await;
    assert_eq!(delete(database), "room 7 does not exist\n");
    for client in clients.iter_mut() {
        // A sender may not have read its farewell yet.
        client.take_events();
        let join = json!({"roomId": ROOM, "afterSeq": 0});
        let joined = client.call("joinRoom", &join).await;
        assert_eq!((&joined["ok"], &joined["seq"]), (&json!(true), &json!(0)));
        client.take_events();
    }
    for seq in 1..=3 {
        let payload = json!({
            "roomId": ROOM,
            "content": "anew",
            "clientMessageId": format!("c-{seq}"),
        });
        let place = seq % clients.len();
        let sent = clients[place].call("sendMessage", &payload).await;
        assert_eq!(sent["message"]["seq"], seq, "{sent}");
        for client in clients.iter_mut() {
            let message = client.event("newMessage").await;
            assert_eq!(
                (&message["seq"], &message["content"]),
                (&json!(seq), &json!("anew"))
            );
        }
    }
}

async fn a_deleted_room_is_left_at_once_and_its_number_begins_anew(database: &Database) {
    let gateway = Gateway::start(database);
    let shown = ["room", "show", "--room", "7"];
    operate(
        database,
        &["room", "create", "--room", "7", "--kind", "open"],
    );
    let member = ["--room", "7", "--user", "reader 0", "--role", "owner"];
    operate(database, &[&["member", "add"], &member[..]].concat());
    let mut other = gateway.connect("other").await;
    other.join(8).await;
    assert_eq!(other.send(8, "stays").await["ok"], true);
    let mut clients = close_in_mid_traffic(database, &[&gateway]).await;
    let again = delete(database);
    let is_gone = again == "room 7 does not exist\n";
    assert!(is_gone || again == "room 7 is being deleted\n", "{again}");
    if !is_gone {
        assert_eq!(operate(database, &shown), "room 7 is being deleted\n");
    }
    begin_anew(database, &mut clients).await;
    assert_eq!(operate(database, &shown), "room 7 has no rules\n");
    assert_eq!(operate(database, &["member", "list", "--room", "7"]), "");
    let page = other.call("listMessages", &json!({"roomId": 8})).await;
    assert_eq!(page["messages"][0]["content"], "stays", "{page}");
    gateway.wait_for_log(|log| log.contains("room deleted").then_some(()));
    until_metric(&gateway, "chat_closed_rooms", |rooms| rooms == 0).await;
    assert!(metric(&gateway, "chat_deleted_rows_total").await > 30);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_room_is_left_on_all_nodes() {
    let group = Group::start(2).await;
    let nodes: Vec<_> = group.nodes.iter().collect();
    let mut clients = close_in_mid_traffic(&group.database, &nodes).await;
    begin_anew(&group.database, &mut clients).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_room_is_left_on_all_nodes_without_redis() {
    let group = Group::start_on("redis://127.0.0.1:1", 2);
    let nodes: Vec<_> = group.nodes.iter().collect();
    let mut clients = close_in_mid_traffic(&group.database, &nodes).await;
    begin_anew(&group.database, &mut clients).await;
}

/// A node that was paused while a room was deleted and its number used again hands nothing of the
/// new room to those that had joined the earlier one.
#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_slept_meanwhile_tells_the_rooms_apart() {
    for redis in [true, false] {
        let group = match redis {
            true => Group::start(2).await,
            false => Group::start_on("redis://127.0.0.1:1", 2),
        };
        let [awake, asleep] = [&group.nodes[0], &group.nodes[1]];
        let mut member = asleep.connect("member").await;
        let mut sender = awake.connect("sender").await;
        for client in [&mut member, &mut sender] {
            client.join(ROOM).await;
        }
        for seq in 1..=3 {
            sender.send(ROOM, "before").await;
            assert_eq!(member.event("newMessage").await["seq"], seq);
        }
        member.take_events();
        asleep.signal("STOP");
        delete(&group.database);
        until_deleted(&group.database).await;
        let mut sender = awake.connect("sender").await;
        sender.join(ROOM).await;
        for seq in 1..=10 {
            let sent = sender.send(ROOM, "after").await;
            assert_eq!(sent["message"]["seq"], seq, "{sent}");
        }
        asleep.signal("CONT");
        let (event, left) = member.any_event().await;
        assert_eq!(
            (event.as_str(), &left["reason"]),
            ("leftRoom", &json!("closed"))
        );
        // It may join the new room, and gets that one alone.
        let join = json!({"roomId": ROOM, "afterSeq": 3});
        assert_eq!(member.call("joinRoom", &join).await["seq"], 10);
        for seq in 4..=10 {
            let message = member.event("newMessage").await;
            assert_eq!(
                (&message["seq"], &message["content"]),
                (&json!(seq), &json!("after"))
            );
        }
    }
}

/// Fills the room by SQL.
fn fill(database: &Database, messages: u64) {
    let numbers = format!(
        "WITH RECURSIVE numbers (n) AS \
         (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < {messages}) \
         INSERT INTO messages (room_id, seq, user_id, content, created_at) \
         SELECT {ROOM}, n, '42', 'x', '2026-01-31T12:00:00.000Z' FROM numbers"
    );
    let room = format!("INSERT INTO rooms (id, last_seq) VALUES ({ROOM}, {messages})");
    let user = "INSERT INTO users (id, name) VALUES ('42', 'Ada')";
    match database {
        Database::Sqlite(_) => {
            database.sql(&format!("{user};;{room};;{numbers}"));
        }
        Database::Postgres(_) => {
            let numbers = numbers.replace("'2026", "timestamptz '2026");
            database.sql(&format!("{user}; {room}; {numbers}"));
        }
    }
}

fn left(database: &Database) -> u64 {
    let count = format!("SELECT count(*) FROM messages WHERE room_id = {ROOM}");
    database.sql(&count).parse().unwrap()
}

/// Waits until a part of the room is deleted.
async fn until_begun(database: &Database, messages: u64) {
    let began = Instant::now();
    while left(database) == messages {
        assert!(began.elapsed() < DEADLINE, "the deletion does not begin");
        sleep(Duration::from_millis(20)).await;
    }
}

async fn a_deletion_goes_on_after_a_crash(database: &Database) {
    const MESSAGES: u64 = 100_000;
    let mut gateway = Gateway::start(database);
    fill(database, MESSAGES);
    delete(database);
    until_begun(database, MESSAGES).await;
    gateway.signal("KILL");
    gateway.wait();
    assert!(left(database) > 0, "it was too fast for this test");
    let gateway = Gateway::start(database);
    until_deleted(database).await;
    assert_eq!(left(database), 0);
    gateway.wait_for_log(|log| log.contains("room deleted").then_some(()));
    let mut client = gateway.connect("42").await;
    assert_eq!(client.join(ROOM).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn another_node_goes_on_with_the_deletion_of_one_that_was_killed() {
    const MESSAGES: u64 = 100_000;
    let mut group = Group::start(2).await;
    fill(&group.database, MESSAGES);
    delete(&group.database);
    until_begun(&group.database, MESSAGES).await;
    let is_deleting = |node: &Gateway| node.log().contains("deleting a room");
    let first = group.nodes.iter().position(is_deleting).unwrap();
    let mut killed = group.nodes.remove(first);
    killed.signal("KILL");
    killed.wait();
    assert!(left(&group.database) > 0, "it was too fast for this test");
    until_deleted(&group.database).await;
    assert_eq!(left(&group.database), 0);
    let other = &group.nodes[0];
    other.wait_for_log(|log| log.contains("room deleted").then_some(()));
}
