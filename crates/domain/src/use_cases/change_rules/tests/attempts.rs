//! What is asked of the directory, in which order, until a change is made.

use mockall::Sequence;

use super::*;
use crate::Reason;

/// Adds that the room is found like this once, with the standing of the users in order.
fn find(directory: &mut MockRoomDirectory, order: &mut Sequence, found: RoomSnapshot) {
    directory
        .expect_snapshot()
        .once()
        .in_sequence(order)
        .withf({
            let count = found.users.len();
            move |asked, users| *asked == room(1) && users.len() == count
        })
        .return_once(|_, _| Ok(found));
}

/// Adds that this change, decided by this number, is asked for once.
fn expect(
    directory: &mut MockRoomDirectory,
    order: &mut Sequence,
    (number, change): (u64, RoomChange),
    outcome: Result<Changed, ChangeError>,
) {
    directory
        .expect_change()
        .once()
        .in_sequence(order)
        .withf(move |asked, decided_by, asked_for, _| {
            (*asked, *decided_by, asked_for) == (room(1), RulesNumber::new(number), &change)
        })
        .return_once(|_, _, _, _| outcome);
}

#[pollster::test]
async fn a_change_is_decided_again_when_the_rules_have_changed() {
    let ban = of(other(), RulesChange::Ban(Sanction::lasting(Some(60))));
    let found = |number, role| RoomSnapshot {
        rules: RulesNumber::new(number),
        ..snapshot(RoomKind::Open, vec![with_role(Some(role)), with_role(None)])
    };
    let user = identity();
    for (role, is_allowed) in [(Role::Moderator, true), (Role::Member, false)] {
        let (mut directory, mut order) = (MockRoomDirectory::new(), Sequence::new());
        find(&mut directory, &mut order, found(7, Role::Owner));
        let overtaken = Err(ChangeError::RulesChanged);
        expect(&mut directory, &mut order, (7, change(&ban)), overtaken);
        find(&mut directory, &mut order, found(9, role));
        if is_allowed {
            let made = Ok(changed(10));
            expect(&mut directory, &mut order, (9, change(&ban)), made);
        }
        match execute(directory, RoomKind::Open, Actor::User(&user), &ban).await {
            Ok(made) => assert!(is_allowed && made == changed(10), "{role:?}"),
            Err(error) => {
                let forbidden = AccessDenied::Forbidden(Forbidden::Role);
                let denied = matches!(error, ChangeRulesError::Denied(why) if why == forbidden);
                assert!(!is_allowed && denied, "{error}");
            }
        }
    }
}

#[pollster::test]
async fn rules_that_change_without_pause_make_a_change_unavailable() {
    let mut directory = MockRoomDirectory::new();
    let asked = directory.expect_snapshot().times(10);
    asked.returning(|_, _| Ok(snapshot(RoomKind::Open, vec![])));
    let asked = directory.expect_change().times(10);
    asked.returning(|_, _, _, _| Err(ChangeError::RulesChanged));
    assert!(matches!(
        execute(directory, RoomKind::Open, Actor::Product, &freeze()).await,
        Err(ChangeRulesError::Storage(StorageError::Unavailable(_)))
    ));
}

#[pollster::test]
async fn failing_storage_is_asked_once_and_its_error_returned() {
    let mut unreadable = MockRoomDirectory::new();
    let asked = unreadable.expect_snapshot().once();
    asked.return_once(|_, _| Err(StorageError::unavailable("gone")));
    assert!(matches!(
        execute(unreadable, RoomKind::Open, Actor::Product, &freeze()).await,
        Err(ChangeRulesError::Storage(StorageError::Unavailable(_)))
    ));

    let (mut broken, mut order) = (MockRoomDirectory::new(), Sequence::new());
    find(&mut broken, &mut order, snapshot(RoomKind::Open, vec![]));
    let error = StorageError::outcome_unknown("broken");
    let expected = (7, change(&freeze()));
    expect(&mut broken, &mut order, expected, Err(error.into()));
    assert!(matches!(
        execute(broken, RoomKind::Open, Actor::Product, &freeze()).await,
        Err(ChangeRulesError::Storage(StorageError::OutcomeUnknown(_)))
    ));
}

