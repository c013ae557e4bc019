//! The numbers of rules in the contract of [`RoomRepository`].

use chat_domain::ports::{MessageRepository, RoomRepository};

use crate::changed_rows::on_each_database_with_sql;
use crate::room_changes::Reader;
use crate::{append, hello, room, under};

on_each_database_with_sql!(
    the_newest_position_comes_with_the_number_of_the_rules,
    a_change_of_rules_is_reported_once_with_the_newest_number,
    messages_alone_report_no_change_of_rules,
    a_room_that_begins_with_rules_is_reported,
    a_change_that_is_rolled_back_is_not_reported,
    a_cursor_may_be_used_again_after_a_change_of_rules,
);

const CHANGE: &str = "UPDATE rooms SET rules = rules + 1 WHERE id";

async fn the_newest_position_comes_with_the_number_of_the_rules(
    store: &(impl MessageRepository + RoomRepository),
    sql: impl Fn(&str),
) {
    append(store, hello(room(1))).await.unwrap();
    for number in 1..=3 {
        sql(&format!("{CHANGE} = 1"));
        let found = store.newest(&[room(1), room(2)]).await.unwrap();
        assert_eq!(found.len(), 1);
        assert_eq!((found[0].newest.get(), found[0].rules.get()), (1, number));
    }
}

async fn a_change_of_rules_is_reported_once_with_the_newest_number(
    store: &(impl MessageRepository + RoomRepository),
    sql: impl Fn(&str),
) {
    for n in [1, 1, 2, 3] {
        append(store, hello(room(n))).await.unwrap();
    }
    let mut reader = Reader::start(store).await;
    sql(&format!("{CHANGE} = 1; {CHANGE} = 2; {CHANGE} = 1"));
    assert_eq!(reader.next_with_rules().await, [(1, 2, 2), (2, 1, 1)]);
    assert_eq!(reader.next_with_rules().await, []);
    // With messages before and after it.
    append(store, under(2, hello(room(1)))).await.unwrap();
    sql(&format!("{CHANGE} = 1"));
    append(store, under(3, hello(room(1)))).await.unwrap();
    append(store, hello(room(3))).await.unwrap();
    assert_eq!(reader.next_with_rules().await, [(1, 4, 3), (3, 2, 0)]);
    assert_eq!(reader.next_with_rules().await, []);
}

async fn messages_alone_report_no_change_of_rules(
    store: &(impl MessageRepository + RoomRepository),
    sql: impl Fn(&str),
) {
    append(store, hello(room(1))).await.unwrap();
    sql(&format!("{CHANGE} = 1"));
    let mut reader = Reader::start(store).await;
    append(store, under(1, hello(room(1)))).await.unwrap();
    sql("UPDATE rooms SET rules = rules");
    assert_eq!(reader.next_with_rules().await, [(1, 2, 0)]);
}

async fn a_room_that_begins_with_rules_is_reported(
    store: &(impl MessageRepository + RoomRepository),
    sql: impl Fn(&str),
) {
    let mut reader = Reader::start(store).await;
    let insert = "INSERT INTO rooms AS room (id, last_seq, rules) VALUES (1, 1, 1) \
         ON CONFLICT (id) DO UPDATE SET rules = room.rules + 1";
    sql(insert);
    assert_eq!(reader.next_with_rules().await, [(1, 1, 1)]);
    sql(insert);
    assert_eq!(reader.next_with_rules().await, [(1, 1, 2)]);
}

async fn a_change_that_is_rolled_back_is_not_reported(
    store: &(impl MessageRepository + RoomRepository),
    sql: impl Fn(&str),
) {
    append(store, hello(room(1))).await.unwrap();
    let mut reader = Reader::start(store).await;
    sql(&format!("BEGIN; {CHANGE} = 1; ROLLBACK"));
    assert_eq!(reader.next_with_rules().await, []);
    sql(&format!("{CHANGE} = 1"));
    assert_eq!(reader.next_with_rules().await, [(1, 1, 1)]);
}

async fn a_cursor_may_be_used_again_after_a_change_of_rules(
    store: &(impl MessageRepository + RoomRepository),
    sql: impl Fn(&str),
) {
    for n in 1..=2 {
        append(store, hello(room(n))).await.unwrap();
    }
    let mut reader = Reader::start(store).await;
    let earlier = reader.cursor.clone();
    sql(&format!("{CHANGE} = 1"));
    assert_eq!(reader.next_with_rules().await, [(1, 1, 1)]);
    reader.cursor = earlier;
    sql(&format!("{CHANGE} = 2; {CHANGE} = 1"));
    assert_eq!(reader.next_with_rules().await, [(1, 1, 2), (2, 1, 1)]);
}
