//! The contract of [`RoomDeletion`].

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use chat_domain::ports::{
    AppendError, Appended, ChangeError, ChangeRepository, Closing, DeletedBatch, MessageChange,
    MessageChangeError, MessageRepository, RoomDeletion, RoomDirectory, RoomRepository,
};
use chat_domain::{Generation, MessageEdit, Rev, Role, RoomId, RulesNumber, Seq, UserId};
use tokio::time::{sleep, timeout};

use crate::append_under_rules::is_changed;
use crate::change_repository::{edit, react};
use crate::changed_rows::on_each_database_with_sql;
use crate::room_directory::{ban, freeze, mute, set};
use crate::{append, by, hello, room, seq, under, up_to, with_id};

const DEADLINE: Duration = Duration::from_secs(30);
/// Makes every closed room due.
pub(crate) const MAKE_DUE: &str = "UPDATE closed_rooms SET closed_at = '2000-01-01T00:00:00.000Z'";

pub(crate) trait Store:
    MessageRepository
    + RoomRepository
    + RoomDirectory
    + RoomDeletion
    + ChangeRepository
    + Clone
    + 'static
{
}
impl<S> Store for S where
    S: MessageRepository
        + RoomRepository
        + RoomDirectory
        + RoomDeletion
        + ChangeRepository
        + Clone
        + 'static
{
}

on_each_database_with_sql!(
    a_closed_room_takes_nothing_and_every_read_states_it,
    a_closure_is_reported_with_the_generation_that_follows,
    what_does_not_exist_is_not_closed,
    a_room_is_deleted_in_batches_and_its_number_begins_anew,
    a_room_with_messages_or_with_rules_alone_is_deleted,
    a_room_with_gaps_in_its_log_is_deleted,
    a_batch_that_fails_is_done_again,
    several_workers_delete_each_row_once,
    a_room_is_due_two_seconds_after_it_was_closed,
    nothing_is_stored_after_a_closure_has_returned,
);

pub(crate) fn generation(number: u64) -> Generation {
    Generation::new(number)
}

/// Deletes everything that is due, in batches of this size. Returns the batches.
pub(crate) async fn delete_all(store: &impl RoomDeletion, size: usize) -> Vec<DeletedBatch> {
    let mut batches = Vec::new();
    while let Some(batch) = store.delete_batch(size).await.unwrap() {
        assert!(batch.rows <= size as u64, "{batch:?}");
        batches.push(batch);
    }
    batches
}

async fn a_closed_room_takes_nothing_and_every_read_states_it(
    store: &impl Store,
    _: impl Fn(&str),
) {
    let sent = with_id(hello(room(1)), "c0ffee");
    append(store, sent.clone()).await.unwrap();
    append(store, hello(room(2))).await.unwrap();
    assert_eq!(store.closed_rooms().await.unwrap(), 0);
    let closed = store.close(room(1)).await.unwrap();
    assert_eq!(closed, Closing::Closed(generation(2)));
    let again = store.close(room(1)).await.unwrap();
    assert_eq!(again, Closing::AlreadyClosed(generation(2)));
    assert_eq!(store.closed_rooms().await.unwrap(), 1);

    for message in [hello(room(1)), sent] {
        assert!(is_changed(&store.append(message).await));
    }
    let change = RoomDirectory::change(store, room(1), RulesNumber::NONE, &freeze(), None).await;
    assert!(matches!(change, Err(ChangeError::RulesChanged)));
    let reader = UserId::new("7").unwrap();
    for (number, expected) in [(0, None), (1, None)] {
        let marked = store.mark_read(room(1), generation(number), &reader, seq(1));
        assert_eq!(marked.await.unwrap(), expected);
    }

    let snapshot = store.snapshot(room(1), &[]).await.unwrap();
    assert!(snapshot.is_closed());
    assert_eq!((snapshot.rules.get(), snapshot.generation.get()), (1, 2));
    let after = store.after(room(1), Seq::START, up_to(10)).await.unwrap();
    let before = store.before(room(1), None, up_to(10)).await.unwrap();
    assert_eq!([after.generation, before.generation], [generation(2); 2]);
    let newest = store.newest(&[room(1)]).await.unwrap();
    assert_eq!(newest[0].generation, Some(generation(2)));
    let state = store.read_state(room(1), &reader).await.unwrap();
    assert!(!generation(2).has_begun(state.rules));

    // The other room is as before.
    assert!(!store.snapshot(room(2), &[]).await.unwrap().is_closed());
    append(store, hello(room(2))).await.unwrap();
}

