//! Fault injection: clients exchange messages while a fault occurs repeatedly. Then the test
//! compares what each client sent, had acknowledged and received with the database.
//!
//! - `checker` defines the violations and finds them.
//! - `client` is a correct client that records everything.
//! - `stage` runs the gateway, the clients and the checker; `proxy` and `disk` inject faults.
//!
//! This file contains the faults, each on every database that can have it. `CHAOS_ROUNDS` is
//! the number of rounds of each fault: 2 by default, which suits `cargo test`; `cargo xtask
//! chaos` is the long run. Every random choice follows from `CHAOS_SEED` and the test's
//! name. Each test prints one line with its figures and the seed.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "../support/mod.rs"]
mod support;

mod checker;
mod client;
mod disk;
mod proxy;
mod random;
mod record;
mod stage;

use std::time::Duration;

use chat_test_support::{Cluster, ClusterOptions, TestDatabase};
use diesel::Connection as _;
use diesel::connection::SimpleConnection as _;
use tokio::task::block_in_place;

use client::Phase;
use disk::SmallDisk;
use proxy::ProxyFault;
use stage::Stage;
use support::Database;

/// The length of a message in characters, if it does not matter.
const SHORT: usize = 40;

fn rounds() -> u64 {
    let rounds = std::env::var("CHAOS_ROUNDS")
        .map(|rounds| rounds.parse().expect("CHAOS_ROUNDS is a number of rounds"));
    let rounds = rounds.unwrap_or(2);
    assert!(
        rounds > 0,
        "CHAOS_ROUNDS must be at least 1: no rounds prove nothing"
    );
    rounds
}

#[tokio::test(flavor = "multi_thread")]
async fn promises_hold_when_the_gateway_is_killed_on_sqlite() {
    killed(&Database::sqlite()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn promises_hold_when_the_gateway_is_killed_on_postgres() {
    killed(&Database::postgres()).await;
}

async fn killed(database: &Database) {
    let mut stage = Stage::open("kill -9", database, None, SHORT).await;
    for _ in 0..rounds() {
        let more = 100 + stage.below(200);
        stage.acknowledged(more).await;
        stage.kill_and_restart();
    }
    stage.acknowledged(100).await;
    stage.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn promises_hold_when_connections_are_reset_on_sqlite() {
    connections_reset(&Database::sqlite()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn promises_hold_when_connections_are_reset_on_postgres() {
    connections_reset(&Database::postgres()).await;
}

async fn connections_reset(database: &Database) {
    let within = Duration::from_secs(2);
    let proxy_fault = ProxyFault::Resets { within };
    let mut stage = Stage::open("connections reset", database, Some(proxy_fault), SHORT).await;
    for _ in 0..rounds() {
        stage.acknowledged(400).await;
    }
    stage.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn promises_hold_when_acknowledgements_are_lost_on_sqlite() {
    acknowledgements_lost(&Database::sqlite()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn promises_hold_when_acknowledgements_are_lost_on_postgres() {
    acknowledgements_lost(&Database::postgres()).await;
}

async fn acknowledgements_lost(database: &Database) {
    let proxy_fault = ProxyFault::LosesAcks { one_in: 20 };
    let mut stage = Stage::open("acknowledgements lost", database, Some(proxy_fault), SHORT).await;
    for _ in 0..rounds() {
        stage.acknowledged(300).await;
    }
    stage.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn promises_hold_when_readers_pause_on_sqlite() {
    readers_paused(&Database::sqlite()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn promises_hold_when_readers_pause_on_postgres() {
    readers_paused(&Database::postgres()).await;
}

async fn readers_paused(database: &Database) {
    // The longest messages, so that the buffers between gateway and reader fill up.
    let mut stage = Stage::open("readers paused", database, None, 4000).await;
    for round in 0..rounds() {
        stage.set_phase(Phase::ReadersPaused);
        // Long enough to fall behind, and in every fifth round until the gateway disconnects.
        match round % 5 {
            4 => stage.pause(11_000, 15_000).await,
            _ => stage.pause(2000, 4000).await,
        }
        stage.faults += 1;
        stage.set_phase(Phase::Load);
        stage.acknowledged(200).await;
    }
    stage.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn promises_hold_when_another_session_locks_sqlite() {
    let database = Database::sqlite();
    let mut stage = Stage::open("locked by another writer", &database, None, SHORT).await;
    let path = database.path();
    let mut other = diesel::SqliteConnection::establish(path.to_str().unwrap()).unwrap();
    for round in 0..rounds() {
        let lock = "PRAGMA busy_timeout = 10000; BEGIN EXCLUSIVE";
        block_in_place(|| other.batch_execute(lock)).unwrap();
        // Alternately shorter and longer than the gateway waits for the lock.
        match round % 2 {
            0 => stage.pause(100, 1000).await,
            _ => stage.pause(3500, 5000).await,
        }
        other.batch_execute("ROLLBACK").unwrap();
        stage.faults += 1;
        stage.acknowledged(100).await;
    }
    stage.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn promises_hold_when_postgres_stops() {
    let mut server = Cluster::start(ClusterOptions::default()).unwrap();
    let database = Database::Postgres(TestDatabase::create(&server.url("postgres")));
    let mut stage = Stage::open("server stopped", &database, None, SHORT).await;
    for _ in 0..rounds() {
        block_in_place(|| server.stop_immediate()).unwrap();
        stage.pause(0, 2000).await;
        block_in_place(|| server.start_again()).unwrap();
        stage.faults += 1;
        let more = 100 + stage.below(200);
        stage.acknowledged(more).await;
    }
    stage.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn promises_hold_when_postgres_terminates_sessions() {
    let database = Database::postgres();
    let mut stage = Stage::open("backends terminated", &database, None, SHORT).await;
    for _ in 0..rounds() * 5 {
        stage.sql(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
             WHERE datname = current_database() AND pid <> pg_backend_pid()",
        );
        stage.faults += 1;
        stage.pause(20, 300).await;
    }
    stage.acknowledged(100).await;
    stage.close().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "mounts a file system, which requires root; `cargo xtask chaos` runs it"]
async fn promises_hold_when_the_disk_is_full_on_sqlite() {
    let disk = SmallDisk::mount(256);
    let database = Database::Sqlite(tempfile::tempdir_in(disk.folder()).unwrap());
    disk_full(&database, &disk, || {}).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "mounts a file system, which requires root; `cargo xtask chaos` runs it"]
async fn promises_hold_when_the_disk_is_full_on_postgres() {
    let disk = SmallDisk::mount(400);
    let mut server = Cluster::start(ClusterOptions {
        settings: vec!["max_wal_size = '64MB'".to_owned()],
        folder: Some(disk.folder().to_owned()),
        ..ClusterOptions::default()
    })
    .unwrap();
    let admin = server.url("postgres");
    let database = Database::Postgres(TestDatabase::create(&admin));
    disk_full(&database, &disk, || {
        // Without space for its write-ahead log, the server stops and does not restart itself.
        if server.psql("postgres", "SELECT 1").is_err() {
            server.stop_immediate().unwrap();
            server.start_again().unwrap();
        }
    })
    .await;
}

async fn disk_full(database: &Database, disk: &SmallDisk, mut repair: impl FnMut()) {
    let mut stage = Stage::open("disk full", database, None, 2000).await;
    for _ in 0..rounds() {
        block_in_place(|| disk.fill());
        stage.refused(20).await;
        stage.pause(0, 1000).await;
        stage.faults += 1;
        disk.free();
        block_in_place(&mut repair);
        stage.acknowledged(100).await;
    }
    stage.close().await;
}
