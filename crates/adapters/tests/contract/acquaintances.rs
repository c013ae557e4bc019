//! The contract of [`Acquaintances`].

use std::collections::BTreeSet;

use chat_domain::ports::{Acquaintance, Acquaintances, LastSeen, RoomDeletion, RoomDirectory};
use chat_domain::{DisplayName, Role, RoomAccess, Timestamp};

use crate::inbox::rule;
use crate::room;
use crate::room_directory::{set, user};

crate::on_each_database!(
    users_that_share_a_room_are_acquainted,
    a_room_that_is_being_deleted_or_not_allowed_is_not_shared,
    the_latest_visit_counts_until_it_is_hidden,
    a_user_of_whom_nothing_is_stored_needs_a_name,
);

fn at(millis: i64) -> Timestamp {
    Timestamp::from_unix_millis(millis)
}

fn seen(id: &str, name: Option<&str>, millis: Option<i64>) -> LastSeen {
    LastSeen {
        user_id: user(id),
        name: name.map(DisplayName::from_text),
        at: millis.map(at),
    }
}

async fn add(store: &impl RoomDirectory, n: u64, users: &[&str]) {
    for id in users {
        rule(store, room(n), set(id, Role::Member)).await;
    }
}

/// Returns which of the users are acquainted with ada, and when these were last seen.
async fn among(
    store: &impl Acquaintances,
    access: &RoomAccess,
    others: &[&str],
) -> Vec<Option<Option<i64>>> {
    let others: Vec<_> = others.iter().map(|id| user(id)).collect();
    let found = store.among(&user("ada"), access, &others).await.unwrap();
    let millis = |found: Acquaintance| found.last_seen.map(Timestamp::unix_millis);
    found.into_iter().map(|found| found.map(millis)).collect()
}

async fn users_that_share_a_room_are_acquainted(store: &(impl Acquaintances + RoomDirectory)) {
    let all = RoomAccess::All;
    assert_eq!(among(store, &all, &["bob"]).await, [None]);
    add(store, 1, &["ada", "bob", "a\"é"]).await;
    add(store, 2, &["bob", "eve"]).await;
    let others = ["eve", "a\"é", "bob", "ada", "nobody"];
    let found = among(store, &all, &others).await;
    assert_eq!(found, [None, Some(None), Some(None), Some(None), None]);
    assert_eq!(among(store, &all, &[]).await, []);
    add(store, 2, &["ada"]).await;
    assert_eq!(among(store, &all, &["eve"]).await, [Some(None)]);
}

async fn a_room_that_is_being_deleted_or_not_allowed_is_not_shared(
    store: &(impl Acquaintances + RoomDirectory + RoomDeletion),
) {
    add(store, 1, &["ada", "bob"]).await;
    add(store, 2, &["ada", "eve"]).await;
    let only = |n| RoomAccess::Only(BTreeSet::from([room(n)]));
    let others = ["bob", "eve"];
    assert_eq!(among(store, &only(1), &others).await, [Some(None), None]);
    assert_eq!(among(store, &only(3), &others).await, [None, None]);
    store.close(room(1)).await.unwrap();
    let found = among(store, &RoomAccess::All, &others).await;
    assert_eq!(found, [None, Some(None)]);
}

async fn the_latest_visit_counts_until_it_is_hidden(store: &(impl Acquaintances + RoomDirectory)) {
    add(store, 1, &["ada", "bob"]).await;
    let all = RoomAccess::All;
    for (millis, expected) in [
        (Some(1_769_860_800_500), Some(1_769_860_800_500)),
        (Some(1_769_860_800_400), Some(1_769_860_800_500)),
        (Some(1_769_860_800_600), Some(1_769_860_800_600)),
        (None, None),
        (Some(5), Some(5)),
    ] {
        let noted = [
            seen("bob", Some("Bob"), millis),
            seen("eve", Some("Eve"), millis),
        ];
        store.note_seen(&noted).await.unwrap();
        assert_eq!(
            among(store, &all, &["bob", "eve"]).await,
            [Some(expected), None]
        );
    }
    store.note_seen(&[]).await.unwrap();
}

async fn a_user_of_whom_nothing_is_stored_needs_a_name(
    store: &(impl Acquaintances + RoomDirectory),
) {
    add(store, 1, &["ada", "bob"]).await;
    let all = RoomAccess::All;
    store
        .note_seen(&[seen("bob", None, Some(7))])
        .await
        .unwrap();
    assert_eq!(among(store, &all, &["bob"]).await, [Some(None)]);
    store
        .note_seen(&[seen("bob", Some("Bob"), Some(7))])
        .await
        .unwrap();
    store
        .note_seen(&[seen("bob", Some("Other"), Some(8))])
        .await
        .unwrap();
    store
        .note_seen(&[seen("bob", None, Some(9))])
        .await
        .unwrap();
    assert_eq!(among(store, &all, &["bob"]).await, [Some(Some(9))]);
    let name = store.user_name(&user("bob")).await.unwrap();
    assert_eq!(name, Some(DisplayName::from_text("Bob")));
}