async fn a_closure_is_reported_with_the_generation_that_follows(
    store: &impl Store,
    sql: impl Fn(&str),
) {
    append(store, hello(room(1))).await.unwrap();
    append(store, hello(room(2))).await.unwrap();
    let mut cursor = store.changed_since(None).await.unwrap().cursor;
    let mut next = async || {
        let changes = store.changed_since(Some(cursor.clone())).await.unwrap();
        cursor = changes.cursor;
        let mut rooms = changes.rooms.unwrap();
        rooms.sort_unstable();
        let told = |position: &chat_domain::ports::RoomPosition| {
            let generation = position.generation.map(Generation::get);
            (position.room_id.get(), position.rules.get(), generation)
        };
        rooms.iter().map(told).collect::<Vec<_>>()
    };
    append(store, hello(room(2))).await.unwrap();
    assert_eq!(next().await, [(2, 0, None)]);
    store.close(room(1)).await.unwrap();
    assert_eq!(next().await, [(1, 1, Some(2))]);
    assert_eq!(next().await, []);
    sql(MAKE_DUE);
    delete_all(store, 100).await;
    assert_eq!(next().await, [(1, 2, Some(2))]);
    append(store, under(2, hello(room(1)))).await.unwrap();
    assert_eq!(next().await, [(1, 0, None)]);
}

async fn what_does_not_exist_is_not_closed(store: &impl Store, _: impl Fn(&str)) {
    assert_eq!(store.close(room(1)).await.unwrap(), Closing::NotFound);
    assert_eq!(store.closed_rooms().await.unwrap(), 0);
    assert_eq!(store.delete_batch(10).await.unwrap(), None);
    let cursor = store.changed_since(None).await.unwrap().cursor;
    assert_eq!(store.close(room(1)).await.unwrap(), Closing::NotFound);
    let changes = store.changed_since(Some(cursor)).await.unwrap();
    assert_eq!(changes.rooms, Some(vec![]));
    append(store, hello(room(1))).await.unwrap();
}

fn changing(room_id: RoomId, position: u64, edit: MessageEdit) -> MessageChange {
    MessageChange {
        room_id,
        seq: seq(position),
        edit,
        by: None,
        rules: RulesNumber::NONE,
    }
}

/// Fills a room: 25 messages by 5 users, whose pointers move, 2 edits, 13 reactions to 3 messages,
/// 4 members, 2 bans, a mute and a turn. Returns the number of its rules.
async fn fill(store: &impl Store, room_id: RoomId) -> u64 {
    for n in 0..25 {
        let user = (n % 5).to_string();
        let sent = by(&user, &format!("name {user}"), room_id, "x");
        append(store, with_id(sent, &n.to_string())).await.unwrap();
    }
    let reactions = (0..13).map(|n| (1 + n % 3, react(&format!("u{n}"), ["+", "-"][n % 2], true)));
    let edits = [(1, edit("y")), (20, edit("y"))];
    for (position, edit) in edits.into_iter().chain(reactions) {
        let change = changing(room_id, position as u64, edit);
        ChangeRepository::change(store, change).await.unwrap();
    }
    let mut number = 0;
    let roles = [
        ("0", Role::Owner),
        ("1", Role::Member),
        ("6", Role::Reader),
        ("7", Role::Member),
    ];
    let members = roles.map(|(id, role)| set(id, role));
    let others = [ban("8", None), ban("9", 60), mute("1", None), freeze()];
    for change in members.into_iter().chain(others) {
        let decided_by = RulesNumber::new(number);
        let changed = RoomDirectory::change(store, room_id, decided_by, &change, None)
            .await
            .unwrap();
        number = changed.rules.get();
    }
    let author = UserId::new("1").unwrap();
    store.take_turn(room_id, &author, 3600, None).await.unwrap();
    number
}

