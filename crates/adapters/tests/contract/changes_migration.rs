//! The migration that stores changes to messages, undone and applied again on databases with data.

use chat_domain::{MessageEdit, Rev, Seq};
use diesel::connection::SimpleConnection as _;

use crate::change_repository::{Store, edit, make, react, rev, user};
use crate::databases::{Postgres, Sqlite};
use crate::{append, hello, room, seq, up_to};

const SQLITE_DOWN: &str =
    include_str!("../../../../migrations/sqlite/0016_message_changes/down.sql");
const POSTGRES_DOWN: &str =
    include_str!("../../../../migrations/postgres/0016_message_changes/down.sql");

const FORGET: &str = "DELETE FROM __diesel_schema_migrations WHERE version = '0016'";

async fn fill(store: &impl Store) {
    for _ in 0..3 {
        append(store, hello(room(1))).await.unwrap();
    }
    make(store, room(1), 1, edit("new")).await;
    make(store, room(1), 2, react("7", "+", true)).await;
}

/// The texts are as they were last, and changes begin anew.
async fn check(store: &impl Store) {
    let log = store.after(room(1), Seq::START, up_to(9)).await.unwrap();
    let texts: Vec<_> = log.messages.iter().map(|m| m.content.as_str()).collect();
    assert_eq!(texts, ["new", "hello", "hello"]);
    assert!(log.messages.iter().all(|message| message.changes.is_none()));
    let state = store.read_state(room(1), &user("7")).await.unwrap();
    assert_eq!(state.rev, Rev::START);
    let cursor = store.changed_since(None).await.unwrap().cursor;
    let deleted = make(store, room(1), 3, MessageEdit::Delete).await;
    assert_eq!(deleted.changes.unwrap().rev, rev(1));
    let changes = store.changed_since(Some(cursor)).await.unwrap();
    assert_eq!(changes.rooms.unwrap()[0].rev, rev(1));
    assert_eq!(append(store, hello(room(1))).await.unwrap().seq, seq(4));
}

#[tokio::test(flavor = "multi_thread")]
async fn it_is_applied_again_on_sqlite() {
    let sqlite = Sqlite::fresh().await;
    fill(&sqlite.database).await;
    let down = format!("BEGIN IMMEDIATE; {SQLITE_DOWN}; {FORGET}; COMMIT");
    sqlite.other().batch_execute(&down).unwrap();
    let applied = sqlite.database.migrate().await.unwrap();
    assert_eq!(applied, ["0016_message_changes"]);
    check(&sqlite.database).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn it_is_applied_again_on_postgres() {
    let postgres = Postgres::fresh().await;
    fill(&postgres.database).await;
    let down = format!("BEGIN; {POSTGRES_DOWN}; {FORGET}; COMMIT");
    postgres.server.psql(&down).unwrap();
    let applied = postgres.database.migrate().await.unwrap();
    assert_eq!(applied, ["0016_message_changes"]);
    check(&postgres.database).await;
}
