//! The contract of [`RoomRepository`].

use chat_domain::ports::{MessageRepository, RoomRepository};

use crate::{hello, room, seq};

crate::on_each_database!(
    rooms_without_messages_are_left_out,
    the_newest_position_counts_every_append,
    many_rooms_are_asked_for_at_once,
);

async fn rooms_without_messages_are_left_out(store: &(impl MessageRepository + RoomRepository)) {
    assert_eq!(store.newest(&[]).await.unwrap(), []);
    assert_eq!(store.newest(&[room(1), room(2)]).await.unwrap(), []);
    store.append(hello(room(2))).await.unwrap();
    assert_eq!(
        store.newest(&[room(1), room(2)]).await.unwrap(),
        [(room(2), seq(1))]
    );
}

async fn the_newest_position_counts_every_append(
    store: &(impl MessageRepository + RoomRepository),
) {
    for n in 1..=5 {
        store.append(hello(room(1))).await.unwrap();
        assert_eq!(store.newest(&[room(1)]).await.unwrap(), [(room(1), seq(n))]);
    }
}

async fn many_rooms_are_asked_for_at_once(store: &(impl MessageRepository + RoomRepository)) {
    store.append(hello(room(1))).await.unwrap();
    store.append(hello(room(70_000))).await.unwrap();
    let rooms: Vec<_> = (1..=70_000).map(room).collect();
    let mut newest = store.newest(&rooms).await.unwrap();
    newest.sort_unstable();
    assert_eq!(newest, [(room(1), seq(1)), (room(70_000), seq(1))]);
}
