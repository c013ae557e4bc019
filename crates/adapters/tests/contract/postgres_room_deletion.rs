//! Deleting rooms on PostgreSQL: locks, and sessions that end in the middle.

use std::time::Duration;

use chat_domain::ports::{Closing, RoomDeletion as _, RoomDirectory as _};
use tokio::time::timeout;

use crate::databases::Postgres;
use crate::room_deletion::{MAKE_DUE, delete_all, generation};
use crate::{append, append_at_once, by, hello, room};

const DEADLINE: Duration = Duration::from_secs(30);

async fn closed(postgres: &Postgres, numbers: impl IntoIterator<Item = u64>) {
    for number in numbers {
        let messages = (0..20).map(|_| hello(room(number)));
        append_at_once(&postgres.database, messages).await;
        postgres.database.close(room(number)).await.unwrap();
    }
    postgres.server.psql(MAKE_DUE).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_room_that_another_session_deletes_is_left_to_it() {
    let postgres = Postgres::fresh().await;
    closed(&postgres, 1..=2).await;
    let first = "SELECT FROM closed_rooms ORDER BY closed_at, room_id LIMIT 1 FOR UPDATE";
    let other = postgres.server.begin(first).unwrap();
    let batches = timeout(DEADLINE, delete_all(&postgres.database, 5)).await;
    let batches = batches.unwrap();
    assert!(batches.iter().all(|batch| batch.room_id == room(2)));
    assert!(batches.last().unwrap().is_last);
    other.commit().unwrap();
    let batches = delete_all(&postgres.database, 5).await;
    assert!(batches.iter().all(|batch| batch.room_id == room(1)));
}

/// Whatever holds the rows of `rooms`, batches but the last one do not wait for it; and what
/// holds the work on a room keeps no append waiting.
#[tokio::test(flavor = "multi_thread")]
async fn batches_and_appends_do_not_wait_for_each_other() {
    let postgres = Postgres::fresh().await;
    let database = &postgres.database;
    append(database, hello(room(2))).await.unwrap();
    closed(&postgres, [1]).await;
    let rooms = postgres
        .server
        .begin("SELECT FROM rooms FOR UPDATE")
        .unwrap();
    for _ in 0..3 {
        let batch = timeout(Duration::from_secs(1), database.delete_batch(5)).await;
        assert_eq!(batch.unwrap().unwrap().unwrap().rows, 5);
    }
    rooms.commit().unwrap();
    let work = postgres
        .server
        .begin("SELECT FROM closed_rooms FOR UPDATE; DELETE FROM messages WHERE room_id = 1")
        .unwrap();
    let batch = [
        hello(room(2)),
        by("43", "Grace", room(3), "x"),
        hello(room(1)),
    ];
    let outcomes = timeout(Duration::from_secs(1), append_at_once(database, batch)).await;
    let outcomes = outcomes.unwrap();
    assert!(outcomes[0].is_ok() && outcomes[1].is_ok());
    assert!(crate::append_under_rules::is_changed(&outcomes[2]));
    work.commit().unwrap();
    assert!(delete_all(database, 100).await.last().unwrap().is_last);
}

/// The server ends the session in the last statement of a batch, and of a closure.
#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_ends_in_the_middle_is_resumed_by_the_next_one() {
    let postgres = Postgres::fresh().await;
    let database = &postgres.database;
    closed(&postgres, [1]).await;
    append(database, hello(room(2))).await.unwrap();
    let die = "CREATE FUNCTION die() RETURNS trigger LANGUAGE plpgsql \
         AS $$ BEGIN PERFORM pg_terminate_backend(pg_backend_pid()); RETURN NULL; END $$; \
         CREATE TRIGGER die AFTER INSERT OR UPDATE OR DELETE ON closed_rooms \
         FOR EACH ROW EXECUTE FUNCTION die()";
    let revive = "DROP TRIGGER die ON closed_rooms; DROP FUNCTION die";
    let count = || {
        let count = "SELECT count(*) FROM messages WHERE room_id = 1";
        postgres.server.psql(count).unwrap().trim().to_owned()
    };
    for (size, before, after) in [(5, "20", "15"), (5, "15", "10"), (100, "10", "0")] {
        postgres.server.psql(die).unwrap();
        database.delete_batch(size).await.unwrap_err();
        database.close(room(2)).await.unwrap_err();
        assert_eq!(count(), before);
        assert!(!database.snapshot(room(2), &[]).await.unwrap().is_closed());
        postgres.server.psql(revive).unwrap();
        let batch = database.delete_batch(size).await.unwrap().unwrap();
        assert_eq!(batch.is_last, size == 100);
        assert_eq!(count(), after);
    }
    let closing = database.close(room(2)).await.unwrap();
    assert_eq!(closing, Closing::Closed(generation(2)));
}