/// How many rows [`fill`] leaves for the batches.
const ROWS: u64 = 25 + 5 + 4 + 2 + 1 + 1 + 4 + 13;

/// Fails unless each of these tables has this many rows of room 1.
fn assert_rows(sql: &impl Fn(&str), tables: &[&str], count: usize) {
    for table in tables {
        // Neither database raises an error in plain SQL but by a division or a constraint.
        sql(&format!(
            "CREATE TABLE checked (n bigint CHECK (n = {count})); \
             INSERT INTO checked SELECT count(*) FROM {table} WHERE room_id = 1; \
             DROP TABLE checked"
        ));
    }
}

const TABLES: [&str; 9] = [
    "messages",
    "message_changes",
    "reactions",
    "read_pointers",
    "members",
    "bans",
    "mutes",
    "slow_mode_turns",
    "room_settings",
];

async fn a_room_is_deleted_in_batches_and_its_number_begins_anew(
    store: &impl Store,
    sql: impl Fn(&str),
) {
    let number = fill(store, room(1)).await;
    fill(store, room(2)).await;
    let next = generation(number + 2);
    assert_eq!(store.close(room(1)).await.unwrap(), Closing::Closed(next));
    sql(MAKE_DUE);
    let mut rows = 0;
    for n in 0.. {
        let batch = store.delete_batch(4).await.unwrap().unwrap();
        assert_eq!((batch.room_id, batch.is_first), (room(1), n == 0));
        rows += batch.rows;
        if batch.is_last {
            break;
        }
        assert_eq!(batch.rows, 4);
        let again = store.close(room(1)).await.unwrap();
        assert_eq!(again, Closing::AlreadyClosed(next));
        assert!(is_changed(&store.append(hello(room(1))).await));
        let edit = changing(room(1), 25, edit("z"));
        let edited = ChangeRepository::change(store, edit).await;
        assert!(matches!(edited, Err(MessageChangeError::RulesChanged)));
    }
    assert_eq!(rows, ROWS);
    assert_rows(&sql, &TABLES, 0);
    assert_eq!(store.closed_rooms().await.unwrap(), 0);
    assert_eq!(store.delete_batch(4).await.unwrap(), None);

    // As if it never had been, but for the numbers of its rules.
    assert_eq!(store.close(room(1)).await.unwrap(), Closing::NotFound);
    let users = ["0", "8"].map(|id| UserId::new(id).unwrap());
    let snapshot = store.snapshot(room(1), &users).await.unwrap();
    assert!(!snapshot.is_closed() && snapshot.settings.is_none() && snapshot.owners == 0);
    assert_eq!(
        (snapshot.rules.get(), snapshot.generation),
        (next.get(), next)
    );
    assert_eq!(snapshot.users, [Default::default(); 2]);
    let state = store.read_state(room(1), &users[0]).await.unwrap();
    assert_eq!(
        (state.read.newest, state.read.read),
        (Seq::START, Seq::START)
    );
    assert_eq!(state.rev, Rev::START);
    let changes = store
        .changed_after(room(1), Rev::START, None, up_to(9))
        .await;
    assert_eq!(changes.unwrap().messages, []);
    let decided_before = [0, number, number + 1];
    for rules in decided_before {
        assert!(is_changed(
            &store.append(under(rules, hello(room(1)))).await
        ));
    }
    // The id of an earlier message is free.
    let sent = under(next.get(), with_id(by("0", "name 0", room(1), "y"), "0"));
    assert_eq!(append(store, sent).await.unwrap().seq, seq(1));
    let mut first = changing(room(1), 1, edit("z"));
    first.rules = RulesNumber::new(next.get());
    let edited = ChangeRepository::change(store, first)
        .await
        .unwrap()
        .message;
    assert_eq!(edited.changes.unwrap().rev.get(), 1);
    let marked = store.mark_read(room(1), next, &users[1], seq(9)).await;
    assert!(marked.unwrap().unwrap().moved);
    let of_before = store.mark_read(room(1), Generation::FIRST, &users[1], seq(9));
    assert_eq!(of_before.await.unwrap(), None);
    let page = store.before(room(1), None, up_to(10)).await.unwrap();
    assert_eq!((page.generation, page.messages.len()), (next, 1));
    let number = RulesNumber::new(next.get());
    let changed = RoomDirectory::change(store, room(1), number, &freeze(), None)
        .await
        .unwrap();
    assert_eq!(changed.generation, next);
    assert_eq!(changed.settings.member_count, 0);

    // The other room, and the names, are as before.
    let snapshot = store.snapshot(room(2), &users).await.unwrap();
    assert_eq!(snapshot.settings.unwrap().member_count, 4);
    assert!(snapshot.users[1].banned.is_some());
    let page = store.after(room(2), Seq::START, up_to(100)).await.unwrap();
    assert_eq!(page.messages.len(), 25);
    assert_eq!(page.messages[4].author.name.as_str(), "name 4");

    // Once more.
    let following = generation(next.get() + 3);
    let closed = store.close(room(1)).await.unwrap();
    assert_eq!(closed, Closing::Closed(following));
    sql(MAKE_DUE);
    delete_all(store, 100).await;
    assert_rows(&sql, &TABLES, 0);
    append(store, under(following.get(), hello(room(1))))
        .await
        .unwrap();
}

