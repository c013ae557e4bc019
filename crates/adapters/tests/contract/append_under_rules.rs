//! The contract of [`MessageRepository::append`] when a room's rules have changed.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use chat_domain::ports::{AppendError, Appended, MessageRepository, RoomRepository};
use chat_domain::{Seq, UserId};
use diesel::RunQueryDsl as _;
use diesel::connection::SimpleConnection as _;
use tokio::sync::watch;
use tokio::time::timeout;

use crate::databases::{Postgres, Sqlite};
use crate::room_changes::Reader;
use crate::{append, append_at_once, by, hello, room, seq, under, up_to, with_id};

crate::changed_rows::on_each_database_with_sql!(
    a_message_decided_by_another_number_leaves_no_trace,
    the_others_of_a_batch_are_stored,
    a_repeat_under_another_number_is_not_a_repeat,
    a_room_without_messages_has_no_rules,
    the_largest_number_of_a_batch_is_the_one_that_is_compared,
);

pub(crate) fn is_changed(outcome: &Result<Appended, AppendError>) -> bool {
    matches!(outcome, Err(AppendError::RulesChanged))
}

pub(crate) fn is_stored(outcome: &Result<Appended, AppendError>, number: u64) -> bool {
    matches!(outcome, Ok(Appended::Stored(m)) if m.seq == seq(number))
}

async fn a_message_decided_by_another_number_leaves_no_trace(
    store: &(impl MessageRepository + RoomRepository),
    sql: impl Fn(&str),
) {
    append(store, hello(room(1))).await.unwrap();
    append(store, hello(room(2))).await.unwrap();
    sql("UPDATE rooms SET rules = 5 WHERE id = 1");
    let mut reader = Reader::start(store).await;
    for rules in [0, 4, 6] {
        let renamed = under(rules, by("42", "Eve", room(1), "x"));
        let new = under(rules, by("43", "Grace", room(1), "x"));
        assert!(is_changed(&store.append(renamed.clone()).await));
        // In a batch of several rooms.
        let batch = [renamed, under(7, by("44", "x", room(2), "x")), new];
        let outcomes = append_at_once(store, batch).await;
        assert!(outcomes.iter().all(is_changed), "{outcomes:?}");
    }
    assert_eq!(reader.next().await, []);
    let read = async |user: &str| {
        let user_id = UserId::new(user).unwrap();
        let state = store.read_state(room(1), &user_id).await.unwrap();
        (state.read.newest.get(), state.read.read.get())
    };
    assert_eq!((read("42").await, read("43").await), ((1, 1), (1, 0)));
    let page = store.after(room(1), Seq::START, up_to(10)).await.unwrap();
    assert_eq!(page.messages.len(), 1);
    assert_eq!(page.messages[0].author.name.as_str(), "Ada");

    let next = append(store, under(5, by("42", "Eve", room(1), "x"))).await;
    assert_eq!(next.unwrap().seq, seq(2));
    assert_eq!(reader.next().await, [(1, 2)]);
}

async fn the_others_of_a_batch_are_stored(log: &impl MessageRepository, sql: impl Fn(&str)) {
    for number in 1..=3 {
        append(log, hello(room(number))).await.unwrap();
    }
    sql("UPDATE rooms SET rules = id WHERE id > 1");
    let batch = [
        under(1, by("43", "Grace", room(2), "outdated")),
        by("44", "Edsger", room(1), "stored"),
        under(1, by("44", "Edsger", room(2), "outdated")),
        under(3, by("43", "Grace", room(3), "stored")),
        under(1, by("45", "Barbara", room(2), "outdated")),
        by("44", "Edsger", room(4), "creates the room"),
        by("44", "Edsger", room(1), "stored"),
    ];
    let outcomes = append_at_once(log, batch).await;
    for n in [0, 2, 4] {
        assert!(is_changed(&outcomes[n]), "{outcomes:?}");
    }
    for (n, number) in [(1, 2), (3, 2), (5, 1), (6, 3)] {
        assert!(is_stored(&outcomes[n], number), "{outcomes:?}");
    }
    for (number, name) in [(1, "Edsger"), (3, "Grace"), (4, "Edsger")] {
        let page = log.before(room(number), None, up_to(1)).await.unwrap();
        assert_eq!(page.messages[0].author.name.as_str(), name);
    }
    let page = log.after(room(2), Seq::START, up_to(10)).await.unwrap();
    assert_eq!((page.newest, page.messages.len()), (seq(1), 1));
    // A name that was not stored with an outdated message is stored with the next one.
    let next = under(2, by("45", "Barbara", room(2), "stored"));
    assert_eq!(append(log, next).await.unwrap().seq, seq(2));
    let page = log.before(room(2), None, up_to(1)).await.unwrap();
    assert_eq!(page.messages[0].author.name.as_str(), "Barbara");
}