/// A room that never had rules, as a directory returns it.
fn without_rules(users: Vec<UserRecord>) -> RoomSnapshot {
    RoomSnapshot {
        rules: RulesNumber::NONE,
        generation: Generation::FIRST,
        settings: None,
        owners: 0,
        users,
    }
}

fn of_kind(kind: RoomKind) -> SettingsPatch {
    SettingsPatch {
        kind: Some(kind),
        ..SettingsPatch::default()
    }
}

#[pollster::test]
async fn a_room_that_is_private_by_default_stays_private_at_its_first_change() {
    let add = of(other(), RulesChange::Role(Role::Owner));
    let (mut directory, mut order) = (MockRoomDirectory::new(), Sequence::new());
    let found = without_rules(vec![with_role(None)]);
    find(&mut directory, &mut order, found);
    let private = RoomChange::Settings(of_kind(RoomKind::Private));
    expect(&mut directory, &mut order, (0, private), Ok(changed(1)));
    expect(
        &mut directory,
        &mut order,
        (1, change(&add)),
        Ok(changed(2)),
    );
    let made = execute(directory, RoomKind::Private, Actor::Product, &add).await;
    assert_eq!(made.unwrap(), changed(2));

    for (asked, made) in [
        (None, RoomKind::Private),
        (Some(RoomKind::Open), RoomKind::Open),
    ] {
        let (mut directory, mut order) = (MockRoomDirectory::new(), Sequence::new());
        find(&mut directory, &mut order, without_rules(vec![]));
        let made = RoomChange::Settings(of_kind(made));
        expect(&mut directory, &mut order, (0, made), Ok(changed(1)));
        let request = RulesRequest::Settings(SettingsPatch {
            kind: asked,
            ..SettingsPatch::default()
        });
        let made = execute(directory, RoomKind::Private, Actor::Product, &request).await;
        assert_eq!(made.unwrap(), changed(1));
    }
}

/// The tests above derive the expected change from the request by the same function.
#[test]
fn each_request_becomes_the_change_of_that_name() {
    let sanction = Sanction {
        seconds: Some(60),
        reason: Reason::new("spam").ok(),
    };
    let role = Role::Owner;
    for (asked, expected) in [
        (
            RulesChange::Role(role),
            RoomChange::SetMember {
                user_id: other(),
                role,
            },
        ),
        (
            RulesChange::Remove,
            RoomChange::RemoveMember { user_id: other() },
        ),
        (
            RulesChange::Ban(sanction.clone()),
            RoomChange::Ban {
                user_id: other(),
                sanction: sanction.clone(),
            },
        ),
        (RulesChange::Unban, RoomChange::Unban { user_id: other() }),
        (
            RulesChange::Mute(sanction.clone()),
            RoomChange::Mute {
                user_id: other(),
                sanction: sanction.clone(),
            },
        ),
        (RulesChange::Unmute, RoomChange::Unmute { user_id: other() }),
    ] {
        assert_eq!(change(&of(other(), asked)), expected);
    }
}

#[pollster::test]
async fn a_room_that_is_being_deleted_is_not_changed_and_users_do_not_see_it() {
    let closed = |users: usize| {
        let mut directory = MockRoomDirectory::new();
        let owner = with_role(Some(Role::Owner));
        let found = RoomSnapshot {
            generation: Generation::new(8),
            ..snapshot(RoomKind::Open, vec![owner; users])
        };
        directory
            .expect_snapshot()
            .once()
            .return_once(|_, _| Ok(found));
        directory
    };
    let product = execute(closed(0), RoomKind::Open, Actor::Product, &freeze()).await;
    assert!(matches!(product, Err(ChangeRulesError::Closed)));
    let identity = identity();
    let user = execute(closed(1), RoomKind::Open, Actor::User(&identity), &freeze()).await;
    assert!(matches!(
        user,
        Err(ChangeRulesError::Denied(AccessDenied::NotFound))
    ));
}
