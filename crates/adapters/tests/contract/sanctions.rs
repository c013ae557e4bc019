//! The contract of [`Sanctions`].

use std::collections::BTreeSet;
use std::time::Duration;

use chat_adapters::postgres;
use chat_domain::ports::{RecentSanctions, Sanctions, SanctionsCursor};
use chat_domain::{Revocation, Timestamp, UserId};
use chat_test_support::{Cluster, ClusterOptions};
use tokio::task::JoinSet;

use crate::databases::{Postgres, Sqlite};

crate::on_each_database!(
    a_revocation_is_in_force_when_it_is_stored_and_never_becomes_smaller,
    a_lifted_revocation_is_gone_and_can_be_made_again,
    revocations_are_paged_in_the_order_of_ids,
    what_was_written_since_a_cursor_is_found,
    without_a_cursor_the_revocations_are_unknown,
    a_cursor_from_the_future_means_nothing,
    every_disconnection_has_a_larger_number,
    revocations_at_once_leave_the_largest_in_force,
    no_write_is_missed_though_many_write_at_once,
);

/// 2026-01-31T12:00:00.500Z
const NOON: i64 = 1_769_860_800_500;

fn user(id: &str) -> UserId {
    UserId::new(id).unwrap()
}

fn at(millis: i64) -> Timestamp {
    Timestamp::from_unix_millis(millis)
}

fn before(revocation: &Revocation) -> Option<i64> {
    revocation.issued_before.map(Timestamp::unix_millis)
}

async fn all(store: &impl Sanctions) -> Vec<Revocation> {
    store.revocations(None, 1000).await.unwrap()
}

async fn start(store: &impl Sanctions) -> SanctionsCursor {
    store.sanctions_since(None).await.unwrap().cursor
}

/// Returns what is found, with its cursor.
async fn since(store: &impl Sanctions, cursor: &SanctionsCursor) -> RecentSanctions {
    store.sanctions_since(Some(cursor.clone())).await.unwrap()
}

async fn a_revocation_is_in_force_when_it_is_stored_and_never_becomes_smaller(
    store: &impl Sanctions,
) {
    let ada = user("42");
    let first = store.revoke(&ada, at(NOON)).await.unwrap();
    assert_eq!((&first.user_id, before(&first)), (&ada, Some(NOON)));
    assert_eq!(all(store).await, std::slice::from_ref(&first));
    let earlier = store.revoke(&ada, at(NOON - 1)).await.unwrap();
    assert_eq!(before(&earlier), Some(NOON));
    let later = store.revoke(&ada, at(NOON + 1)).await.unwrap();
    assert_eq!(before(&later), Some(NOON + 1));
    assert!(first.number < earlier.number && earlier.number < later.number);
    // The extremes of the contract.
    for (id, millis) in [("first", 0), ("last", 253_402_207_200_000)] {
        let revoked = store.revoke(&user(id), at(millis)).await.unwrap();
        assert_eq!(before(&revoked), Some(millis));
    }
    let found = all(store).await;
    assert_eq!(found.len(), 3);
    assert!(found.contains(&later), "{found:?}");
}

async fn a_lifted_revocation_is_gone_and_can_be_made_again(store: &impl Sanctions) {
    let ada = user("42");
    assert_eq!(store.lift(&ada).await.unwrap(), None);
    let revoked = store.revoke(&ada, at(NOON)).await.unwrap();
    store.revoke(&user("43"), at(NOON)).await.unwrap();
    let lifted = store.lift(&ada).await.unwrap().unwrap();
    assert_eq!(
        (&lifted.user_id, lifted.issued_before),
        (&ada, None),
        "{lifted:?}"
    );
    assert!(lifted.number > revoked.number);
    assert_eq!(store.lift(&ada).await.unwrap(), None);
    let found = all(store).await;
    assert_eq!(found[0], lifted);
    assert_eq!(before(&found[1]), Some(NOON));
    // Nothing is left of what was lifted.
    let again = store.revoke(&ada, at(NOON - 5)).await.unwrap();
    assert_eq!(before(&again), Some(NOON - 5));
    assert!(again.number > lifted.number);
}

async fn revocations_are_paged_in_the_order_of_ids(store: &impl Sanctions) {
    for id in ["b", "a", "é", "B", "10", "9"] {
        store.revoke(&user(id), at(NOON)).await.unwrap();
    }
    let mut ids = Vec::new();
    let mut after = None;
    loop {
        let page = store.revocations(after, 4).await.unwrap();
        ids.extend(page.iter().map(|found| found.user_id.as_str().to_owned()));
        after = page.last().map(|last| last.user_id.clone());
        if page.len() < 4 {
            break;
        }
    }
    assert_eq!(ids, ["10", "9", "B", "a", "b", "é"]);
}

