//! Who may change which message, and what is announced.

use super::*;
use crate::{
    Access, DisplayName, Forbidden, MessageChanges, MessageId, NewMessage, Rev, Role, RoomKind,
    RoomRules, RulesNumber, Standing, Timestamp, Until, User, UserId,
    ports::{MadeChange, MockChangeRepository, MockRoomDirectory, MockRoomEvents, RoomSnapshot},
    use_cases::permits::tests::{room, snapshot},
};

/// Message 3 of room 1, which has changed once.
pub(in crate::use_cases) fn message(author: &str) -> Message {
    let message = NewMessage {
        extras: None,
        room_id: room(1),
        author: user(author),
        content: Content::new("hello").unwrap(),
        client_message_id: None,
        created_at: Timestamp::from_unix_millis(0),
        rules: RulesNumber::NONE,
    };
    Message {
        changes: Some(Box::new(MessageChanges {
            rev: Rev::new(9).unwrap(),
            edited_at: None,
            deleted_at: None,
            erased_at: None,
            reactions: Vec::new(),
        })),
        ..message.stored(MessageId::new(1), Seq::new(3).unwrap())
    }
}

fn user(id: &str) -> User {
    User {
        id: UserId::new(id).unwrap(),
        name: DisplayName::from_text("Ada"),
    }
}

fn permit(role: Option<Role>) -> Permit {
    Permit {
        number: RulesNumber::new(7),
        standing: Standing {
            role,
            ..Permit::OPEN.standing
        },
        ..Permit::OPEN
    }
}

fn react() -> UserEdit {
    UserEdit::React {
        key: ReactionKey::new("👍").unwrap(),
        on: true,
    }
}

fn edit() -> UserEdit {
    UserEdit::Edit(Content::new("bye").unwrap())
}

const AGAIN: Attempt = Attempt::Again { has_turn: false };

fn use_case(
    changes: MockChangeRepository,
    directory: MockRoomDirectory,
    events: MockRoomEvents,
) -> ChangeMessage {
    let permits = Permits::new(Arc::new(directory), RoomKind::Open);
    let encode: EncodeMessage = |message| message.content.as_str().into();
    ChangeMessage::new(Arc::new(changes), permits, Arc::new(events), encode)
}

/// User 42 changes message 3, which another user or it has written.
async fn change(
    mut changes: MockChangeRepository,
    events: MockRoomEvents,
    access: Access,
    author: &'static str,
    edit: UserEdit,
    attempt: Attempt,
) -> Result<StoredMessage, ChangeMessageError> {
    let asked = changes.expect_message();
    asked.returning(move |_, _| Ok(Some(message(author))));
    let user = user("42");
    let caller = Caller {
        user: &user,
        access,
    };
    use_case(changes, MockRoomDirectory::new(), events)
        .execute(caller, room(1), Seq::new(3).unwrap(), edit, attempt)
        .await
}

fn makes(is_new: bool) -> MockChangeRepository {
    let mut changes = MockChangeRepository::new();
    changes.expect_change().once().returning(move |change| {
        assert_eq!((change.room_id, change.seq.get()), (room(1), 3));
        assert_eq!(change.rules, RulesNumber::new(7));
        Ok(MadeChange {
            message: message("42"),
            is_new,
        })
    });
    changes
}

fn announced() -> MockRoomEvents {
    let mut events = MockRoomEvents::new();
    events
        .expect_announce()
        .once()
        .withf(|hint| {
            let rev = Rev::new(9).unwrap();
            (hint.room_id, &hint.entry) == (room(1), &RoomEntry::Changes { rev })
        })
        .return_const(());
    events
}

#[pollster::test]
async fn a_change_is_announced_once_it_is_made() {
    for (author, edit) in [
        ("42", edit()),
        ("42", UserEdit::Delete),
        ("7", react()),
        ("42", react()),
    ] {
        let access = Access::Joined(permit(None));
        let made = change(makes(true), announced(), access, author, edit, AGAIN).await;
        assert_eq!(made.unwrap().encoded(), "hello");
    }
}

#[pollster::test]
async fn what_is_already_so_succeeds_and_is_not_announced() {
    let access = Access::Joined(permit(None));
    let nothing = MockRoomEvents::new();
    let made = change(makes(false), nothing, access, "42", UserEdit::Delete, AGAIN).await;
    assert_eq!(made.unwrap().seq().get(), 3);
}

#[pollster::test]
async fn the_author_edits_and_moderators_delete_whatever_is_another_users() {
    for (role, edit, expected) in [
        (None, edit(), Some(Forbidden::Author)),
        (Some(Role::Owner), edit(), Some(Forbidden::Author)),
        (None, UserEdit::Delete, Some(Forbidden::Role)),
        (Some(Role::Member), UserEdit::Delete, Some(Forbidden::Role)),
        (Some(Role::Moderator), UserEdit::Delete, None),
        (Some(Role::Reader), react(), Some(Forbidden::Role)),
    ] {
        let access = Access::Joined(permit(role));
        let (changes, events) = match expected {
            Some(_) => (MockChangeRepository::new(), MockRoomEvents::new()),
            None => (makes(true), announced()),
        };
        let made = change(changes, events, access, "7", edit.clone(), AGAIN).await;
        let denied = match made {
            Ok(_) => None,
            Err(ChangeMessageError::Denied(AccessDenied::Forbidden(reason))) => Some(reason),
            Err(error) => panic!("{role:?} {edit:?}: {error}"),
        };
        assert_eq!(denied, expected, "{role:?} {edit:?}");
    }
}

