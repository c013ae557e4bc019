//! How sessions with PostgreSQL are opened, checked and replaced.

use std::time::Duration;

use chat_adapters::postgres::Database;
use chat_domain::ports::{Appended, MessageRepository, RoomRepository};
use chat_domain::{Generation, Seq, StorageError, UserId};
use chat_test_support::{psql, wait_until};

use crate::databases::Postgres;
use crate::{append, error_chain, hello, room, seq, up_to, with_id};

/// Opens a database whose pool has one session.
fn with_one_session(url: &str) -> Database {
    Database::open(&url.parse().unwrap(), 1).unwrap()
}

fn server_url() -> String {
    std::env::var("TEST_DATABASE_URL").unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_read_that_times_out_leaves_no_backend_running() {
    let postgres = Postgres::fresh().await;
    append(&postgres.database, hello(room(1))).await.unwrap();
    // Held until the end of the test.
    let _locker = postgres.hold("LOCK TABLE rooms, messages").await;
    let reads = [(); 5].map(|()| {
        let database = postgres.database.clone();
        tokio::spawn(async move { database.after(room(1), Seq::START, up_to(10)).await })
    });
    postgres.server.wait_for_lock_waits(5).unwrap();
    for read in reads {
        let refused = read.await.unwrap();
        assert!(
            matches!(refused, Err(StorageError::Unavailable(_))),
            "{refused:?}"
        );
    }
    let waiting = "SELECT count(*) FROM pg_stat_activity \
         WHERE datname = current_database() AND wait_event_type = 'Lock'";
    wait_until(
        Duration::from_secs(2),
        "no backend waits for the lock",
        || Ok((postgres.server.psql(waiting)? == "0").then_some(())),
    )
    .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pooled_session_whose_cached_plan_became_invalid_is_replaced() {
    let postgres = Postgres::fresh().await;
    let database = with_one_session(&postgres.server.url());
    append(&database, hello(room(1))).await.unwrap();
    let read = async || database.after(room(1), Seq::START, up_to(10)).await;
    read().await.unwrap();
    let alter = "ALTER TABLE users ALTER COLUMN name TYPE varchar(300)";
    postgres.server.psql(alter).unwrap();
    // The session is dropped after the first error.
    read().await.ok();
    assert_eq!(read().await.unwrap().messages.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repeat_is_answered_though_its_cached_plan_became_invalid() {
    let postgres = Postgres::fresh().await;
    let sent = with_id(hello(room(1)), "id");
    for _ in 0..2 {
        postgres.database.append(sent.clone()).await.unwrap();
    }
    let alter = "ALTER TABLE users ALTER COLUMN name TYPE varchar(300)";
    postgres.server.psql(alter).unwrap();
    let repeat = postgres.database.append(sent).await.unwrap();
    assert!(matches!(repeat, Appended::Repeat(m) if m.seq == seq(1)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_is_no_longer_read_only_is_written_again_on_new_sessions() {
    let postgres = Postgres::fresh().await;
    let database = with_one_session(&postgres.server.url());
    append(&database, hello(room(1))).await.unwrap();
    let grace = UserId::new("2").unwrap();
    let name = postgres.server.name();
    // It applies to new sessions: those of another gateway.
    let read_only = format!("ALTER DATABASE {name} SET default_transaction_read_only = on");
    postgres.server.psql(&read_only).unwrap();
    let other = with_one_session(&postgres.server.url());
    let refused = append(&other, hello(room(1))).await.unwrap_err();
    assert!(error_chain(&refused).contains("read-only"), "{refused:?}");
    let refused = other
        .mark_read(room(1), Generation::FIRST, &grace, seq(1))
        .await
        .unwrap_err();
    assert!(error_chain(&refused).contains("read-only"), "{refused:?}");
    let read = other.after(room(1), Seq::START, up_to(10)).await.unwrap();
    assert_eq!(read.messages.len(), 1);

    let writable = format!("ALTER DATABASE {name} RESET default_transaction_read_only");
    psql(&server_url(), &writable).unwrap();
    assert_eq!(append(&other, hello(room(1))).await.unwrap().seq, seq(2));
    let marked = other
        .mark_read(room(1), Generation::FIRST, &grace, seq(1))
        .await
        .unwrap()
        .unwrap();
    assert!(marked.moved);
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_that_the_server_ended_are_replaced() {
    let postgres = Postgres::fresh().await;
    let database = with_one_session(&postgres.server.url());
    let grace = UserId::new("2").unwrap();
    append(&database, hello(room(1))).await.unwrap();
    for round in 0..5_u64 {
        append(&database, hello(room(1))).await.unwrap();
        database
            .mark_read(room(1), Generation::FIRST, &grace, seq(1))
            .await
            .unwrap()
            .unwrap();
        database.newest(&[room(1)]).await.unwrap();
        let end = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity \
             WHERE datname = current_database() AND pid <> pg_backend_pid()";
        let ended: u32 = postgres.server.psql(end).unwrap().trim().parse().unwrap();
        assert!(
            ended >= 3,
            "in round {round}: a pooled and two storing sessions"
        );
        // What stores tests a session by using it; a read may fail once.
        append(&database, hello(room(1))).await.unwrap();
        database
            .mark_read(room(1), Generation::FIRST, &grace, seq(1))
            .await
            .unwrap()
            .unwrap();
        database.newest(&[room(1)]).await.ok();
    }
}

/// A database that is dropped at the end of the test.
struct Encoded {
    name: String,
}

impl Encoded {
    fn create(encoding: &str) -> Self {
        let process = std::process::id();
        let name = format!("chat_test_{}_{process}", encoding.to_lowercase());
        let sql = format!(
            "CREATE DATABASE {name} ENCODING '{encoding}' TEMPLATE template0 \
             LC_COLLATE 'C' LC_CTYPE 'C'"
        );
        psql(&server_url(), &sql).unwrap();
        Self { name }
    }
}

impl Drop for Encoded {
    fn drop(&mut self) {
        let sql = format!("DROP DATABASE {} WITH (FORCE)", self.name);
        psql(&server_url(), &sql).ok();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_whose_encoding_is_not_utf8_is_refused() {
    let postgres = Postgres::fresh().await;
    for encoding in ["SQL_ASCII", "LATIN1"] {
        let encoded = Encoded::create(encoding);
        let url = postgres.server.url();
        let database = with_one_session(&url.replace(postgres.server.name(), &encoded.name));
        let errors = [
            // These come before `serve` listens, and are what it prints.
            error_chain(&*database.durability().await.unwrap_err()),
            error_chain(&*database.pending_migrations().await.unwrap_err()),
            error_chain(&*database.migrate().await.unwrap_err()),
            error_chain(&append(&database, hello(room(1))).await.unwrap_err()),
            error_chain(&database.newest(&[room(1)]).await.unwrap_err()),
        ];
        for error in errors {
            assert!(
                error.contains(encoding) && error.contains("UTF8"),
                "{error}"
            );
        }
    }
}

#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread")]
async fn idle_sessions_are_probed_by_tcp_keepalives() {
    let postgres = Postgres::fresh().await;
    append(&postgres.database, hello(room(1))).await.unwrap();
    postgres.database.newest(&[room(1)]).await.unwrap();
    let ports = "SELECT client_port FROM pg_stat_activity \
         WHERE datname = current_database() AND application_name = 'chat-gateway'";
    let ports = postgres.server.psql(ports).unwrap();
    let ports: Vec<u16> = ports
        .lines()
        .map(|port| port.trim().parse().unwrap())
        .collect();
    assert_eq!(ports.len(), 2, "a pooled session and one that stores");
    for port in ports {
        let (kind, seconds) = timer(port);
        assert_eq!(kind, 2, "the timer of keepalives");
        assert!(seconds <= 30, "the next probe is in {seconds} s");
    }
}

/// Returns the kind and the remaining seconds of the timer of the TCP connection from this
/// local port, as the kernel reports them.
#[cfg(target_os = "linux")]
fn timer(local_port: u16) -> (u8, u64) {
    let table = ["/proc/self/net/tcp", "/proc/self/net/tcp6"]
        .map(|path| std::fs::read_to_string(path).unwrap_or_default());
    let local = format!(":{local_port:04X}");
    for line in table.iter().flat_map(|table| table.lines()) {
        // sl, local address, remote address, state, queues, timer:expiry …
        let fields: Vec<_> = line.split_whitespace().collect();
        if fields
            .get(1)
            .is_some_and(|address| address.ends_with(&local))
            && fields[3] == "01"
        {
            let (kind, expiry) = fields[5].split_once(':').unwrap();
            let hundredths = u64::from_str_radix(expiry, 16).unwrap();
            return (u8::from_str_radix(kind, 16).unwrap(), hundredths / 100);
        }
    }
    panic!("no connection from port {local_port} was found");
}
