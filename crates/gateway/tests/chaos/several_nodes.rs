//! The faults with several gateways on one PostgreSQL and one Redis. The clients are spread over them, as by a
//! load balancer, and every promise holds on whichever node. `CHAOS_NODES` is the number of
//! nodes.

use std::io;
use std::time::Duration;

use chat_test_support::{Cluster, ClusterOptions, Redis, SlowClients, TestDatabase};
use tokio::task::block_in_place;

use crate::Plan;
use crate::fault::{self, Fault, MOST_NODES};
use crate::machine::machine_crashed;
use crate::stage::{Cabled, Setup, Stage};
use crate::support::Database;

/// How long a client waits for an answer of a suspended node.
const PATIENCE: Duration = Duration::from_secs(2);

/// How long a client waits before it repeats a refused message: longer than an old session may
/// still carry out a call, which would otherwise be refused as a repeat.
pub(crate) const LATER: Duration = Duration::from_secs(1);

/// Returns a setup with this number of nodes, unless `CHAOS_NODES` is set.
fn nodes(default: usize) -> Setup {
    let nodes = match std::env::var("CHAOS_NODES") {
        Ok(number) => number.parse().expect("CHAOS_NODES"),
        Err(_) => default,
    };
    assert!((2..=MOST_NODES as usize).contains(&nodes), "CHAOS_NODES");
    Setup {
        nodes,
        redis: true,
        ..Setup::default()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn promises_hold_when_one_node_is_killed() {
    let plan = Plan::from_environment();
    let database = Database::postgres();
    let mut stage = Stage::open(fault::NODE_KILLED, &database, nodes(3)).await;
    for round in 0..plan.rounds {
        stage.begin_round();
        stage.spread().await;
        let node = stage.any_node();
        stage.kill(node).await;
        // By the other nodes.
        let more = 50 + stage.below(200);
        stage.acknowledged(more).await;
        stage.start_again(node);
        plan.end_round(&mut stage, round, 200).await;
    }
    stage.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn promises_hold_when_one_node_after_another_is_restarted() {
    let plan = Plan::from_environment();
    let database = Database::postgres();
    let setup = nodes(2);
    let mut stage = Stage::open(fault::ROLLING_RESTART, &database, setup).await;
    for round in 0..plan.rounds {
        stage.begin_round();
        stage.spread().await;
        for node in 0..setup.nodes {
            stage.terminate(node);
            stage.start_again(node);
            let more = 50 + stage.below(100);
            stage.acknowledged(more).await;
        }
        plan.end_round(&mut stage, round, 100).await;
    }
    stage.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn promises_hold_when_one_node_is_suspended() {
    let plan = Plan::from_environment();
    let database = Database::postgres();
    let setup = Setup {
        patience: Some(PATIENCE),
        ..nodes(3)
    };
    let mut stage = Stage::open(fault::NODE_SUSPENDED, &database, setup).await;
    for round in 0..plan.rounds {
        stage.begin_round();
        stage.spread().await;
        let node = stage.any_node();
        // Too short for any client to give up, then long enough for all of them.
        stage.suspend(node, 100, 800).await;
        stage.acknowledged(100).await;
        let node = stage.any_node();
        stage.suspend(node, 2500, 4700).await;
        plan.end_round(&mut stage, round, 200).await;
    }
    stage.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn promises_hold_on_all_nodes_when_postgres_stops() {
    crate::server_stopped(nodes(2)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn promises_hold_on_all_nodes_when_postgres_terminates_sessions() {
    crate::backends_terminated(nodes(2)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn promises_hold_when_one_node_and_postgres_do_not_hear_each_other() {
    let plan = Plan::from_environment();
    let database = Database::postgres();
    let setup = Setup {
        cabled: Some(Cabled::Database),
        ..nodes(2)
    };
    let mut stage = Stage::open(fault::DATABASE_SILENT, &database, setup).await;
    for round in 0..plan.rounds {
        stage.begin_round();
        let node = stage.any_node();
        // Shorter and longer than the gateway waits for an answer.
        match round % 2 {
            0 => stage.silence(node, 300, 3000).await,
            _ => stage.silence(node, 5200, 7000).await,
        }
        plan.end_round(&mut stage, round, 200).await;
    }
    stage.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn promises_hold_when_the_connections_of_one_node_to_postgres_are_torn() {
    let plan = Plan::from_environment();
    let database = Database::postgres();
    let setup = Setup {
        cabled: Some(Cabled::Database),
        backoff: LATER,
        ..nodes(2)
    };
    let mut stage = Stage::open(fault::DATABASE_TORN, &database, setup).await;
    for round in 0..plan.rounds {
        stage.begin_round();
        let node = stage.any_node();
        for _ in 0..5 {
            stage.tear(node, 50, 500).await;
            stage.acknowledged(50).await;
        }
        // Shorter and longer than the gateway waits for the end of the old sessions.
        match round % 2 {
            0 => stage.tear(node, 100, 1500).await,
            _ => stage.tear(node, 2500, 4000).await,
        }
        plan.end_round(&mut stage, round, 200).await;
    }
    stage.close().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "mounts a file system, which requires root; `cargo xtask chaos` runs it"]
async fn promises_hold_on_all_nodes_when_the_machine_of_postgres_crashes() {
    machine_crashed(nodes(2)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn promises_hold_when_redis_is_killed() {
    redis_fails(fault::REDIS_KILLED, Redis::kill, Redis::start_again).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn promises_hold_when_redis_is_restarted() {
    redis_fails(fault::REDIS_RESTARTED, Redis::stop, Redis::start_again).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn promises_hold_when_redis_is_suspended() {
    let suspend = |redis: &mut Redis| redis.signal("STOP");
    redis_fails(fault::REDIS_SUSPENDED, suspend, |redis| {
        redis.signal("CONT")
    })
    .await;
}

async fn redis_fails(
    fault: Fault,
    fail: impl Fn(&mut Redis) -> io::Result<()>,
    recover: impl Fn(&mut Redis) -> io::Result<()>,
) {
    let plan = Plan::from_environment();
    let database = Database::postgres();
    let setup = nodes(2);
    let all: Vec<_> = (0..setup.nodes).collect();
    let mut stage = Stage::open(fault, &database, setup).await;
    for round in 0..plan.rounds {
        stage.begin_round();
        stage.hints_flow().await;
        stage.redis(|redis| fail(redis).unwrap());
        stage.no_hints(&all, 300, 4000).await;
        stage.redis(|redis| recover(redis).unwrap());
        stage.hints_flow().await;
        plan.end_round(&mut stage, round, 200).await;
    }
    stage.close().await;
}

/// First, hints still flow beside what Redis holds for the slow clients. Then the nodes lose
/// their connections, and the slow clients leave no room for new ones.
#[tokio::test(flavor = "multi_thread")]
async fn promises_hold_when_redis_is_full_of_slow_clients() {
    let plan = Plan::from_environment();
    let database = Database::postgres();
    let setup = nodes(2);
    let all: Vec<_> = (0..setup.nodes).collect();
    let mut stage = Stage::open(fault::REDIS_FULL, &database, setup).await;
    for round in 0..plan.rounds {
        stage.begin_round();
        let mut slow = None;
        stage.redis(|redis| slow = Some(SlowClients::connect(redis.port()).unwrap()));
        let mut slow = slow.unwrap();
        stage.hints_flow().await;
        stage.acknowledged(100).await;
        let (waiting, _) = block_in_place(|| slow.held()).unwrap();
        assert!(waiting > 50, "Redis holds output for {waiting} clients");
        block_in_place(|| slow.shut_others_out()).unwrap();
        stage.no_hints(&all, 300, 2000).await;
        block_in_place(|| slow.make_room()).unwrap();
        stage.hints_flow().await;
        plan.end_round(&mut stage, round, 200).await;
    }
    stage.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn promises_hold_when_one_node_is_cut_off_from_redis() {
    let plan = Plan::from_environment();
    let database = Database::postgres();
    let setup = Setup {
        cabled: Some(Cabled::Redis),
        ..nodes(2)
    };
    let mut stage = Stage::open(fault::REDIS_CUT_OFF, &database, setup).await;
    for round in 0..plan.rounds {
        stage.begin_round();
        stage.hints_flow().await;
        let node = stage.any_node();
        stage.silence_redis(node, 300, 4000).await;
        stage.hints_flow().await;
        plan.end_round(&mut stage, round, 200).await;
    }
    stage.close().await;
}

/// Every node writes to the same room at once.
#[tokio::test(flavor = "multi_thread")]
async fn one_hot_room_has_one_order_on_every_node() {
    let plan = Plan::from_environment();
    let server = Cluster::start(ClusterOptions {
        // Shorter than any wait for a lock, so that no deadlock ends unnoticed.
        settings: vec!["deadlock_timeout = '10ms'".to_owned()],
        ..ClusterOptions::default()
    })
    .unwrap();
    let database = Database::Postgres(TestDatabase::create(&server.url("postgres")));
    let setup = Setup {
        one_room: true,
        ..nodes(3)
    };
    let mut stage = Stage::open(fault::NONE, &database, setup).await;
    for round in 0..plan.rounds {
        stage.begin_round();
        plan.end_round(&mut stage, round, 500).await;
    }
    for node in 0..setup.nodes {
        assert!(stage.acknowledged_by(node) > 100, "node {node}");
    }
    let outcome = stage.finish().await;
    println!("chaos: one hot room: {}", outcome.figures);
    assert_eq!(outcome.violations, []);
    let log = block_in_place(|| server.log()).unwrap();
    assert!(!log.contains("deadlock detected"), "{log}");
    let deadlocks = "SELECT sum(deadlocks) FROM pg_stat_database";
    assert_eq!(
        block_in_place(|| server.psql("postgres", deadlocks)).unwrap(),
        "0"
    );
}