/// A token may state any user.
#[pollster::test]
async fn nobody_is_the_author_of_what_erased_users_have_written() {
    let mut changes = MockChangeRepository::new();
    let asked = changes.expect_message();
    asked.returning(|_, _| Ok(Some(message("deleted"))));
    let use_case = use_case(changes, MockRoomDirectory::new(), MockRoomEvents::new());
    let user = user("deleted");
    let access = Access::Joined(permit(None));
    let caller = Caller {
        user: &user,
        access,
    };
    let made = use_case.execute(caller, room(1), Seq::new(3).unwrap(), edit(), AGAIN);
    let denied = AccessDenied::Forbidden(Forbidden::Author);
    assert!(matches!(made.await, Err(ChangeMessageError::Denied(reason)) if reason == denied));
}

#[pollster::test]
async fn what_an_old_permit_refuses_is_decided_again() {
    let muted = Permit {
        standing: Standing {
            muted: Some(Until::Lifted),
            ..Permit::OPEN.standing
        },
        ..Permit::OPEN
    };
    let frozen = Permit {
        rules: RoomRules {
            frozen: true,
            ..Permit::OPEN.rules
        },
        ..Permit::OPEN
    };
    for (permit, reason) in [
        (muted, Forbidden::Muted(Until::Lifted)),
        (frozen, Forbidden::Frozen),
    ] {
        for edit in [edit(), UserEdit::Delete, react()] {
            for attempt in [Attempt::First, AGAIN] {
                let (changes, events) = (MockChangeRepository::new(), MockRoomEvents::new());
                let access = Access::Joined(permit);
                let made = change(changes, events, access, "42", edit.clone(), attempt);
                match (attempt, made.await) {
                    (Attempt::First, Err(ChangeMessageError::Outdated)) => {}
                    (_, Err(ChangeMessageError::Denied(denied))) => {
                        assert_eq!(attempt, AGAIN);
                        assert_eq!(denied, AccessDenied::Forbidden(reason));
                    }
                    (_, outcome) => panic!("{outcome:?}"),
                }
            }
        }
    }
}

#[pollster::test]
async fn a_room_that_was_not_joined_is_not_read() {
    let (changes, events) = (MockChangeRepository::new(), MockRoomEvents::new());
    let made = change(changes, events, Access::NotJoined, "42", edit(), AGAIN).await;
    assert!(matches!(
        made,
        Err(ChangeMessageError::Denied(AccessDenied::NotInRoom))
    ));
}

#[pollster::test]
async fn what_storage_refuses_is_not_announced() {
    type Refusal = (fn() -> MessageChangeError, fn(&ChangeMessageError) -> bool);
    let refusals: [Refusal; 5] = [
        (
            || MessageChangeError::NotFound,
            |error| matches!(error, ChangeMessageError::NotFound),
        ),
        (
            || MessageChangeError::Deleted,
            |error| matches!(error, ChangeMessageError::Deleted),
        ),
        (
            || MessageChangeError::TooManyReactions,
            |error| matches!(error, ChangeMessageError::TooManyReactions),
        ),
        (
            || MessageChangeError::RulesChanged,
            |error| matches!(error, ChangeMessageError::Outdated),
        ),
        (
            || StorageError::outcome_unknown("broken").into(),
            |error| matches!(error, ChangeMessageError::Storage(_)),
        ),
    ];
    for (refusal, is_expected) in refusals {
        let mut changes = MockChangeRepository::new();
        let asked = changes.expect_change();
        asked.returning(move |_| Err(refusal()));
        let access = Access::Joined(permit(None));
        let made = change(changes, MockRoomEvents::new(), access, "42", react(), AGAIN).await;
        let error = made.unwrap_err();
        assert!(is_expected(&error), "{error:?}");
    }
}

fn asked_about(snapshot: fn() -> RoomSnapshot) -> MockRoomDirectory {
    let mut directory = MockRoomDirectory::new();
    let asked = directory.expect_snapshot();
    asked.returning(move |_, _| Ok(snapshot()));
    directory
}

#[pollster::test]
async fn a_change_of_the_product_is_made_again_when_the_rules_change() {
    let mut changes = MockChangeRepository::new();
    let mut attempts = 0;
    changes.expect_change().times(2).returning(move |change| {
        assert_eq!((change.by, change.rules), (None, RulesNumber::new(7)));
        attempts += 1;
        match attempts {
            1 => Err(MessageChangeError::RulesChanged),
            _ => Ok(MadeChange {
                message: message("42"),
                is_new: true,
            }),
        }
    });
    let directory = asked_about(|| snapshot(RoomKind::Private, Vec::new()));
    let changing = use_case(changes, directory, announced());
    let made = changing.execute_as_product(room(1), Seq::new(3).unwrap(), MessageEdit::Erase);
    assert_eq!(made.await.unwrap().seq().get(), 3);
}

#[pollster::test]
async fn the_product_changes_nothing_in_a_room_that_is_being_deleted() {
    let directory = asked_about(|| RoomSnapshot {
        generation: Generation::new(8),
        ..snapshot(RoomKind::Open, Vec::new())
    });
    let changing = use_case(
        MockChangeRepository::new(),
        directory,
        MockRoomEvents::new(),
    );
    let made = changing.execute_as_product(room(1), Seq::new(3).unwrap(), MessageEdit::Delete);
    assert!(matches!(
        made.await,
        Err(ChangeMessageError::Denied(AccessDenied::NotFound))
    ));
}
