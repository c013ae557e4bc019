//! The decisions about joins.

mod hook;

use super::*;
use crate::ports::{MockRoomDirectory, MockRoomRepository, RoomSettings, RoomSnapshot, UserRecord};
use crate::{
    DisplayName, Generation, Metadata, Role, RoomAccess, RoomKind, RoomRules, RoomState,
    RulesNumber, Timestamp, Until, User, UserId,
};

/// Permits of open rooms that never had rules.
fn open_rooms() -> Permits {
    Permits::new(Arc::new(MockRoomDirectory::new()), RoomKind::Open)
}

fn room(number: u64) -> RoomId {
    RoomId::new(number).unwrap()
}

fn seq(n: u64) -> Seq {
    Seq::new(n).unwrap()
}

fn rev(n: u64) -> Rev {
    Rev::new(n).unwrap()
}

fn identity(rooms: RoomAccess) -> Identity {
    Identity {
        user: User {
            id: UserId::new("42").unwrap(),
            name: DisplayName::from_text("Ada"),
        },
        rooms,
        visibility: crate::Visibility::Visible,
        issued_at: None,
        expires_at: Timestamp::from_unix_millis(0),
        valid_until: Timestamp::from_unix_millis(0),
        grants: None,
    }
}

/// Joins room 1, whose newest position is 5000, in a repository that is asked once.
async fn join(identity: &Identity, after: Option<u64>) -> Joining {
    join_with_changes(identity, after, None).await
}

/// The same, after a change; the room's newest is the 20th.
async fn join_with_changes(
    identity: &Identity,
    after: Option<u64>,
    after_rev: Option<u64>,
) -> Joining {
    let mut rooms = MockRoomRepository::new();
    let read = ReadState {
        newest: seq(5000),
        read: seq(4998),
    };
    let state = RoomState {
        rev: rev(20),
        read,
        rules: RulesNumber::NONE,
    };
    rooms
        .expect_read_state()
        .once()
        .returning(move |_, _| Ok(state));
    let join = JoinRoom::new(Arc::new(rooms), open_rooms());
    let after_rev = after_rev.map(rev);
    let joined = join.execute(identity, room(1), after.map(seq), after_rev, || ());
    joined.await.unwrap().1
}

#[pollster::test]
async fn a_room_that_the_token_does_not_allow_is_not_found_without_a_query() {
    let identity = identity(RoomAccess::Only([room(1)].into()));
    let refused = JoinRoom::new(Arc::new(MockRoomRepository::new()), open_rooms());
    let enter = || unreachable!("the room is not opened");
    let outcome = refused
        .execute::<()>(&identity, room(2), None, None, enter)
        .await;
    assert!(matches!(
        outcome,
        Err(JoinRoomError::Denied(AccessDenied::NotFound))
    ));
    assert_eq!(join(&identity, None).await.state.unread(), 2);
}

#[pollster::test]
async fn up_to_a_thousand_missed_messages_are_replayed() {
    let identity = identity(RoomAccess::All);
    for (after, expected) in [
        (None, CatchUp::None),
        (Some(3999), CatchUp::Missed { after: seq(3999) }),
        (Some(4000), CatchUp::Replay { after: seq(4000) }),
        (Some(5000), CatchUp::Replay { after: seq(5000) }),
        (Some(9000), CatchUp::Replay { after: seq(5000) }),
    ] {
        let joining = join(&identity, after).await;
        assert_eq!(joining.catch_up, expected, "after {after:?}");
    }
}

#[pollster::test]
async fn changes_are_caught_up_from_numbers_that_the_room_has() {
    let identity = identity(RoomAccess::All);
    for (after, after_rev, expected) in [
        (None, None, None),
        // Without a position, there are no messages whose changes could be missing.
        (None, Some(3), None),
        (Some(4000), None, None),
        (Some(4000), Some(3), Some((3, 4000))),
        (Some(1), Some(0), Some((0, 1))),
        // Both may be of a room that was deleted since, and exist again later.
        (Some(4000), Some(21), Some((20, 4000))),
        (Some(9000), Some(20), Some((20, 5000))),
    ] {
        let joining = join_with_changes(&identity, after, after_rev).await;
        let expected = expected.map(|(after, up_to)| Changed {
            after: rev(after),
            up_to: seq(up_to),
        });
        assert_eq!(joining.changed, expected, "{after:?}, {after_rev:?}");
        assert_eq!(joining.rev, rev(20));
    }
}

