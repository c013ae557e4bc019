//! The contract of [`RoomRepository::changed_since`] about members: memberships and read
//! pointers.

use chat_domain::ports::{
    LogCursor, MemberChange, MemberPart, MessageRepository, RoomDirectory, RoomRepository,
};
use chat_domain::{Generation, Role, UserId};

use crate::changed_rows::on_each_database_with_sql;
use crate::databases::{Postgres, Sqlite};
use crate::room_changes::Reader;
use crate::room_directory::{ban, change, freeze, mute, remove, set, user};
use crate::{append, hello, room, seq, under};

on_each_database_with_sql!(
    each_change_of_a_membership_is_reported_once,
    a_read_pointer_of_a_member_that_moves_is_reported,
    what_another_program_changes_in_members_is_reported,
    what_concerns_no_membership_reports_no_member,
    a_cursor_may_be_used_again_after_a_change_of_members,
    what_many_mark_while_others_read_is_missed_by_none,
);

const NOTIFY: &str = "UPDATE members SET notify = 'none' WHERE user_id";

/// Returns the members that have changed since the last call, in ascending order.
async fn members<S: RoomRepository>(reader: &mut Reader<'_, S>) -> Vec<MemberChange> {
    let mut members = reader.next_members().await;
    members.sort_unstable();
    members
}

/// These users with a change of their membership of a room.
fn of(number: u64, users: &[&str]) -> Vec<MemberChange> {
    let changes = users.iter().map(|id| MemberChange {
        room_id: room(number),
        user_id: user(id),
        part: MemberPart::Membership,
    });
    changes.collect()
}

/// A user whose pointer has moved in room 1.
fn pointer(id: &str) -> Vec<MemberChange> {
    let mut changes = of(1, &[id]);
    changes[0].part = MemberPart::ReadPointer;
    changes
}

async fn each_change_of_a_membership_is_reported_once(
    store: &(impl RoomRepository + RoomDirectory),
    _: impl Fn(&str),
) {
    let mut reader = Reader::start(store).await;
    change(store, set("1", Role::Owner)).await;
    change(store, set("2", Role::Member)).await;
    change(store, set("2", Role::Reader)).await;
    assert_eq!(members(&mut reader).await, of(1, &["1", "2"]));
    assert_eq!(members(&mut reader).await, []);
    change(store, set("2", Role::Reader)).await;
    assert_eq!(members(&mut reader).await, []);
    change(store, remove("2")).await;
    assert_eq!(members(&mut reader).await, of(1, &["2"]));
    change(store, set("2", Role::Member)).await;
    members(&mut reader).await;
    change(store, ban("2", None)).await;
    assert_eq!(members(&mut reader).await, of(1, &["2"]));
}

async fn a_read_pointer_of_a_member_that_moves_is_reported(
    store: &(impl MessageRepository + RoomRepository + RoomDirectory),
    _: impl Fn(&str),
) {
    append(store, hello(room(1))).await.unwrap();
    change(store, set("1", Role::Member)).await;
    append(store, under(1, hello(room(1)))).await.unwrap();
    let mut reader = Reader::start(store).await;
    for (position, expected) in [(1, pointer("1")), (1, vec![]), (9, pointer("1"))] {
        let marked = store
            .mark_read(room(1), Generation::FIRST, &user("1"), seq(position))
            .await;
        marked.unwrap();
        assert_eq!(members(&mut reader).await, expected, "{position}");
    }
    // The room has not moved.
    append(store, under(1, hello(room(1)))).await.unwrap();
    reader.next().await;
    store
        .mark_read(room(1), Generation::FIRST, &user("1"), seq(3))
        .await
        .unwrap();
    assert_eq!(reader.next().await, []);
    // Together with a change of the membership.
    append(store, under(1, hello(room(1)))).await.unwrap();
    change(store, set("1", Role::Owner)).await;
    store
        .mark_read(room(1), Generation::FIRST, &user("1"), seq(4))
        .await
        .unwrap();
    assert_eq!(members(&mut reader).await, of(1, &["1"]));
}

async fn what_another_program_changes_in_members_is_reported(
    store: &(impl RoomRepository + RoomDirectory),
    sql: impl Fn(&str),
) {
    for n in 1..=3 {
        change(store, set(&n.to_string(), Role::Owner)).await;
    }
    let mut reader = Reader::start(store).await;
    sql(&format!("{NOTIFY} = '1'"));
    assert_eq!(members(&mut reader).await, of(1, &["1"]));
    sql(&format!("BEGIN; {NOTIFY} = '1'; ROLLBACK"));
    sql(&format!("{NOTIFY} = '77'"));
    assert_eq!(members(&mut reader).await, []);
    sql("DELETE FROM members");
    assert_eq!(members(&mut reader).await, of(1, &["1", "2", "3"]));
    sql("INSERT INTO members (room_id, user_id, role, joined_at) \
         VALUES (7, '1', 'member', '2026-01-31T12:00:00.000Z')");
    assert_eq!(members(&mut reader).await, of(7, &["1"]));
}

async fn what_concerns_no_membership_reports_no_member(
    store: &(impl MessageRepository + RoomRepository + RoomDirectory),
    _: impl Fn(&str),
) {
    change(store, set("1", Role::Owner)).await;
    let mut reader = Reader::start(store).await;
    append(store, under(1, hello(room(1)))).await.unwrap();
    change(store, freeze()).await;
    change(store, mute("1", None)).await;
    assert_eq!(members(&mut reader).await, []);
    let unknown = store.changed_since(None).await.unwrap();
    assert_eq!(unknown.members, []);
}

