//! The contract of [`Outbox`](chat_domain::ports::Outbox) about members who have not read.

use std::time::Duration;

use chat_domain::ports::{
    Inbox, LeaseRequest, NextDelivery, Outbox as _, OutboxEntry, OutboxKind, OutboxKinds,
    RoomDirectory, RoomRepository, Settlement,
};
use chat_domain::{Generation, NewMember, Notify, Role, RulesNumber};
use diesel::prelude::*;
use diesel::sql_types::Text;
use tokio::task::JoinSet;

use crate::databases::{Postgres, Sqlite};
use crate::message_extras::{mentions, with};
use crate::outbox::{ONE, Store as OutboxStore, record_all, request};
use crate::room_directory::user;
use crate::{append, by, on_each_database, room, seq, under};

on_each_database!(
    members_are_reported_according_to_what_they_want,
    a_report_is_due_some_time_after_the_message,
    a_report_names_at_most_a_thousand_members,
    a_later_report_takes_the_place_of_one_that_waits,
    a_room_whose_calls_fail_is_reported_at_the_repetition,
    a_room_that_a_node_holds_gets_no_report,
    nothing_waits_unless_unread_messages_are_reported,
    messages_alone_are_not_reported_with_unread_messages,
);

pub(crate) trait Store: OutboxStore + Inbox + RoomRepository {}
impl<T: OutboxStore + Inbox + RoomRepository> Store for T {}

fn record_unread(store: &impl Store) {
    store.record(OutboxKinds::from_iter([OutboxKind::MessagesUnread]));
}

/// Makes these users members of room 1, which has no rules yet.
async fn add(store: &impl Store, users: &[&str]) {
    for part in users.chunks(1000) {
        let members: Vec<NewMember> = part
            .iter()
            .map(|id| NewMember {
                user_id: user(id),
                role: Role::Member,
                name: None,
            })
            .collect();
        let rules = store.snapshot(room(1), &[]).await.unwrap().rules;
        store.set_members(room(1), rules, &members).await.unwrap();
    }
}

/// Sends a message of "ada" to room 1, which mentions these users.
async fn send(store: &impl Store, mentioned: &[&str]) {
    let rules = store.snapshot(room(1), &[]).await.unwrap().rules;
    let message = under(rules.get(), by("ada", "Ada", room(1), "hello"));
    let mentioned = mentioned.iter().map(|id| user(id));
    append(store, with(message, mentions(mentioned)))
        .await
        .unwrap();
}

async fn read(store: &impl Store, id: &str, to: u64) {
    let id = user(id);
    let marked = store.mark_read(room(1), Generation::FIRST, &id, seq(to));
    marked.await.unwrap();
}

/// Leases what is due if what was stored until now is.
async fn lease(store: &impl Store) -> Vec<u64> {
    let now = LeaseRequest {
        notify_after: Duration::ZERO,
        ..request(ONE)
    };
    let leases = store.lease(now).await.unwrap();
    leases.iter().map(|lease| lease.room_id.get()).collect()
}

async fn entries(store: &impl Store) -> Vec<OutboxEntry> {
    let entries = store.entries(room(1), 100).await.unwrap();
    let entries = entries.into_iter();
    let unread = entries.filter(|entry| entry.kind == OutboxKind::MessagesUnread);
    unread.collect()
}

/// Returns the position, the users and those who are mentioned.
async fn unread(store: &impl Store, entry: &OutboxEntry) -> (u64, Vec<String>, Vec<String>) {
    let report = store.unread(room(1), &entry.first).await.unwrap();
    let Some(report) = report else {
        return (0, Vec::new(), Vec::new());
    };
    let ids = |users: &[chat_domain::UserId]| users.iter().map(ToString::to_string).collect();
    (
        report.seq.get(),
        ids(&report.user_ids),
        ids(&report.mentioned),
    )
}

async fn only(store: &impl Store) -> (u64, Vec<String>, Vec<String>) {
    let entries = entries(store).await;
    assert_eq!(entries.len(), 1, "{entries:?}");
    unread(store, &entries[0]).await
}

