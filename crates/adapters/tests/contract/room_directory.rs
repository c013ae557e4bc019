//! The contract of [`RoomDirectory`].

use chat_domain::ports::{
    ChangeError, Changed, MessageRepository, RoomChange, RoomDirectory, RoomPosition,
    RoomRepository, RoomSettings, SettingsPatch, Turn, UserRecord,
};
use chat_domain::{
    Generation, Metadata, NewMessage, Role, RoomId, RoomKind, RoomName, RulesNumber, Sanction, Seq,
    Until, UserId,
};

use crate::{append, by, hello, room, seq, up_to};

crate::on_each_database!(
    a_room_without_rules_has_no_settings,
    each_change_is_made_once_and_has_the_next_number,
    what_changes_nothing_in_a_room_without_rules_creates_nothing,
    settings_keep_what_a_patch_does_not_name,
    a_ban_ends_membership_and_lifting_it_does_not_restore_it,
    a_change_decided_by_another_number_changes_nothing,
    members_have_their_latest_stored_names,
    a_room_may_have_rules_before_its_first_message,
    rooms_do_not_share_their_rules,
);

pub(crate) fn user(id: &str) -> UserId {
    UserId::new(id).unwrap()
}

pub(crate) fn set(id: &str, role: Role) -> RoomChange {
    let user_id = user(id);
    RoomChange::SetMember { user_id, role }
}

pub(crate) fn remove(id: &str) -> RoomChange {
    RoomChange::RemoveMember { user_id: user(id) }
}

pub(crate) fn ban(id: &str, seconds: impl Into<Option<u32>>) -> RoomChange {
    let (user_id, sanction) = (user(id), Sanction::lasting(seconds.into()));
    RoomChange::Ban { user_id, sanction }
}

pub(crate) fn unban(id: &str) -> RoomChange {
    RoomChange::Unban { user_id: user(id) }
}

pub(crate) fn mute(id: &str, seconds: impl Into<Option<u32>>) -> RoomChange {
    let (user_id, sanction) = (user(id), Sanction::lasting(seconds.into()));
    RoomChange::Mute { user_id, sanction }
}

pub(crate) fn unmute(id: &str) -> RoomChange {
    RoomChange::Unmute { user_id: user(id) }
}

pub(crate) fn freeze() -> RoomChange {
    RoomChange::Settings(SettingsPatch {
        frozen: Some(true),
        ..SettingsPatch::default()
    })
}

pub(crate) async fn number(store: &impl RoomDirectory, room_id: RoomId) -> RulesNumber {
    store.snapshot(room_id, &[]).await.unwrap().rules
}

/// Makes a change by the present number. It must not be overtaken.
pub(crate) async fn change(store: &impl RoomDirectory, change: RoomChange) -> Changed {
    let decided_by = number(store, room(1)).await;
    let changed = store
        .change(room(1), decided_by, &change, None)
        .await
        .unwrap();
    let next = decided_by.get() + u64::from(changed.has_changed);
    assert_eq!(changed.rules.get(), next, "{change:?}");
    assert_eq!(number(store, room(1)).await.get(), next, "{change:?}");
    changed
}

pub(crate) async fn record(store: &impl RoomDirectory, id: &str) -> UserRecord {
    let snapshot = store.snapshot(room(1), &[user(id)]).await.unwrap();
    snapshot.users[0]
}

async fn settings(store: &impl RoomDirectory) -> RoomSettings {
    let snapshot = store.snapshot(room(1), &[]).await.unwrap();
    snapshot.settings.unwrap()
}

/// Returns the ids of all members with their roles, from one page.
pub(crate) async fn roles(store: &impl RoomDirectory) -> Vec<(String, Role)> {
    let page = store.members(room(1), None, 1000).await.unwrap();
    let members = page.members.into_iter();
    members
        .map(|member| (member.user.id.as_str().to_owned(), member.role))
        .collect()
}

async fn a_room_without_rules_has_no_settings(store: &(impl MessageRepository + RoomDirectory)) {
    for _ in 0..2 {
        let users = [user("1"), user("2")];
        let snapshot = store.snapshot(room(1), &users).await.unwrap();
        assert_eq!(snapshot.rules, RulesNumber::NONE);
        assert_eq!(snapshot.settings, None);
        assert_eq!(snapshot.owners, 0);
        assert_eq!(snapshot.users, [UserRecord::default(); 2]);
        let page = store.members(room(1), None, 10).await.unwrap();
        assert_eq!((page.members.len(), page.has_more), (0, false));
        append(store, hello(room(1))).await.unwrap();
    }
}

