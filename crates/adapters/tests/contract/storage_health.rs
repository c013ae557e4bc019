//! The contract of [`StorageHealth`].

use std::io::{Seek as _, SeekFrom, Write as _};
use std::time::{Duration, Instant};

use chat_adapters::{postgres, sqlite};
use chat_domain::StorageError;
use chat_domain::ports::{MessageRepository, RoomRepository, StorageHealth};
use chat_test_support::{Cluster, ClusterOptions};
use diesel::connection::SimpleConnection as _;

use crate::databases::{Postgres, Sqlite};
use crate::{append, error_chain, hello, poll_once, room, seq};

crate::on_each_database!(
    a_healthy_database_is_writable_and_the_check_stores_nothing,
    a_healthy_database_has_not_stopped_when_a_clone_of_it_is_dropped,
);

async fn a_healthy_database_is_writable_and_the_check_stores_nothing(
    store: &(impl StorageHealth + MessageRepository + RoomRepository),
) {
    for _ in 0..3 {
        store.check_writable().await.unwrap();
    }
    assert_eq!(store.newest(&[room(1)]).await.unwrap(), []);
    assert_eq!(append(store, hello(room(1))).await.unwrap().seq, seq(1));
    store.check_writable().await.unwrap();
    assert_eq!(append(store, hello(room(1))).await.unwrap().seq, seq(2));
}

async fn a_healthy_database_has_not_stopped_when_a_clone_of_it_is_dropped(
    store: &(impl StorageHealth + MessageRepository + Clone),
) {
    let clone = store.clone();
    append(&clone, hello(room(1))).await.unwrap();
    drop(clone);
    let mut stopped = store.stopped();
    assert!(poll_once(&mut stopped).await.is_pending());
    store.check_writable().await.unwrap();
    assert!(poll_once(&mut stopped).await.is_pending());
}

async fn is_not_writable(store: &impl StorageHealth, reason: &str) {
    let refused = store.check_writable().await.unwrap_err();
    assert!(
        matches!(refused, StorageError::Unavailable(_)),
        "{refused:?}"
    );
    let chain = error_chain(&refused);
    assert!(chain.contains(reason), "{chain}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_primary_that_became_read_only_is_not_writable_until_it_is_again() {
    let server = Cluster::start(ClusterOptions::default()).unwrap();
    server.create_database("chat").unwrap();
    let database = postgres::Database::open(&server.url("chat").parse().unwrap(), 2).unwrap();
    database.migrate().await.unwrap();
    append(&database, hello(room(1))).await.unwrap();
    let reload = |sql: &str| {
        server.psql("chat", sql).unwrap();
        server.psql("chat", "SELECT pg_reload_conf()").unwrap();
    };

    // It applies to open sessions, some time after the server was notified.
    reload("ALTER SYSTEM SET default_transaction_read_only = on");
    let deadline = Instant::now() + Duration::from_secs(10);
    while database.check_writable().await.is_ok() {
        assert!(Instant::now() < deadline, "the primary is never read-only");
    }
    is_not_writable(&database, "read-only").await;
    database.newest(&[room(1)]).await.unwrap();

    reload("ALTER SYSTEM RESET default_transaction_read_only");
    while database.check_writable().await.is_err() {
        assert!(Instant::now() < deadline, "the primary stays read-only");
    }
    append(&database, hello(room(1))).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_without_a_privilege_that_messages_need_is_not_writable() {
    let server = Cluster::start(ClusterOptions::default()).unwrap();
    server.create_database("chat").unwrap();
    let url = server.url("chat");
    let owner = postgres::Database::open(&url.parse().unwrap(), 1).unwrap();
    owner.migrate().await.unwrap();
    server
        .psql(
            "chat",
            "CREATE ROLE gateway LOGIN; \
             GRANT SELECT, INSERT, UPDATE ON ALL TABLES IN SCHEMA public TO gateway",
        )
        .unwrap();
    let (_, address) = url.split_once('@').unwrap();
    let url = format!("postgres://gateway@{address}");
    let database = postgres::Database::open(&url.parse().unwrap(), 1).unwrap();
    database.check_writable().await.unwrap();
    for table in ["rooms", "users", "messages", "read_pointers", "mentions"] {
        let revoke = format!("REVOKE INSERT ON {table} FROM gateway");
        server.psql("chat", &revoke).unwrap();
        is_not_writable(&database, "permission denied").await;
        let grant = format!("GRANT INSERT ON {table} TO gateway");
        server.psql("chat", &grant).unwrap();
        database.check_writable().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_gone_is_not_writable() {
    let mut server = Cluster::start(ClusterOptions::default()).unwrap();
    server.create_database("chat").unwrap();
    let database = postgres::Database::open(&server.url("chat").parse().unwrap(), 2).unwrap();
    database.migrate().await.unwrap();
    database.check_writable().await.unwrap();
    server.stop_immediate().unwrap();
    is_not_writable(&database, "").await;
    server.start_again().unwrap();
    database.check_writable().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_sqlite_only_reads_is_not_writable() {
    let sqlite = Sqlite::fresh().await;
    append(&sqlite.database, hello(room(1))).await.unwrap();
    let path = sqlite.path.clone();
    sqlite
        .other()
        .batch_execute("PRAGMA wal_checkpoint(TRUNCATE)")
        .unwrap();
    // A file whose write version is unknown is one that SQLite only reads.
    let mut file = std::fs::OpenOptions::new().write(true).open(&path).unwrap();
    file.seek(SeekFrom::Start(18)).unwrap();
    file.write_all(&[3]).unwrap();
    drop(file);
    let database = sqlite::Database::open(path, 1).unwrap();
    is_not_writable(&database, "readonly").await;
    assert_eq!(database.newest(&[room(1)]).await.unwrap()[0].newest, seq(1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_locked_file_is_not_writable_until_it_is_unlocked() {
    let sqlite = Sqlite::fresh().await;
    let mut other = sqlite.other();
    other.batch_execute("BEGIN IMMEDIATE").unwrap();
    is_not_writable(&sqlite.database, "locked").await;
    other.batch_execute("ROLLBACK").unwrap();
    sqlite.database.check_writable().await.unwrap();
}

/// Creates a database in a runtime of its own, which ends with the database's tasks.
fn outliving_its_tasks<T: Send + 'static>(create: impl FnOnce() -> T + Send + 'static) -> T {
    let created = std::thread::spawn(|| {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        runtime.block_on(async { create() })
    });
    created.join().unwrap()
}

async fn a_database_whose_tasks_have_ended_says_so(
    store: &(impl StorageHealth + MessageRepository),
) {
    assert_ne!(store.stopped().await, "");
    is_not_writable(store, "has ended").await;
    append(store, hello(room(1))).await.unwrap_err();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_whose_tasks_have_ended_says_so_on_postgres() {
    let postgres = Postgres::fresh().await;
    let url = postgres.server.url().parse().unwrap();
    let database = outliving_its_tasks(move || postgres::Database::open(&url, 1).unwrap());
    a_database_whose_tasks_have_ended_says_so(&database).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_whose_tasks_have_ended_says_so_on_sqlite() {
    let sqlite = Sqlite::fresh().await;
    let path = sqlite.path.clone();
    let database = outliving_its_tasks(move || sqlite::Database::open(path, 1).unwrap());
    a_database_whose_tasks_have_ended_says_so(&database).await;
}
