//! A connection joins a room.

use std::sync::Arc;

use super::Permits;
use crate::{
    AccessDenied, Action, Identity, Permit, ReadState, Rev, Role, RoomId, Seq, StorageError,
    UserId,
    ports::{AccessHook, NoAnswer, RoomRepository},
};

/// Decides whether a user may join a room, and how the connection catches up. It stores
/// nothing.
#[derive(Clone)]
pub struct JoinRoom {
    rooms: Arc<dyn RoomRepository>,
    permits: Permits,
    hook: Option<Arc<dyn AccessHook>>,
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
    /// The access hook does not let the user join. A connection that is in the room has to leave
    /// it, because to join again is to leave first.
    #[error("the access hook denies the room")]
    NotGranted,
    /// Only the access hook can let the user join. A connection that is in the room remains there.
    #[error(transparent)]
    Hook(#[from] NoAnswer),
}

/// What was read for a join.
enum Read {
    /// The user may join.
    Allowed(ReadState, Rev, Permit),
    /// The user has no membership: the access hook decides.
    MustAsk,
}

impl JoinRoom {
    /// How often the room's state is read because the room was deleted, and its number used
    /// again, meanwhile.
    const ATTEMPTS: usize = 3;
    /// The maximum number of messages that are replayed.
    pub const REPLAY_LIMIT: u64 = 1000;

    /// Creates the use case over this repository and these permits.
    pub fn new(rooms: Arc<dyn RoomRepository>, permits: Permits) -> Self {
        Self {
            rooms,
            permits,
            hook: None,
        }
    }

    /// Asks this hook about users that have [grants](Identity::grants), for rooms in which they
    /// have no membership.
    #[must_use]
    pub fn with_hook(self, hook: Arc<dyn AccessHook>) -> Self {
        Self {
            hook: Some(hook),
            ..self
        }
    }

    /// Decides how the user joins the room. If the client asks to catch up, `after` is the last
    /// message that it has, and `after_rev` the last change. Any room number can be joined, unless
    /// a rule forbids it: a room without messages is at [`Seq::START`]. Calls `enter` before the
    /// room's state and rules are read, so that no change is missed, and again after the access
    /// hook was asked. Nothing is done for a room that the token does not allow.
    ///
    /// # Errors
    /// [`JoinRoomError`].
    pub async fn execute<E>(
        &self,
        identity: &Identity,
        room_id: RoomId,
        after: Option<Seq>,
        after_rev: Option<Rev>,
        enter: impl Fn() -> E,
    ) -> Result<(E, Joining), JoinRoomError> {
        if !identity.may_join(room_id) {
            return Err(AccessDenied::NotFound.into());
        }
        let mut granted = None;
        let (entrance, (state, rev, permit)) = loop {
            let entrance = enter();
            match self.read(identity, room_id, granted).await? {
                Read::Allowed(state, rev, permit) => break (entrance, (state, rev, permit)),
                // Nothing is held while the hook is asked: the answer may take seconds.
                Read::MustAsk => drop(entrance),
            }
            granted = Some(self.ask(identity, room_id).await?);
        };
        if granted.is_none() {
            identity.end_grant(room_id);
        }
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

    /// Reads the room's state and what the user may do there, both of one generation. An earlier
    /// grant does not count: a connection that joins again asks again.
    async fn read(
        &self,
        identity: &Identity,
        room_id: RoomId,
        granted: Option<Role>,
    ) -> Result<Read, JoinRoomError> {
        for _ in 0..Self::ATTEMPTS {
            let state = self.rooms.read_state(room_id, &identity.user.id).await;
            let state = state.map_err(JoinRoomError::Storage)?;
            let permits = &self.permits;
            let permit = permits.at(identity, room_id, state.rules, granted).await;
            let permit = permit.map_err(JoinRoomError::Storage)?;
            if identity.grants.is_some() && awaits_hook(permit) {
                return Ok(Read::MustAsk);
            }
            permit.decide(Action::Read)?;
            // The permit was read after the state. Both are of one generation if it had begun.
            if permit.generation.has_begun(state.rules) {
                return Ok(Read::Allowed(state.read, state.rev, permit));
            }
        }
        let busy = StorageError::unavailable("the room is deleted again and again");
        Err(JoinRoomError::Storage(busy))
    }

    /// Asks the access hook, and keeps the role that it grants to the connection.
    async fn ask(&self, identity: &Identity, room_id: RoomId) -> Result<Role, JoinRoomError> {
        let (Some(hook), Some(grants)) = (&self.hook, &identity.grants) else {
            return Err(JoinRoomError::NotGranted);
        };
        let answer = hook.ask(&identity.user.id, room_id, grants.claims());
        let role = answer.await?.ok_or(JoinRoomError::NotGranted)?;
        // Before the room is entered: from then on, a change of its rules has the permit read.
        grants.grant(room_id, role);
        Ok(role)
    }
}

/// Returns whether nothing but the lack of membership keeps the user out. A room that is being
/// deleted, or from which the user is banned, does not exist for it whatever the hook says.
fn awaits_hook(permit: Permit) -> bool {
    let standing = permit.standing;
    standing.role.is_none() && !standing.is_banned && permit.generation.has_begun(permit.number)
}

#[cfg(test)]
mod tests;
