//! Joins about which the access hook decides.

use std::sync::Mutex;

use super::*;
use crate::ports::{MockAccessHook, NoAnswer};
use crate::use_cases::permits::tests::{snapshot, with_role};
use crate::{Grants, Until};

const CLAIMS: &str = r#"{"plan":"a"}"#;

/// User 42, whose connection is behind an access hook.
fn hooked() -> Identity {
    Identity {
        grants: Some(Grants::new(CLAIMS)),
        ..identity(RoomAccess::Only([room(1)].into()))
    }
}

/// A hook that is asked this often, and answers this.
fn hook(times: usize, answer: fn() -> Result<Option<Role>, NoAnswer>) -> MockAccessHook {
    let mut hook = MockAccessHook::new();
    hook.expect_ask()
        .times(times)
        .withf(|user_id, room_id, claims| {
            user_id.as_str() == "42" && *room_id == room(1) && claims == CLAIMS
        })
        .returning(move |_, _, _| answer());
    hook
}

/// Joins room 1, which is found in this way, one snapshot for each read. `None`: it never had
/// rules.
async fn join(
    identity: &Identity,
    hook: MockAccessHook,
    found: Option<Vec<RoomSnapshot>>,
) -> Result<Joining, JoinRoomError> {
    let rules = match found {
        None => RulesNumber::NONE,
        Some(_) => RulesNumber::new(7),
    };
    let mut rooms = MockRoomRepository::new();
    rooms.expect_read_state().returning(move |_, _| {
        Ok(RoomState {
            rules,
            ..RoomState::default()
        })
    });
    let mut directory = MockRoomDirectory::new();
    let found = found.unwrap_or_default();
    let reads = found.len();
    let found = Mutex::new(found.into_iter());
    directory
        .expect_snapshot()
        .times(reads)
        .returning(move |_, _| Ok(found.lock().unwrap().next().unwrap()));
    let permits = Permits::new(Arc::new(directory), RoomKind::Open);
    let join = JoinRoom::new(Arc::new(rooms), permits).with_hook(Arc::new(hook));
    let outcome = join.execute(identity, room(1), None, None, || ()).await;
    outcome.map(|((), joining)| joining)
}

fn is_not_found(outcome: &Result<Joining, JoinRoomError>) -> bool {
    matches!(outcome, Err(JoinRoomError::Denied(AccessDenied::NotFound)))
}

fn of(kind: RoomKind, role: Option<Role>) -> RoomSnapshot {
    snapshot(kind, vec![with_role(role)])
}

#[pollster::test]
async fn without_membership_the_hook_decides_in_every_kind_of_room() {
    let found = |kind| Some(vec![of(kind, None), of(kind, None)]);
    for found in [None, found(RoomKind::Open), found(RoomKind::Private)] {
        let identity = hooked();
        let granted = hook(1, || Ok(Some(Role::Reader)));
        let joining = join(&identity, granted, found).await.unwrap();
        assert_eq!(joining.permit.standing.role, Some(Role::Reader));
        assert_eq!(identity.granted(room(1)), Some(Role::Reader));
    }
    for found in [
        None,
        Some(vec![of(RoomKind::Open, None)]),
        Some(vec![of(RoomKind::Private, None)]),
    ] {
        let identity = hooked();
        let denied = join(&identity, hook(1, || Ok(None)), found).await;
        assert!(
            matches!(denied, Err(JoinRoomError::NotGranted)),
            "{denied:?}"
        );
        assert_eq!(identity.granted(room(1)), None);
    }
}

#[pollster::test]
async fn a_hook_that_gives_no_answer_is_an_error_and_not_a_denial() {
    let identity = hooked();
    let silent = hook(1, || Err(NoAnswer("no response".into())));
    let outcome = join(&identity, silent, None).await;
    assert!(
        matches!(outcome, Err(JoinRoomError::Hook(_))),
        "{outcome:?}"
    );
    assert_eq!(identity.granted(room(1)), None);
}

