//! A connection joins a room.

use std::sync::Arc;

use super::Permits;
use crate::{
    AccessDenied, Action, Identity, Permit, ReadState, Rev, RoomId, Seq, StorageError, UserId,
    ports::RoomRepository,
};

/// Decides whether a user may join a room, and how the connection catches up. It stores
/// nothing.
#[derive(Clone)]
pub struct JoinRoom {
    rooms: Arc<dyn RoomRepository>,
    permits: Permits,
}

/// A join that was allowed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Joining {
    /// The user that joins: in a replay, its own reactions are marked.
    pub user_id: UserId,
    /// How far the room has come, and how far this user has read it.
    pub state: ReadState,
    /// What the user may do in the room.
    pub permit: Permit,
    /// How the connection receives what it missed.
    pub catch_up: CatchUp,
    /// The number of the room's newest change.
    pub rev: Rev,
    /// The changes that the connection missed, if the client asks for them.
    pub changed: Option<Changed>,
}

/// What a client that asks for changes has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Changed {
    /// The last change that it has.
    pub after: Rev,
    /// The last message that it has.
    pub up_to: Seq,
}

/// How a connection that joins receives the messages that it missed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CatchUp {
    /// The client did not ask for any.
    None,
    /// The messages after this position are replayed before the connection goes live.
    Replay {
        /// The last message that the client has.
        after: Seq,
    },
    /// Too many were missed: the client reads the history after this position itself.
    Missed {
        /// The last message that the client has.
        after: Seq,
    },
}

/// Why a room cannot be joined.
#[derive(Debug, thiserror::Error)]
pub enum JoinRoomError {
    /// The user may not join the room.
    #[error(transparent)]
    Denied(#[from] AccessDenied),
    /// The room's state could not be read.
    #[error("the room cannot be read now")]
    Storage(#[source] StorageError),
}

impl JoinRoom {
    /// How often the room's state is read because the room was deleted, and its number used
    /// again, meanwhile.
    const ATTEMPTS: usize = 3;
    /// The maximum number of messages that are replayed.
    pub const REPLAY_LIMIT: u64 = 1000;

    /// Creates the use case over this repository and these permits.
    pub fn new(rooms: Arc<dyn RoomRepository>, permits: Permits) -> Self {
        Self { rooms, permits }
    }

    /// Decides how the user joins the room; `after` is the last message that the client
    /// has, if it asks to catch up, and `after_rev` the last change. Any room number can be joined, unless a rule forbids it: a
    /// room without messages is at [`Seq::START`]. Calls `enter` before the room's state and
    /// rules are read, so that no change is missed; nothing is done for a room that the token
    /// does not allow.
    ///
    /// # Errors
    /// [`JoinRoomError`].
    pub async fn execute<E>(
        &self,
        identity: &Identity,
        room_id: RoomId,
        after: Option<Seq>,
        after_rev: Option<Rev>,
        enter: impl FnOnce() -> E,
    ) -> Result<(E, Joining), JoinRoomError> {
        if !identity.may_join(room_id) {
            return Err(AccessDenied::NotFound.into());
        }
        let entrance = enter();
        let (state, rev, permit) = self.read(identity, room_id).await?;
        let catch_up = match after {
            None => CatchUp::None,
            Some(after) if state.newest.since(after) > Self::REPLAY_LIMIT => {
                CatchUp::Missed { after }
            }
            // Also if nothing was missed: more may be stored before the connection goes
            // live. A position beyond the newest is not one that the room has.
            Some(after) => CatchUp::Replay {
                after: after.min(state.newest),
            },
        };
        let joining = Joining {
            user_id: identity.user.id.clone(),
            state,
            permit,
            catch_up,
            rev,
            changed: after.zip(after_rev).map(|(up_to, after)| Changed {
                after: after.min(rev),
                up_to: up_to.min(state.newest),
            }),
        };
        Ok((entrance, joining))
    }

    /// Reads the room's state and what the user may do there, both of one generation.
    async fn read(
        &self,
        identity: &Identity,
        room_id: RoomId,
    ) -> Result<(ReadState, Rev, Permit), JoinRoomError> {
        for _ in 0..Self::ATTEMPTS {
            let state = self.rooms.read_state(room_id, &identity.user.id).await;
            let state = state.map_err(JoinRoomError::Storage)?;
            let permit = self.permits.at(identity, room_id, state.rules).await;
            let permit = permit.map_err(JoinRoomError::Storage)?;
            permit.decide(Action::Read)?;
            // The permit was read after the state. Both are of one generation if it had begun.
            if permit.generation.has_begun(state.rules) {
                return Ok((state.read, state.rev, permit));
            }
        }
        let busy = StorageError::unavailable("the room is deleted again and again");
        Err(JoinRoomError::Storage(busy))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ports::{
        MockRoomDirectory, MockRoomRepository, RoomSettings, RoomSnapshot, UserRecord,
    };
    use crate::{
        DisplayName, Generation, Metadata, Role, RoomAccess, RoomKind, RoomRules, RoomState,
        RulesNumber, Timestamp, Until, User,
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

    fn identity(rooms: RoomAccess) -> Identity {
        Identity {
            user: User {
                id: UserId::new("42").unwrap(),
                name: DisplayName::from_text("Ada"),
            },
            rooms,
            issued_at: None,
            expires_at: Timestamp::from_unix_millis(0),
            valid_until: Timestamp::from_unix_millis(0),
        }
    }

    /// Joins room 1, whose newest position is 5000, in a repository that is asked once.
    async fn join(identity: &Identity, after: Option<u64>) -> Joining {
        let mut rooms = MockRoomRepository::new();
        let read = ReadState {
            newest: seq(5000),
            read: seq(4998),
        };
        let state = RoomState {
            rev: crate::Rev::START,
            read,
            rules: RulesNumber::NONE,
        };
        rooms
            .expect_read_state()
            .once()
            .returning(move |_, _| Ok(state));
        let join = JoinRoom::new(Arc::new(rooms), open_rooms());
        let joined = join.execute(identity, room(1), after.map(seq), None, || ());
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
}
