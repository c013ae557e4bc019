//! How changes to messages are read: in their order, in pages of the log, and as news of rooms.

use std::time::Duration;

use chat_adapters::{postgres, sqlite};
use chat_domain::ports::{ChangeRepository, Inbox, MessageChange, ReadLimit, RoomDirectory};
use chat_domain::{ChangeKind, Generation, MessageEdit, Rev, Role, RoomAccess, RulesNumber, Seq};
use tokio::time::timeout;

use crate::change_repository::{Store, change, counts, edit, make, react, rev, user};
use crate::databases::{Postgres, Sqlite};
use crate::room_changes::Reader;
use crate::room_directory::set;
use crate::{append, hello, room, seq, under, up_to};

crate::on_each_database!(
    changes_are_read_by_their_latest_number,
    a_page_of_changes_respects_its_limits,
    a_page_of_changes_ends_at_a_position,
    pages_of_the_log_show_the_newest_state,
    the_inbox_shows_the_newest_state_of_the_last_message,
    a_change_is_reported_once_with_its_number,
);

/// The positions, the numbers, the previous numbers and the kinds.
async fn after(store: &impl ChangeRepository, number: u64) -> Vec<(u64, u64, u64, ChangeKind)> {
    let page = store.changed_after(room(1), rev(number), None, up_to(100));
    let messages = page.await.unwrap().messages.into_iter();
    let columns = messages.map(|changed| {
        let latest = changed.message.changes.unwrap().rev.get();
        (
            changed.message.seq.get(),
            latest,
            changed.previous.get(),
            changed.kind,
        )
    });
    columns.collect()
}

async fn changes_are_read_by_their_latest_number(store: &impl Store) {
    use ChangeKind::{Deleted, Edited, Reactions};

    let empty = store
        .changed_after(room(1), Rev::START, None, up_to(9))
        .await;
    assert_eq!(empty.unwrap(), Default::default());
    for _ in 0..3 {
        append(store, hello(room(1))).await.unwrap();
    }
    make(store, room(1), 3, edit("a")).await;
    make(store, room(1), 1, react("7", "+", true)).await;
    make(store, room(1), 3, react("8", "+", true)).await;
    make(store, room(1), 2, edit("b")).await;
    make(store, room(1), 3, MessageEdit::Delete).await;
    let expected = [(1, 2, 0, Reactions), (2, 4, 0, Edited), (3, 5, 3, Deleted)];
    assert_eq!(after(store, 0).await, expected);
    assert_eq!(after(store, 1).await, expected);
    assert_eq!(after(store, 2).await, expected[1..]);
    assert_eq!(after(store, 4).await, expected[2..]);
    assert_eq!(after(store, 5).await, []);
    let page = store
        .changed_after(room(1), Rev::START, None, up_to(9))
        .await;
    let page = page.unwrap();
    assert_eq!(
        (page.newest, page.generation, page.has_more),
        (rev(5), Generation::FIRST, false)
    );
    assert!(
        page.messages
            .iter()
            .all(|changed| changed.by == Some(user("1")))
    );
    for changed in page.messages {
        let stored = store.message(room(1), changed.message.seq).await.unwrap();
        assert_eq!(stored, Some(changed.message));
    }
}

async fn a_page_of_changes_respects_its_limits(store: &impl Store) {
    for n in 1..=5 {
        append(store, hello(room(1))).await.unwrap();
        make(store, room(1), n, edit(&"x".repeat(100))).await;
    }
    for (messages, bytes, expected, has_more) in [
        (3, 1000, 3, true),
        (5, 1000, 5, false),
        (9, 250, 2, true),
        (9, 300, 3, true),
        (9, 1, 1, true),
        (0, 1000, 1, true),
        (9, 500, 5, false),
    ] {
        let limit = ReadLimit { messages, bytes };
        let page = store
            .changed_after(room(1), Rev::START, None, limit)
            .await
            .unwrap();
        assert_eq!((page.messages.len(), page.has_more), (expected, has_more));
        assert_eq!(page.newest, rev(5));
    }
}

