//! What is recorded in the outbox.

use chat_domain::ports::{
    AppendError, Closing, OutboxKind, OutboxKinds, RoomDeletion, RoomDirectory,
};
use chat_domain::{NewMember, Role, RulesNumber, UserId};

use super::{
    NO_ROOMS, ONE, Store, created, found, lease, merged, record_all, request, store_messages,
};
use crate::change_repository::{change, edit, react};
use crate::room_directory::{ban, freeze, set};
use crate::{append, append_at_once, hello, on_each_database, room, under};

on_each_database!(
    messages_are_recorded_if_and_only_if_they_are_stored,
    nothing_is_recorded_unless_the_process_records_it,
    what_happens_in_a_room_is_recorded_in_order,
    entries_of_a_deleted_room_are_marked,
    a_deletion_that_is_not_reported_is_a_fence,
);

async fn messages_are_recorded_if_and_only_if_they_are_stored(store: &impl Store) {
    record_all(store);
    let messages = [hello(room(1)), hello(room(2)), under(7, hello(room(3)))];
    let outcomes = append_at_once(store, messages).await;
    assert!(outcomes[2].is_err());
    store_messages(store, 2, 2).await;
    assert_eq!(lease(store, request(ONE)).await, [1, 2]);
    assert_eq!(merged(found(store, room(1)).await), [created(1, 1)]);
    assert_eq!(merged(found(store, room(2)).await), [created(1, 3)]);
    assert_eq!(found(store, room(3)).await, []);
}

async fn nothing_is_recorded_unless_the_process_records_it(store: &impl Store) {
    append(store, hello(room(1))).await.unwrap();
    change(store, room(1), 1, edit("hi")).await.unwrap();
    let none = RulesNumber::NONE;
    RoomDirectory::change(store, room(1), none, &freeze(), None)
        .await
        .unwrap();
    RoomDeletion::close(store, room(1)).await.unwrap();
    assert_eq!(lease(store, request(ONE)).await, NO_ROOMS);
    assert_eq!(found(store, room(1)).await, []);
    assert_eq!(store.backlog().await.unwrap().pending, 0);
}

async fn what_happens_in_a_room_is_recorded_in_order(store: &impl Store) {
    record_all(store);
    let moderator = UserId::new("7").unwrap();
    store_messages(store, 1, 2).await;
    change(store, room(1), 1, edit("hi")).await.unwrap();
    change(store, room(1), 1, edit("hi")).await.unwrap();
    change(store, room(1), 2, react("42", "👍", true))
        .await
        .unwrap();
    append(store, hello(room(1))).await.unwrap();
    let member = set("9", Role::Member);
    let changed = RoomDirectory::change(
        store,
        room(1),
        RulesNumber::NONE,
        &member,
        Some(moderator.clone()),
    );
    let rules = changed.await.unwrap().rules;
    let (freeze, ban) = (freeze(), ban("9", None));
    let settings = RoomDirectory::change(store, room(1), rules, &freeze, None);
    let rules = settings.await.unwrap().rules;
    let unchanged = RoomDirectory::change(store, room(1), rules, &freeze, None);
    assert_eq!(unchanged.await.unwrap().rules, rules);
    let banned = RoomDirectory::change(store, room(1), rules, &ban, None);
    let rules = banned.await.unwrap().rules;
    let new = |id: &str| NewMember {
        user_id: UserId::new(id).unwrap(),
        role: Role::Reader,
        name: None,
    };
    let members = [new("4"), new("5")];
    store.set_members(room(1), rules, &members).await.unwrap();
    assert!(matches!(
        RoomDeletion::close(store, room(1)).await.unwrap(),
        Closing::Closed(_)
    ));
    RoomDeletion::close(store, room(1)).await.unwrap();

    assert_eq!(lease(store, request(ONE)).await, [1]);
    let entries = merged(found(store, room(1)).await);
    let of = |kind, user: &str| (kind, 0, 0, user.to_owned());
    let changed = |rev| (OutboxKind::MessageChanged, rev, rev, String::new());
    assert_eq!(
        entries,
        [
            created(1, 2),
            changed(1),
            changed(2),
            created(3, 3),
            of(OutboxKind::MemberChanged, "9"),
            of(OutboxKind::RoomChanged, ""),
            of(OutboxKind::MemberChanged, "9"),
            of(OutboxKind::MemberChanged, "4"),
            of(OutboxKind::MemberChanged, "5"),
            of(OutboxKind::RoomDeleted, ""),
        ]
    );
    let entries = store.entries(room(1), 100).await.unwrap();
    let made_by: Vec<_> = entries
        .iter()
        .filter_map(|entry| entry.by.clone())
        .collect();
    assert_eq!(made_by, [moderator]);
}

async fn entries_of_a_deleted_room_are_marked(store: &impl Store) {
    record_all(store);
    store_messages(store, 1, 1).await;
    store_messages(store, 2, 1).await;
    RoomDeletion::close(store, room(1)).await.unwrap();
    let refused = append(store, hello(room(1))).await;
    assert!(
        matches!(refused, Err(AppendError::RulesChanged)),
        "{refused:?}"
    );
    lease(store, request(ONE)).await;
    let marked = async |number| {
        let entries = store.entries(room(number), 10).await.unwrap();
        let marks = entries.into_iter();
        let marks = marks.map(|entry| (entry.kind, entry.is_of_deleted_room));
        marks.collect::<Vec<_>>()
    };
    let created = OutboxKind::MessageCreated;
    let deleted = OutboxKind::RoomDeleted;
    assert_eq!(marked(1).await, [(created, true), (deleted, false)]);
    assert_eq!(marked(2).await, [(created, false)]);
}

async fn a_deletion_that_is_not_reported_is_a_fence(store: &impl Store) {
    store.record(OutboxKinds::from_iter([OutboxKind::MessageCreated]));
    append(store, hello(room(1))).await.unwrap();
    change(store, room(1), 1, edit("hi")).await.unwrap();
    RoomDeletion::close(store, room(1)).await.unwrap();
    lease(store, request(ONE)).await;
    let entries = found(store, room(1)).await;
    let fence = (OutboxKind::Fence, 0, 0, String::new());
    assert_eq!(entries, [created(1, 1), fence]);
}
