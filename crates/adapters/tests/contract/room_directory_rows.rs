//! The contract of [`RoomDirectory`] when time has passed, or rows were written by other SQL.

use chat_domain::ports::{MessageRepository, RoomDirectory, Turn, UserRecord};
use chat_domain::{ClientMessageId, Role, StorageError, Until, UserId};

use crate::changed_rows::on_each_database_with_sql;
use crate::room_directory::{ban, change, mute, record, set, unban, unmute, user};
use crate::{append, by, room, with_id};

on_each_database_with_sql!(
    bans_and_mutes_expire_by_the_clock_of_the_database,
    one_of_many_concurrent_turns_is_taken_each_time_it_is_due,
    a_message_that_its_author_has_sent_before_needs_no_turn,
    members_are_paged_in_the_order_of_the_bytes_of_their_ids,
    rules_that_are_not_valid_are_corrupt,
);

/// Calls for one turn at once, and returns how many took it.
async fn taken_at_once(store: &(impl RoomDirectory + Clone + 'static)) -> usize {
    let calls: Vec<_> = (0..16)
        .map(|_| {
            let store = store.clone();
            tokio::spawn(async move {
                store
                    .take_turn(room(1), &user("1"), 60, None)
                    .await
                    .unwrap()
            })
        })
        .collect();
    let mut taken = 0;
    for call in calls {
        match call.await.unwrap() {
            Turn::Taken => taken += 1,
            Turn::NotNeeded => panic!("no message has an id"),
            Turn::NotDue { retry_after_ms } => {
                assert!((1..=60_000).contains(&retry_after_ms), "{retry_after_ms}");
                assert!(retry_after_ms > 20_000, "{retry_after_ms}");
            }
        }
    }
    taken
}

async fn one_of_many_concurrent_turns_is_taken_each_time_it_is_due(
    store: &(impl RoomDirectory + Clone + 'static),
    sql: impl Fn(&str),
) {
    for _ in 0..3 {
        assert_eq!(taken_at_once(store).await, 1);
        assert_eq!(taken_at_once(store).await, 0);
        sql("UPDATE slow_mode_turns SET due_at = '2000-01-01T00:00:00.000Z'");
    }
}

async fn a_message_that_its_author_has_sent_before_needs_no_turn(
    store: &(impl RoomDirectory + MessageRepository),
    sql: impl Fn(&str),
) {
    let sent = with_id(by("1", "Ada", room(1), "hello"), "a");
    append(store, sent).await.unwrap();
    let turn = async |number, id: &str, message: &str| {
        let (message, author) = (ClientMessageId::new(message).ok(), user(id));
        let taking = store.take_turn(room(number), &author, 60, message);
        taking.await.unwrap()
    };
    for (number, id, message) in [(2, "1", "a"), (1, "2", "a"), (1, "1", "b")] {
        assert_eq!(turn(1, "1", "a").await, Turn::NotNeeded);
        assert_eq!(turn(number, id, message).await, Turn::Taken);
    }
    assert!(matches!(turn(1, "1", "b").await, Turn::NotDue { .. }));
    sql("UPDATE messages SET client_message_id = NULL");
    assert!(matches!(turn(1, "1", "a").await, Turn::NotDue { .. }));
}

async fn bans_and_mutes_expire_by_the_clock_of_the_database(
    store: &impl RoomDirectory,
    sql: impl Fn(&str),
) {
    let before = unix_millis();
    change(store, set("1", Role::Member)).await;
    let muted = change(store, mute("1", 3600)).await.member.unwrap().muted;
    change(store, ban("2", 3600)).await;
    let after = unix_millis();
    let is_in_an_hour = |until: Option<Until>| {
        let Some(Until::Time(until)) = until else {
            panic!("{until:?}");
        };
        let begun = until.unix_millis() - 3_600_000;
        let range = before - 1..=after + 1;
        assert!(range.contains(&begun), "{begun} in {range:?}");
    };
    is_in_an_hour(muted);
    assert_eq!(record(store, "1").await.muted, muted);
    is_in_an_hour(record(store, "2").await.banned);
    let page = store.members(room(1), None, 10).await.unwrap();
    assert_eq!(page.members[0].muted, muted);

    for table in ["bans", "mutes"] {
        sql(&format!(
            "UPDATE {table} SET until = '2000-01-01T00:00:00.000Z'"
        ));
    }
    assert_eq!(record(store, "1").await.muted, None);
    assert_eq!(record(store, "2").await, UserRecord::default());
    let page = store.members(room(1), None, 10).await.unwrap();
    assert_eq!(page.members[0].muted, None);
    // What has expired cannot be lifted, but imposed again.
    let nothing = change(store, unmute("1")).await;
    assert!(!nothing.has_changed);
    assert_eq!(nothing.member.unwrap().muted, None);
    assert!(!change(store, unban("2")).await.has_changed);
    assert!(change(store, mute("1", None)).await.has_changed);
    assert!(change(store, ban("2", 3600)).await.has_changed);
    assert_eq!(record(store, "1").await.muted, Some(Until::Lifted));
    assert!(record(store, "2").await.banned.is_some());
}

/// Returns the milliseconds since 1970 by the clock that this process shares with the database.
fn unix_millis() -> i64 {
    let since = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap();
    since.as_millis().try_into().unwrap()
}

async fn members_are_paged_in_the_order_of_the_bytes_of_their_ids(
    store: &impl RoomDirectory,
    sql: impl Fn(&str),
) {
    sql(
        "WITH RECURSIVE n (i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < 449) \
         INSERT INTO members (room_id, user_id, role, joined_at) \
         SELECT 1, CASE i % 3 WHEN 0 THEN 'a' WHEN 1 THEN 'Z' ELSE 'é' END || i, \
         'member', '2026-01-31T12:00:00.000Z' FROM n",
    );
    sql("INSERT INTO members (room_id, user_id, role, joined_at) \
         VALUES (2, 'Z', 'member', '2026-01-31T12:00:00.000Z')");
    let mut expected: Vec<_> = (0..450)
        .map(|i| format!("{}{i}", ["a", "Z", "é"][i % 3]))
        .collect();
    expected.sort_unstable();
    let (mut after, mut found) = (None, Vec::new());
    for (length, has_more) in [(200, true), (200, true), (50, false), (0, false)] {
        let page = store.members(room(1), after, 200).await.unwrap();
        assert_eq!((page.members.len(), page.has_more), (length, has_more));
        for member in page.members {
            assert_eq!(member.joined_at.to_string(), "2026-01-31T12:00:00.000Z");
            found.push(member.user.id);
        }
        after = found.last().cloned();
    }
    let found: Vec<_> = found.iter().map(UserId::as_str).collect();
    assert_eq!(found, expected);
    let exact = store.members(room(1), None, 450).await.unwrap();
    assert!(!exact.has_more);
}

async fn rules_that_are_not_valid_are_corrupt(store: &impl RoomDirectory, sql: impl Fn(&str)) {
    change(store, set("1", Role::Member)).await;
    for (spoil, restore) in [
        (
            "UPDATE room_settings SET kind = 'secret'",
            "UPDATE room_settings SET kind = 'open'",
        ),
        (
            "UPDATE room_settings SET slow_mode_seconds = -1",
            "UPDATE room_settings SET slow_mode_seconds = 0",
        ),
        (
            "UPDATE room_settings SET name = ''",
            "UPDATE room_settings SET name = NULL",
        ),
        (
            "UPDATE room_settings SET member_count = -1",
            "UPDATE room_settings SET member_count = 1",
        ),
        (
            "UPDATE members SET role = 'king'",
            "UPDATE members SET role = 'member'",
        ),
    ] {
        sql(spoil);
        let read = store.snapshot(room(1), &[user("1")]).await;
        assert!(matches!(read, Err(StorageError::Corrupt(_))), "{spoil}");
        sql(restore);
        store.snapshot(room(1), &[user("1")]).await.unwrap();
    }
}