async fn a_page_of_changes_ends_at_a_position(store: &impl Store) {
    for n in (1..=6).rev() {
        while append(store, hello(room(1))).await.unwrap().seq < seq(6) {}
        make(store, room(1), n, edit("x")).await;
    }
    let page = async |number, position, messages| {
        let limit = up_to(messages);
        let page = store.changed_after(room(1), rev(number), Some(seq(position)), limit);
        let page = page.await.unwrap();
        let positions = page
            .messages
            .iter()
            .map(|changed| changed.message.seq.get());
        (positions.collect::<Vec<_>>(), page.has_more)
    };
    assert_eq!(page(0, 3, 9).await, (vec![3, 2, 1], false));
    assert_eq!(page(0, 3, 2).await, (vec![3, 2], true));
    assert_eq!(page(5, 3, 9).await, (vec![1], false));
    assert_eq!(page(0, 0, 9).await, (vec![], false));
}

async fn pages_of_the_log_show_the_newest_state(store: &impl Store) {
    for _ in 0..4 {
        append(store, hello(room(1))).await.unwrap();
        append(store, hello(room(2))).await.unwrap();
    }
    make(store, room(1), 1, edit("new")).await;
    make(store, room(1), 2, react("7", "+", true)).await;
    make(store, room(1), 4, MessageEdit::Delete).await;
    let after = store.after(room(1), Seq::START, up_to(9)).await.unwrap();
    let before = store.before(room(1), None, up_to(9)).await.unwrap();
    assert_eq!(after.messages, before.messages);
    assert_eq!(after.messages.len(), 4);
    for message in &after.messages {
        let stored = store.message(room(1), message.seq).await.unwrap();
        assert_eq!(stored.as_ref(), Some(message));
    }
    let revs: Vec<_> = after
        .messages
        .iter()
        .map(|m| m.changes.as_ref().map(|c| c.rev))
        .collect();
    assert_eq!(revs, [Some(rev(1)), Some(rev(2)), None, Some(rev(3))]);
    assert_eq!(counts(&after.messages[1]), [("+".to_owned(), 1)]);
    let other = store.after(room(2), Seq::START, up_to(9)).await.unwrap();
    assert!(
        other
            .messages
            .iter()
            .all(|message| message.changes.is_none())
    );
}

async fn the_inbox_shows_the_newest_state_of_the_last_message(store: &(impl Store + Inbox)) {
    let member = set("7", Role::Member);
    for number in [1, 2] {
        let rules = RoomDirectory::change(store, room(number), RulesNumber::NONE, &member, None);
        assert_eq!(rules.await.unwrap().rules.get(), 1);
        append(store, under(1, hello(room(number)))).await.unwrap();
    }
    let make = async |edit| {
        let change = MessageChange {
            room_id: room(1),
            seq: seq(1),
            edit,
            by: None,
            rules: RulesNumber::new(1),
        };
        let made = ChangeRepository::change(store, change).await.unwrap();
        made.message
    };
    for edit in [
        react("7", "+", true),
        edit("new"),
        MessageEdit::Delete,
        MessageEdit::Erase,
    ] {
        let newest = make(edit).await;
        let overviews = store.overviews(&[room(1)]).await.unwrap();
        assert_eq!(overviews[0].last_message.as_ref(), Some(&newest));
        let page = store
            .page(&user("7"), &RoomAccess::All, None, 9)
            .await
            .unwrap();
        // By activity, which a change does not move.
        let listed: Vec<_> = page
            .rooms
            .iter()
            .map(|r| r.position.room_id.get())
            .collect();
        assert_eq!(listed, [2, 1]);
        let lasts: Vec<_> = page
            .rooms
            .iter()
            .map(|r| r.summary.room.last_message.clone())
            .collect();
        // A change is new in a summary, whichever message it is made to.
        let number = newest.changes.as_ref().unwrap().rev;
        assert_eq!(overviews[0].rev, number);
        let numbers: Vec<_> = page.rooms.iter().map(|r| r.summary.room.rev).collect();
        assert_eq!(numbers, [Rev::START, number]);
        assert_eq!(lasts[1], Some(newest));
        assert!(lasts[0].as_ref().unwrap().changes.is_none());
    }
}