async fn each_change_is_made_once_and_has_the_next_number(store: &impl RoomDirectory) {
    for (step, repeats_change) in [
        (set("1", Role::Owner), false),
        (set("2", Role::Member), false),
        (set("2", Role::Moderator), false),
        (freeze(), false),
        (mute("2", 60), true),
        (mute("2", None), false),
        (unmute("2"), false),
        (mute("3", None), false),
        (ban("2", 60), true),
        (ban("2", None), false),
        (unban("2"), false),
        (remove("1"), false),
    ] {
        let changed = change(store, step.clone()).await;
        assert!(changed.has_changed, "{step:?}");
        let before = store.snapshot(room(1), &[user("2")]).await.unwrap();
        let again = change(store, step.clone()).await;
        // A period begins anew.
        assert_eq!(again.has_changed, repeats_change, "{step:?}");
        if !repeats_change {
            assert_eq!(
                (again.rules, &again.settings),
                (changed.rules, &changed.settings)
            );
            assert_eq!(again.member, changed.member);
            let after = store.snapshot(room(1), &[user("2")]).await.unwrap();
            assert_eq!(after, before, "{step:?}");
        }
        assert_eq!(kind_and_name(&changed.settings), (RoomKind::Open, None));
    }
    assert_eq!(roles(store).await, []);
    assert_eq!(settings(store).await.member_count, 0);
}

fn kind_and_name(settings: &RoomSettings) -> (RoomKind, Option<&str>) {
    (
        settings.rules.kind,
        settings.name.as_ref().map(RoomName::as_str),
    )
}

async fn what_changes_nothing_in_a_room_without_rules_creates_nothing(
    store: &(impl MessageRepository + RoomDirectory),
) {
    for exists in [false, true] {
        for nothing in [remove("1"), unban("1"), unmute("1")] {
            let changed = change(store, nothing).await;
            assert!(!changed.has_changed);
            assert_eq!(changed.rules, RulesNumber::NONE);
            assert_eq!(kind_and_name(&changed.settings), (RoomKind::Open, None));
            assert_eq!(changed.settings.metadata, Metadata::default());
            let snapshot = store.snapshot(room(1), &[]).await.unwrap();
            assert_eq!(snapshot.settings, None);
        }
        if !exists {
            append(store, hello(room(1))).await.unwrap();
        }
    }
    // To create a room with the settings that it would have anyway is a change.
    let nothing_given = RoomChange::Settings(SettingsPatch::default());
    assert!(change(store, nothing_given.clone()).await.has_changed);
    assert!(!change(store, nothing_given).await.has_changed);
}