fn report(seq: u64, users: &[&str], mentioned: &[&str]) -> (u64, Vec<String>, Vec<String>) {
    let ids = |users: &[&str]| users.iter().map(|&id| id.to_owned()).collect();
    (seq, ids(users), ids(mentioned))
}

async fn settle(store: &impl Store, next: NextDelivery) {
    let entries = store.entries(room(1), 100).await.unwrap();
    let delivered = match next {
        NextDelivery::Now => entries.first().zip(entries.last()),
        _ => None,
    };
    let settlement = Settlement {
        holder: ONE,
        room_id: room(1),
        delivered: delivered.map(|(from, to)| (from.first.clone(), to.first.clone())),
        next,
    };
    assert!(store.settle(settlement).await.unwrap());
}

fn failed(after: Duration) -> NextDelivery {
    NextDelivery::Retry {
        attempts: 1,
        after,
        reason: "the response has status 500".into(),
    }
}

async fn members_are_reported_according_to_what_they_want(store: &impl Store) {
    record_unread(store);
    add(
        store,
        &["ada", "all", "called", "left", "none", "quiet", "reader"],
    )
    .await;
    for (id, notify) in [
        ("called", Notify::Mentions),
        ("quiet", Notify::Mentions),
        ("none", Notify::None),
    ] {
        store.set_notify(room(1), &user(id), notify).await.unwrap();
    }
    send(store, &["called", "none", "stranger"]).await;
    read(store, "reader", 1).await;
    assert_eq!(lease(store).await, [1]);
    assert_eq!(
        only(store).await,
        report(1, &["all", "called", "left"], &["called"])
    );
    let rules = store.snapshot(room(1), &[]).await.unwrap().rules;
    let leaving = crate::room_directory::remove("left");
    RoomDirectory::change(store, room(1), rules, &leaving, None)
        .await
        .unwrap();
    assert_eq!(
        only(store).await,
        report(1, &["all", "called"], &["called"])
    );
    read(store, "all", 1).await;
    assert_eq!(only(store).await, report(1, &["called"], &["called"]));
    read(store, "called", 1).await;
    assert_eq!(only(store).await, report(0, &[], &[]));
    settle(store, NextDelivery::Now).await;

    // "quiet" was mentioned by no message, and nobody by the second one.
    send(store, &[]).await;
    assert_eq!(lease(store).await, [1]);
    assert_eq!(only(store).await, report(2, &["all", "reader"], &[]));
}

async fn a_report_is_due_some_time_after_the_message(store: &impl Store) {
    record_unread(store);
    add(store, &["ada", "grace"]).await;
    send(store, &[]).await;
    assert_eq!(store.lease(request(ONE)).await.unwrap(), []);
    assert_eq!(entries(store).await, []);
    assert_eq!(lease(store).await, [1]);
    assert_eq!(only(store).await, report(1, &["grace"], &[]));
}

async fn a_report_names_at_most_a_thousand_members(store: &impl Store) {
    record_unread(store);
    let users: Vec<String> = (0..2345).map(|n| format!("{n:04}")).collect();
    let users: Vec<&str> = users.iter().map(String::as_str).collect();
    add(store, &users).await;
    send(store, &["0007", "2344"]).await;
    assert_eq!(lease(store).await, [1]);
    let entries = entries(store).await;
    assert_eq!(entries.len(), 3);
    for (entry, part) in entries.iter().zip(users.chunks(1000)) {
        let mentioned = part.iter().filter(|id| ["0007", "2344"].contains(id));
        let mentioned: Vec<&str> = mentioned.copied().collect();
        assert_eq!(unread(store, entry).await, report(1, part, &mentioned));
    }
}

