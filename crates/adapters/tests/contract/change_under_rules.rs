//! The contract of [`ChangeRepository::change`] while a room's rules change.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use chat_domain::ports::{ChangeRepository, MessageChange, MessageChangeError};
use chat_domain::{MessageEdit, RulesNumber};
use diesel::RunQueryDsl as _;
use diesel::connection::SimpleConnection as _;
use tokio::sync::watch;
use tokio::time::timeout;

use crate::change_repository::{Store, edit, react, user};
use crate::databases::{Postgres, Sqlite};
use crate::{append, hello, room, seq};

/// How often the rules change.
const TIMES: u64 = 200;

/// Makes changes without pause, by the current number of rules, until it is over. Returns the
/// number of each change, and the number by which it was decided.
async fn change_without_pause(
    store: impl ChangeRepository,
    next_edit: impl Fn(u64) -> MessageEdit,
    (current, is_over): (Arc<AtomicU64>, Arc<AtomicBool>),
    newest: watch::Sender<u64>,
) -> Vec<(u64, u64)> {
    let (mut made, mut n) = (Vec::new(), 0);
    while !is_over.load(Ordering::Relaxed) {
        let rules = current.load(Ordering::Relaxed);
        let change = MessageChange {
            room_id: room(1),
            seq: seq(1),
            edit: next_edit(n),
            by: Some(user("1")),
            rules: RulesNumber::new(rules),
        };
        match store.change(change).await {
            Ok(change) => {
                assert!(change.is_new);
                made.push((change.message.changes.unwrap().rev.get(), rules));
                n += 1;
                newest.send_if_modified(|newest| {
                    let is_newer = *newest < rules;
                    *newest = rules.max(*newest);
                    is_newer
                });
            }
            Err(MessageChangeError::RulesChanged) => {}
            Err(error) => panic!("{error:?}"),
        }
    }
    made
}

/// Changes a message without pause while the rules change. `change` changes the rules, and returns
/// the number of the room's newest change at that moment: every one after it was decided by the
/// new number.
async fn no_change_decided_before_a_rule_follows_it<S: Store>(
    nodes: Vec<S>,
    mut change: impl AsyncFnMut() -> u64,
) {
    append(&nodes[0], hello(room(1))).await.unwrap();
    let current = Arc::new(AtomicU64::new(0));
    let is_over = Arc::new(AtomicBool::new(false));
    let newest = watch::Sender::new(0);
    let mut tasks = Vec::new();
    for (place, store) in nodes.into_iter().enumerate() {
        let shared = || (current.clone(), is_over.clone());
        // Two texts per node, none of which another node sets.
        let texts = move |n: u64| edit(&format!("{place} {}", n % 2));
        let edits = change_without_pause(store.clone(), texts, shared(), newest.clone());
        let id = format!("user {place}");
        let reaction = move |n: u64| react(&id, "+", n.is_multiple_of(2));
        let reactions = change_without_pause(store, reaction, shared(), newest.clone());
        tasks.extend([tokio::spawn(edits), tokio::spawn(reactions)]);
    }
    let mut rules = Vec::new();
    let mut stored = newest.subscribe();
    for number in 1..=TIMES {
        rules.push(change().await);
        current.store(number, Ordering::Relaxed);
        let next = stored.wait_for(|newest| *newest == number);
        let next = timeout(Duration::from_secs(20), next).await;
        next.expect("a change with the current number is stored")
            .unwrap();
    }
    is_over.store(true, Ordering::Relaxed);
    let mut made = Vec::new();
    for task in tasks {
        made.extend(task.await.unwrap());
    }
    made.sort_unstable();
    let numbers: Vec<_> = made.iter().map(|(rev, _)| *rev).collect();
    assert_eq!(numbers, (1..=made.len() as u64).collect::<Vec<_>>());
    for (rev, decided_by) in made {
        let changed = rules.partition_point(|at| *at < rev) as u64;
        assert_eq!(decided_by, changed, "the number of rules at change {rev}");
    }
}

const CHANGE: &str = "UPDATE rooms SET rules = rules + 1 WHERE id = 1 RETURNING last_rev";

#[tokio::test(flavor = "multi_thread")]
async fn no_change_decided_before_a_rule_follows_it_on_sqlite() {
    let sqlite = Sqlite::fresh().await;
    let mut other = sqlite.other();
    other.batch_execute("PRAGMA busy_timeout = 20000").unwrap();
    let change = async || {
        let change = diesel::dsl::sql::<diesel::sql_types::BigInt>(CHANGE);
        let newest: i64 = change.get_result(&mut other).unwrap();
        newest.unsigned_abs()
    };
    no_change_decided_before_a_rule_follows_it(vec![sqlite.database.clone()], change).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_change_decided_before_a_rule_follows_it_on_postgres() {
    let postgres = Postgres::fresh().await;
    let nodes = vec![postgres.database.clone(), postgres.other_node()];
    let other = postgres.hold("COMMIT").await;
    let change = async || {
        let newest: i64 = other.query_one(CHANGE, &[]).await.unwrap().get(0);
        newest.unsigned_abs()
    };
    no_change_decided_before_a_rule_follows_it(nodes, change).await;
}
