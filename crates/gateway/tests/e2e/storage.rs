//! Messages are stored before they are broadcast: storage that refuses, disappears or breaks
//! during a commit, and rows that change without the gateway.

use std::time::Duration;

use chat_test_support::{Cluster, ClusterOptions};
use serde_json::{Value, json};

use crate::support::client::{Client, Event, Polling, event_of};
use crate::support::{DEADLINE, Database, Gateway, SECRET, command, token};

/// Connects a client that has joined room 1.
async fn member(gateway: &Gateway, user: &str) -> Client {
    let mut client = Client::connect(gateway.address, &token(user, "x")).await;
    client.join(1).await;
    client.event("joinedRoom").await;
    client
}

/// Sends a message that must be refused with this code, first by an `error` event and then
/// by the acknowledgement.
async fn assert_send_is_refused(client: &mut Client, code: &str) {
    let answer = client.send(1, "must not be broadcast").await;
    assert_eq!(answer["ok"], false, "{answer}");
    assert_eq!(answer["error"]["code"], code);
    assert_eq!(answer["error"]["retryable"], true);
    let (name, error) = client.any_event().await;
    assert_eq!(name, "error");
    assert_eq!(error["code"], code);
    assert_eq!(error["event"], "sendMessage");
    assert_eq!(error["roomId"], 1);
}

/// Sends a message that must get this number and be the next event of both clients.
async fn assert_both_receive(one: &mut Client, other: &mut Client, seq: u64) {
    let sent = one.send(1, "broadcast").await;
    assert_eq!(sent["message"]["seq"], seq, "{sent}");
    for client in [one, other] {
        let (name, message) = client.any_event().await;
        assert_eq!(name, "newMessage");
        assert_eq!(message, sent["message"]);
    }
}

crate::on_each_database!(
    a_message_whose_insert_fails_reaches_no_client,
    a_message_whose_commit_fails_reaches_no_member,
    a_message_that_is_stored_without_a_hint_arrives_within_a_second,
    deleted_messages_do_not_block_later_ones,
);

async fn a_message_whose_insert_fails_reaches_no_client(database: &Database) {
    let gateway = Gateway::start(database);
    let (mut ada, mut grace) = (member(&gateway, "1").await, member(&gateway, "2").await);
    assert_both_receive(&mut ada, &mut grace, 1).await;
    match database {
        Database::Sqlite(_) => database.sql(
            "CREATE TRIGGER no BEFORE INSERT ON messages BEGIN SELECT RAISE(ABORT, 'no'); END",
        ),
        Database::Postgres(_) => database.sql(
            "CREATE FUNCTION no() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'no'; END $$; \
             CREATE TRIGGER no BEFORE INSERT ON messages FOR EACH ROW EXECUTE FUNCTION no()",
        ),
    };
    assert_send_is_refused(&mut ada, "unavailable").await;
    assert_send_is_refused(&mut ada, "unavailable").await;
    database.sql(match database {
        Database::Sqlite(_) => "DROP TRIGGER no",
        Database::Postgres(_) => "DROP TRIGGER no ON messages",
    });
    assert_both_receive(&mut ada, &mut grace, 2).await;
    assert_eq!(database.sql("SELECT count(*) FROM messages"), "2");
}

/// Lets every commit fail that stores a message with this content. Its insert succeeds.
fn refuse_at_commit(database: &Database, content: &str) {
    match database {
        // A row that violates a deferred foreign key.
        Database::Sqlite(_) => database.sql(&format!(
            "CREATE TABLE violations (room_id INTEGER NOT NULL REFERENCES rooms (id) \
             DEFERRABLE INITIALLY DEFERRED);; \
             CREATE TRIGGER refuse AFTER INSERT ON messages WHEN NEW.content = '{content}' \
             BEGIN INSERT INTO violations VALUES (-1); END"
        )),
        Database::Postgres(_) => database.sql(&format!(
            "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql \
             AS $$ BEGIN RAISE 'refused at the commit'; END $$; \
             CREATE CONSTRAINT TRIGGER refuse AFTER INSERT ON messages \
             DEFERRABLE INITIALLY DEFERRED FOR EACH ROW \
             WHEN (NEW.content = '{content}') EXECUTE FUNCTION refuse()"
        )),
    };
}

