//! What users may do behind an access hook.

use super::tests::{directory, identity, room, snapshot, with_role};
use super::*;
use crate::ports::MockRoomDirectory;
use crate::{AccessDenied, Action, Grants, Until};

/// User 42 behind an access hook, which has granted this in room 1.
fn hooked(granted: Option<Role>) -> Identity {
    let grants = Grants::new("{}");
    if let Some(role) = granted {
        grants.grant(room(1), role);
    }
    Identity {
        grants: Some(grants),
        ..identity()
    }
}

#[pollster::test]
async fn behind_a_hook_a_user_without_membership_may_do_what_was_granted() {
    let permits = Permits::new(Arc::new(MockRoomDirectory::new()), RoomKind::Open);
    let of = |granted, record| {
        let found = snapshot(RoomKind::Private, vec![record]);
        permits.of(&hooked(granted), room(1), &found, record)
    };
    let hidden = Err(AccessDenied::NotFound);
    let moderator = of(Some(Role::Moderator), with_role(None));
    assert_eq!(moderator.decide(Action::Add(Role::Member)), Ok(()));
    // Membership precedes what was granted.
    let reader = of(Some(Role::Owner), with_role(Some(Role::Reader)));
    assert_eq!(reader.standing.role, Some(Role::Reader));
    let member = of(None, with_role(Some(Role::Member)));
    assert_eq!(member.decide(Action::Write), Ok(()));
    let banned = UserRecord {
        banned: Some(Until::Lifted),
        ..with_role(None)
    };
    let banned = of(Some(Role::Owner), banned);
    assert_eq!(banned.decide(Action::Read), hidden);
    for (granted, expected) in [(None, hidden), (Some(Role::Reader), Ok(()))] {
        for number in [RulesNumber::NONE, RulesNumber::new(7)] {
            let found = snapshot(RoomKind::Open, vec![with_role(None)]);
            let mut directory = MockRoomDirectory::new();
            let returned = found.clone();
            directory
                .expect_snapshot()
                .returning(move |_, _| Ok(returned.clone()));
            let permits = Permits::new(Arc::new(directory), RoomKind::Open);
            let permit = permits.at(&hooked(None), room(1), number, granted).await;
            assert_eq!(permit.unwrap().decide(Action::Read), expected);
            let read = permits.read(&hooked(granted), room(1)).await.unwrap();
            assert_eq!(read.decide(Action::Read), expected);
            // Even a reader may not make itself a member.
            let joined = read.decide(Action::JoinAs(Role::Member));
            assert!(joined.is_err());
        }
    }
}

#[pollster::test]
async fn before_it_joins_a_user_is_told_by_the_rules_alone_what_exists() {
    for (kind, expected) in [
        (RoomKind::Open, Ok(())),
        (RoomKind::Private, Err(AccessDenied::NotFound)),
    ] {
        let directory = directory(snapshot(kind, vec![with_role(None)]));
        let permits = Permits::new(Arc::new(directory), RoomKind::Open);
        let permit = permits.before_joining(&hooked(None), room(1)).await;
        assert_eq!(permit.unwrap().decide(Action::Read), expected);
    }
}
