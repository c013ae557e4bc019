//! What the repositories on PostgreSQL do when they cannot store, and how they migrate.

use std::time::Duration;

use chat_adapters::postgres::{Database, Durability};
use chat_domain::ports::{AppendError, MessageRepository, RoomRepository};
use chat_domain::{ReadState, Seq, StorageError, UserId};
use chat_test_support::{Cluster, ClusterOptions};

use crate::databases::Postgres;
use crate::{append, by, hello, room, seq, up_to};

impl Postgres {
    fn sql(&self, sql: &str) {
        self.server.psql(sql).unwrap();
    }
}

async fn is_refused(database: &Database) {
    let outcome = append(database, hello(room(1))).await;
    assert!(
        matches!(
            outcome,
            Err(AppendError::Storage(StorageError::Unavailable(_)))
        ),
        "{outcome:?}"
    );
}

const RAISE: &str = "CREATE FUNCTION no() RETURNS trigger LANGUAGE plpgsql \
     AS $$ BEGIN RAISE 'no'; END $$";

#[tokio::test(flavor = "multi_thread")]
async fn an_insert_that_raises_stores_nothing_and_leaves_no_gap() {
    let postgres = Postgres::fresh().await;
    append(&postgres.database, hello(room(1))).await.unwrap();
    postgres.sql(RAISE);
    postgres.sql("CREATE TRIGGER no BEFORE INSERT ON messages FOR EACH ROW EXECUTE FUNCTION no()");
    is_refused(&postgres.database).await;
    // The name is not stored either.
    let renamed = append(&postgres.database, by("42", "Eve", room(1), "x")).await;
    assert!(renamed.is_err());
    postgres.sql("DROP TRIGGER no ON messages");
    let read = postgres
        .database
        .after(room(1), Seq::START, up_to(10))
        .await
        .unwrap()
        .messages;
    assert_eq!(read.len(), 1);
    assert_eq!(read[0].author.name.as_str(), "Ada");
    assert_eq!(
        append(&postgres.database, hello(room(1)))
            .await
            .unwrap()
            .seq,
        seq(2)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_that_the_server_refuses_is_certainly_not_stored() {
    let postgres = Postgres::fresh().await;
    postgres.sql(RAISE);
    postgres.sql(
        "CREATE CONSTRAINT TRIGGER no AFTER INSERT ON messages DEFERRABLE INITIALLY DEFERRED \
         FOR EACH ROW EXECUTE FUNCTION no()",
    );
    is_refused(&postgres.database).await;
    postgres.sql("DROP TRIGGER no ON messages");
    assert_eq!(
        append(&postgres.database, hello(room(1)))
            .await
            .unwrap()
            .seq,
        seq(1)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_during_which_the_connection_breaks_has_an_unknown_outcome() {
    let postgres = Postgres::fresh().await;
    postgres.sql(
        "CREATE FUNCTION die() RETURNS trigger LANGUAGE plpgsql \
         AS $$ BEGIN PERFORM pg_terminate_backend(pg_backend_pid()); RETURN NULL; END $$; \
         CREATE CONSTRAINT TRIGGER die AFTER INSERT ON messages DEFERRABLE INITIALLY DEFERRED \
         FOR EACH ROW EXECUTE FUNCTION die()",
    );
    let outcome = append(&postgres.database, hello(room(1))).await;
    assert!(
        matches!(
            outcome,
            Err(AppendError::Storage(StorageError::OutcomeUnknown(_)))
        ),
        "{outcome:?}"
    );
    postgres.sql("DROP TRIGGER die ON messages");
    assert_eq!(
        append(&postgres.database, hello(room(1)))
            .await
            .unwrap()
            .seq,
        seq(1)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_read_only_database_refuses() {
    let postgres = Postgres::fresh().await;
    append(&postgres.database, hello(room(1))).await.unwrap();
    let name = postgres.server.name();
    postgres.sql(&format!(
        "ALTER DATABASE {name} SET default_transaction_read_only = on"
    ));
    postgres.sql(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
         WHERE datname = current_database() AND pid <> pg_backend_pid()",
    );
    is_refused(&postgres.database).await;
    // From another database, which is not read-only.
    let server = std::env::var("TEST_DATABASE_URL").unwrap();
    let reset = format!("ALTER DATABASE {name} RESET default_transaction_read_only");
    chat_test_support::psql(&server, &reset).unwrap();
    postgres.sql(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
         WHERE datname = current_database() AND pid <> pg_backend_pid()",
    );
    let again = append_once_more(&postgres.database).await;
    assert_eq!(again, seq(2));
}

/// Stores a message in a second attempt: right after the server has ended a connection, the
/// first one may be refused.
async fn append_once_more(database: &Database) -> Seq {
    match append(database, hello(room(1))).await {
        Ok(message) => message.seq,
        Err(AppendError::Storage(StorageError::Unavailable(_))) => {
            append(database, hello(room(1))).await.unwrap().seq
        }
        Err(error) => panic!("{error:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stopped_server_is_unavailable_and_works_again_after_its_start() {
    let mut server = Cluster::start(ClusterOptions::default()).unwrap();
    server.create_database("chat").unwrap();
    let database = Database::open(&server.url("chat").parse().unwrap(), 4).unwrap();
    database.migrate().await.unwrap();
    append(&database, hello(room(1))).await.unwrap();

    server.stop_immediate().unwrap();
    let refused = async {
        is_refused(&database).await;
        let read = database.newest(&[room(1)]).await;
        assert!(matches!(read, Err(StorageError::Unavailable(_))));
    };
    tokio::time::timeout(Duration::from_secs(20), refused)
        .await
        .unwrap();

    server.start_again().unwrap();
    assert_eq!(append_once_more(&database).await, seq(2));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_statement_that_hangs_is_answered_within_seconds() {
    let postgres = Postgres::fresh().await;
    append(&postgres.database, hello(room(1))).await.unwrap();
    // Another transaction holds the room's row for longer than a sender waits.
    let holder = postgres.hold("SELECT 1 FROM rooms FOR UPDATE").await;
    tokio::time::timeout(Duration::from_secs(7), is_refused(&postgres.database))
        .await
        .expect("an answer within seconds");
    holder.batch_execute("COMMIT").await.unwrap();
    assert_eq!(
        append(&postgres.database, hello(room(1)))
            .await
            .unwrap()
            .seq,
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
async fn migrations_can_be_listed_without_being_applied() {
    let server = chat_test_support::TestDatabase::create_from_env();
    let database = Database::open(&server.url().parse().unwrap(), 1).unwrap();
    for _ in 0..2 {
        assert_eq!(database.pending_migrations().await.unwrap(), NAMES);
    }
    let tables = "SELECT count(*) FROM pg_tables WHERE schemaname = 'public'";
    assert_eq!(server.psql(tables).unwrap().trim(), "0");
    let other = Database::open(&server.url().parse().unwrap(), 1).unwrap();
    let (one, two) = tokio::join!(
        tokio::spawn(async move { database.migrate().await.unwrap() }),
        tokio::spawn(async move { other.migrate().await.unwrap() }),
    );
    assert_eq!(one.unwrap().len() + two.unwrap().len(), NAMES.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_may_lose_commits_is_recognized() {
    let postgres = Postgres::fresh().await;
    assert_eq!(
        postgres.database.durability().await.unwrap(),
        Durability::Durable
    );
    let name = postgres.server.name();
    postgres.sql(&format!(
        "ALTER DATABASE {name} SET synchronous_commit = off"
    ));
    assert_eq!(
        postgres.database.durability().await.unwrap(),
        Durability::DelayedCommit
    );

    let options = ClusterOptions {
        settings: vec!["fsync = off".into()],
        ..ClusterOptions::default()
    };
    let server = Cluster::start(options).unwrap();
    let database = Database::open(&server.url("postgres").parse().unwrap(), 1).unwrap();
    assert_eq!(database.durability().await.unwrap(), Durability::NoFsync);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fault_in_any_step_leaves_nothing() {
    let postgres = Postgres::fresh().await;
    postgres.sql(RAISE);
    let ada = UserId::new("42").unwrap();
    for table in ["rooms", "users", "messages", "read_pointers"] {
        let trigger =
            format!("CREATE TRIGGER no AFTER INSERT ON {table} FOR EACH ROW EXECUTE FUNCTION no()");
        postgres.sql(&trigger);
        is_refused(&postgres.database).await;
        postgres.sql(&format!("DROP TRIGGER no ON {table}"));
        let state = postgres
            .database
            .read_state(room(1), &ada)
            .await
            .unwrap()
            .read;
        assert_eq!(state, ReadState::default(), "{table}");
        let read = postgres
            .database
            .after(room(1), Seq::START, up_to(10))
            .await
            .unwrap()
            .messages;
        assert_eq!(read, [], "{table}");
    }
    append(&postgres.database, hello(room(1))).await.unwrap();
    postgres
        .sql("CREATE TRIGGER no AFTER UPDATE ON read_pointers FOR EACH ROW EXECUTE FUNCTION no()");
    is_refused(&postgres.database).await;
    let state = postgres
        .database
        .read_state(room(1), &ada)
        .await
        .unwrap()
        .read;
    assert_eq!((state.newest, state.read), (seq(1), seq(1)));
}