async fn a_repeat_under_another_number_is_not_a_repeat(
    log: &impl MessageRepository,
    sql: impl Fn(&str),
) {
    let sent = with_id(hello(room(1)), "c0ffee");
    let kept = with_id(hello(room(2)), "c0ffee");
    let stored = append(log, sent.clone()).await.unwrap();
    append(log, kept.clone()).await.unwrap();
    sql("UPDATE rooms SET rules = 2 WHERE id = 1");
    assert!(is_changed(&log.append(sent.clone()).await));
    // After the first repeat, ids are looked up before messages are stored.
    for _ in 0..3 {
        let other = with_id(by("42", "Ada", room(1), "other"), "c0ffee");
        let batch = [sent.clone(), kept.clone(), sent.clone(), other];
        let outcomes = append_at_once(log, batch).await;
        assert!(
            matches!(outcomes[1], Ok(Appended::Repeat(_))),
            "{outcomes:?}"
        );
        for n in [0, 2, 3] {
            assert!(is_changed(&outcomes[n]), "{outcomes:?}");
        }
        assert!(is_changed(&log.append(sent.clone()).await));
    }
    let repeat = log.append(under(2, sent)).await.unwrap();
    assert_eq!(repeat, Appended::Repeat(stored));
    assert_eq!(
        append(log, under(2, hello(room(1)))).await.unwrap().seq,
        seq(2)
    );
}

async fn a_room_without_messages_has_no_rules(
    store: &(impl MessageRepository + RoomRepository),
    sql: impl Fn(&str),
) {
    assert!(is_changed(&store.append(under(1, hello(room(1)))).await));
    let batch = [
        under(1, hello(room(1))),
        hello(room(2)),
        under(3, hello(room(4))),
        hello(room(3)),
    ];
    let outcomes = append_at_once(store, batch).await;
    assert!(is_changed(&outcomes[0]) && is_changed(&outcomes[2]));
    assert!(is_stored(&outcomes[1], 1) && is_stored(&outcomes[3], 1));
    let newest = store.newest(&[room(1), room(2), room(4)]).await.unwrap();
    let newest: Vec<_> = newest.iter().map(|at| (at.room_id, at.newest)).collect();
    assert_eq!(newest, [(room(2), seq(1))]);
    append(store, hello(room(1))).await.unwrap();
    sql("UPDATE rooms SET rules = 1 WHERE id = 1");
    let next = append(store, under(1, hello(room(1)))).await.unwrap();
    assert_eq!(next.seq, seq(2));
}

async fn the_largest_number_of_a_batch_is_the_one_that_is_compared(
    log: &impl MessageRepository,
    sql: impl Fn(&str),
) {
    append(log, hello(room(1))).await.unwrap();
    sql("UPDATE rooms SET rules = 300");
    let messages = (0..400).map(|n| under(n % 2 * 300, by("42", "Ada", room(1), &n.to_string())));
    for (outcome, n) in append_at_once(log, messages).await.into_iter().zip(0..) {
        match n % 2 {
            0 => assert!(is_changed(&outcome), "{n}: {outcome:?}"),
            _ => assert!(is_stored(&outcome, n / 2 + 2), "{n}: {outcome:?}"),
        }
    }
}