async fn a_room_with_messages_or_with_rules_alone_is_deleted(
    store: &impl Store,
    sql: impl Fn(&str),
) {
    append(store, hello(room(1))).await.unwrap();
    let first = RoomDirectory::change(store, room(2), RulesNumber::NONE, &freeze(), None).await;
    assert_eq!(first.unwrap().rules.get(), 1);
    let closed = [
        store.close(room(1)).await.unwrap(),
        store.close(room(2)).await.unwrap(),
    ];
    let expected = [generation(2), generation(3)].map(Closing::Closed);
    assert_eq!(closed, expected);
    sql(MAKE_DUE);
    let mut batches = delete_all(store, 100).await;
    batches.sort_unstable_by_key(|batch| batch.room_id);
    let batch = |number, rows| DeletedBatch {
        room_id: room(number),
        rows,
        is_first: true,
        is_last: true,
    };
    assert_eq!(batches, [batch(1, 2), batch(2, 0)]);
    for number in 1..=2 {
        assert_eq!(store.close(room(number)).await.unwrap(), Closing::NotFound);
    }
}

async fn a_room_with_gaps_in_its_log_is_deleted(store: &impl Store, sql: impl Fn(&str)) {
    for _ in 0..30 {
        append(store, hello(room(1))).await.unwrap();
    }
    // Another program has deleted some, and stored one beyond the counter.
    sql("DELETE FROM messages WHERE seq BETWEEN 3 AND 28; \
         INSERT INTO messages (room_id, seq, user_id, content, created_at) \
         VALUES (1, 900, '42', 'x', '2026-01-31T12:00:00.000Z')");
    store.close(room(1)).await.unwrap();
    sql(MAKE_DUE);
    let batches = delete_all(store, 2).await;
    assert_eq!(batches.iter().map(|batch| batch.rows).sum::<u64>(), 5 + 1);
    assert!(batches.len() <= 5, "{batches:?}");
    assert_rows(&sql, &TABLES, 0);
}

async fn a_batch_that_fails_is_done_again(store: &impl Store, sql: impl Fn(&str)) {
    fill(store, room(1)).await;
    store.close(room(1)).await.unwrap();
    sql(MAKE_DUE);
    store.delete_batch(10).await.unwrap().unwrap();
    assert_rows(&sql, &["messages"], 15);
    // The last statement of a batch fails.
    sql("ALTER TABLE closed_rooms RENAME COLUMN step TO hidden");
    store.delete_batch(10).await.unwrap_err();
    assert_rows(&sql, &["messages"], 15);
    sql("ALTER TABLE closed_rooms RENAME COLUMN hidden TO step");
    let batches = timeout(DEADLINE, delete_all(store, 10)).await.unwrap();
    let rows: u64 = batches.iter().map(|batch| batch.rows).sum();
    assert_eq!(rows, ROWS - 10);
    assert!(batches.iter().all(|batch| !batch.is_first));
    assert!(batches.last().unwrap().is_last);
}