async fn a_later_report_takes_the_place_of_one_that_waits(store: &impl Store) {
    record_unread(store);
    add(store, &["ada", "grace", "hedy"]).await;
    store
        .set_notify(room(1), &user("hedy"), Notify::Mentions)
        .await
        .unwrap();
    send(store, &["hedy"]).await;
    lease(store).await;
    let first = entries(store).await;
    settle(store, failed(Duration::ZERO)).await;
    assert_eq!(lease(store).await, [1]);
    assert_eq!(entries(store).await, first, "a repetition is the same");
    settle(store, failed(Duration::ZERO)).await;

    send(store, &[]).await;
    send(store, &["grace"]).await;
    assert_eq!(lease(store).await, [1]);
    assert_eq!(
        only(store).await,
        report(3, &["grace", "hedy"], &["grace", "hedy"])
    );
    settle(store, NextDelivery::Now).await;
    assert_eq!(lease(store).await, [0u64; 0]);
}

async fn a_room_whose_calls_fail_is_reported_at_the_repetition(store: &impl Store) {
    record_unread(store);
    add(store, &["ada", "grace"]).await;
    send(store, &[]).await;
    lease(store).await;
    settle(store, failed(Duration::from_secs(3600))).await;
    send(store, &[]).await;
    for _ in 0..2 {
        assert_eq!(lease(store).await, [0u64; 0]);
        assert_eq!(only(store).await, report(1, &["grace"], &[]));
    }
    assert_eq!(store.retry().await.unwrap(), 0);
    assert_eq!(lease(store).await, [1]);
    assert_eq!(only(store).await, report(2, &["grace"], &[]));
    settle(store, NextDelivery::Now).await;
    send(store, &[]).await;
    assert_eq!(lease(store).await, [1]);
    assert_eq!(only(store).await, report(3, &["grace"], &[]));
}

async fn a_room_that_a_node_holds_gets_no_report(store: &impl Store) {
    record_all(store);
    add(store, &["ada", "grace"]).await;
    // The report waits until the room is given back.
    assert_eq!(store.lease(request(ONE)).await.unwrap().len(), 1);
    send(store, &[]).await;
    assert_eq!(lease(store).await, [0u64; 0]);
    assert_eq!(entries(store).await, []);
    let given_back = Settlement {
        holder: ONE,
        room_id: room(1),
        delivered: None,
        next: NextDelivery::Now,
    };
    assert!(store.settle(given_back).await.unwrap());
    assert_eq!(lease(store).await, [1]);
    assert_eq!(only(store).await, report(1, &["grace"], &[]));
    // It follows the message.
    let kinds = store.entries(room(1), 100).await.unwrap();
    let kinds: Vec<OutboxKind> = kinds.iter().map(|entry| entry.kind).collect();
    let expected = [OutboxKind::MessageCreated, OutboxKind::MessagesUnread];
    assert_eq!(kinds[kinds.len() - 2..], expected);
}

async fn nothing_waits_unless_unread_messages_are_reported(store: &impl Store) {
    store.record(OutboxKinds::from_iter([OutboxKind::MessageCreated]));
    add(store, &["ada", "grace"]).await;
    send(store, &[]).await;
    assert_eq!(lease(store).await, [1]);
    settle(store, NextDelivery::Now).await;
    assert_eq!(lease(store).await, [0u64; 0]);
}

async fn messages_alone_are_not_reported_with_unread_messages(store: &impl Store) {
    record_unread(store);
    append(
        store,
        under(RulesNumber::NONE.get(), by("ada", "Ada", room(1), "hello")),
    )
    .await
    .unwrap();
    assert_eq!(lease(store).await, [0u64; 0]);
    assert_eq!(store.entries(room(1), 100).await.unwrap(), []);
    assert_eq!(store.backlog().await.unwrap().pending, 0);
}

/// Members 1 to 9,997 of 10,000 have read. They and the room are stored by the operator, so the bounds
/// are those of a room of an earlier version at first.
const CROWD: &str = "INSERT INTO rooms (id, last_seq, rules) VALUES (1, 5, 1); \
     INSERT INTO room_settings VALUES (1, 'open', NULL, false, 0, '{}', '2026-01-01T00:00:00.000Z', 10000, 0); ";

