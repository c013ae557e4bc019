//! Stored before seen, and what happens when nothing can be stored.

use std::time::Duration;

use chat_test_support::{Cluster, ClusterOptions};
use serde_json::{Value, json};

use crate::support::client::Client;
use crate::support::{Database, Gateway, SECRET, command, token};

async fn in_room(gateway: &Gateway, user: &str) -> Client {
    let mut client = Client::connect(gateway.address, &token(user, "x")).await;
    client.join(1).await;
    client.event("joinedRoom").await;
    client
}

/// A send that must be refused like this: the `error` event first, and nobody else
/// hears of it.
async fn is_refused(client: &mut Client, code: &str) {
    let answer = client.send(1, "not to be seen").await;
    assert_eq!(answer["ok"], false, "{answer}");
    assert_eq!(answer["error"]["code"], code);
    assert_eq!(answer["error"]["retryable"], true);
    let (name, error) = client.any_event().await;
    assert_eq!(name, "error");
    assert_eq!(error["code"], code);
    assert_eq!(error["event"], "sendMessage");
    assert_eq!(error["roomId"], 1);
}

/// The next message that both see has this number, and is this.
async fn both_see(one: &mut Client, other: &mut Client, seq: u64) {
    let sent = one.send(1, "seen").await;
    assert_eq!(sent["message"]["seq"], seq, "{sent}");
    for client in [one, other] {
        let (name, message) = client.any_event().await;
        assert_eq!(name, "newMessage");
        assert_eq!(message, sent["message"]);
    }
}

crate::on_each_database!(
    an_insert_that_raises_reaches_nobody,
    every_broadcast_is_in_the_table,
    a_deleted_message_is_not_waited_for,
);

async fn an_insert_that_raises_reaches_nobody(database: &Database) {
    let gateway = Gateway::start(database);
    let (mut ada, mut grace) = (in_room(&gateway, "1").await, in_room(&gateway, "2").await);
    both_see(&mut ada, &mut grace, 1).await;
    match database {
        Database::Sqlite(_) => database.sql(
            "CREATE TRIGGER no BEFORE INSERT ON messages BEGIN SELECT RAISE(ABORT, 'no'); END",
        ),
        Database::Postgres(_) => database.sql(
            "CREATE FUNCTION no() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'no'; END $$; \
             CREATE TRIGGER no BEFORE INSERT ON messages FOR EACH ROW EXECUTE FUNCTION no()",
        ),
    };
    is_refused(&mut ada, "unavailable").await;
    is_refused(&mut ada, "unavailable").await;
    database.sql(match database {
        Database::Sqlite(_) => "DROP TRIGGER no",
        Database::Postgres(_) => "DROP TRIGGER no ON messages",
    });
    both_see(&mut ada, &mut grace, 2).await;
    assert_eq!(database.sql("SELECT count(*) FROM messages"), "2");
}

/// At the moment in which a member sees a message, it is in the table.
async fn every_broadcast_is_in_the_table(database: &Database) {
    let gateway = Gateway::start(database);
    let (mut ada, mut grace) = (in_room(&gateway, "1").await, in_room(&gateway, "2").await);
    for _ in 0..20 {
        ada.start("sendMessage", &json!({"roomId": 1, "content": "x"}))
            .await;
        let seq = grace.event("newMessage").await["seq"].as_u64().unwrap();
        let found = database.sql(&format!("SELECT count(*) FROM messages WHERE seq = {seq}"));
        assert_eq!(found, "1");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sqlite_that_is_locked_or_moved_is_an_answer_and_then_works_again() {
    let database = Database::sqlite();
    let gateway = Gateway::start(&database);
    let (mut ada, mut grace) = (in_room(&gateway, "1").await, in_room(&gateway, "2").await);
    both_see(&mut ada, &mut grace, 1).await;

    let locker = {
        use diesel::Connection as _;
        use diesel::connection::SimpleConnection as _;
        let path = database.path();
        let mut other = diesel::SqliteConnection::establish(path.to_str().unwrap()).unwrap();
        other.batch_execute("BEGIN EXCLUSIVE").unwrap();
        other
    };
    is_refused(&mut ada, "unavailable").await;
    drop(locker);
    both_see(&mut ada, &mut grace, 2).await;

    let folder = database.path().parent().unwrap().to_owned();
    let away = folder.with_file_name("away");
    std::fs::rename(&folder, &away).unwrap();
    is_refused(&mut ada, "unavailable").await;
    std::fs::rename(&away, &folder).unwrap();
    both_see(&mut ada, &mut grace, 3).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_postgres_that_stops_is_an_answer_and_then_works_again() {
    let mut server = Cluster::start(ClusterOptions::default()).unwrap();
    server.create_database("chat").unwrap();
    let mut serve = command("serve");
    serve
        .env("DATABASE_URL", server.url("chat"))
        .env("JWT_SECRET", SECRET);
    serve.env("HOST", "127.0.0.1").env("PORT", "0");
    let gateway = Gateway::spawn(serve);
    let (mut ada, mut grace) = (in_room(&gateway, "1").await, in_room(&gateway, "2").await);
    both_see(&mut ada, &mut grace, 1).await;

    server.stop_immediate().unwrap();
    for _ in 0..20 {
        is_refused(&mut ada, "unavailable").await;
    }
    let refused = grace.call("joinRoom", &json!({"roomId": 2})).await;
    assert_eq!(refused["error"]["code"], "unavailable");
    grace.event("error").await;

    server.start_again().unwrap();
    both_see(&mut ada, &mut grace, 2).await;
}

/// The connection breaks during the commit: the sender is told that nobody knows,
/// and members see the message exactly if it was stored.
#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_outcome_is_told_and_then_shown_if_it_was_stored() {
    let database = Database::postgres();
    let gateway = Gateway::start(&database);
    let (mut ada, mut grace) = (in_room(&gateway, "1").await, in_room(&gateway, "2").await);
    both_see(&mut ada, &mut grace, 1).await;

    // Not stored: the backend ends before its commit does.
    database.sql(
        "CREATE FUNCTION die() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN \
         PERFORM pg_terminate_backend(pg_backend_pid()); PERFORM pg_sleep(5); RETURN NULL; END $$; \
         CREATE CONSTRAINT TRIGGER die AFTER INSERT ON messages DEFERRABLE INITIALLY DEFERRED \
         FOR EACH ROW EXECUTE FUNCTION die()",
    );
    is_refused(&mut ada, "outcome_unknown").await;
    database.sql("DROP TRIGGER die ON messages");
    both_see(&mut ada, &mut grace, 2).await;

    // Stored, without anybody here having heard of it: as after a commit whose
    // answer was lost. The comparison with the log finds it within a second.
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
    both_see(&mut ada, &mut grace, 4).await;
}

/// An operator deletes a message while its hint was lost: the others go on.
async fn a_deleted_message_is_not_waited_for(database: &Database) {
    let gateway = Gateway::start(database);
    let (mut ada, mut grace) = (in_room(&gateway, "1").await, in_room(&gateway, "2").await);
    both_see(&mut ada, &mut grace, 1).await;
    // The numbers 2 to 4 were given; 2 and 4 are gone before anybody saw them.
    database.sql(
        "INSERT INTO messages (room_id, seq, user_id, content, created_at) \
         VALUES (1, 3, '1', 'the third', '2026-01-31T12:00:00.000Z')",
    );
    database.sql("UPDATE rooms SET last_seq = 4");
    for client in [&mut ada, &mut grace] {
        assert_eq!(client.event("newMessage").await["content"], "the third");
    }
    both_see(&mut ada, &mut grace, 5).await;
}
