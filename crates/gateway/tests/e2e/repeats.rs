//! Messages that are sent again: because there was no answer, because the outcome was
//! unknown, or because the gateway crashed.

use chat_test_support::{Transaction, wait_until};
use serde_json::json;

use crate::support::{DEADLINE, Database, Gateway};

crate::on_each_database!(
    a_repeat_returns_the_stored_message_and_is_broadcast_once,
    twenty_repeats_in_progress_at_once_are_stored_and_broadcast_once,
    a_crash_between_commit_and_broadcast_loses_nothing,
);

async fn a_repeat_returns_the_stored_message_and_is_broadcast_once(database: &Database) {
    let mut gateway = Gateway::start(database);
    let mut ada = gateway.connect("1").await;
    let mut grace = gateway.connect("2").await;
    ada.join(1).await;
    grace.join(1).await;
    let sent = json!({"roomId": 1, "content": "once", "clientMessageId": "c0ffee-1"});
    let first = ada.call("sendMessage", &sent).await;
    assert_eq!(first["message"]["clientMessageId"], "c0ffee-1");
    assert_eq!(grace.event("newMessage").await, first["message"]);
    for _ in 0..3 {
        assert_eq!(ada.call("sendMessage", &sent).await, first);
    }
    // A repeat may also come from another connection of the same user.
    let mut other = gateway.connect("1").await;
    other.join(1).await;
    assert_eq!(other.call("sendMessage", &sent).await, first);
    // The same id from another user is another message.
    assert_eq!(grace.call("sendMessage", &sent).await["message"]["seq"], 2);
    // Different content with the same id is a conflict.
    let other = json!({"roomId": 1, "content": "twice", "clientMessageId": "c0ffee-1"});
    let refused = ada.call("sendMessage", &other).await;
    assert_eq!(refused["error"]["code"], "conflict");
    assert_eq!(refused["error"]["retryable"], false);
    let error = ada.event("error").await;
    assert_eq!(error["clientMessageId"], "c0ffee-1");
    assert_eq!(
        (&error["roomId"], &error["event"]),
        (&json!(1), &json!("sendMessage"))
    );
    // None of the repeats was broadcast: the next message that Grace receives is her own.
    assert_eq!(grace.event("newMessage").await["seq"], 2);

    gateway.signal("KILL");
    gateway.wait();
    let gateway = Gateway::start(database);
    let mut ada = gateway.connect("1").await;
    ada.join(1).await;
    assert_eq!(ada.call("sendMessage", &sent).await, first);
    assert_eq!(ada.send(1, "next").await["message"]["seq"], 3);
    assert_eq!(database.sql("SELECT count(*) FROM messages"), "3");
}

async fn twenty_repeats_in_progress_at_once_are_stored_and_broadcast_once(database: &Database) {
    let gateway = Gateway::start_with(database, &[("MAX_IN_FLIGHT", "1")]);
    let mut reader = gateway.connect("2").await;
    reader.join(1).await;
    assert_eq!(reader.send(1, "before").await["message"]["seq"], 1);
    assert_eq!(reader.event("newMessage").await["content"], "before");
    let mut senders = Vec::new();
    for _ in 0..20 {
        let mut sender = gateway.connect("1").await;
        sender.join(1).await;
        senders.push(sender);
    }

    let lock = database.lock_writes();
    let repeat = json!({"roomId": 1, "content": "once", "clientMessageId": "same"});
    let mut ids = Vec::new();
    for sender in &mut senders {
        ids.push(sender.start("sendMessage", &repeat).await);
    }
    // Each is in progress, because one event more of its connection is refused.
    for sender in &mut senders {
        let refused = sender.call("leaveRoom", &json!({"roomId": 2})).await;
        assert_eq!(refused["error"]["code"], "rate_limited", "{refused}");
    }
    lock.wait_for_waiting_write();
    lock.release();

    let mut answers = Vec::new();
    for (sender, id) in senders.iter_mut().zip(ids) {
        answers.push(sender.ack(id).await);
    }
    assert_eq!(answers[0]["ok"], true, "{}", answers[0]);
    assert_eq!(answers[0]["message"]["seq"], 2);
    assert!(answers.iter().all(|answer| *answer == answers[0]));
    let after = reader.send(1, "after").await;
    assert_eq!(after["message"]["seq"], 3);
    for client in senders.iter_mut().chain([&mut reader]) {
        assert_eq!(client.event("newMessage").await, answers[0]["message"]);
        assert_eq!(client.event("newMessage").await, after["message"]);
    }
    assert_eq!(
        database.sql("SELECT count(*), max(seq) FROM messages"),
        "3|3"
    );
}

