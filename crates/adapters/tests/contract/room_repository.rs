//! The contract of [`RoomRepository`].

use chat_domain::UserId;
use chat_domain::ports::{MessageRepository, RoomRepository};

use crate::{append, hello, room, seq};

crate::on_each_database!(
    rooms_without_messages_are_left_out,
    the_newest_position_counts_every_append,
    many_rooms_are_asked_for_at_once,
    a_pointer_moves_forward_and_never_beyond_the_newest,
    a_pointer_never_moves_back_though_many_move_it,
);

async fn rooms_without_messages_are_left_out(store: &(impl MessageRepository + RoomRepository)) {
    assert_eq!(store.newest(&[]).await.unwrap(), []);
    assert_eq!(store.newest(&[room(1), room(2)]).await.unwrap(), []);
    append(store, hello(room(2))).await.unwrap();
    assert_eq!(
        store.newest(&[room(1), room(2)]).await.unwrap(),
        [(room(2), seq(1))]
    );
}

async fn the_newest_position_counts_every_append(
    store: &(impl MessageRepository + RoomRepository),
) {
    for n in 1..=5 {
        append(store, hello(room(1))).await.unwrap();
        assert_eq!(store.newest(&[room(1)]).await.unwrap(), [(room(1), seq(n))]);
    }
}

async fn many_rooms_are_asked_for_at_once(store: &(impl MessageRepository + RoomRepository)) {
    append(store, hello(room(1))).await.unwrap();
    append(store, hello(room(70_000))).await.unwrap();
    let rooms: Vec<_> = (1..=70_000).map(room).collect();
    let mut newest = store.newest(&rooms).await.unwrap();
    newest.sort_unstable();
    assert_eq!(newest, [(room(1), seq(1)), (room(70_000), seq(1))]);
}

async fn a_pointer_moves_forward_and_never_beyond_the_newest(
    store: &(impl MessageRepository + RoomRepository),
) {
    let grace = UserId::new("2").unwrap();
    let mark = async |position| {
        let marked = store
            .mark_read(room(1), &grace, seq(position))
            .await
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
    let found = store.read_state(room(1), &grace).await.unwrap();
    assert_eq!(
        (found.newest, found.read, found.unread()),
        (seq(5), seq(4), 1)
    );
    // The author's own pointer is another one.
    let author = store
        .read_state(room(1), &UserId::new("42").unwrap())
        .await
        .unwrap();
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
                    .mark_read(room(1), &grace, seq(position))
                    .await
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
        .unwrap();
    assert_eq!(found.read, seq(20));
}
