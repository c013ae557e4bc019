//! What the repositories on SQLite do when they cannot store, and how they migrate.

use std::time::Duration;

use chat_adapters::sqlite;
use chat_domain::ports::{AppendError, MessageRepository, RoomRepository};
use chat_domain::{ReadState, Seq, StorageError, UserId};
use diesel::connection::SimpleConnection;
use diesel::{Connection, SqliteConnection};

use crate::databases::Sqlite;
use crate::{append, by, hello, room, seq, up_to};

impl Sqlite {
    /// Opens a connection that is not the database's own.
    pub(crate) fn other(&self) -> SqliteConnection {
        SqliteConnection::establish(self.path.to_str().unwrap()).unwrap()
    }
}

async fn is_refused(database: &sqlite::Database) {
    let outcome = append(database, hello(room(1))).await;
    assert!(
        matches!(
            outcome,
            Err(AppendError::Storage(StorageError::Unavailable(_)))
        ),
        "{outcome:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_insert_that_raises_stores_nothing_and_leaves_no_gap() {
    let sqlite = Sqlite::fresh().await;
    append(&sqlite.database, hello(room(1))).await.unwrap();
    let mut other = sqlite.other();
    other
        .batch_execute(
            "CREATE TRIGGER no BEFORE INSERT ON messages BEGIN SELECT RAISE(ABORT, 'no'); END",
        )
        .unwrap();
    is_refused(&sqlite.database).await;
    // The name is not stored either.
    let renamed = append(&sqlite.database, by("42", "Eve", room(1), "x")).await;
    assert!(renamed.is_err());
    other.batch_execute("DROP TRIGGER no").unwrap();
    let read = sqlite
        .database
        .after(room(1), Seq::START, up_to(10))
        .await
        .unwrap()
        .messages;
    assert_eq!(read.len(), 1);
    assert_eq!(read[0].author.name.as_str(), "Ada");
    assert_eq!(
        append(&sqlite.database, hello(room(1))).await.unwrap().seq,
        seq(2)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_locked_by_another_connection_is_unavailable_until_it_is_unlocked() {
    let sqlite = Sqlite::fresh().await;
    let mut other = sqlite.other();
    other.batch_execute("BEGIN EXCLUSIVE").unwrap();
    let refused = tokio::time::timeout(Duration::from_secs(10), is_refused(&sqlite.database));
    refused.await.unwrap();
    other.batch_execute("ROLLBACK").unwrap();
    assert_eq!(
        append(&sqlite.database, hello(room(1))).await.unwrap().seq,
        seq(1)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_was_moved_away_is_unavailable_until_it_is_back() {
    let sqlite = Sqlite::fresh().await;
    append(&sqlite.database, hello(room(1))).await.unwrap();
    let folder = sqlite.path.parent().unwrap().to_owned();
    let away = folder.with_file_name("away");
    std::fs::rename(&folder, &away).unwrap();
    is_refused(&sqlite.database).await;
    is_refused(&sqlite.database).await;
    assert!(!sqlite.path.exists(), "it must not be created again");
    std::fs::rename(&away, &folder).unwrap();
    assert_eq!(
        append(&sqlite.database, hello(room(1))).await.unwrap().seq,
        seq(2)
    );
}

const NAMES: [&str; 20] = [
    "0001_messages",
    "0002_repeats_and_pointers",
    "0003_cheaper_appends",
    "0004_unread_index",
    "0005_append_in_one_call",
    "0006_room_changes",
    "0007_rooms_with_rules",
    "0008_append_under_rules",
    "0009_rules_in_changes",
    "0010_inbox",
    "0011_member_changes",
    "0012_room_deletion",
    "0013_revocations",
    "0014_server_api",
    "0015_message_extras",
    "0016_message_changes",
    "0018_last_seen",
    "0019_webhooks",
    "0020_unread",
    "0021_user_erasure",
];

#[tokio::test(flavor = "multi_thread")]
async fn migrations_are_listed_before_the_file_exists() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("data/chat.db");
    let database = sqlite::Database::open(path.clone(), 1).unwrap();
    assert_eq!(database.pending_migrations().await.unwrap(), NAMES);
    assert!(!path.exists() && !path.parent().unwrap().exists());
    let read = database.newest(&[room(1)]).await;
    assert!(matches!(read, Err(StorageError::Unavailable(_))));

    assert_eq!(database.migrate().await.unwrap(), NAMES);
    assert_eq!(database.migrate().await.unwrap(), [""; 0]);
    assert_eq!(database.pending_migrations().await.unwrap(), [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_concurrent_migrations_apply_each_step_once() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("chat.db");
    let open = || sqlite::Database::open(path.clone(), 1).unwrap();
    let (one, two) = (open(), open());
    let (one, two) = tokio::join!(one.migrate(), two.migrate());
    assert_eq!(one.unwrap().len() + two.unwrap().len(), NAMES.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_that_sqlite_would_interpret_is_a_file_name() {
    let folder = tempfile::tempdir().unwrap();
    for name in [":memory:", "file:x?mode=memory", "a b%20c.db"] {
        let path = folder.path().join(name);
        let database = sqlite::Database::open(path.clone(), 1).unwrap();
        database.migrate().await.unwrap();
        assert!(path.exists(), "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fault_in_any_step_of_an_append_stores_nothing() {
    let sqlite = Sqlite::fresh().await;
    let mut other = sqlite.other();
    for step in [
        "INSERT ON rooms",
        "INSERT ON users",
        "INSERT ON messages",
        "INSERT ON read_pointers",
    ] {
        let trigger =
            format!("CREATE TRIGGER no AFTER {step} BEGIN SELECT RAISE(ABORT, 'no'); END");
        other.batch_execute(&trigger).unwrap();
        is_refused(&sqlite.database).await;
        other.batch_execute("DROP TRIGGER no").unwrap();
        let ada = UserId::new("42").unwrap();
        let state = sqlite
            .database
            .read_state(room(1), &ada)
            .await
            .unwrap()
            .read;
        assert_eq!(state, ReadState::default(), "{step}");
        let read = sqlite
            .database
            .after(room(1), Seq::START, up_to(10))
            .await
            .unwrap()
            .messages;
        assert_eq!(read, [], "{step}");
    }
    append(&sqlite.database, hello(room(1))).await.unwrap();
    let trigger =
        "CREATE TRIGGER no AFTER UPDATE ON read_pointers BEGIN SELECT RAISE(ABORT, 'no'); END";
    other.batch_execute(trigger).unwrap();
    is_refused(&sqlite.database).await;
    let ada = UserId::new("42").unwrap();
    let state = sqlite
        .database
        .read_state(room(1), &ada)
        .await
        .unwrap()
        .read;
    assert_eq!((state.newest, state.read), (seq(1), seq(1)));
}