/// Lets the commit of this content wait for the lock that the transaction holds. Its insert
/// is done.
fn hold_commit_of(database: &Database, content: &str) -> Transaction {
    database.sql(&format!(
        "CREATE FUNCTION wait() RETURNS trigger LANGUAGE plpgsql SET lock_timeout = 0 \
         AS $$ BEGIN PERFORM pg_advisory_xact_lock(1); RETURN NULL; END $$; \
         CREATE CONSTRAINT TRIGGER wait AFTER INSERT ON messages DEFERRABLE INITIALLY DEFERRED \
         FOR EACH ROW WHEN (NEW.content = '{content}') EXECUTE FUNCTION wait()"
    ));
    database.begin("SELECT pg_advisory_xact_lock(1)")
}

/// The gateway crashes while a message is committed, before it notifies any member.
async fn a_crash_between_commit_and_broadcast_loses_nothing(database: &Database) {
    let mut gateway = Gateway::start(database);
    let mut ada = gateway.connect("1").await;
    let mut grace = gateway.connect("2").await;
    ada.join(1).await;
    grace.join(1).await;
    ada.send(1, "one").await;
    assert_eq!(grace.event("newMessage").await["seq"], 1);
    let two = json!({"roomId": 1, "content": "two", "clientMessageId": "c0ffee-2"});
    match database {
        Database::Postgres(_) => {
            let lock = hold_commit_of(database, "two");
            ada.start("sendMessage", &two).await;
            database.wait_for_lock_wait();
            gateway.signal("KILL");
            gateway.wait();
            lock.commit().unwrap();
            wait_until(DEADLINE, "the commit is done", || {
                let stored = database.sql("SELECT count(*) FROM messages");
                Ok((stored == "2").then_some(()))
            })
            .unwrap();
        }
        Database::Sqlite(_) => {
            gateway.signal("KILL");
            gateway.wait();
            // The rows that such a crash leaves.
            database.sql(
                "INSERT INTO messages \
                 (room_id, seq, user_id, content, client_message_id, created_at) \
                 VALUES (1, 2, '1', 'two', 'c0ffee-2', '2026-01-31T12:00:00.000Z')",
            );
            database.sql("UPDATE rooms SET last_seq = 2");
        }
    }
    let gateway = Gateway::start(database);
    let mut grace = gateway.connect("2").await;
    grace
        .call("joinRoom", &json!({"roomId": 1, "afterSeq": 1}))
        .await;
    assert_eq!(grace.event("newMessage").await["content"], "two");
    // The sender, which received no answer, sends the message again.
    let mut ada = gateway.connect("1").await;
    ada.join(1).await;
    assert_eq!(ada.call("sendMessage", &two).await["message"]["seq"], 2);
    assert_eq!(database.sql("SELECT count(*) FROM messages"), "2");
}

/// A commit that misses its deadline may still complete. Its sender receives
/// `outcome_unknown`, no later message overtakes it, members receive it, and a repeat
/// returns it.
#[tokio::test(flavor = "multi_thread")]
async fn a_message_sent_after_an_unknown_outcome_is_numbered_after_it() {
    let database = Database::postgres();
    let gateway = Gateway::start(&database);
    let (mut ada, mut grace) = (gateway.connect("1").await, gateway.connect("2").await);
    ada.join(1).await;
    grace.join(1).await;
    // For longer than the gateway's deadline.
    let lock = hold_commit_of(&database, "slow");
    let slow = json!({"roomId": 1, "content": "slow", "clientMessageId": "slow-1"});
    let slowly = ada.start("sendMessage", &slow).await;
    // A message that arrived earlier would be in the same transaction, with the same unknown
    // outcome.
    database.wait_for_lock_wait();
    let after = ada
        .start("sendMessage", &json!({"roomId": 1, "content": "after"}))
        .await;
    let unknown = ada.ack(slowly).await;
    assert_eq!(unknown["error"]["code"], "outcome_unknown", "{unknown}");
    assert_eq!(unknown["error"]["retryable"], true);
    lock.commit().unwrap();
    assert_eq!(ada.ack(after).await["message"]["seq"], 2);
    for seen in ["slow", "after"] {
        assert_eq!(grace.event("newMessage").await["content"], *seen);
    }
    let again = ada.call("sendMessage", &slow).await;
    assert_eq!(again["message"]["seq"], 1);
    assert_eq!(database.sql("SELECT count(*) FROM messages"), "2");
}