/// Lets the first 9,997 members read message 6, many at once.
async fn all_but_three_read<S: Store + Clone + 'static>(store: &S) {
    for first in (1..=9997).step_by(1000) {
        let mut reads = JoinSet::new();
        for id in first..(first + 1000).min(9998) {
            let store = store.clone();
            reads.spawn(async move { read(&store, &id.to_string(), 6).await });
        }
        reads.join_all().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_report_reads_the_members_who_have_not_read_and_no_others_on_postgres() {
    let postgres = Postgres::fresh().await;
    let store = &postgres.database;
    record_unread(store);
    let sql = |sql: &str| postgres.server.psql(sql).unwrap();
    sql(CROWD);
    sql("INSERT INTO members (room_id, user_id, role, joined_at) \
         SELECT 1, n, 'member', now() FROM generate_series(1, 10000) n; \
         INSERT INTO read_pointers SELECT 1, n, 5 FROM generate_series(1, 9000) n");
    send(store, &[]).await;
    // 997 of these have never read.
    all_but_three_read(store).await;
    let sort = LeaseRequest {
        most: 0,
        ..request(ONE)
    };
    store.lease(sort).await.unwrap();
    // Each candidate is one look-up of a pointer.
    let looked_up = sql("BEGIN; \
         SELECT report_unread(1, 5, 6, 1, now()); \
         SELECT 'looked up ' || seq_scan || ' ' || idx_scan FROM pg_stat_xact_user_tables \
         WHERE relname = 'read_pointers'; \
         SELECT 'scanned ' || seq_scan FROM pg_stat_xact_user_tables WHERE relname = 'members'; \
         ROLLBACK");
    assert!(looked_up.contains("looked up 0 3"), "{looked_up}");
    assert!(looked_up.contains("scanned 0"), "{looked_up}");
    assert_eq!(lease(store).await, [1]);
    assert_eq!(
        only(store).await,
        report(6, &["10000", "9998", "9999"], &[])
    );
}

#[derive(QueryableByName)]
struct Step {
    #[diesel(sql_type = Text)]
    detail: String,
}

#[tokio::test(flavor = "multi_thread")]
async fn a_report_reads_the_members_who_have_not_read_and_no_others_on_sqlite() {
    use diesel::connection::SimpleConnection as _;

    let sqlite = Sqlite::fresh().await;
    let store = &sqlite.database;
    record_unread(store);
    let mut other = sqlite.other();
    other.batch_execute(&CROWD.replace("false", "0")).unwrap();
    other
        .batch_execute(
            "WITH n(i) AS (VALUES (1) UNION ALL SELECT i + 1 FROM n WHERE i < 10000) \
             INSERT INTO members (room_id, user_id, role, joined_at) \
             SELECT 1, i, 'member', '2026-01-01T00:00:00.000Z' FROM n; \
             INSERT INTO read_pointers SELECT 1, user_id, 5 FROM members \
             WHERE CAST(user_id AS INTEGER) <= 9000",
        )
        .unwrap();
    send(store, &[]).await;
    all_but_three_read(store).await;
    let behind = diesel::sql_query(
        "SELECT group_concat(user_id) AS detail FROM (SELECT user_id FROM members \
         WHERE room_id = 1 AND notify = 'all' AND read_floor < 6 ORDER BY user_id)",
    );
    let behind: Step = behind.get_result(&mut other).unwrap();
    assert_eq!(behind.detail, "10000,9998,9999");
    let plan = "EXPLAIN QUERY PLAN SELECT user_id FROM members \
         WHERE room_id = 1 AND notify = 'all' AND read_floor < 6";
    let plan: Vec<Step> = diesel::sql_query(plan).load(&mut other).unwrap();
    let plan: Vec<&str> = plan.iter().map(|step| step.detail.as_str()).collect();
    let expected = "SEARCH members USING COVERING INDEX members_behind \
         (room_id=? AND read_floor<?)";
    assert_eq!(plan, [expected]);
    assert_eq!(lease(store).await, [1]);
    assert_eq!(
        only(store).await,
        report(6, &["10000", "9998", "9999"], &[])
    );
}
