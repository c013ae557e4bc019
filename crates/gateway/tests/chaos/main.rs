//! Fault injection: clients exchange messages while a fault strikes again and again. Then the
//! test compares what each client sent, had acknowledged and received with the database, and
//! checks that the fault had its effect.
//!
//! - `fault` states what each fault explains and what it must show.
//! - `checker` defines the violations and finds them; `controls` shows that it does.
//! - `client` is a correct client that records everything.
//! - `stage` runs the gateways, the clients and the checker; `proxy`, `cable`, `disk` and
//!   `machine` inject faults.
//! - `several_nodes` has the faults with several gateways; `planted` has gateways with a bug,
//!   and `peer` another server.
//!
//! This file contains the faults with one gateway, each on every database that can have it. `CHAOS_ROUNDS` is
//! the number of rounds of each fault: 2 by default, which suits `cargo test`. Each fault runs
//! until at least `CHAOS_MESSAGES` messages have been acknowledged, by default none in
//! addition to those that its rounds need. `cargo xtask chaos` is the long run. Every random
//! choice follows from `CHAOS_SEED` and the test's name. Each test prints one line with its
//! figures and the seed.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "../support/mod.rs"]
mod support;

mod cable;
mod checker;
mod client;
mod controls;
mod disk;
mod fault;
mod figures;
mod machine;
mod peer;
mod planted;
mod proxy;
mod random;
mod record;
mod several_nodes;
mod stage;

use std::time::Duration;

use chat_test_support::{Cluster, ClusterOptions, TestDatabase};
use diesel::Connection as _;
use diesel::connection::SimpleConnection as _;
use tokio::task::block_in_place;

use disk::SmallDisk;
use proxy::ProxyFault;
use stage::{Setup, Stage};
use support::Database;

/// How long a test runs.
#[derive(Clone, Copy, Debug)]
struct Plan {
    rounds: u64,
    messages: u64,
}

impl Plan {
    fn from_environment() -> Self {
        let number = |name, default| match std::env::var(name) {
            Ok(number) => number.parse().expect(name),
            Err(_) => default,
        };
        let rounds = number("CHAOS_ROUNDS", 2);
        assert!(
            rounds > 0,
            "CHAOS_ROUNDS must be at least 1: no rounds prove nothing"
        );
        Self {
            rounds,
            messages: number("CHAOS_MESSAGES", 0),
        }
    }