async fn several_workers_delete_each_row_once(store: &impl Store, sql: impl Fn(&str)) {
    const ROOMS: u64 = 12;
    for number in 1..=ROOMS {
        for _ in 0..20 {
            append(store, hello(room(number))).await.unwrap();
        }
        store.close(room(number)).await.unwrap();
    }
    sql(MAKE_DUE);
    let workers: Vec<_> = (0..4)
        .map(|_| {
            let store = store.clone();
            tokio::spawn(async move {
                let mut batches = Vec::new();
                while store.closed_rooms().await.unwrap() > 0 {
                    batches.extend(store.delete_batch(3).await.unwrap());
                }
                batches
            })
        })
        .collect();
    let mut batches = Vec::new();
    for worker in workers {
        batches.extend(timeout(DEADLINE, worker).await.unwrap().unwrap());
    }
    for number in 1..=ROOMS {
        let of_room = batches.iter().filter(|batch| batch.room_id == room(number));
        let of_room: Vec<_> = of_room.collect();
        assert_eq!(of_room.iter().map(|batch| batch.rows).sum::<u64>(), 21);
        assert_eq!(of_room.iter().filter(|batch| batch.is_first).count(), 1);
        assert_eq!(of_room.iter().filter(|batch| batch.is_last).count(), 1);
    }
}

async fn a_room_is_due_two_seconds_after_it_was_closed(store: &impl Store, _: impl Fn(&str)) {
    append(store, hello(room(1))).await.unwrap();
    let began = Instant::now();
    store.close(room(1)).await.unwrap();
    let batch = loop {
        if let Some(batch) = store.delete_batch(10).await.unwrap() {
            break batch;
        }
        assert!(began.elapsed() < DEADLINE);
        sleep(Duration::from_millis(10)).await;
    };
    assert!(began.elapsed() >= Duration::from_secs(2));
    assert!(batch.is_last);
}

/// Many append to a room, each by the newest rules, while it is closed.
async fn nothing_is_stored_after_a_closure_has_returned(store: &impl Store, _: impl Fn(&str)) {
    for number in 1..=10 {
        let is_over = Arc::new(AtomicBool::new(false));
        append(store, hello(room(number))).await.unwrap();
        let senders: Vec<_> = (0..8)
            .map(|_| {
                let (store, is_over) = (store.clone(), is_over.clone());
                tokio::spawn(async move {
                    let mut newest = Seq::START;
                    while !is_over.load(Ordering::SeqCst) {
                        // Another room shares its batches.
                        let other = store.append(hello(room(1000)));
                        let outcomes = tokio::join!(store.append(hello(room(number))), other);
                        match outcomes.0 {
                            Ok(Appended::Stored(message)) => newest = message.seq,
                            Err(AppendError::RulesChanged) => {}
                            other => panic!("{other:?}"),
                        }
                        assert!(matches!(outcomes.1, Ok(Appended::Stored(_))));
                    }
                    newest
                })
            })
            .collect();
        while store.newest(&[room(number)]).await.unwrap()[0].newest < seq(20) {
            tokio::task::yield_now().await;
        }
        store.close(room(number)).await.unwrap();
        let newest = store.newest(&[room(number)]).await.unwrap()[0].newest;
        let others = store.newest(&[room(1000)]).await.unwrap()[0].newest;
        // Enough have tried since.
        while store.newest(&[room(1000)]).await.unwrap()[0]
            .newest
            .since(others)
            < 20
        {
            tokio::task::yield_now().await;
        }
        is_over.store(true, Ordering::SeqCst);
        for sender in senders {
            let stored = timeout(DEADLINE, sender).await.unwrap().unwrap();
            assert!(stored <= newest);
        }
        let found = store.newest(&[room(number)]).await.unwrap();
        assert_eq!(found[0].newest, newest);
        let page = store.before(room(number), None, up_to(1)).await.unwrap();
        assert_eq!(page.messages[0].seq, newest);
    }
}