async fn a_change_is_reported_once_with_its_number(store: &impl Store) {
    append(store, hello(room(1))).await.unwrap();
    append(store, hello(room(2))).await.unwrap();
    let mut reader = Reader::start(store).await;
    let mut next = async || {
        let rooms = reader.known().await.unwrap().into_iter();
        rooms
            .map(|p| (p.room_id.get(), p.newest.get(), p.rev.get()))
            .collect::<Vec<_>>()
    };
    make(store, room(1), 1, edit("x")).await;
    assert_eq!(next().await, [(1, 1, 1)]);
    assert_eq!(next().await, []);
    make(store, room(1), 1, react("7", "+", true)).await;
    make(store, room(1), 1, MessageEdit::Delete).await;
    append(store, hello(room(2))).await.unwrap();
    assert_eq!(next().await, [(1, 1, 3), (2, 2, 0)]);
    assert_eq!(next().await, []);
}

/// Many change messages through two pools, while others read.
async fn numbers_have_no_gaps<S: Store>(pools: [S; 2]) {
    const CHANGES: u64 = 25;
    for _ in 0..4 {
        append(&pools[0], hello(room(1))).await.unwrap();
    }
    let cursor = pools[1].changed_since(None).await.unwrap().cursor;
    let changers: Vec<_> = (0..8)
        .map(|n: u64| {
            let store = pools[usize::try_from(n % 2).unwrap()].clone();
            tokio::spawn(async move {
                let mut revs = Vec::new();
                for at in 0..CHANGES {
                    let on = at % 2 == 0;
                    let edit = react(&format!("u{n}"), "+", on);
                    let message = make(&store, room(1), 1 + at / 2 % 4, edit).await;
                    revs.push(message.changes.unwrap().rev.get());
                    append(&store, hello(room(1))).await.unwrap();
                }
                revs
            })
        })
        .collect();
    let mut all = Vec::new();
    for changer in changers {
        let revs = timeout(Duration::from_secs(60), changer)
            .await
            .unwrap()
            .unwrap();
        assert!(revs.is_sorted(), "the changes of one caller are in order");
        all.extend(revs);
    }
    all.sort_unstable();
    assert_eq!(all, (1..=8 * CHANGES).collect::<Vec<_>>());
    let changes = pools[1].changed_since(Some(cursor)).await.unwrap();
    let reported = changes.rooms.unwrap();
    assert_eq!(reported[0].rev, rev(8 * CHANGES));
    // Each has set its last reaction, and cleared the others.
    let position = 1 + (CHANGES - 1) / 2 % 4;
    for number in 1..=4 {
        let message = pools[0]
            .message(room(1), seq(number))
            .await
            .unwrap()
            .unwrap();
        let expected = match number == position {
            true => vec![("+".to_owned(), 8)],
            false => vec![],
        };
        assert_eq!(counts(&message), expected, "{number}");
    }
    // The other pool has the same.
    let outcome = change(&pools[1], room(1), position, react("u3", "+", true)).await;
    assert!(!outcome.unwrap().is_new);
}

#[tokio::test(flavor = "multi_thread")]
async fn numbers_have_no_gaps_on_postgres() {
    let first = Postgres::fresh().await;
    let second = postgres::Database::open(&first.server.url().parse().unwrap(), 4).unwrap();
    numbers_have_no_gaps([first.database.clone(), second]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn numbers_have_no_gaps_on_sqlite() {
    let first = Sqlite::fresh().await;
    let second = sqlite::Database::open(first.path.clone(), 4).unwrap();
    numbers_have_no_gaps([first.database.clone(), second]).await;
}