#[pollster::test]
async fn the_rules_decide_whether_a_room_can_be_joined() {
    let record = |role, banned| UserRecord {
        role,
        banned,
        muted: None,
    };
    for (kind, record, may_join) in [
        (RoomKind::Private, record(None, None), false),
        (RoomKind::Private, record(Some(Role::Reader), None), true),
        (RoomKind::Open, record(None, None), true),
        (RoomKind::Open, record(None, Some(Until::Lifted)), false),
    ] {
        let mut rooms = MockRoomRepository::new();
        rooms.expect_read_state().once().returning(|_, _| {
            Ok(RoomState {
                rev: crate::Rev::START,
                rules: RulesNumber::new(7),
                ..RoomState::default()
            })
        });
        let mut directory = MockRoomDirectory::new();
        directory
            .expect_snapshot()
            .once()
            .returning(move |_, users| {
                assert_eq!(users.len(), 1);
                Ok(RoomSnapshot {
                    rules: RulesNumber::new(8),
                    generation: Generation::FIRST,
                    settings: Some(RoomSettings {
                        rules: RoomRules {
                            kind,
                            frozen: false,
                            slow_mode_seconds: 0,
                        },
                        name: None,
                        metadata: Metadata::default(),
                        created_at: Timestamp::from_unix_millis(0),
                        member_count: 0,
                    }),
                    owners: 0,
                    users: vec![record],
                })
            });
        let permits = Permits::new(Arc::new(directory), RoomKind::Open);
        let join = JoinRoom::new(Arc::new(rooms), permits);
        let identity = identity(RoomAccess::All);
        match join.execute(&identity, room(1), None, None, || ()).await {
            Ok(((), joining)) => {
                assert!(may_join, "{kind:?} {record:?}");
                assert_eq!(joining.permit.number, RulesNumber::new(8));
            }
            Err(error) => {
                assert!(!may_join, "{kind:?} {record:?}");
                let denied = matches!(error, JoinRoomError::Denied(AccessDenied::NotFound));
                assert!(denied, "{error}");
            }
        }
    }
}

/// The room was deleted, and its number is used again, after its state was read.
#[pollster::test]
async fn the_state_and_the_permit_are_of_one_generation() {
    let mut rooms = MockRoomRepository::new();
    let mut states = [(5000, 5), (1, 7)].into_iter();
    rooms.expect_read_state().times(2).returning(move |_, _| {
        let (newest, rules) = states.next().unwrap();
        Ok(RoomState {
            rev: crate::Rev::START,
            read: ReadState {
                newest: seq(newest),
                read: Seq::START,
            },
            rules: RulesNumber::new(rules),
        })
    });
    let mut directory = MockRoomDirectory::new();
    directory.expect_snapshot().times(2).returning(|_, _| {
        Ok(RoomSnapshot {
            rules: RulesNumber::new(7),
            generation: Generation::new(7),
            settings: None,
            owners: 0,
            users: vec![UserRecord::default()],
        })
    });
    let permits = Permits::new(Arc::new(directory), RoomKind::Open);
    let join = JoinRoom::new(Arc::new(rooms), permits);
    let identity = identity(RoomAccess::All);
    let joined = join.execute(&identity, room(1), None, None, || ()).await;
    let (_, joining) = joined.unwrap();
    assert_eq!(joining.state.newest, seq(1));
    assert_eq!(joining.permit.generation, Generation::new(7));
}

#[pollster::test]
async fn unavailable_storage_is_an_error_and_not_an_empty_room() {
    let mut rooms = MockRoomRepository::new();
    rooms
        .expect_read_state()
        .returning(|_, _| Err(StorageError::unavailable("gone")));
    let join = JoinRoom::new(Arc::new(rooms), open_rooms());
    assert!(matches!(
        join.execute(&identity(RoomAccess::All), room(1), None, None, || ())
            .await,
        Err(JoinRoomError::Storage(_))
    ));
}
