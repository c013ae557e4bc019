//! What a change to a message does when it cannot be stored.

use chat_domain::ports::{MessageChangeError, MessageRepository as _};
use chat_domain::{MessageEdit, StorageError};

use crate::change_repository::{change, edit, make, newest_rev, react, rev};
use crate::databases::{Postgres, Sqlite};
use crate::{append, hello, room, seq, up_to};

/// Which tables each change writes.
fn changes() -> [(MessageEdit, &'static [&'static str]); 4] {
    const OF_TEXT: &[&str] = &["rooms", "messages", "message_changes"];
    const OF_REACTION: &[&str] = &["rooms", "reactions", "message_changes"];
    [
        (edit("new"), OF_TEXT),
        (react("7", "+", true), OF_REACTION),
        (MessageEdit::Delete, OF_TEXT),
        (MessageEdit::Erase, OF_TEXT),
    ]
}

/// A fault in any table leaves the message as it is, and no gap in the numbers.
async fn a_fault_in_any_step_leaves_nothing(
    store: &impl crate::change_repository::Store,
    sql: impl Fn(&str),
    create: impl Fn(&str) -> String,
    drop: impl Fn(&str) -> String,
) {
    for (n, (edit, tables)) in (1..).zip(changes()) {
        let before = append(store, hello(room(1))).await.unwrap();
        assert_eq!(before.seq, seq(n));
        for table in tables {
            sql(&create(table));
            let outcome = change(store, room(1), n, edit.clone()).await;
            assert!(
                matches!(
                    outcome,
                    Err(MessageChangeError::Storage(StorageError::Unavailable(_)))
                ),
                "{edit:?}, {table}: {outcome:?}"
            );
            sql(&drop(table));
            let stored = store.message(room(1), seq(n)).await.unwrap();
            assert_eq!(stored.as_ref(), Some(&before));
            assert_eq!(newest_rev(store, room(1)).await, rev(n - 1));
        }
        let made = make(store, room(1), n, edit).await;
        assert_eq!(made.changes.unwrap().rev, rev(n));
    }
}

const EVENTS: [&str; 2] = ["INSERT", "UPDATE"];

#[tokio::test(flavor = "multi_thread")]
async fn a_fault_in_any_step_leaves_nothing_on_sqlite() {
    use diesel::connection::SimpleConnection as _;

    let sqlite = Sqlite::fresh().await;
    // The connection whose write has failed may still be closing.
    let sql = |sql: &str| {
        let patient = format!("PRAGMA busy_timeout = 5000; {sql}");
        sqlite.other().batch_execute(&patient).unwrap();
    };
    let create = |table: &str| {
        let trigger = |event: &&str| {
            format!(
                "CREATE TRIGGER no_{event} BEFORE {event} ON {table} \
                 BEGIN SELECT RAISE(ABORT, 'no'); END;"
            )
        };
        EVENTS.iter().map(trigger).collect::<String>()
    };
    let drop = |_: &str| "DROP TRIGGER no_INSERT; DROP TRIGGER no_UPDATE;".to_owned();
    a_fault_in_any_step_leaves_nothing(&sqlite.database, sql, create, drop).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fault_in_any_step_leaves_nothing_on_postgres() {
    let postgres = Postgres::fresh().await;
    let sql = |sql: &str| std::mem::drop(postgres.server.psql(sql).unwrap());
    sql("CREATE FUNCTION no() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'no'; END $$");
    let create = |table: &str| {
        format!(
            "CREATE TRIGGER no AFTER INSERT OR UPDATE ON {table} \
             FOR EACH ROW EXECUTE FUNCTION no()"
        )
    };
    let drop = |table: &str| format!("DROP TRIGGER no ON {table}");
    a_fault_in_any_step_leaves_nothing(&postgres.database, sql, create, drop).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_breaks_during_the_commit_leaves_the_outcome_unknown() {
    let postgres = Postgres::fresh().await;
    append(&postgres.database, hello(room(1))).await.unwrap();
    let sql = |sql: &str| drop(postgres.server.psql(sql).unwrap());
    sql("CREATE FUNCTION die() RETURNS trigger LANGUAGE plpgsql \
         AS $$ BEGIN PERFORM pg_terminate_backend(pg_backend_pid()); RETURN NULL; END $$; \
         CREATE CONSTRAINT TRIGGER die AFTER INSERT ON message_changes \
         DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION die()");
    let outcome = change(&postgres.database, room(1), 1, edit("new")).await;
    assert!(
        matches!(
            outcome,
            Err(MessageChangeError::Storage(StorageError::OutcomeUnknown(_)))
        ),
        "{outcome:?}"
    );
    sql("DROP TRIGGER die ON message_changes");
    let made = make(&postgres.database, room(1), 1, edit("new")).await;
    assert_eq!(made.changes.unwrap().rev, rev(1));
}

/// Messages that very many users react to must not delay what others read.
#[tokio::test(flavor = "multi_thread")]
async fn reads_do_not_wait_for_changes_that_wait_for_the_locks_of_rooms() {
    // More than the pool has sessions.
    const ROOMS: u64 = 20;
    let postgres = Postgres::fresh().await;
    let store = &postgres.database;
    for number in 1..=ROOMS {
        append(store, hello(room(number))).await.unwrap();
    }
    let lock = postgres.hold("SELECT FROM rooms FOR UPDATE").await;
    let changes = (1..=ROOMS).cycle().take(100).zip(0..).map(|(number, n)| {
        let store = store.clone();
        let reaction = react(&n.to_string(), "+", true);
        tokio::spawn(async move { change(&store, room(number), 1, reaction).await })
    });
    let changes: Vec<_> = changes.collect();
    postgres.wait_for_event("transactionid").await;
    for _ in 0..20 {
        let page = store.before(room(1), None, up_to(1)).await.unwrap();
        assert_eq!(page.messages.len(), 1);
        assert!(changes.iter().all(|change| !change.is_finished()));
    }
    lock.batch_execute("COMMIT").await.unwrap();
    for change in changes {
        change.await.unwrap().unwrap();
    }
    for number in 1..=ROOMS {
        assert_eq!(newest_rev(store, room(number)).await, rev(5));
    }
}