async fn settings_keep_what_a_patch_does_not_name(store: &impl RoomDirectory) {
    let all = SettingsPatch {
        kind: Some(RoomKind::Private),
        name: Some(RoomName::new("The \"Ä\" room").unwrap()),
        frozen: Some(true),
        slow_mode_seconds: Some(u32::MAX),
        metadata: Some(Metadata::new(r#"{"b": 1, "a":  2}"#).unwrap()),
    };
    let first = change(store, RoomChange::Settings(all.clone())).await;
    let is_as_given = |settings: &RoomSettings, patch: &SettingsPatch| {
        assert_eq!(Some(settings.rules.kind), patch.kind);
        assert_eq!(settings.name, patch.name);
        assert_eq!(Some(settings.rules.frozen), patch.frozen);
        assert_eq!(
            Some(settings.rules.slow_mode_seconds),
            patch.slow_mode_seconds
        );
        assert_eq!(Some(&settings.metadata), patch.metadata.as_ref());
    };
    is_as_given(&first.settings, &all);
    assert_eq!(first.member, None);
    assert!(
        !change(store, RoomChange::Settings(all.clone()))
            .await
            .has_changed
    );
    let mut expected = all.clone();
    let patch = |set: fn(&mut SettingsPatch)| {
        let mut patch = SettingsPatch::default();
        set(&mut patch);
        patch
    };
    for patch in [
        patch(|it| it.kind = Some(RoomKind::Open)),
        patch(|it| it.name = Some(RoomName::new("x").unwrap())),
        patch(|it| it.frozen = Some(false)),
        patch(|it| it.slow_mode_seconds = Some(0)),
        patch(|it| it.metadata = Some(Metadata::default())),
    ] {
        expected = SettingsPatch {
            kind: patch.kind.or(expected.kind),
            name: patch.name.clone().or(expected.name),
            frozen: patch.frozen.or(expected.frozen),
            slow_mode_seconds: patch.slow_mode_seconds.or(expected.slow_mode_seconds),
            metadata: patch.metadata.clone().or(expected.metadata),
        };
        let changed = change(store, RoomChange::Settings(patch.clone())).await;
        assert!(changed.has_changed, "{patch:?}");
        is_as_given(&changed.settings, &expected);
        assert_eq!(settings(store).await, changed.settings);
        assert_eq!(changed.settings.created_at, first.settings.created_at);
        assert!(!change(store, RoomChange::Settings(patch)).await.has_changed);
    }
    // A name for a room that had none.
    let decided_by = RulesNumber::NONE;
    let first = store
        .change(room(2), decided_by, &freeze(), None)
        .await
        .unwrap();
    let name = RoomChange::Settings(SettingsPatch {
        name: all.name.clone(),
        ..SettingsPatch::default()
    });
    let named = store
        .change(room(2), first.rules, &name, None)
        .await
        .unwrap();
    assert!(named.has_changed);
    assert_eq!(named.settings.name, all.name);
}

async fn a_ban_ends_membership_and_lifting_it_does_not_restore_it(store: &impl RoomDirectory) {
    change(store, set("1", Role::Owner)).await;
    change(store, set("2", Role::Owner)).await;
    change(store, mute("2", None)).await;
    let snapshot = store.snapshot(room(1), &[user("3"), user("2")]).await;
    let snapshot = snapshot.unwrap();
    assert_eq!(
        (snapshot.owners, snapshot.settings.unwrap().member_count),
        (2, 2)
    );
    assert_eq!(snapshot.users[0], UserRecord::default());
    let muted = Some(Until::Lifted);
    let owner = UserRecord {
        role: Some(Role::Owner),
        banned: None,
        muted,
    };
    assert_eq!(snapshot.users[1], owner);

    let banned = change(store, ban("2", None)).await;
    assert_eq!((banned.member, banned.settings.member_count), (None, 1));
    let snapshot = store.snapshot(room(1), &[user("2")]).await.unwrap();
    assert_eq!(snapshot.owners, 1);
    let expected = UserRecord {
        role: None,
        banned: Some(Until::Lifted),
        muted,
    };
    assert_eq!(snapshot.users, [expected]);
    change(store, unban("2")).await;
    let expected = UserRecord {
        banned: None,
        ..expected
    };
    assert_eq!(record(store, "2").await, expected);

    // A user that is banned may be made a member: the ban stays until it is lifted, and another
    // one ends the membership again.
    change(store, ban("3", None)).await;
    let changed = change(store, set("3", Role::Reader)).await;
    assert_eq!(changed.member.unwrap().role, Role::Reader);
    let both = record(store, "3").await;
    assert_eq!((both.role, both.banned), (Some(Role::Reader), muted));
    assert!(change(store, ban("3", None)).await.has_changed);
    assert_eq!(record(store, "3").await.role, None);
    assert_eq!(settings(store).await.member_count, 1);
}

async fn a_change_decided_by_another_number_changes_nothing(store: &impl RoomDirectory) {
    let steps = [
        freeze(),
        set("1", Role::Member),
        remove("2"),
        ban("2", None),
        unban("1"),
        mute("2", 9),
        unmute("1"),
    ];
    let is_refused = async |numbers: &[u64]| {
        for step in &steps {
            for decided_by in numbers {
                let decided_by = RulesNumber::new(*decided_by);
                let refused = store.change(room(1), decided_by, step, None).await;
                let is_changed = matches!(refused, Err(ChangeError::RulesChanged));
                assert!(is_changed, "{step:?}: {refused:?}");
            }
        }
    };
    is_refused(&[1, 7]).await;
    assert_eq!(number(store, room(1)).await, RulesNumber::NONE);
    change(store, set("2", Role::Member)).await;
    change(store, ban("1", None)).await;
    let before = store
        .snapshot(room(1), &[user("1"), user("2")])
        .await
        .unwrap();
    is_refused(&[0, 1, 3]).await;
    let after = store
        .snapshot(room(1), &[user("1"), user("2")])
        .await
        .unwrap();
    assert_eq!(before, after);
}

async fn members_have_their_latest_stored_names(store: &(impl MessageRepository + RoomDirectory)) {
    append(store, by("1", "Ada", room(2), "x")).await.unwrap();
    let named = change(store, set("1", Role::Owner)).await.member.unwrap();
    assert_eq!(named.user.name.as_str(), "Ada");
    let nameless = change(store, set("2", Role::Member)).await.member.unwrap();
    assert_eq!(nameless.user.name.as_str(), "2");
    append(store, by("1", "Ada L.", room(2), "x"))
        .await
        .unwrap();
    let muted = change(store, mute("2", None)).await.member.unwrap();
    assert_eq!(muted.muted, Some(Until::Lifted));
    let promoted = change(store, set("2", Role::Moderator)).await.member;
    let promoted = promoted.unwrap();
    assert_eq!(promoted.joined_at, nameless.joined_at);
    let page = store.members(room(1), None, 10).await.unwrap();
    assert_eq!(page.members[0].user.name.as_str(), "Ada L.");
    assert_eq!(page.members[1], promoted);
    assert!(!page.has_more);
}

async fn a_room_may_have_rules_before_its_first_message(
    store: &(impl MessageRepository + RoomDirectory + RoomRepository),
) {
    change(store, freeze()).await;
    let at = |newest: u64| RoomPosition {
        rev: chat_domain::Rev::START,
        room_id: room(1),
        newest: seq(newest),
        rules: RulesNumber::new(1),
        generation: Some(Generation::FIRST),
    };
    assert_eq!(store.newest(&[room(1)]).await.unwrap(), [at(0)]);
    let ada = user("42");
    let state = store.read_state(room(1), &ada).await.unwrap();
    assert_eq!(
        (state.read.newest, state.read.read),
        (Seq::START, Seq::START)
    );
    let marked = store
        .mark_read(room(1), Generation::FIRST, &ada, seq(5))
        .await
        .unwrap()
        .unwrap();
    assert!(!marked.moved);
    let log = store.after(room(1), Seq::START, up_to(10)).await.unwrap();
    assert_eq!((log.newest, log.messages.len()), (Seq::START, 0));
    for expected in 1..=2 {
        let message = NewMessage {
            rules: RulesNumber::new(1),
            ..hello(room(1))
        };
        let stored = append(store, message).await.unwrap();
        assert_eq!(stored.seq, seq(expected));
    }
    assert_eq!(store.newest(&[room(1)]).await.unwrap(), [at(2)]);
    let snapshot = store.snapshot(room(1), &[]).await.unwrap();
    assert_eq!(snapshot.rules.get(), 1);
    assert!(snapshot.settings.unwrap().rules.frozen);
}

async fn rooms_do_not_share_their_rules(store: &impl RoomDirectory) {
    change(store, set("1", Role::Owner)).await;
    let none = RulesNumber::NONE;
    let other = store
        .change(room(2), none, &ban("1", None), None)
        .await
        .unwrap();
    assert_eq!(other.rules.get(), 1);
    let here = store.snapshot(room(1), &[user("1")]).await.unwrap();
    assert_eq!(here.users[0].role, Some(Role::Owner));
    assert_eq!(here.users[0].banned, None);
    let there = store.snapshot(room(2), &[user("1")]).await.unwrap();
    assert_eq!(there.users[0].role, None);
    assert_eq!(there.owners, 0);
    let taken = store
        .take_turn(room(1), &user("1"), 60, None)
        .await
        .unwrap();
    assert_eq!(taken, Turn::Taken);
    for (room_id, id) in [(room(2), "1"), (room(1), "2")] {
        let taken = store.take_turn(room_id, &user(id), 60, None).await.unwrap();
        assert_eq!(taken, Turn::Taken);
    }
}
