//! The contract of [`RoomRepository::changed_since`].

use chat_domain::ports::{
    LogCursor, MemberChange, MessageRepository, RoomPosition, RoomRepository,
};
use chat_domain::{Generation, UserId};

use crate::databases::Sqlite;
use crate::{append, append_at_once, hello, room, seq};

crate::on_each_database!(
    changes_without_a_cursor_are_unknown,
    every_append_is_reported_once_with_the_newest_position,
    a_batch_of_many_rooms_is_reported_whole,
    a_log_that_does_not_grow_has_no_changes,
    a_cursor_may_be_used_again,
    a_cursor_of_another_database_finds_the_changes_unknown,
    what_many_append_while_others_read_is_missed_by_none,
);

/// A reader that goes on where it was.
pub(crate) struct Reader<'a, S> {
    store: &'a S,
    pub(crate) cursor: LogCursor,
}

impl<'a, S: RoomRepository> Reader<'a, S> {
    pub(crate) async fn start(store: &'a S) -> Self {
        let cursor = store.changed_since(None).await.unwrap().cursor;
        Self { store, cursor }
    }

    /// Returns the changes since the last call; `None` if they are unknown.
    pub(crate) async fn known(&mut self) -> Option<Vec<RoomPosition>> {
        let changes = self.store.changed_since(Some(self.cursor.clone())).await;
        let changes = changes.unwrap();
        self.cursor = changes.cursor;
        let mut rooms = changes.rooms?;
        rooms.sort_unstable();
        Some(rooms)
    }

    /// Returns the members that have changed since the last call.
    pub(crate) async fn next_members(&mut self) -> Vec<MemberChange> {
        let changes = self.store.changed_since(Some(self.cursor.clone())).await;
        let changes = changes.unwrap();
        self.cursor = changes.cursor;
        assert!(changes.rooms.is_some(), "the changes are known");
        changes.members
    }

    pub(crate) async fn next(&mut self) -> Vec<(u64, u64)> {
        let rooms = self.known().await.expect("the changes are known");
        let rooms = rooms.into_iter();
        rooms
            .map(|room| (room.room_id.get(), room.newest.get()))
            .collect()
    }

    /// Returns the same with the numbers of the rules.
    pub(crate) async fn next_with_rules(&mut self) -> Vec<(u64, u64, u64)> {
        let rooms = self.known().await.expect("the changes are known");
        let rooms = rooms.into_iter();
        rooms
            .map(|room| (room.room_id.get(), room.newest.get(), room.rules.get()))
            .collect()
    }
}

async fn changes_without_a_cursor_are_unknown(store: &(impl MessageRepository + RoomRepository)) {
    append(store, hello(room(1))).await.unwrap();
    assert_eq!(store.changed_since(None).await.unwrap().rooms, None);
}

async fn every_append_is_reported_once_with_the_newest_position(
    store: &(impl MessageRepository + RoomRepository),
) {
    let mut reader = Reader::start(store).await;
    assert_eq!(reader.next().await, []);
    append(store, hello(room(2))).await.unwrap();
    append(store, hello(room(2))).await.unwrap();
    append(store, hello(room(1))).await.unwrap();
    assert_eq!(reader.next().await, [(1, 1), (2, 2)]);
    append(store, hello(room(2))).await.unwrap();
    assert_eq!(reader.next().await, [(2, 3)]);
    assert_eq!(reader.next().await, []);
}

async fn a_batch_of_many_rooms_is_reported_whole(
    store: &(impl MessageRepository + RoomRepository),
) {
    append(store, hello(room(7))).await.unwrap();
    let mut reader = Reader::start(store).await;
    for round in 1..=2 {
        let messages = (1..=300).map(|n| hello(room(1 + n % 100)));
        for outcome in append_at_once(store, messages).await {
            outcome.unwrap();
        }
        let expected: Vec<_> = (1..=100)
            .map(|n| (n, 3 * round + u64::from(n == 7)))
            .collect();
        assert_eq!(reader.next().await, expected);
    }
}

