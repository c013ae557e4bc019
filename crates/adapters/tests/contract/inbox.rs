//! The contract of [`Inbox`].

use std::time::SystemTime;

use chat_domain::ports::{
    Inbox, InboxPage, InboxPosition, MessageRepository, RoomChange, RoomDirectory, RoomRepository,
    SettingsPatch,
};
use chat_domain::{
    Generation, MemberView, Message, Metadata, NewMessage, Notify, Role, RoomAccess, RoomId,
    RoomKind, RoomName, Seq, StorageError, Timestamp,
};

use crate::room_directory::{ban, number, remove, set, user};
use crate::{append, by, room, seq, under};

crate::on_each_database!(
    a_user_without_membership_has_an_empty_inbox,
    a_room_is_listed_with_all_that_its_member_sees,
    rooms_are_listed_by_their_newest_messages_or_else_by_when_the_user_joined,
    pages_continue_after_a_room_although_rooms_have_moved,
    rooms_that_the_token_does_not_allow_are_not_listed_and_not_counted,
    a_member_sets_of_what_it_is_notified,
    overviews_and_views_are_read_for_many_rooms_at_once,
);

trait Store: Inbox + MessageRepository + RoomDirectory + RoomRepository {}
impl<T: Inbox + MessageRepository + RoomDirectory + RoomRepository> Store for T {}

/// Makes a change by the present number of the room's rules.
pub(crate) async fn rule(store: &impl RoomDirectory, room_id: RoomId, change: RoomChange) {
    let decided_by = number(store, room_id).await;
    store
        .change(room_id, decided_by, &change, None)
        .await
        .unwrap();
}

/// Stores a message that was sent now.
pub(crate) async fn send(
    store: &(impl MessageRepository + RoomDirectory),
    room_id: RoomId,
    author: &str,
    content: &str,
) -> Message {
    let rules = number(store, room_id).await.get();
    let message = NewMessage {
        created_at: now(),
        ..by(author, author, room_id, content)
    };
    append(store, under(rules, message)).await.unwrap()
}

/// Waits for the next millisecond to begin, and returns it: whatever happened before is earlier.
pub(crate) fn now() -> Timestamp {
    let millis = || {
        let since = SystemTime::UNIX_EPOCH.elapsed().unwrap();
        i64::try_from(since.as_millis()).unwrap()
    };
    let begun = millis();
    loop {
        let now = millis();
        if now > begun {
            return Timestamp::from_unix_millis(now);
        }
        std::thread::yield_now();
    }
}

/// Returns a page of the inbox without the limits of a token.
async fn page(
    store: &impl Inbox,
    id: &str,
    after: Option<InboxPosition>,
    limit: usize,
) -> InboxPage {
    store
        .page(&user(id), &RoomAccess::All, after, limit)
        .await
        .unwrap()
}

fn rooms(page: &InboxPage) -> Vec<u64> {
    let rooms = page.rooms.iter();
    rooms.map(|listed| listed.position.room_id.get()).collect()
}

async fn a_user_without_membership_has_an_empty_inbox(store: &impl Store) {
    send(store, room(1), "1", "hello").await;
    store
        .mark_read(room(1), Generation::FIRST, &user("2"), seq(1))
        .await
        .unwrap();
    for id in ["1", "2"] {
        assert_eq!(page(store, id, None, 10).await, InboxPage::default());
        let total = store.unread_total(&user(id), &RoomAccess::All).await;
        assert_eq!(total.unwrap(), 0);
    }
}

