//! The contract of [`RoomRepository`].

use chat_domain::ports::{MessageRepository, RoomPosition, RoomRepository};
use chat_domain::{Generation, RulesNumber, Seq, UserId};

use crate::{append, hello, poll_once, room, seq, up_to};

crate::on_each_database!(
    rooms_without_messages_are_omitted,
    the_newest_position_includes_every_append,
    one_call_reads_the_newest_positions_of_many_rooms,
    a_pointer_moves_forward_and_never_beyond_the_newest,
    a_pointer_never_moves_back_though_many_move_it,
    cancelled_reads_leave_the_others_alone,
);

/// The position of a room without rules.
fn at(room_number: u64, position: u64) -> RoomPosition {
    RoomPosition {
        rev: chat_domain::Rev::START,
        room_id: room(room_number),
        newest: seq(position),
        rules: RulesNumber::NONE,
        generation: Some(Generation::FIRST),
    }
}

async fn rooms_without_messages_are_omitted(store: &(impl MessageRepository + RoomRepository)) {
    assert_eq!(store.newest(&[]).await.unwrap(), []);
    assert_eq!(store.newest(&[room(1), room(2)]).await.unwrap(), []);
    append(store, hello(room(2))).await.unwrap();
    assert_eq!(store.newest(&[room(1), room(2)]).await.unwrap(), [at(2, 1)]);
}

async fn the_newest_position_includes_every_append(
    store: &(impl MessageRepository + RoomRepository),
) {
    for n in 1..=5 {
        append(store, hello(room(1))).await.unwrap();
        assert_eq!(store.newest(&[room(1)]).await.unwrap(), [at(1, n)]);
    }
}

async fn one_call_reads_the_newest_positions_of_many_rooms(
    store: &(impl MessageRepository + RoomRepository),
) {
    append(store, hello(room(1))).await.unwrap();
    append(store, hello(room(70_000))).await.unwrap();
    let rooms: Vec<_> = (1..=70_000).map(room).collect();
    let mut newest = store.newest(&rooms).await.unwrap();
    newest.sort_unstable();
    assert_eq!(newest, [at(1, 1), at(70_000, 1)]);
}

async fn a_pointer_moves_forward_and_never_beyond_the_newest(
    store: &(impl MessageRepository + RoomRepository),
) {
    let grace = UserId::new("2").unwrap();
    let mark = async |position| {
        let marked = store
            .mark_read(room(1), Generation::FIRST, &grace, seq(position))
            .await
            .unwrap()
            .unwrap();
        (marked.moved, marked.state.read.get(), marked.state.unread())
    };
    assert_eq!(mark(5).await, (false, 0, 0), "there is nothing to read");
    for _ in 0..4 {
        append(store, hello(room(1))).await.unwrap();
    }
    assert_eq!(mark(2).await, (true, 2, 2));
    assert_eq!(mark(2).await, (false, 2, 2));
    assert_eq!(mark(1).await, (false, 2, 2));
    assert_eq!(mark(99).await, (true, 4, 0));
    assert_eq!(mark(99).await, (false, 4, 0));
    append(store, hello(room(1))).await.unwrap();
    let found = store.read_state(room(1), &grace).await.unwrap().read;
    assert_eq!(
        (found.newest, found.read, found.unread()),
        (seq(5), seq(4), 1)
    );
    // The author's own pointer moved with each message.
    let author = store
        .read_state(room(1), &UserId::new("42").unwrap())
        .await
        .unwrap()
        .read;
    assert_eq!(author.unread(), 0);
}

async fn a_pointer_never_moves_back_though_many_move_it(
    store: &(impl MessageRepository + RoomRepository + Clone + 'static),
) {
    for _ in 0..20 {
        append(store, hello(room(1))).await.unwrap();
    }
    let marking: Vec<_> = (1..=20)
        .map(|position| {
            let store = store.clone();
            tokio::spawn(async move {
                let grace = UserId::new("2").unwrap();
                let marked = store
                    .mark_read(room(1), Generation::FIRST, &grace, seq(position))
                    .await
                    .unwrap()
                    .unwrap();
                assert!(marked.state.read >= seq(position));
            })
        })
        .collect();
    for marking in marking {
        marking.await.unwrap();
    }
    let found = store
        .read_state(room(1), &UserId::new("2").unwrap())
        .await
        .unwrap()
        .read;
    assert_eq!(found.read, seq(20));
}

/// Reads of many rooms are dropped after one poll or a few, while the query runs.
async fn cancelled_reads_leave_the_others_alone(store: &(impl MessageRepository + RoomRepository)) {
    append(store, hello(room(1))).await.unwrap();
    let rooms: Vec<_> = (1..=10_000).map(room).collect();
    for polls in (1..=4).cycle().take(100) {
        let mut reads: Vec<_> = (0..20).map(|_| store.newest(&rooms)).collect();
        for _ in 0..polls {
            let mut pending = Vec::new();
            for mut read in reads {
                if poll_once(&mut read).await.is_pending() {
                    pending.push(read);
                }
            }
            reads = pending;
            tokio::task::yield_now().await;
        }
        drop(reads);
        let found = store.newest(&[room(1)]).await.unwrap();
        assert_eq!(found, [at(1, 1)]);
    }
    let log = store.after(room(1), Seq::START, up_to(10)).await.unwrap();
    assert_eq!(log.messages.len(), 1);
}