/// Appends without pause while the rules change 200 times. `change` makes a change, and
/// returns the room's newest position at that moment: every message after it was decided by
/// the new number.
async fn no_message_decided_before_a_change_follows_it<S>(
    nodes: Vec<S>,
    mut change: impl AsyncFnMut() -> u64,
) where
    S: MessageRepository + Clone + 'static,
{
    append(&nodes[0], hello(room(1))).await.unwrap();
    let current = Arc::new(AtomicU64::new(0));
    let is_over = Arc::new(AtomicBool::new(false));
    let newest = watch::Sender::new(0);
    let mut writers = Vec::new();
    for (log, place) in nodes.iter().cloned().zip(0..) {
        let (current, is_over, newest) = (current.clone(), is_over.clone(), newest.clone());
        writers.push(tokio::spawn(async move {
            let other_room = room(2 + place);
            while !is_over.load(Ordering::Relaxed) {
                for others in 0..=1 {
                    let rules = current.load(Ordering::Relaxed);
                    let decided = under(rules, by("42", "Ada", room(1), &rules.to_string()));
                    let mut batch = vec![decided.clone(), decided];
                    batch.extend(vec![hello(other_room); others]);
                    let outcomes = append_at_once(&log, batch).await;
                    for outcome in &outcomes[..2] {
                        let is_current = matches!(outcome, Ok(Appended::Stored(_)));
                        assert!(is_current || is_changed(outcome), "{outcome:?}");
                        newest.send_if_modified(|newest| {
                            let is_newer = is_current && *newest < rules;
                            *newest = if is_newer { rules } else { *newest };
                            is_newer
                        });
                    }
                    assert!(outcomes[2..].iter().all(Result::is_ok), "{outcomes:?}");
                }
            }
        }));
    }
    let mut changes = Vec::new();
    let mut stored = newest.subscribe();
    for rules in 1..=200 {
        changes.push(change().await);
        current.store(rules, Ordering::Relaxed);
        let next = stored.wait_for(|newest| *newest == rules);
        let next = timeout(Duration::from_secs(20), next).await;
        next.expect("a message with the current number is stored")
            .unwrap();
    }
    is_over.store(true, Ordering::Relaxed);
    for writer in writers {
        writer.await.unwrap();
    }

    let mut position = seq(1);
    loop {
        let page = nodes[0]
            .after(room(1), position, up_to(1000))
            .await
            .unwrap();
        for message in &page.messages {
            let decided_by: usize = message.content.as_str().parse().unwrap();
            let changed = changes.partition_point(|at| *at < message.seq.get());
            assert_eq!(decided_by, changed, "the number at {}", message.seq);
        }
        position = page.complete_to();
        if !page.has_more {
            break;
        }
    }
    assert!(Some(&position.get()) > changes.last());
}

const CHANGE: &str = "UPDATE rooms SET rules = rules + 1 WHERE id = 1 RETURNING last_seq";

#[tokio::test(flavor = "multi_thread")]
async fn no_message_decided_before_a_change_follows_it_on_sqlite() {
    let sqlite = Sqlite::fresh().await;
    let mut other = sqlite.other();
    other.batch_execute("PRAGMA busy_timeout = 20000").unwrap();
    let change = async || {
        let change = diesel::dsl::sql::<diesel::sql_types::BigInt>(CHANGE);
        let newest: i64 = change.get_result(&mut other).unwrap();
        newest.unsigned_abs()
    };
    no_message_decided_before_a_change_follows_it(vec![sqlite.database.clone()], change).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_message_decided_before_a_change_follows_it_on_postgres() {
    let postgres = Postgres::fresh().await;
    let nodes = vec![postgres.database.clone(), postgres.other_node()];
    let other = postgres.hold("COMMIT").await;
    let change = async || {
        let newest: i64 = other.query_one(CHANGE, &[]).await.unwrap().get(0);
        newest.unsigned_abs()
    };
    no_message_decided_before_a_change_follows_it(nodes, change).await;
}