async fn what_was_written_since_a_cursor_is_found(store: &impl Sanctions) {
    let cursor = start(store).await;
    let nothing = since(store, &cursor).await;
    assert_eq!(nothing.revocations, Some(Vec::new()));
    assert_eq!(nothing.disconnections, []);
    let first = store.revoke(&user("1"), at(NOON)).await.unwrap();
    store.revoke(&user("2"), at(NOON)).await.unwrap();
    let lifted = store.lift(&user("2")).await.unwrap().unwrap();
    let third = store.disconnect(&user("3")).await.unwrap();
    // The latest state of each user, whichever of the cursors is the latest one.
    for cursor in [&cursor, &nothing.cursor] {
        let found = since(store, cursor).await;
        let mut revocations = found.revocations.unwrap();
        revocations.sort_by(|a, b| a.user_id.cmp(&b.user_id));
        assert_eq!(revocations, [first.clone(), lifted.clone()]);
        let [disconnected] = &found.disconnections[..] else {
            panic!("{:?}", found.disconnections)
        };
        assert_eq!(disconnected.disconnection, third);
        assert!(disconnected.age < Duration::from_secs(15));
    }
}

async fn without_a_cursor_the_revocations_are_unknown(store: &impl Sanctions) {
    store.revoke(&user("1"), at(NOON)).await.unwrap();
    let second = store.disconnect(&user("2")).await.unwrap();
    for cursor in [None, Some(SanctionsCursor::new("nonsense"))] {
        let found = store.sanctions_since(cursor).await.unwrap();
        assert_eq!(found.revocations, None);
        let disconnections = found.disconnections.into_iter();
        let found: Vec<_> = disconnections.map(|found| found.disconnection).collect();
        assert_eq!(found, std::slice::from_ref(&second));
    }
}

/// The clock was set back meanwhile.
async fn a_cursor_from_the_future_means_nothing(store: &impl Sanctions) {
    let cursor = start(store).await;
    let later = match cursor.as_str().split_once(' ') {
        // PostgreSQL counts microseconds.
        Some((server, moment)) => {
            let moment: i64 = moment.parse().unwrap();
            format!("{server} {}", moment + 60_000_000)
        }
        None => {
            let moment: Timestamp = cursor.as_str().parse().unwrap();
            at(moment.unix_millis() + 60_000).to_string()
        }
    };
    let disconnected = store.disconnect(&user("2")).await.unwrap();
    let found = since(store, &SanctionsCursor::new(later)).await;
    assert_eq!(found.revocations, None);
    assert_eq!(found.disconnections[0].disconnection, disconnected);
    assert!(since(store, &found.cursor).await.revocations.is_some());
}

async fn every_disconnection_has_a_larger_number(store: &impl Sanctions) {
    let mut last = None;
    for _ in 0..5 {
        let disconnection = store.disconnect(&user("42")).await.unwrap();
        assert_eq!(disconnection.user_id, user("42"));
        assert!(disconnection.number > last, "{disconnection:?} {last:?}");
        last = disconnection.number;
        let found = store.sanctions_since(None).await.unwrap();
        assert_eq!(found.disconnections.len(), 1);
        assert_eq!(found.disconnections[0].disconnection, disconnection);
    }
}

