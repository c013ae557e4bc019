//! Messages on PostgreSQL while other sessions change the rules of their rooms.

use crate::append_under_rules::{is_changed, is_stored};
use crate::databases::Postgres;
use crate::{append, append_at_once, hello, room, under};

/// Sends a message to room 1 while another session holds this change, and ends the session's
/// transaction once the message waits for it. The message is alone in its batch, or not.
/// Returns whether it was stored.
async fn is_stored_after(rooms: &str, change: &str, end: &str, is_alone: bool) -> bool {
    let postgres = Postgres::fresh().await;
    let log = postgres.database.clone();
    postgres.server.psql(rooms).unwrap();
    let other = postgres.hold(change).await;
    let mut batch = vec![hello(room(1))];
    batch.extend((!is_alone).then(|| hello(room(2))));
    let sending = tokio::spawn(async move { append_at_once(&log, batch).await });
    postgres.server.wait_for_lock_waits(1).unwrap();
    other.batch_execute(end).await.unwrap();
    let outcomes = sending.await.unwrap();
    assert!(outcomes[1..].iter().all(Result::is_ok), "{outcomes:?}");
    let is_changed = is_changed(&outcomes[0]);
    assert!(is_changed || outcomes[0].is_ok(), "{outcomes:?}");
    !is_changed
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_waited_for_a_change_is_compared_with_its_result() {
    let rooms = "INSERT INTO rooms (id, last_seq) VALUES (1, 1), (2, 1)";
    let change = "UPDATE rooms SET rules = rules + 1 WHERE id = 1";
    let other_change = "UPDATE rooms SET last_seq = last_seq + 1 WHERE id = 1";
    for is_alone in [true, false] {
        assert!(!is_stored_after(rooms, change, "COMMIT", is_alone).await);
        assert!(is_stored_after(rooms, change, "ROLLBACK", is_alone).await);
        assert!(is_stored_after(rooms, other_change, "COMMIT", is_alone).await);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_room_that_another_session_creates_meanwhile_is_compared() {
    let rooms = "INSERT INTO rooms (id, last_seq) VALUES (2, 1)";
    let with_rules = "INSERT INTO rooms (id, last_seq, rules) VALUES (1, 1, 1)";
    let without = "INSERT INTO rooms (id, last_seq) VALUES (1, 1)";
    for is_alone in [true, false] {
        assert!(!is_stored_after(rooms, with_rules, "COMMIT", is_alone).await);
        assert!(is_stored_after(rooms, with_rules, "ROLLBACK", is_alone).await);
        assert!(is_stored_after(rooms, without, "COMMIT", is_alone).await);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_outdated_message_does_not_wait_for_its_room_and_neither_do_the_others() {
    let postgres = Postgres::fresh().await;
    let log = &postgres.database;
    append(log, hello(room(1))).await.unwrap();
    let change = "UPDATE rooms SET rules = 2";
    postgres.server.psql(change).unwrap();
    let lock = "SELECT 1 FROM rooms WHERE id = 1 FOR UPDATE";
    let _locker = postgres.hold(lock).await;
    let outdated = || under(1, hello(room(1)));
    let outcomes = append_at_once(log, [outdated(), hello(room(2))]).await;
    assert!(
        is_changed(&outcomes[0]) && is_stored(&outcomes[1], 1),
        "{outcomes:?}"
    );
    let outcomes = append_at_once(log, [outdated()]).await;
    assert!(is_changed(&outcomes[0]), "{outcomes:?}");
}
