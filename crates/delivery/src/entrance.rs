//! Joining a room: the replay of what was missed, the resume point, and going live.

use std::sync::Arc;

use bytes::Bytes;
use chat_domain::ports::RoomDelivery as _;
use chat_domain::use_cases::{CatchUp, Joining};
use chat_domain::{Membership, RoomId, Seq, one_line};

use crate::catch_up::PAGE;
use crate::lock;
use crate::member::Start;
use crate::observer::Why;
use crate::recipient::{Gone, Recipient};
use crate::room::Room;
use crate::rooms::Rooms;

/// A connection that is about to join a room, which stays active meanwhile.
pub struct Entrance<'a, R: Recipient> {
    rooms: &'a Rooms<R>,
    room: Arc<Room<R>>,
}

/// Where a connection joined.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Admission {
    /// The resume point ("seam"): every message up to it was replayed, precedes the join,
    /// or is in `missed`. The first message after the join is the next one.
    pub seam: Seq,
    /// The messages that the client asked for and has to read itself.
    pub missed: Option<MissedRange>,
}

/// A range of positions, both included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MissedRange {
    /// The first position.
    pub from: Seq,
    /// The last position, which equals the resume point.
    pub to: Seq,
}

impl<R: Recipient> Rooms<R> {
    /// Makes the room active for a connection that is about to join. This must precede the
    /// read of the room's newest position, so that nothing that is stored from then on is
    /// missed.
    pub fn open(&self, room_id: RoomId) -> Entrance<'_, R> {
        Entrance {
            rooms: self,
            room: self.activate(room_id),
        }
    }
}

impl<R: Recipient> Entrance<'_, R> {
    /// Admits the connection: replays what it missed, gives it what `welcome` makes of the
    /// admission, and then everything that follows. A connection that is already in the
    /// room leaves it and joins anew.
    ///
    /// The resume point is the newest position that was known when the replay began; what
    /// is stored meanwhile follows the welcome. If the log cannot be read to that position,
    /// the rest is reported as missed.
    ///
    /// # Errors
    /// [`Gone`] if the client has disconnected. The connection is not in the room then.
    pub async fn admit(
        self,
        recipient: &Arc<R>,
        membership: &mut Membership,
        joining: Joining,
        welcome: impl FnOnce(Admission) -> Bytes,
    ) -> Result<(), Gone> {
        let newest = joining.state.newest;
        self.start(newest);
        let (cursor, missed) = match joining.catch_up {
            CatchUp::None => (None, None),
            CatchUp::Missed { after } => (None, Some(after)),
            CatchUp::Replay { after } => {
                // Joining again is leaving and joining: nothing live comes in between.
                self.rooms.leave(self.room.id, recipient.id());
                membership.leave(self.room.id);
                let target = self.released().max(newest).max(after);
                let replayed = self.replay(recipient, after, target).await?;
                let rest = (replayed < target).then_some(replayed);
                (Some(replayed.max(target)), rest)
            }
        };
        if self.enter(recipient, newest, cursor, missed, welcome) {
            membership.join(self.room.id);
        }
        Ok(())
    }

    /// Gives the connection the messages after `cursor` up to `target`, or as far as the
    /// log can be read, as the client takes them. Returns how far it came.
    async fn replay(&self, recipient: &R, mut cursor: Seq, target: Seq) -> Result<Seq, Gone> {
        while cursor < target {
            recipient.space().await?;
            let read = self.rooms.messages.after(self.room.id, cursor, PAGE);
            let page = match read.await {
                Ok(page) => page,
                Err(error) => {
                    tracing::debug!(error = %one_line(&error), room = %self.room.id, "a replay ends early");
                    break;
                }
            };
            let complete_to = page.complete_to();
            if complete_to <= cursor {
                tracing::debug!(room = %self.room.id, "a replay ends early at a stale read");
                break;
            }
            let count = page.messages.len();
            for message in page.messages {
                recipient.space().await?;
                recipient.give(self.rooms.encoder.logged_message(message));
            }
            self.rooms.observer.caught_up(Why::Replay, count);
            cursor = complete_to;
        }
        Ok(cursor)
    }

    /// Lets the connection in after `cursor`, or after the newest known position. Returns
    /// whether it is in the room.
    fn enter(
        &self,
        recipient: &Arc<R>,
        newest: Seq,
        cursor: Option<Seq>,
        missed_after: Option<Seq>,
        welcome: impl FnOnce(Admission) -> Bytes,
    ) -> bool {
        let mut state = lock(&self.room.state);
        let released = state.order.released();
        // What is stored may not be released yet.
        let seam = cursor.unwrap_or(newest.max(released));
        // Nothing of an earlier stay goes to it from here on.
        state.members.leave(recipient.id());
        recipient.give(welcome(Admission {
            seam,
            missed: missed_after.map(|after| MissedRange {
                from: after.next(),
                to: seam,
            }),
        }));
        // A connection that has ended would never leave.
        if recipient.is_gone() {
            return false;
        }
        let start = match seam < released {
            true => Start::Behind,
            false => Start::Live,
        };
        let member = state.members.enter(recipient.clone(), seam, start);
        if start == Start::Behind {
            self.rooms.serve(&self.room, &member);
        }
        true
    }

    fn released(&self) -> Seq {
        lock(&self.room.state).order.released()
    }

    fn start(&self, newest: Seq) {
        let mut state = lock(&self.room.state);
        state.order.start(newest);
        self.rooms.hand_out(&self.room, state);
    }
}

impl<R: Recipient> Drop for Entrance<'_, R> {
    fn drop(&mut self) {
        self.rooms.deactivate(&self.room);
    }
}
