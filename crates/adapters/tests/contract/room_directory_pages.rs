//! The contract of [`RoomDirectory`]: many members at once, pages, and names.

use chat_domain::ports::{
    ChangeError, MembersSet, MessageRepository, RoomChange, RoomDirectory, SanctionKind,
    SettingsPatch,
};
use chat_domain::{DisplayName, NewMember, Reason, Role, RoomId, RulesNumber, Sanction, Until};

use crate::room_directory::{ban, change, mute, number, record, roles, set, unban, user};
use crate::{append, hello, room};

crate::on_each_database!(
    members_that_are_set_at_once_are_one_change,
    members_decided_by_another_number_change_nothing,
    one_of_many_concurrent_changes_is_made_by_each_number,
    rooms_with_settings_are_listed_by_their_numbers,
    bans_and_mutes_are_listed_with_their_reasons,
    a_user_has_the_name_that_was_stored_last,
);

fn new(id: &str, role: Role, name: Option<&str>) -> NewMember {
    NewMember {
        user_id: user(id),
        role,
        name: name.map(DisplayName::from_text),
    }
}

/// Sets members by the present number.
async fn set_members(store: &impl RoomDirectory, members: &[NewMember]) -> MembersSet {
    let decided_by = number(store, room(1)).await;
    store
        .set_members(room(1), decided_by, members)
        .await
        .unwrap()
}

fn changes(set: &MembersSet) -> Vec<(&str, Role, bool)> {
    let members = set.members.iter();
    members
        .map(|set| {
            (
                set.member.user.id.as_str(),
                set.member.role,
                set.has_changed,
            )
        })
        .collect()
}

async fn members_that_are_set_at_once_are_one_change(store: &impl RoomDirectory) {
    let members = [
        new("1", Role::Owner, Some("Ada")),
        new("2", Role::Member, None),
    ];
    let made = set_members(store, &members).await;
    assert_eq!(made.rules.get(), 1);
    assert_eq!(
        changes(&made),
        [("1", Role::Owner, true), ("2", Role::Member, true)]
    );
    assert_eq!(made.members[0].member.user.name.as_str(), "Ada");
    assert_eq!(made.members[1].member.user.name.as_str(), "2");
    // The same again changes nothing and keeps the number; so does a name alone.
    let again = set_members(store, &members).await;
    assert_eq!(again.rules.get(), 1);
    assert_eq!(
        changes(&again),
        [("1", Role::Owner, false), ("2", Role::Member, false)]
    );
    let renamed = set_members(store, &[new("2", Role::Member, Some("Bob"))]).await;
    assert_eq!(
        (renamed.rules.get(), renamed.members[0].has_changed),
        (1, false)
    );
    assert_eq!(renamed.members[0].member.user.name.as_str(), "Bob");
    assert_eq!(number(store, room(1)).await.get(), 1);

    change(store, mute("2", None)).await;
    let members = [
        new("1", Role::Member, None),
        new("2", Role::Owner, None),
        new("3", Role::Owner, None),
    ];
    let made = set_members(store, &members).await;
    assert_eq!(made.rules.get(), 3);
    assert_eq!(made.members[1].member.muted, Some(Until::Lifted));
    let snapshot = store.snapshot(room(1), &[]).await.unwrap();
    assert_eq!((snapshot.rules.get(), snapshot.owners), (3, 2));
    assert_eq!(snapshot.settings.unwrap().member_count, 3);
    let expected = [("1", Role::Member), ("2", Role::Owner), ("3", Role::Owner)];
    assert_eq!(
        roles(store).await,
        expected.map(|(id, role)| (id.to_owned(), role))
    );
}

async fn members_decided_by_another_number_change_nothing(store: &impl RoomDirectory) {
    change(store, set("1", Role::Owner)).await;
    let members = [new("2", Role::Member, Some("Bob"))];
    for wrong in [0, 2] {
        let refused = store
            .set_members(room(1), RulesNumber::new(wrong), &members)
            .await;
        assert!(matches!(refused, Err(ChangeError::RulesChanged)), "{wrong}");
    }
    assert_eq!(roles(store).await, [("1".to_owned(), Role::Owner)]);
    assert_eq!(store.user_name(&user("2")).await.unwrap(), None);
    assert_eq!(number(store, room(1)).await.get(), 1);
}

async fn one_of_many_concurrent_changes_is_made_by_each_number(store: &impl RoomDirectory) {
    let calls = (0..8).map(|n| async move {
        let members = [new(&format!("{n}"), Role::Member, Some("Ada"))];
        store
            .set_members(room(1), RulesNumber::NONE, &members)
            .await
    });
    let outcomes = futures_util::future::join_all(calls).await;
    let made = outcomes.iter().filter(|outcome| outcome.is_ok()).count();
    assert_eq!(made, 1);
    assert_eq!(roles(store).await.len(), 1);
    assert_eq!(number(store, room(1)).await.get(), 1);
}