#[pollster::test]
async fn the_hook_is_not_asked_about_members() {
    for kind in RoomKind::ALL {
        let identity = hooked();
        // From before the user had membership.
        identity
            .grants
            .as_ref()
            .unwrap()
            .grant(room(1), Role::Owner);
        let found = Some(vec![of(kind, Some(Role::Reader))]);
        let joining = join(&identity, hook(0, || Ok(None)), found).await.unwrap();
        assert_eq!(joining.permit.standing.role, Some(Role::Reader));
        assert_eq!(identity.granted(room(1)), None);
    }
}

#[pollster::test]
async fn the_hook_is_not_asked_about_what_does_not_exist_for_the_user() {
    let banned = UserRecord {
        banned: Some(Until::Lifted),
        ..UserRecord::default()
    };
    let closed = RoomSnapshot {
        generation: Generation::new(8),
        ..of(RoomKind::Open, None)
    };
    for found in [snapshot(RoomKind::Open, vec![banned]), closed] {
        let outcome = join(&hooked(), hook(0, || Ok(None)), Some(vec![found])).await;
        assert!(is_not_found(&outcome), "{outcome:?}");
    }
    let elsewhere = Identity {
        rooms: RoomAccess::Only([room(2)].into()),
        ..hooked()
    };
    let nothing = JoinRoom::new(Arc::new(MockRoomRepository::new()), open_rooms());
    let nothing = nothing.with_hook(Arc::new(MockAccessHook::new()));
    let enter = || unreachable!("the room is not opened");
    let outcome = nothing.execute::<()>(&elsewhere, room(1), None, None, enter);
    assert!(matches!(
        outcome.await,
        Err(JoinRoomError::Denied(AccessDenied::NotFound))
    ));
}

#[pollster::test]
async fn a_connection_that_joins_again_asks_again() {
    let identity = hooked();
    identity
        .grants
        .as_ref()
        .unwrap()
        .grant(room(1), Role::Owner);
    let joining = join(&identity, hook(1, || Ok(Some(Role::Reader))), None).await;
    assert_eq!(joining.unwrap().permit.standing.role, Some(Role::Reader));
    assert_eq!(identity.granted(room(1)), Some(Role::Reader));
}

#[pollster::test]
async fn a_membership_that_is_created_meanwhile_precedes_the_answer() {
    let meanwhile = vec![
        of(RoomKind::Private, None),
        of(RoomKind::Private, Some(Role::Moderator)),
    ];
    let granted = hook(1, || Ok(Some(Role::Reader)));
    let joining = join(&hooked(), granted, Some(meanwhile)).await.unwrap();
    assert_eq!(joining.permit.standing.role, Some(Role::Moderator));
    let banned = UserRecord {
        banned: Some(Until::Lifted),
        ..UserRecord::default()
    };
    let meanwhile = vec![
        of(RoomKind::Private, None),
        snapshot(RoomKind::Private, vec![banned]),
    ];
    let granted = hook(1, || Ok(Some(Role::Reader)));
    let outcome = join(&hooked(), granted, Some(meanwhile)).await;
    assert!(is_not_found(&outcome), "{outcome:?}");
}

#[pollster::test]
async fn a_membership_that_ends_before_the_read_is_followed_by_the_question() {
    // Of a generation that has not begun where the state was read: both are read again.
    let again = RoomSnapshot {
        rules: RulesNumber::new(9),
        generation: Generation::new(9),
        ..of(RoomKind::Private, Some(Role::Member))
    };
    let ended = vec![
        again,
        of(RoomKind::Private, None),
        of(RoomKind::Private, None),
    ];
    let granted = hook(1, || Ok(Some(Role::Member)));
    let joining = join(&hooked(), granted, Some(ended)).await.unwrap();
    assert_eq!(joining.permit.standing.role, Some(Role::Member));
}