/// Returns the room, the number and the content of each `newMessage`.
fn messages(events: &[Event]) -> Vec<(u64, u64, String)> {
    let messages = events.iter().filter(|(name, _)| name == "newMessage");
    let brief = |message: &Value| {
        (
            message["roomId"].as_u64().unwrap(),
            message["seq"].as_u64().unwrap(),
            message["content"].as_str().unwrap().to_owned(),
        )
    };
    messages.map(|(_, message)| brief(message)).collect()
}

/// Members on both transports watch two rooms. A message that was broadcast before its
/// commit would reach them, with the number that the next message gets.
async fn a_message_whose_commit_fails_reaches_no_member(database: &Database) {
    const ROOMS: [u64; 2] = [1, 2];
    const ROUNDS: usize = 5;
    const REFUSED: &str = "must not be broadcast";
    let mut gateway = Gateway::start(database);
    let (mut ada, mut grace) = (gateway.connect("1").await, gateway.connect("2").await);
    let mut barbara = gateway.connect("3").await;
    let polling = Polling::connect(gateway.address, &token("4", "x")).await;
    for room in ROOMS {
        ada.join(room).await;
        grace.join(room).await;
        polling
            .post(&format!(r#"42["joinRoom",{{"roomId":{room}}}]"#))
            .await;
        polling.packets().await;
    }
    barbara.join(2).await;
    for room in ROOMS {
        assert_eq!(ada.send(room, "before").await["message"]["seq"], 1);
    }

    refuse_at_commit(database, REFUSED);
    for _ in 0..ROUNDS {
        let mut sends = Vec::new();
        for room in ROOMS {
            let message = json!({"roomId": room, "content": REFUSED});
            sends.push(ada.start("sendMessage", &message).await);
        }
        for id in sends {
            let answer = ada.ack(id).await;
            assert_eq!(answer["error"]["code"], "unavailable", "{answer}");
        }
    }
    // The next message gets the number that the refused one would have had.
    for (room, content) in ROOMS.into_iter().zip(["after", "last"]) {
        assert_eq!(ada.send(room, content).await["message"]["seq"], 2);
    }

    let expected = [
        (1, 1, "before".to_owned()),
        (2, 1, "before".to_owned()),
        (1, 2, "after".to_owned()),
        (2, 2, "last".to_owned()),
    ];
    let in_room_2: Vec<_> = expected.iter().filter(|m| m.0 == 2).cloned().collect();
    let mut polled = Vec::new();
    while polled.len() < expected.len() {
        polled.extend(messages(&polling.events().await));
    }
    assert_eq!(polled, expected);
    // Of a connection's whole life: everything up to its end.
    gateway.signal("TERM");
    for (client, expected, refused) in [
        (&mut ada, &expected[..], 2 * ROUNDS),
        (&mut grace, &expected[..], 0),
        (&mut barbara, &in_room_2[..], 0),
    ] {
        let mut events = client.take_events();
        let rest = client.read_to_end(DEADLINE).await;
        events.extend(rest.iter().filter_map(|packet| event_of(packet)));
        assert_eq!(messages(&events), expected);
        let errors = events.iter().filter(|(name, _)| name == "error");
        assert_eq!(errors.count(), refused);
    }
    assert_eq!(gateway.wait().code(), Some(0));
    assert_eq!(
        database.sql("SELECT room_id, seq, content FROM messages ORDER BY seq, room_id"),
        "1|1|before\n2|1|before\n1|2|after\n2|2|last"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn sends_are_refused_while_sqlite_is_locked_or_moved_and_succeed_afterwards() {
    let database = Database::sqlite();
    let gateway = Gateway::start(&database);
    let (mut ada, mut grace) = (member(&gateway, "1").await, member(&gateway, "2").await);
    assert_both_receive(&mut ada, &mut grace, 1).await;

    let locker = {
        use diesel::Connection as _;
        use diesel::connection::SimpleConnection as _;
        let path = database.path();
        let mut other = diesel::SqliteConnection::establish(path.to_str().unwrap()).unwrap();
        other.batch_execute("BEGIN EXCLUSIVE").unwrap();
        other
    };
    assert_send_is_refused(&mut ada, "unavailable").await;
    drop(locker);
    assert_both_receive(&mut ada, &mut grace, 2).await;

    let folder = database.path().parent().unwrap().to_owned();
    let away = folder.with_file_name("away");
    std::fs::rename(&folder, &away).unwrap();
    assert_send_is_refused(&mut ada, "unavailable").await;
    std::fs::rename(&away, &folder).unwrap();
    assert_both_receive(&mut ada, &mut grace, 3).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sends_and_joins_are_refused_while_postgres_is_down_and_succeed_afterwards() {
    let mut server = Cluster::start(ClusterOptions::default()).unwrap();
    server.create_database("chat").unwrap();
    let mut serve = command("serve");
    serve
        .env("DATABASE_URL", server.url("chat"))
        .env("JWT_SECRET", SECRET);
    serve.env("HOST", "127.0.0.1").env("PORT", "0");
    let gateway = Gateway::spawn(serve);
    let (mut ada, mut grace) = (member(&gateway, "1").await, member(&gateway, "2").await);
    assert_both_receive(&mut ada, &mut grace, 1).await;

    server.stop_immediate().unwrap();
    for _ in 0..20 {
        assert_send_is_refused(&mut ada, "unavailable").await;
    }
    let refused = grace.call("joinRoom", &json!({"roomId": 2})).await;
    assert_eq!(refused["error"]["code"], "unavailable");
    grace.event("error").await;

    server.start_again().unwrap();
    assert_both_receive(&mut ada, &mut grace, 2).await;
    assert_eq!(grace.join(2).await, 0);
}

/// The server ends the storage connection before the commit completes.
#[tokio::test(flavor = "multi_thread")]
async fn a_commit_that_breaks_is_answered_with_outcome_unknown_and_reaches_no_client() {
    let database = Database::postgres();
    let gateway = Gateway::start(&database);
    let (mut ada, mut grace) = (member(&gateway, "1").await, member(&gateway, "2").await);
    assert_both_receive(&mut ada, &mut grace, 1).await;
    database.sql(
        "CREATE FUNCTION die() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN \
         PERFORM pg_terminate_backend(pg_backend_pid()); RETURN NULL; END $$; \
         CREATE CONSTRAINT TRIGGER die AFTER INSERT ON messages DEFERRABLE INITIALLY DEFERRED \
         FOR EACH ROW EXECUTE FUNCTION die()",
    );
    assert_send_is_refused(&mut ada, "outcome_unknown").await;
    database.sql("DROP TRIGGER die ON messages");
    assert_both_receive(&mut ada, &mut grace, 2).await;
}

/// As after a commit whose answer was lost. Reconciliation finds the message.
async fn a_message_that_is_stored_without_a_hint_arrives_within_a_second(database: &Database) {
    let gateway = Gateway::start(database);
    let (mut ada, mut grace) = (member(&gateway, "1").await, member(&gateway, "2").await);
    assert_both_receive(&mut ada, &mut grace, 1).await;
    database.sql(
        "INSERT INTO messages (room_id, seq, user_id, content, created_at) \
         VALUES (1, 2, '1', 'lost and found', '2026-01-31T12:00:00.000Z')",
    );
    database.sql("UPDATE rooms SET last_seq = 2");
    for client in [&mut ada, &mut grace] {
        let found = tokio::time::timeout(Duration::from_secs(1), client.event("newMessage"));
        let found = found.await.expect("within a second");
        assert_eq!(found["seq"], 2);
        assert_eq!(found["content"], "lost and found");
    }
    assert_both_receive(&mut ada, &mut grace, 3).await;
}

/// An operator deletes messages whose hints were lost.
async fn deleted_messages_do_not_block_later_ones(database: &Database) {
    let gateway = Gateway::start(database);
    let (mut ada, mut grace) = (member(&gateway, "1").await, member(&gateway, "2").await);
    assert_both_receive(&mut ada, &mut grace, 1).await;
    // The numbers 2 to 4 were assigned. Messages 2 and 4 are deleted before any delivery.
    database.sql(
        "INSERT INTO messages (room_id, seq, user_id, content, created_at) \
         VALUES (1, 3, '1', 'the third', '2026-01-31T12:00:00.000Z')",
    );
    database.sql("UPDATE rooms SET last_seq = 4");
    for client in [&mut ada, &mut grace] {
        assert_eq!(client.event("newMessage").await["content"], "the third");
    }
    assert_both_receive(&mut ada, &mut grace, 5).await;
}