async fn a_room_is_listed_with_all_that_its_member_sees(store: &impl Store) {
    let patch = SettingsPatch {
        kind: Some(RoomKind::Private),
        name: Some(RoomName::new("Lobby".to_owned()).unwrap()),
        metadata: Some(Metadata::new(r#"{"a":1}"#.to_owned()).unwrap()),
        ..SettingsPatch::default()
    };
    rule(store, room(7), set("1", Role::Reader)).await;
    rule(store, room(7), set("2", Role::Member)).await;
    let empty = page(store, "1", None, 10).await;
    assert_eq!(empty.unread_total, 0);
    let [listed] = &empty.rooms[..] else {
        panic!("{empty:?}");
    };
    assert_eq!(listed.position.room_id, room(7));
    let overview = &listed.summary.room;
    assert_eq!((overview.room_id, overview.kind), (room(7), RoomKind::Open));
    assert_eq!((&overview.name, overview.metadata.as_str()), (&None, "{}"));
    assert_eq!(
        (overview.newest, &overview.last_message),
        (Seq::START, &None)
    );
    let member = MemberView {
        role: Role::Reader,
        notify: Notify::All,
        read: Seq::START,
        mentions: 0,
    };
    assert_eq!(listed.summary.member, member);

    rule(store, room(7), RoomChange::Settings(patch)).await;
    for content in ["one", "two"] {
        send(store, room(7), "2", content).await;
    }
    store
        .mark_read(room(7), Generation::FIRST, &user("1"), seq(1))
        .await
        .unwrap();
    let newest = send(store, room(7), "2", "three").await;
    let found = page(store, "1", None, 10).await;
    assert_eq!((found.unread_total, found.has_more), (2, false));
    let summary = &found.rooms[0].summary;
    assert_eq!(summary.room.kind, RoomKind::Private);
    assert_eq!(summary.room.name.as_ref().unwrap().as_str(), "Lobby");
    assert_eq!(summary.room.metadata.as_str(), r#"{"a":1}"#);
    assert_eq!(summary.room.last_message, Some(newest));
    assert_eq!(summary.read_state().unread(), 2);
    // The author has read what it has written.
    assert_eq!(page(store, "2", None, 10).await.unread_total, 0);
    for leaves in [remove("1"), ban("2", None)] {
        rule(store, room(7), leaves).await;
    }
    for id in ["1", "2"] {
        assert_eq!(page(store, id, None, 10).await, InboxPage::default());
    }
}

async fn rooms_are_listed_by_their_newest_messages_or_else_by_when_the_user_joined(
    store: &impl Store,
) {
    for number in [3, 1, 2, 5, 4] {
        now();
        rule(store, room(number), set("1", Role::Member)).await;
    }
    assert_eq!(rooms(&page(store, "1", None, 10).await), [4, 5, 2, 1, 3]);
    for number in [2, 3, 2, 1] {
        send(store, room(number), "2", "hello").await;
    }
    assert_eq!(rooms(&page(store, "1", None, 10).await), [1, 2, 3, 4, 5]);
    now();
    // What is neither a message nor joining is not activity.
    rule(store, room(4), set("1", Role::Owner)).await;
    rule(store, room(6), set("1", Role::Owner)).await;
    store
        .mark_read(room(3), Generation::FIRST, &user("1"), seq(1))
        .await
        .unwrap();
    let all = page(store, "1", None, 10).await;
    assert_eq!(rooms(&all), [6, 1, 2, 3, 4, 5]);
    let activity: Vec<_> = all
        .rooms
        .iter()
        .map(|room| room.position.activity)
        .collect();
    assert!(activity.is_sorted_by(|a, b| a >= b), "{activity:?}");
}

async fn pages_continue_after_a_room_although_rooms_have_moved(store: &impl Store) {
    for number in 1..=6 {
        now();
        rule(store, room(number), set("1", Role::Member)).await;
        send(store, room(number), "2", "hello").await;
    }
    let first = page(store, "1", None, 2).await;
    assert_eq!((rooms(&first), first.has_more), (vec![6, 5], true));
    assert_eq!(first.unread_total, 6);
    // One that was listed, and one that was not.
    for number in [5, 3] {
        send(store, room(number), "2", "hello").await;
    }
    let next = first.rooms[1].position;
    let second = page(store, "1", Some(next), 2).await;
    assert_eq!((rooms(&second), second.has_more), (vec![4, 2], true));
    assert_eq!(second.unread_total, 8);
    let third = page(store, "1", Some(second.rooms[1].position), 2).await;
    assert_eq!((rooms(&third), third.has_more), (vec![1], false));
    let end = page(store, "1", Some(third.rooms[0].position), 2).await;
    assert_eq!((rooms(&end), end.unread_total), (vec![], 8));
    let exact = page(store, "1", None, 6).await;
    assert_eq!(
        (rooms(&exact), exact.has_more),
        (vec![3, 5, 6, 4, 2, 1], false)
    );
    // Positions come from clients.
    for activity in [0, u64::MAX] {
        for number in [1, chat_domain::MAX_NUMBER] {
            let after = InboxPosition {
                activity,
                room_id: room(number),
            };
            let found = rooms(&page(store, "1", Some(after), 10).await).len();
            assert_eq!(found, if activity == 0 { 0 } else { 6 });
        }
    }
}

async fn rooms_that_the_token_does_not_allow_are_not_listed_and_not_counted(store: &impl Store) {
    for number in 1..=4 {
        now();
        rule(store, room(number), set("1", Role::Member)).await;
        send(store, room(number), "2", "hello").await;
    }
    // It has no membership in one of them.
    let allowed = RoomAccess::Only([room(1), room(3), room(9)].into());
    let first = store.page(&user("1"), &allowed, None, 1).await.unwrap();
    assert_eq!((rooms(&first), first.has_more), (vec![3], true));
    let after = Some(first.rooms[0].position);
    let second = store.page(&user("1"), &allowed, after, 1).await.unwrap();
    assert_eq!((rooms(&second), second.has_more), (vec![1], false));
    let none = RoomAccess::Only([].into());
    for (access, unread) in [(&allowed, 2), (&none, 0), (&RoomAccess::All, 4)] {
        let total = store.unread_total(&user("1"), access).await.unwrap();
        assert_eq!(total, unread);
        let page = store.page(&user("1"), access, None, 1).await.unwrap();
        assert_eq!(page.unread_total, unread);
    }
}

async fn a_member_sets_of_what_it_is_notified(store: &impl Store) {
    assert!(
        !store
            .set_notify(room(1), &user("1"), Notify::None)
            .await
            .unwrap()
    );
    for id in ["1", "2"] {
        rule(store, room(1), set(id, Role::Member)).await;
    }
    let rules = number(store, room(1)).await;
    let pair = [(room(1), user("1")), (room(1), user("2"))];
    for notify in [Notify::Mentions, Notify::None, Notify::None, Notify::All] {
        assert!(store.set_notify(room(1), &user("1"), notify).await.unwrap());
        let views = store.views(&pair).await.unwrap();
        let seen: Vec<_> = views.iter().map(|view| view.unwrap().notify).collect();
        assert_eq!(seen, [notify, Notify::All]);
    }
    // It is not a rule: no other user, and no node, needs to know it.
    assert_eq!(number(store, room(1)).await, rules);
    let muted = Notify::None;
    assert!(store.set_notify(room(1), &user("1"), muted).await.unwrap());
    rule(store, room(1), set("1", Role::Owner)).await;
    assert_eq!(store.views(&pair).await.unwrap()[0].unwrap().notify, muted);
    // A new membership begins anew.
    rule(store, room(1), remove("1")).await;
    assert!(!store.set_notify(room(1), &user("1"), muted).await.unwrap());
    rule(store, room(1), set("1", Role::Member)).await;
    let again = store.views(&pair).await.unwrap()[0].unwrap();
    assert_eq!(again.notify, Notify::All);
}

async fn overviews_and_views_are_read_for_many_rooms_at_once(store: &impl Store) {
    assert_eq!(store.overviews(&[]).await.unwrap(), []);
    assert_eq!(store.views(&[]).await.unwrap(), []);
    rule(store, room(1), set("it's \"1\" \\", Role::Owner)).await;
    let newest = send(store, room(1), "2", "hello").await;
    send(store, room(2), "2", "hello").await;
    rule(store, room(3), set("2", Role::Reader)).await;
    let many: Vec<_> = (1..=5000).map(room).collect();
    let mut found = store.overviews(&many).await.unwrap();
    found.sort_by_key(|overview| overview.room_id);
    let [first, third] = &found[..] else {
        panic!("{found:?}");
    };
    assert_eq!((first.room_id, first.newest), (room(1), seq(1)));
    assert_eq!(first.last_message, Some(newest));
    assert_eq!((third.room_id, &third.last_message), (room(3), &None));

    let mut pairs: Vec<_> = many.iter().map(|id| (*id, user("2"))).collect();
    pairs.push((room(1), user("it's \"1\" \\")));
    pairs.push((room(3), user("2")));
    let views = store.views(&pairs).await.unwrap();
    assert_eq!(views.len(), 5002);
    let reader = MemberView {
        role: Role::Reader,
        notify: Notify::All,
        read: Seq::START,
        mentions: 0,
    };
    for (place, view) in views.into_iter().enumerate() {
        let expected = match place {
            2 | 5001 => Some(reader),
            5000 => Some(MemberView {
                role: Role::Owner,
                ..reader
            }),
            _ => None,
        };
        assert_eq!(view, expected, "{place}");
    }
}

mod with_sql {
    use super::*;
    use crate::changed_rows::on_each_database_with_sql;

    on_each_database_with_sql!(
        an_inbox_of_many_rooms_of_one_moment_is_paged_and_counted,
        rows_that_are_not_valid_are_corrupt,
    );

    /// With many rooms, pointers are read in another way than with few.
    async fn an_inbox_of_many_rooms_of_one_moment_is_paged_and_counted(
        store: &impl Store,
        sql: impl Fn(&str),
    ) {
        let numbers =
            "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 700)";
        let moment = "'2026-01-31T12:00:00.000Z'";
        for insert in [
            "rooms (id, last_seq, rules) SELECT i, 10, 1 FROM n".to_owned(),
            format!(
                "room_settings SELECT i, 'open', NULL, false, 0, '{{}}', {moment}, 1, 0 FROM n"
            ),
            // Also of rooms in which the user has no membership.
            "read_pointers SELECT i, 'many', 3 FROM n WHERE i % 2 = 0".to_owned(),
        ] {
            sql(&format!("{numbers} INSERT INTO {insert}"));
        }
        let mut members = 0;
        for until in [1, 500, 501, 650] {
            sql(&format!(
                "{numbers} INSERT INTO members (room_id, user_id, role, joined_at) \
                 SELECT i, 'many', 'member', {moment} FROM n WHERE i > {members} AND i <= {until}"
            ));
            members = until;
            let unread = 10 * until - 3 * (until / 2);
            let (mut after, mut listed) = (None, Vec::new());
            loop {
                let page = page(store, "many", after, 99).await;
                assert_eq!(page.unread_total, unread);
                listed.extend(rooms(&page));
                for room in &page.rooms {
                    let read = if room.position.room_id.get() % 2 == 0 {
                        3
                    } else {
                        0
                    };
                    assert_eq!(room.summary.member.read.get(), read);
                }
                after = page.rooms.last().map(|room| room.position);
                if !page.has_more {
                    break;
                }
            }
            assert_eq!(listed, (1..=until).rev().collect::<Vec<_>>());
            let allowed = RoomAccess::Only([room(1), room(2), room(699)].into());
            let total = store.unread_total(&user("many"), &allowed).await.unwrap();
            assert_eq!(total, if until == 1 { 10 } else { 17 });
        }
    }

    async fn rows_that_are_not_valid_are_corrupt(store: &impl Store, sql: impl Fn(&str)) {
        rule(store, room(1), set("1", Role::Member)).await;
        send(store, room(1), "2", "hello").await;
        for (table, column, wrong, right) in [
            ("room_settings", "kind", "secret", "open"),
            ("room_settings", "name", "", "Tea"),
            ("members", "role", "king", "member"),
            ("members", "notify", "loud", "all"),
            ("messages", "content", "", "hello"),
        ] {
            let set = |value| sql(&format!("UPDATE {table} SET {column} = '{value}'"));
            set(wrong);
            let page = store.page(&user("1"), &RoomAccess::All, None, 10).await;
            assert!(matches!(page, Err(StorageError::Corrupt(_))), "{page:?}");
            let is_of_member = table == "members";
            let overviews = store.overviews(&[room(1)]).await;
            assert_eq!(overviews.is_ok(), is_of_member, "{overviews:?}");
            let views = store.views(&[(room(1), user("1"))]).await;
            assert_eq!(views.is_ok(), !is_of_member, "{views:?}");
            set(right);
            store
                .page(&user("1"), &RoomAccess::All, None, 10)
                .await
                .unwrap();
        }
    }
}