async fn rooms_with_settings_are_listed_by_their_numbers(
    store: &(impl MessageRepository + RoomDirectory),
) {
    let page = store.rooms(None, 10).await.unwrap();
    assert_eq!((page.rooms.len(), page.has_more), (0, false));
    append(store, hello(room(2))).await.unwrap();
    for number in [20, 3, 9_007_199_254_740_991] {
        let settings = RoomChange::Settings(SettingsPatch::default());
        store
            .change(room(number), RulesNumber::NONE, &settings, None)
            .await
            .unwrap();
    }
    let numbers = async |after: Option<RoomId>, limit| {
        let page = store.rooms(after, limit).await.unwrap();
        let rooms = page.rooms.iter().map(|(room_id, _)| room_id.get());
        (rooms.collect::<Vec<_>>(), page.has_more)
    };
    assert_eq!(numbers(None, 2).await, (vec![3, 20], true));
    assert_eq!(
        numbers(Some(room(20)), 2).await,
        (vec![9_007_199_254_740_991], false)
    );
    assert!(!numbers(None, 3).await.1);
    let (_, settings) = store.rooms(None, 1).await.unwrap().rooms.remove(0);
    let snapshot = store.snapshot(room(3), &[]).await.unwrap();
    assert_eq!(snapshot.settings, Some(settings));
}

async fn bans_and_mutes_are_listed_with_their_reasons(store: &impl RoomDirectory) {
    let because = |reason: &str| Sanction {
        seconds: None,
        reason: Reason::new(reason).ok(),
    };
    let sanctions = async |kind, after: Option<&str>, limit| {
        let page = store
            .sanctions(room(1), kind, after.map(user), limit)
            .await
            .unwrap();
        let users = page.users.into_iter().map(|sanctioned| {
            let reason = sanctioned.reason.map(|reason| reason.as_str().to_owned());
            (
                sanctioned.user.id.as_str().to_owned(),
                sanctioned.until,
                reason,
            )
        });
        (users.collect::<Vec<_>>(), page.has_more)
    };
    assert_eq!(
        sanctions(SanctionKind::Ban, None, 10).await,
        (vec![], false)
    );
    change(
        store,
        RoomChange::Ban {
            user_id: user("a"),
            sanction: because("spam"),
        },
    )
    .await;
    change(store, mute("a", 60)).await;
    change(store, ban("b", None)).await;
    let spam = Some("spam".to_owned());
    let a = ("a".to_owned(), Until::Lifted, spam);
    let b = ("b".to_owned(), Until::Lifted, None);
    assert_eq!(
        sanctions(SanctionKind::Ban, None, 10).await,
        (vec![a.clone(), b.clone()], false)
    );
    assert_eq!(sanctions(SanctionKind::Ban, None, 1).await, (vec![a], true));
    assert_eq!(
        sanctions(SanctionKind::Ban, Some("a"), 1).await,
        (vec![b], false)
    );
    let (mutes, _) = sanctions(SanctionKind::Mute, None, 10).await;
    assert!(
        matches!(&mutes[..], [(id, Until::Time(_), None)] if id == "a"),
        "{mutes:?}"
    );
    // A new reason is stored without changing the rules.
    let before = number(store, room(1)).await;
    for reason in [because("noise"), because("noise"), Sanction::lasting(None)] {
        let expected = reason
            .reason
            .as_ref()
            .map(|reason| reason.as_str().to_owned());
        let ban = RoomChange::Ban {
            user_id: user("a"),
            sanction: reason,
        };
        let changed = store.change(room(1), before, &ban, None).await.unwrap();
        assert!(!changed.has_changed);
        assert_eq!(sanctions(SanctionKind::Ban, None, 1).await.0[0].2, expected);
    }
    assert_eq!(number(store, room(1)).await, before);
    change(store, unban("a")).await;
    assert_eq!(record(store, "a").await.banned, None);
    assert_eq!(sanctions(SanctionKind::Ban, None, 10).await.0.len(), 1);
}

async fn a_user_has_the_name_that_was_stored_last(
    store: &(impl MessageRepository + RoomDirectory),
) {
    let name = async || {
        let name = store.user_name(&user("42")).await.unwrap();
        name.map(|name| name.as_str().to_owned())
    };
    assert_eq!(name().await, None);
    append(store, hello(room(2))).await.unwrap();
    assert_eq!(name().await.as_deref(), Some("Ada"));
    set_members(store, &[new("42", Role::Member, Some("Ada L."))]).await;
    assert_eq!(name().await.as_deref(), Some("Ada L."));
}
