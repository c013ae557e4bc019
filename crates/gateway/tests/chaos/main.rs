//! Proof by fault: clients talk while something breaks again and again, and then what
//! every one of them sent, had acknowledged and received is compared with the database.
//!
//! - `checker` is the judge, and says what a violation is.
//! - `client` is a client as the wire contract asks for, which logs everything.
//! - `stage` brings gateway, clients and judge together; `proxy` and `disk` break what
//!   does not break by itself.
//!
//! Here stand the faults, each on each database that can have it. `CHAOS_ROUNDS` says how
//! often each strikes: twice unless told otherwise, which is what `cargo test` has time
//! for; `cargo xtask chaos` is the long run. A test prints one line on what it did.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

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
use tokio::time::sleep;

use client::Phase;
use disk::SmallDisk;
use proxy::Malice;
use random::below;
use stage::Stage;
use support::Database;

/// Characters of a message where their size does not matter.
const SHORT: usize = 40;

fn rounds() -> u64 {
    let rounds = std::env::var("CHAOS_ROUNDS").map(|rounds| {
        rounds
            .parse()
            .expect("CHAOS_ROUNDS is how often each fault strikes")
    });
    rounds.unwrap_or(2)
}

/// The pace of the faults; nothing is waited for with it.
async fn pause(from: u64, to: u64) {
    sleep(Duration::from_millis(from + below(to - from))).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_on_sqlite() {
    killed(&Database::sqlite()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_on_postgres() {
    killed(&Database::postgres()).await;
}

async fn killed(database: &Database) {
    let mut stage = Stage::open("kill -9", database, None, SHORT).await;
    for _ in 0..rounds() {
        stage.acknowledged(100 + below(200)).await;
        stage.kill_and_restart();
    }
    stage.acknowledged(100).await;
    stage.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_reset_on_sqlite() {
    connections_reset(&Database::sqlite()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_reset_on_postgres() {
    connections_reset(&Database::postgres()).await;
}

async fn connections_reset(database: &Database) {
    let within = Duration::from_secs(2);
    let malice = Malice::Resets { within };
    let mut stage = Stage::open("connections reset", database, Some(malice), SHORT).await;
    for _ in 0..rounds() {
        stage.acknowledged(400).await;
    }
    stage.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn acknowledgements_lost_on_sqlite() {
    acknowledgements_lost(&Database::sqlite()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn acknowledgements_lost_on_postgres() {
    acknowledgements_lost(&Database::postgres()).await;
}

async fn acknowledgements_lost(database: &Database) {
    let malice = Malice::LosesAcks { one_in: 20 };
    let mut stage = Stage::open("acknowledgements lost", database, Some(malice), SHORT).await;
    for _ in 0..rounds() {
        stage.acknowledged(300).await;
    }
    stage.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn readers_paused_on_sqlite() {
    readers_paused(&Database::sqlite()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn readers_paused_on_postgres() {
    readers_paused(&Database::postgres()).await;
}

async fn readers_paused(database: &Database) {
    // As long as a message may be, so that what is between gateway and reader is full.
    let mut stage = Stage::open("readers paused", database, None, 4000).await;
    for round in 0..rounds() {
        stage.tell(Phase::ReadersPaused);
        // Long enough to fall behind; now and then so long that the gateway gives up.
        match round % 5 {
            4 => pause(11_000, 15_000).await,
            _ => pause(2000, 4000).await,
        }
        stage.faults += 1;
        stage.tell(Phase::Load);
        stage.acknowledged(200).await;
    }
    stage.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sqlite_locked() {
    let database = Database::sqlite();
    let mut stage = Stage::open("locked by another writer", &database, None, SHORT).await;
    let path = database.path();
    let mut other = diesel::SqliteConnection::establish(path.to_str().unwrap()).unwrap();
    for round in 0..rounds() {
        let lock = "PRAGMA busy_timeout = 10000; BEGIN EXCLUSIVE";
        block_in_place(|| other.batch_execute(lock)).unwrap();
        // Shorter than the gateway waits for the lock, and longer.
        match round % 2 {
            0 => pause(100, 1000).await,
            _ => pause(3500, 5000).await,
        }
        other.batch_execute("ROLLBACK").unwrap();
        stage.faults += 1;
        stage.acknowledged(100).await;
    }
    stage.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn postgres_stopped() {
    let mut server = Cluster::start(ClusterOptions::default()).unwrap();
    let database = Database::Postgres(TestDatabase::create(&server.url("postgres")));
    let mut stage = Stage::open("server stopped", &database, None, SHORT).await;
    for _ in 0..rounds() {
        block_in_place(|| server.stop_immediate()).unwrap();
        pause(0, 2000).await;
        block_in_place(|| server.start_again()).unwrap();
        stage.faults += 1;
        stage.acknowledged(100 + below(200)).await;
    }
    stage.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn postgres_backends_terminated() {
    let database = Database::postgres();
    let mut stage = Stage::open("backends terminated", &database, None, SHORT).await;
    for _ in 0..rounds() * 5 {
        stage.sql(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
             WHERE datname = current_database() AND pid <> pg_backend_pid()",
        );
        stage.faults += 1;
        pause(20, 300).await;
    }
    stage.acknowledged(100).await;
    stage.close().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "mounts a file system, which takes root; `cargo xtask chaos` runs it"]
async fn sqlite_full() {
    let disk = SmallDisk::mount(256);
    let database = Database::Sqlite(tempfile::tempdir_in(disk.folder()).unwrap());
    disk_full(&database, &disk, || {}).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "mounts a file system, which takes root; `cargo xtask chaos` runs it"]
async fn postgres_full() {
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
        // Without room for its log it ends, and does not come back by itself.
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
        pause(0, 1000).await;
        stage.faults += 1;
        disk.free();
        block_in_place(&mut repair);
        stage.acknowledged(100).await;
    }
    stage.close().await;
}
