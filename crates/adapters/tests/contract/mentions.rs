//! The contract of [`Inbox`]: unread mentions.

use chat_domain::ports::{
    ChangeRepository, Inbox, MessageChange, MessageRepository, RoomDeletion, RoomDirectory,
    RoomRepository,
};
use chat_domain::{Generation, MemberView, MessageEdit, Role, RoomAccess, RoomId, RulesNumber};

use crate::changed_rows::on_each_database_with_sql;
use crate::inbox::rule;
use crate::message_extras::{mentions, with};
use crate::room_deletion::{MAKE_DUE, delete_all};
use crate::room_directory::{number, set, user};
use crate::{append, by, room, seq, under};

on_each_database_with_sql!(
    unread_mentions_are_counted,
    a_message_without_mentions_has_no_row,
    a_mention_ends_with_its_message,
    mentions_are_deleted_with_their_room,
    mentions_are_counted_up_to_a_limit,
);

trait Store:
    Inbox + MessageRepository + RoomDirectory + RoomRepository + RoomDeletion + ChangeRepository
{
}
impl<T> Store for T where
    T: Inbox + MessageRepository + RoomDirectory + RoomRepository + RoomDeletion + ChangeRepository
{
}

/// Checks how many rows of mentions meet a condition.
pub(crate) fn are(sql: &impl Fn(&str), condition: &str, count: usize) {
    sql(&format!(
        "CREATE TABLE checked (n bigint CHECK (n = {count})); \
         INSERT INTO checked SELECT count(*) FROM mentions WHERE {condition}; \
         DROP TABLE checked"
    ));
}

/// Sends a message of user 2 that mentions these users.
async fn mention(store: &impl Store, room_id: RoomId, users: &[&str]) {
    let rules = number(store, room_id).await.get();
    let message = under(rules, by("2", "Grace", room_id, "hello"));
    let extras = mentions(users.iter().map(|id| user(id)));
    append(store, with(message, extras)).await.unwrap();
}

/// Returns how many mentions the user sees in the room, on its own and in a page.
async fn seen(store: &impl Store, room_id: RoomId, id: &str) -> u64 {
    let views = store.views(&[(room_id, user(id))]).await.unwrap();
    let view: MemberView = views[0].unwrap();
    let page = store.page(&user(id), &RoomAccess::All, None, 9).await;
    let page = page.unwrap();
    let of_room = |listed: &&chat_domain::ports::ListedRoom| listed.position.room_id == room_id;
    let listed = page.rooms.iter().find(of_room).unwrap();
    assert_eq!(listed.summary.member, view);
    view.mentions
}

async fn read_up_to(store: &impl Store, room_id: RoomId, id: &str, position: u64) {
    let user = user(id);
    let marking = store.mark_read(room_id, Generation::FIRST, &user, seq(position));
    marking.await.unwrap();
}

async fn remove(store: &impl Store, room_id: RoomId, position: u64, edit: MessageEdit) {
    let rules: RulesNumber = number(store, room_id).await;
    let change = MessageChange {
        room_id,
        seq: seq(position),
        edit,
        by: None,
        rules,
    };
    ChangeRepository::change(store, change).await.unwrap();
}

async fn unread_mentions_are_counted(store: &impl Store, _: impl Fn(&str)) {
    for number in [1, 2] {
        for id in ["1", "2", "3"] {
            rule(store, room(number), set(id, Role::Member)).await;
        }
    }
    assert_eq!(seen(store, room(1), "1").await, 0);
    mention(store, room(1), &["1"]).await;
    mention(store, room(1), &[]).await;
    mention(store, room(1), &["1", "2", "3", "stranger"]).await;
    mention(store, room(2), &["1"]).await;
    assert_eq!(seen(store, room(1), "1").await, 2);
    assert_eq!(seen(store, room(2), "1").await, 1);
    // It has read what it has written.
    assert_eq!(seen(store, room(1), "2").await, 0);
    assert_eq!(seen(store, room(1), "3").await, 1);
    for (position, left) in [(1, 1), (2, 1), (3, 0)] {
        read_up_to(store, room(1), "1", position).await;
        assert_eq!(seen(store, room(1), "1").await, left);
        assert_eq!(seen(store, room(1), "3").await, 1);
    }
}

async fn a_message_without_mentions_has_no_row(store: &impl Store, sql: impl Fn(&str)) {
    mention(store, room(1), &[]).await;
    are(&sql, "true", 0);
    mention(store, room(1), &["1", "3"]).await;
    are(&sql, "true", 2);
}

async fn a_mention_ends_with_its_message(store: &impl Store, sql: impl Fn(&str)) {
    rule(store, room(1), set("it's \"1\" \\", Role::Member)).await;
    for _ in 1..=5 {
        mention(store, room(1), &["it's \"1\" \\", "3"]).await;
    }
    assert_eq!(seen(store, room(1), "it's \"1\" \\").await, 5);
    remove(store, room(1), 2, MessageEdit::Delete).await;
    remove(store, room(1), 2, MessageEdit::Erase).await;
    assert_eq!(seen(store, room(1), "it's \"1\" \\").await, 4);
    remove(store, room(1), 3, MessageEdit::Erase).await;
    assert_eq!(seen(store, room(1), "it's \"1\" \\").await, 3);
    // An operator may delete rows.
    sql("DELETE FROM messages WHERE seq = 4");
    assert_eq!(seen(store, room(1), "it's \"1\" \\").await, 2);
    are(&sql, "seq IN (1, 5)", 4);
    are(&sql, "true", 4);
}

async fn mentions_are_deleted_with_their_room(store: &impl Store, sql: impl Fn(&str)) {
    for number in [1, 2] {
        for _ in 0..10 {
            mention(store, room(number), &["1", "3"]).await;
        }
    }
    store.close(room(1)).await.unwrap();
    sql(MAKE_DUE);
    delete_all(store, 3).await;
    are(&sql, "room_id = 1", 0);
    are(&sql, "room_id = 2", 20);
}

async fn mentions_are_counted_up_to_a_limit(store: &impl Store, sql: impl Fn(&str)) {
    rule(store, room(1), set("1", Role::Member)).await;
    sql(
        "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1005) \
         INSERT INTO mentions SELECT 1, '1', i FROM n",
    );
    assert_eq!(seen(store, room(1), "1").await, MemberView::MAX_MENTIONS);
    sql("DELETE FROM mentions WHERE seq <= 6");
    assert_eq!(seen(store, room(1), "1").await, 999);
}