async fn a_log_that_does_not_grow_has_no_changes(
    store: &(impl MessageRepository + RoomRepository),
) {
    append(store, hello(room(1))).await.unwrap();
    let mut reader = Reader::start(store).await;
    let ada = UserId::new("43").unwrap();
    store
        .mark_read(room(1), Generation::FIRST, &ada, seq(1))
        .await
        .unwrap()
        .unwrap();
    for _ in 0..3 {
        assert_eq!(reader.next().await, []);
    }
}

async fn a_cursor_may_be_used_again(store: &(impl MessageRepository + RoomRepository)) {
    let mut reader = Reader::start(store).await;
    let earlier = reader.cursor.clone();
    append(store, hello(room(1))).await.unwrap();
    assert_eq!(reader.next().await, [(1, 1)]);
    reader.cursor = earlier;
    append(store, hello(room(2))).await.unwrap();
    assert_eq!(reader.next().await, [(1, 1), (2, 1)]);
}

async fn a_cursor_of_another_database_finds_the_changes_unknown(
    store: &(impl MessageRepository + RoomRepository),
) {
    let mut reader = Reader::start(store).await;
    for text in [
        "",
        "x",
        "99999",
        "99999:0",
        "99999:0:0",
        "0:99999:0",
        "0:0:99999",
        "0:0:-50001",
        "0 1:1:",
        "99999999999 5:5:",
    ] {
        reader.cursor = LogCursor::new(text.to_owned());
        assert_eq!(reader.known().await, None, "{text}");
        assert_eq!(reader.next().await, [], "after {text}");
    }
}

async fn what_many_append_while_others_read_is_missed_by_none(
    store: &(impl MessageRepository + RoomRepository + Clone + 'static),
) {
    const ROOMS: u64 = 20;
    const EACH: u64 = 30;
    let mut reader = Reader::start(store).await;
    let writers: Vec<_> = (1..=ROOMS)
        .map(|n| {
            let store = store.clone();
            tokio::spawn(async move {
                for _ in 0..EACH {
                    append(&store, hello(room(n))).await.unwrap();
                }
            })
        })
        .collect();
    let mut newest = vec![0; ROOMS as usize + 1];
    let mut note = |changes: Vec<(u64, u64)>| {
        for (room, seq) in changes {
            assert!(newest[room as usize] < seq, "reported again");
            newest[room as usize] = seq;
        }
    };
    for writer in writers {
        while !writer.is_finished() {
            note(reader.next().await);
        }
        writer.await.unwrap();
    }
    note(reader.next().await);
    assert!(newest[1..].iter().all(|seq| *seq == EACH), "{newest:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_another_program_stores_in_sqlite_is_reported() {
    use diesel::connection::SimpleConnection as _;

    let sqlite = Sqlite::fresh().await;
    append(&sqlite.database, hello(room(1))).await.unwrap();
    let mut reader = Reader::start(&sqlite.database).await;
    let mut other = sqlite.other();
    let count = "UPDATE rooms SET last_seq = last_seq + 1";
    let store = |seq: u64| {
        format!(
            "INSERT INTO messages (room_id, seq, user_id, content, created_at) \
             VALUES (1, {seq}, '42', 'x', '2026-01-31T12:00:00.000Z')"
        )
    };
    other
        .batch_execute(&format!("{}; {count}", store(2)))
        .unwrap();
    assert_eq!(reader.next().await, [(1, 2)]);
    // What is not committed yet is reported later, and an id that was deleted is not
    // assigned again.
    other
        .batch_execute(&format!("BEGIN IMMEDIATE; {}; {count}", store(3)))
        .unwrap();
    assert_eq!(reader.next().await, []);
    other
        .batch_execute("COMMIT; DELETE FROM messages WHERE seq > 1")
        .unwrap();
    assert_eq!(reader.next().await, []);
    append(&sqlite.database, hello(room(1))).await.unwrap();
    assert_eq!(reader.next().await, [(1, 4)]);
}