    /// Ends a round: the load runs until at least `more` messages have been acknowledged, and
    /// this round's share of all messages.
    async fn end_round(self, stage: &mut Stage<'_>, round: u64, more: u64) {
        stage.acknowledged(more).await;
        let share = self.messages * (round + 1) / self.rounds;
        stage.acknowledged_in_all(share).await;
    }
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
    let plan = Plan::from_environment();
    let mut stage = Stage::open(fault::KILLED, database, Setup::default()).await;
    for round in 0..plan.rounds {
        stage.begin_round();
        stage.kill(0).await;
        stage.start_again(0);
        let more = 100 + stage.below(200);
        plan.end_round(&mut stage, round, more).await;
    }
    stage.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn promises_hold_when_the_gateway_shuts_down_on_sqlite() {
    terminated(&Database::sqlite()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn promises_hold_when_the_gateway_shuts_down_on_postgres() {
    terminated(&Database::postgres()).await;
}

async fn terminated(database: &Database) {
    let plan = Plan::from_environment();
    let mut stage = Stage::open(fault::TERMINATED, database, Setup::default()).await;
    for round in 0..plan.rounds {
        stage.begin_round();
        stage.terminate(0);
        stage.start_again(0);
        let more = 100 + stage.below(200);
        plan.end_round(&mut stage, round, more).await;
    }
    stage.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn promises_hold_when_the_gateway_is_suspended_on_sqlite() {
    suspended(&Database::sqlite()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn promises_hold_when_the_gateway_is_suspended_on_postgres() {
    suspended(&Database::postgres()).await;
}

async fn suspended(database: &Database) {
    let plan = Plan::from_environment();
    let mut stage = Stage::open(fault::SUSPENDED, database, Setup::default()).await;
    for round in 0..plan.rounds {
        stage.begin_round();
        // Shorter and longer than the promised second, and than any delivery's patience.
        match round % 2 {
            0 => stage.suspend(0, 300, 800).await,
            _ => stage.suspend(0, 1500, 4700).await,
        }
        plan.end_round(&mut stage, round, 200).await;
    }
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
    let plan = Plan::from_environment();
    let within = Duration::from_secs(2);
    let setup = Setup {
        proxy: Some(ProxyFault::Resets { within }),
        ..Setup::default()
    };
    let mut stage = Stage::open(fault::CONNECTIONS_RESET, database, setup).await;
    for round in 0..plan.rounds {
        stage.begin_round();
        stage.broken(12).await;
        plan.end_round(&mut stage, round, 400).await;
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
    let plan = Plan::from_environment();
    let setup = Setup {
        proxy: Some(ProxyFault::LosesAcks { one_in: 20 }),
        ..Setup::default()
    };
    let mut stage = Stage::open(fault::ACKNOWLEDGEMENTS_LOST, database, setup).await;
    for round in 0..plan.rounds {
        stage.begin_round();
        stage.swallowed(5).await;
        plan.end_round(&mut stage, round, 300).await;
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
    const READERS: [&str; 4] = ["reader-1", "reader-2", "reader-3", "reader-4"];
    let plan = Plan::from_environment();
    // Long messages, so that the buffers between gateway and reader fill up.
    let mut stage = Stage::open(
        fault::READERS_PAUSED,
        database,
        Setup {
            length: 1000,
            ..Setup::default()
        },
    )
    .await;
    for round in 0..plan.rounds {
        stage.begin_round();
        let one = READERS[stage.below(READERS.len() as u64) as usize];
        // One falls behind and catches up; then one, or every one, is cut off.
        stage.pause_briefly(&[one], 500, 2000).await;
        stage.acknowledged(50).await;
        match round % 2 {
            0 => stage.pause_until_cut_off(&[one]).await,
            _ => stage.pause_until_cut_off(&READERS).await,
        }
        plan.end_round(&mut stage, round, 200).await;
    }
    stage.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn promises_hold_when_another_session_locks_sqlite() {
    let plan = Plan::from_environment();
    let database = Database::sqlite();
    let mut stage = Stage::open(fault::LOCKED, &database, Setup::default()).await;
    let path = database.path();
    let mut other = diesel::SqliteConnection::establish(path.to_str().unwrap()).unwrap();
    for round in 0..plan.rounds {
        stage.begin_round();
        for is_long in [false, true] {
            stage.begin_strike();
            let lock = "PRAGMA busy_timeout = 10000; BEGIN EXCLUSIVE";
            block_in_place(|| other.batch_execute(lock)).unwrap();
            stage.stall(100, 800).await;
            // Longer than the gateway waits for the lock.
            if is_long {
                stage.refused(1).await;
            }
            other.batch_execute("ROLLBACK").unwrap();
            stage.end_strike();
            stage.acknowledged(50).await;
        }
        plan.end_round(&mut stage, round, 100).await;
    }
    stage.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn promises_hold_when_postgres_stops() {
    server_stopped(Setup::default()).await;
}

async fn server_stopped(setup: Setup) {
    let plan = Plan::from_environment();
    let mut server = Cluster::start(ClusterOptions::default()).unwrap();
    let database = Database::Postgres(TestDatabase::create(&server.url("postgres")));
    let mut stage = Stage::open(fault::SERVER_STOPPED, &database, setup).await;
    for round in 0..plan.rounds {
        stage.begin_round();
        stage.begin_strike();
        block_in_place(|| server.stop_immediate()).unwrap();
        stage.refused(1).await;
        stage.pause(0, 2000).await;
        block_in_place(|| server.start_again()).unwrap();
        stage.end_strike();
        let more = 100 + stage.below(200);
        plan.end_round(&mut stage, round, more).await;
    }
    stage.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn promises_hold_when_postgres_terminates_sessions() {
    backends_terminated(Setup::default()).await;
}

async fn backends_terminated(setup: Setup) {
    let plan = Plan::from_environment();
    let database = Database::postgres();
    let mut stage = Stage::open(fault::BACKENDS_TERMINATED, &database, setup).await;
    for round in 0..plan.rounds {
        stage.begin_round();
        let mut strikes = 0;
        while strikes < 5 {
            // The gateway may not have connected again.
            strikes += u64::from(stage.terminate_backends() > 0);
            stage.pause(20, 300).await;
        }
        plan.end_round(&mut stage, round, 100).await;
    }
    stage.close().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "mounts a file system, which requires root; `cargo xtask chaos` runs it"]
async fn promises_hold_when_the_disk_is_full_on_sqlite() {
    let disk = SmallDisk::mount(512);
    let database = Database::Sqlite(tempfile::tempdir_in(disk.folder()).unwrap());
    disk_full(&database, &disk, || {}).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "mounts a file system, which requires root; `cargo xtask chaos` runs it"]
async fn promises_hold_when_the_disk_is_full_on_postgres() {
    let disk = SmallDisk::mount(768);
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
    let plan = Plan::from_environment();
    let mut stage = Stage::open(
        fault::DISK_FULL,
        database,
        Setup {
            length: 500,
            ..Setup::default()
        },
    )
    .await;
    for round in 0..plan.rounds {
        stage.begin_round();
        stage.begin_strike();
        block_in_place(|| disk.fill());
        stage.refused(20).await;
        stage.pause(0, 1000).await;
        disk.free();
        block_in_place(&mut repair);
        stage.end_strike();
        plan.end_round(&mut stage, round, 100).await;
    }
    stage.close().await;
}
