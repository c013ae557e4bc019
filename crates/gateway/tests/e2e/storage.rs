//! Messages are stored before they are broadcast: storage that refuses, disappears or breaks
//! during a commit, and rows that change without the gateway.

use std::time::Duration;

use chat_test_support::{Cluster, ClusterOptions};
use serde_json::{Value, json};

use crate::support::client::Client;
use crate::support::{Database, Gateway, SECRET, command, token};

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
    every_message_is_stored_before_it_is_broadcast,
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

async fn every_message_is_stored_before_it_is_broadcast(database: &Database) {
    let gateway = Gateway::start(database);
    let (mut ada, mut grace) = (member(&gateway, "1").await, member(&gateway, "2").await);
    for _ in 0..20 {
        ada.start("sendMessage", &json!({"roomId": 1, "content": "x"}))
            .await;
        let seq = grace.event("newMessage").await["seq"].as_u64().unwrap();
        let found = database.sql(&format!("SELECT count(*) FROM messages WHERE seq = {seq}"));
        assert_eq!(found, "1");
    }
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
}

/// The storage connection breaks during a commit. Members receive the message if and only if
/// it was stored.
#[tokio::test(flavor = "multi_thread")]
async fn a_broken_commit_is_answered_with_outcome_unknown_and_delivered_if_it_was_stored() {
    let database = Database::postgres();
    let gateway = Gateway::start(&database);
    let (mut ada, mut grace) = (member(&gateway, "1").await, member(&gateway, "2").await);
    assert_both_receive(&mut ada, &mut grace, 1).await;

    // Not stored: the backend terminates before the commit completes.
    database.sql(
        "CREATE FUNCTION die() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN \
         PERFORM pg_terminate_backend(pg_backend_pid()); PERFORM pg_sleep(5); RETURN NULL; END $$; \
         CREATE CONSTRAINT TRIGGER die AFTER INSERT ON messages DEFERRABLE INITIALLY DEFERRED \
         FOR EACH ROW EXECUTE FUNCTION die()",
    );
    assert_send_is_refused(&mut ada, "outcome_unknown").await;
    database.sql("DROP TRIGGER die ON messages");
    assert_both_receive(&mut ada, &mut grace, 2).await;

    // Stored without the gateway's knowledge, as by a commit whose answer was lost.
    // Reconciliation finds it within a second.
    database.sql(
        "UPDATE rooms SET last_seq = 3; INSERT INTO messages (room_id, seq, user_id, content, \
         created_at) VALUES (1, 3, '1', 'lost and found', now())",
    );
    for client in [&mut ada, &mut grace] {
        let found = tokio::time::timeout(Duration::from_secs(1), client.event("newMessage"));
        let found: Value = found.await.expect("within a second");
        assert_eq!(
            (&found["seq"], &found["content"]),
            (&json!(3), &json!("lost and found"))
        );
    }
    assert_both_receive(&mut ada, &mut grace, 4).await;
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