async fn a_cursor_may_be_used_again_after_a_change_of_members(
    store: &(impl RoomRepository + RoomDirectory),
    sql: impl Fn(&str),
) {
    for n in 1..=2 {
        change(store, set(&n.to_string(), Role::Owner)).await;
    }
    let mut reader = Reader::start(store).await;
    let earlier = reader.cursor.clone();
    sql(&format!("{NOTIFY} = '1'"));
    assert_eq!(members(&mut reader).await, of(1, &["1"]));
    reader.cursor = earlier;
    sql(&format!("{NOTIFY} = '2'"));
    assert_eq!(members(&mut reader).await, of(1, &["1", "2"]));
}

async fn what_many_mark_while_others_read_is_missed_by_none(
    store: &(impl MessageRepository + RoomRepository + RoomDirectory + Clone + 'static),
    _: impl Fn(&str),
) {
    const USERS: u64 = 20;
    const EACH: u64 = 30;
    for n in 1..=USERS {
        change(store, set(&n.to_string(), Role::Member)).await;
    }
    for _ in 0..EACH {
        append(store, under(USERS, hello(room(1)))).await.unwrap();
    }
    let mut reader = Reader::start(store).await;
    let markers: Vec<_> = (1..=USERS)
        .map(|n| {
            let store = store.clone();
            let marker = user(&n.to_string());
            tokio::spawn(async move {
                for position in 1..=EACH {
                    let marked =
                        store.mark_read(room(1), Generation::FIRST, &marker, seq(position));
                    marked.await.unwrap();
                }
            })
        })
        .collect();
    let mut seen = vec![0; USERS as usize + 1];
    for marker in markers {
        loop {
            let is_last = marker.is_finished();
            for MemberChange { user_id, .. } in reader.next_members().await {
                let state = read(store, &user_id).await;
                seen[user_id.as_str().parse::<usize>().unwrap()] = state;
            }
            if is_last {
                break;
            }
        }
    }
    assert!(seen[1..].iter().all(|read| *read == EACH), "{seen:?}");
}

async fn read(store: &impl RoomRepository, user_id: &UserId) -> u64 {
    let state = store.read_state(room(1), user_id).await.unwrap();
    state.read.read.get()
}

#[tokio::test(flavor = "multi_thread")]
async fn members_of_transactions_are_reported_once_they_are_committed_whatever_their_order() {
    let postgres = Postgres::fresh().await;
    let store = &postgres.database;
    for n in 1..=3 {
        change(store, set(&n.to_string(), Role::Owner)).await;
    }
    append(store, under(3, hello(room(1)))).await.unwrap();
    let mut reader = Reader::start(store).await;
    let first = postgres.hold(&format!("{NOTIFY} = '1'")).await;
    assert_eq!(members(&mut reader).await, []);
    let second = postgres.hold(&format!("{NOTIFY} = '2'")).await;
    store
        .mark_read(room(1), Generation::FIRST, &user("3"), seq(1))
        .await
        .unwrap();
    assert_eq!(members(&mut reader).await, pointer("3"));
    second.batch_execute("COMMIT").await.unwrap();
    assert_eq!(members(&mut reader).await, of(1, &["2"]));
    first.batch_execute("COMMIT").await.unwrap();
    assert_eq!(members(&mut reader).await, of(1, &["1"]));
    // Nodes of an earlier version write and read without the column.
    postgres
        .server
        .psql(
            "SELECT server, snapshot::text, ids, seqs, numbers FROM room_changes_since(NULL, NULL)",
        )
        .unwrap();
    // A row that is not valid hides no other.
    postgres
        .server
        .psql(
            "INSERT INTO room_changes (room_ids, bases, counts, user_ids) \
             VALUES ('{0,1,1,1}', '{-1,-1,-1,-2}', '{0,0,0,0}', '{1,NULL,\"\",2}')",
        )
        .unwrap();
    assert_eq!(members(&mut reader).await, of(1, &["2"]));
}

#[tokio::test(flavor = "multi_thread")]
async fn sqlite_keeps_the_latest_changes_of_members_and_knows_where_they_begin() {
    use diesel::connection::SimpleConnection as _;

    let sqlite = Sqlite::fresh().await;
    let store = &sqlite.database;
    let mut reader = Reader::start(store).await;
    let earlier: LogCursor = reader.cursor.clone();
    let fill = |count: u64| {
        let insert = format!(
            "WITH RECURSIVE n (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n WHERE n < {count}) \
             INSERT INTO member_changes (room_id, user_id, is_membership) SELECT 1, n, 1 FROM n"
        );
        sqlite.other().batch_execute(&insert).unwrap();
    };
    fill(50_000);
    assert_eq!(reader.next_members().await.len(), 50_000);
    reader.cursor = earlier.clone();
    assert_eq!(reader.next_members().await.len(), 50_000);
    fill(1);
    assert_eq!(members(&mut reader).await, of(1, &["1"]));
    reader.cursor = earlier;
    assert_eq!(reader.known().await, None);
    assert_eq!(members(&mut reader).await, []);
}