async fn revocations_at_once_leave_the_largest_in_force(
    store: &(impl Sanctions + Clone + 'static),
) {
    let mut revoking = JoinSet::new();
    for n in 0..20 {
        let store = store.clone();
        revoking.spawn(async move { store.revoke(&user("42"), at(NOON + n)).await.unwrap() });
    }
    let states = revoking.join_all().await;
    let numbers: BTreeSet<u64> = states.iter().map(|state| state.number).collect();
    assert_eq!(numbers.len(), 20, "each has its own number");
    let newest = states.iter().max_by_key(|state| state.number).unwrap();
    assert_eq!(before(newest), Some(NOON + 19));
    assert_eq!(all(store).await, std::slice::from_ref(newest));
}

/// A reader that goes from cursor to cursor while others write.
async fn no_write_is_missed_though_many_write_at_once(store: &(impl Sanctions + Clone + 'static)) {
    let mut cursor = start(store).await;
    let mut writing = JoinSet::new();
    for writer in 0..4 {
        let store = store.clone();
        writing.spawn(async move {
            for n in 0..25 {
                let id = user(&format!("{writer} {n}"));
                store.revoke(&id, at(NOON)).await.unwrap();
                store.disconnect(&id).await.unwrap();
            }
        });
    }
    let (mut revoked, mut disconnected) = (BTreeSet::new(), BTreeSet::new());
    loop {
        let is_last = writing.is_empty();
        let found = since(store, &cursor).await;
        revoked.extend(found.revocations.unwrap().into_iter().map(|r| r.user_id));
        let disconnections = found.disconnections.into_iter();
        disconnected.extend(disconnections.map(|found| found.disconnection.user_id));
        cursor = found.cursor;
        if is_last {
            break;
        }
        while writing.try_join_next().is_some() {}
    }
    assert_eq!((revoked.len(), disconnected.len()), (100, 100));
}

/// What is written long before it is committed is found nevertheless.
#[tokio::test(flavor = "multi_thread")]
async fn a_slow_commit_on_postgresql_is_not_missed() {
    let postgres = Postgres::fresh().await;
    let (store, server) = (&postgres.database, &postgres.server);
    let cursor = start(store).await;
    let meanwhile = since(store, &cursor).await;
    let slow = "INSERT INTO revocations \
         VALUES ('42', now(), 1, clock_timestamp() - interval '4 seconds')";
    server.psql(slow).unwrap();
    let found = since(store, &meanwhile.cursor).await.revocations.unwrap();
    assert_eq!(found[0].user_id, user("42"));
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_restart_of_postgresql_the_revocations_are_unknown() {
    let mut server = Cluster::start(ClusterOptions::default()).unwrap();
    server.create_database("chat").unwrap();
    let store = postgres::Database::open(&server.url("chat").parse().unwrap(), 2).unwrap();
    store.migrate().await.unwrap();
    let cursor = start(&store).await;
    let disconnected = store.disconnect(&user("42")).await.unwrap();
    server.stop_immediate().unwrap();
    assert!(store.sanctions_since(Some(cursor.clone())).await.is_err());
    server.start_again().unwrap();
    let found = since(&store, &cursor).await;
    assert_eq!(found.revocations, None);
    assert_eq!(found.disconnections[0].disconnection, disconnected);
    let known = since(&store, &found.cursor).await;
    assert_eq!(known.revocations, Some(Vec::new()));
}

#[tokio::test(flavor = "multi_thread")]
async fn old_rows_of_postgresql_are_not_read_again_and_old_disconnections_are_deleted() {
    let postgres = Postgres::fresh().await;
    let store = &postgres.database;
    let age = |table: &str, minutes: u32| {
        let sql = format!("UPDATE {table} SET changed_at = now() - interval '{minutes} minutes'");
        postgres.server.psql(&sql).unwrap();
    };
    store.revoke(&user("1"), at(NOON)).await.unwrap();
    let first = store.disconnect(&user("1")).await.unwrap();
    ages(store, || age("disconnections", 9), || age("revocations", 9)).await;
    age("disconnections", 11);
    assert_pruned(store, first.number).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn old_rows_of_sqlite_are_not_read_again_and_old_disconnections_are_deleted() {
    use diesel::connection::SimpleConnection as _;

    let sqlite = Sqlite::fresh().await;
    let store = &sqlite.database;
    let age = |table: &str, minutes: u32| {
        let moment = format!("strftime('%Y-%m-%dT%H:%M:%fZ', 'now', '-{minutes} minutes')");
        let sql = format!("UPDATE {table} SET changed_at = {moment}");
        sqlite.other().batch_execute(&sql).unwrap();
    };
    store.revoke(&user("1"), at(NOON)).await.unwrap();
    let first = store.disconnect(&user("1")).await.unwrap();
    ages(store, || age("disconnections", 9), || age("revocations", 9)).await;
    age("disconnections", 11);
    assert_pruned(store, first.number).await;
}

/// Ages the rows of user 1, and requires them to be old.
async fn ages(store: &impl Sanctions, disconnections: impl Fn(), revocations: impl Fn()) {
    disconnections();
    revocations();
    let found = store.sanctions_since(None).await.unwrap();
    let age = found.disconnections[0].age.as_secs();
    assert!((9 * 60..9 * 60 + 30).contains(&age), "{age}");
    let found = since(store, &found.cursor).await;
    assert_eq!(found.revocations, Some(Vec::new()));
    assert_eq!(found.disconnections, []);
    assert_eq!(all(store).await.len(), 1, "a revocation stays");
}

/// Requires the row of user 1 to go with the next disconnection, and its number to grow.
async fn assert_pruned(store: &impl Sanctions, number: Option<u64>) {
    store.disconnect(&user("2")).await.unwrap();
    let found = store.sanctions_since(None).await.unwrap().disconnections;
    assert_eq!(found.len(), 1, "{found:?}");
    assert_eq!(found[0].disconnection.user_id, user("2"));
    let again = store.disconnect(&user("1")).await.unwrap();
    assert!(again.number > number, "{again:?} {number:?}");
}
