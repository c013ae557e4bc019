//! Joining a room: the replay of what was missed, the resume point, and going live.

use std::sync::Arc;

use bytes::Bytes;
use chat_domain::use_cases::{CatchUp, Changed, JoinRoom, Joining, OwnReactions};
use chat_domain::{
    Generation, Membership, Message, Rev, RoomId, Seq, StorageError, UserId, one_line,
};

use crate::catch_up::PAGE;
use crate::changes_batch::{ChangesBatch, Part, Progress};
use crate::encoder::Frame;
use crate::lock;
use crate::member::{HasLeft, Member, Seam, Start};
use crate::observer::Why;
use crate::recipient::{Gone, Recipient};
use crate::room::Room;
use crate::rooms::Rooms;

/// A connection that is about to join a room, which stays active meanwhile.
pub struct Entrance<'a, R: Recipient> {
    rooms: &'a Rooms<R>,
    room: Arc<Room<R>>,
    /// What the replay is handed to. It has left if the join was ended.
    entering: Arc<Member<R>>,
}

/// Where a connection joined.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Admission {
    /// The resume point ("seam"): every message up to it was replayed, precedes the join,
    /// or is in `missed`. The first message after the join is the next one.
    pub seam: Seq,
    /// The messages that the client asked for and has to read itself.
    pub missed: Option<MissedRange>,
    /// Every change up to this one was replayed, precedes the join, or is in `changes_missed`.
    pub rev: Rev,
    /// The changes that the client asked for and has to read itself: the first and the last.
    pub changes_missed: Option<(Rev, Rev)>,
}

/// A range of positions, both included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MissedRange {
    /// The first position.
    pub from: Seq,
    /// The last position, which equals the resume point.
    pub to: Seq,
}

/// Which changes a connection has when it is admitted.
struct ReplayedChanges {
    progress: Progress,
    /// Those that the client has to read itself.
    missed: Option<(Rev, Rev)>,
}

/// Why a connection was not admitted. It is not in the room then.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotAdmitted {
    /// The client has disconnected.
    #[error(transparent)]
    Gone(#[from] Gone),
    /// It was [excluded](Rooms::exclude) while it was joining, and has its farewell; or it
    /// has opened another entrance to the room meanwhile.
    #[error("the join was ended")]
    Excluded,
    /// The room is of another generation than the permit, or has members of an earlier one that
    /// have to be [excluded](Rooms::exclude_closed) first.
    #[error("the room was deleted meanwhile")]
    Outdated,
}

impl From<HasLeft> for NotAdmitted {
    fn from(_: HasLeft) -> Self {
        Self::Excluded
    }
}

impl<R: Recipient> Rooms<R> {
    /// Makes the room active for a connection that is about to join, which can be excluded
    /// from here on. This must precede the read of the room's newest position and of its
    /// rules, so that nothing that is stored from then on is missed.
    pub fn open(&self, room_id: RoomId, recipient: &Arc<R>) -> Entrance<'_, R> {
        let (room, entering) = self.activate(room_id, recipient.clone());
        Entrance {
            rooms: self,
            room,
            entering,
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
    /// [`NotAdmitted`]. A connection that was excluded while its replay waits for its client
    /// or for the log learns of it when that wait ends.
    pub async fn admit(
        self,
        membership: &mut Membership,
        joining: Joining,
        welcome: impl FnOnce(Admission) -> Bytes,
    ) -> Result<(), NotAdmitted> {
        let permit = joining.permit;
        let admitted = self.try_admit(membership, joining, welcome).await;
        match admitted {
            Ok(()) => membership.join(self.room.id, permit),
            Err(_) => membership.leave(self.room.id),
        }
        admitted
    }

    async fn try_admit(
        &self,
        membership: &mut Membership,
        joining: Joining,
        welcome: impl FnOnce(Admission) -> Bytes,
    ) -> Result<(), NotAdmitted> {
        let newest = joining.state.newest;
        let generation = joining.permit.generation;
        self.start(newest, joining.rev, generation)?;
        if joining.changed.is_some() || matches!(joining.catch_up, CatchUp::Replay { .. }) {
            // Joining again is leaving and joining: nothing live comes in between.
            self.end_earlier_stay();
            membership.leave(self.room.id);
        }
        let mut changes = ReplayedChanges {
            progress: Progress::at(joining.rev),
            missed: None,
        };
        if let Some(changed) = &joining.changed {
            changes = self
                .replay_changes(&joining.user_id, changed, joining.rev, generation)
                .await?;
        }
        let (cursor, missed) = match joining.catch_up {
            CatchUp::None => (None, None),
            CatchUp::Missed { after } => (None, Some(after)),
            CatchUp::Replay { after } => {
                let target = self.released().max(newest).max(after);
                let user_id = &joining.user_id;
                let replayed = self.replay(user_id, after, target, generation).await?;
                let rest = (replayed < target).then_some(replayed);
                (Some(replayed.max(target)), rest)
            }
        };
        self.enter(generation, newest, cursor, missed, changes, welcome)
    }

    /// Gives the connection the messages after `cursor` up to `target`, or as far as the
    /// log can be read, as the client takes them. The user's own reactions are marked. Returns
    /// how far it came.
    async fn replay(
        &self,
        user_id: &UserId,
        mut cursor: Seq,
        target: Seq,
        generation: Generation,
    ) -> Result<Seq, NotAdmitted> {
        let recipient = &self.entering.recipient;
        while cursor < target {
            recipient.space().await?;
            if self.entering.has_left() {
                return Err(NotAdmitted::Excluded);
            }
            let read = self.rooms.messages.after(self.room.id, cursor, PAGE);
            let page = match read.await {
                Ok(page) => page,
                Err(error) => {
                    tracing::debug!(error = %one_line(&error), room = %self.room.id, "a replay ends early");
                    break;
                }
            };
            self.check(page.generation, generation)?;
            let complete_to = page.complete_to();
            if complete_to <= cursor {
                tracing::debug!(room = %self.room.id, "a replay ends early at a stale read");
                break;
            }
            let own = match self.own_reactions(user_id, page.messages.iter()).await {
                Ok(own) => own,
                Err(error) => {
                    tracing::debug!(error = %one_line(&error), room = %self.room.id, "a replay ends early");
                    break;
                }
            };
            let count = page.messages.len();
            for message in page.messages {
                recipient.space().await?;
                let seq = message.seq;
                let frame = Frame::logged(message, own.to(seq), &*self.rooms.encoder);
                self.entering.give(seq, frame)?;
            }
            self.rooms.observer.caught_up(Why::Replay, count);
            cursor = complete_to;
        }
        Ok(cursor)
    }

    /// Replays what changed up to `to`.
    async fn replay_changes(
        &self,
        user_id: &UserId,
        changed: &Changed,
        to: Rev,
        generation: Generation,
    ) -> Result<ReplayedChanges, NotAdmitted> {
        let missed_after = |after: Rev| ReplayedChanges {
            progress: Progress::at(to),
            missed: Some((after.next(), to)),
        };
        // As many changes as that may be of few messages.
        let is_counted = to.get().saturating_sub(changed.after.get()) > JoinRoom::REPLAY_LIMIT;
        let mut from = Progress::at(changed.after);
        for gives in [false, true] {
            let mut count = 0;
            from = Progress::at(changed.after);
            while from.reach < to && (gives || is_counted) {
                let recipient = &self.entering.recipient;
                recipient.space().await?;
                if self.entering.has_left() {
                    return Err(NotAdmitted::Excluded);
                }
                let up_to = changed.up_to;
                let changes = &self.rooms.changes;
                let read = changes.changed_after(self.room.id, from.reach, Some(up_to), PAGE);
                let page = match read.await {
                    Ok(page) => page,
                    Err(error) => {
                        tracing::debug!(error = %one_line(&error), room = %self.room.id, "a replay of changes ends early");
                        return Ok(missed_after(from.reach));
                    }
                };
                self.check(page.generation, generation)?;
                let part = Part {
                    from,
                    released: up_to,
                    // Later changes follow the welcome.
                    to: Some(to),
                };
                let changed_messages = page.messages.iter().map(|changed| &changed.message);
                let own = match gives {
                    true => self.own_reactions(user_id, changed_messages).await,
                    false => Ok(OwnReactions::of_no_user()),
                };
                let own = match own {
                    Ok(own) => own,
                    Err(error) => {
                        tracing::debug!(error = %one_line(&error), room = %self.room.id, "a replay of changes ends early");
                        return Ok(missed_after(from.reach));
                    }
                };
                let encoder = self.rooms.encoder.clone();
                let batch = ChangesBatch::new(self.room.id, part, page, own, encoder);
                // So it may show what the client has in an older state.
                if batch.seen < to {
                    tracing::debug!(room = %self.room.id, "a replay of changes ends early at a stale read");
                    return Ok(missed_after(from.reach));
                }
                count += batch.len() as u64;
                if count > JoinRoom::REPLAY_LIMIT && !gives {
                    return Ok(missed_after(changed.after));
                }
                if gives {
                    for (rev, frame) in batch.each_after(from) {
                        recipient.space().await?;
                        self.entering.give_change(rev, frame)?;
                    }
                }
                from.pass(&batch);
            }
        }
        // Of messages that the client did not have, later changes may precede these.
        let progress = from.up_to(to);
        Ok(ReplayedChanges {
            progress,
            missed: None,
        })
    }

    /// Reads which reactions to messages of a replay are the user's.
    async fn own_reactions(
        &self,
        user_id: &UserId,
        messages: impl Iterator<Item = &Message>,
    ) -> Result<OwnReactions, StorageError> {
        OwnReactions::read(&*self.rooms.changes, self.room.id, user_id, messages).await
    }

    /// Lets the connection in after `cursor`, or after the newest known position.
    fn enter(
        &self,
        generation: Generation,
        newest: Seq,
        cursor: Option<Seq>,
        missed_after: Option<Seq>,
        changes: ReplayedChanges,
        welcome: impl FnOnce(Admission) -> Bytes,
    ) -> Result<(), NotAdmitted> {
        let recipient = &self.entering.recipient;
        let mut state = lock(&self.room.state);
        if self.entering.has_left() {
            return Err(NotAdmitted::Excluded);
        }
        if !self.rooms.is_current(self.room.id, &mut state, generation) {
            return Err(NotAdmitted::Outdated);
        }
        let released = state.order.released();
        // What is stored may not be released yet.
        let seam = cursor.unwrap_or(newest.max(released));
        // Nothing of an earlier stay goes to it from here on.
        if let Some(earlier) = state.members.leave(recipient.id()) {
            self.entering.was_shown(earlier.shown());
        }
        recipient.give(welcome(Admission {
            seam,
            missed: missed_after.map(|after| MissedRange {
                from: after.next(),
                to: seam,
            }),
            rev: changes.progress.reach,
            changes_missed: changes.missed,
        }));
        // A connection that has ended would never leave.
        if recipient.is_gone() {
            return Err(Gone.into());
        }
        let start = match seam < released || changes.progress.reach < state.changes.handed() {
            true => Start::Behind,
            false => Start::Live,
        };
        let seam = Seam {
            seq: seam,
            changes: changes.progress,
            shown: self.entering.shown(),
        };
        let member = state.members.enter(recipient.clone(), seam, start);
        if start == Start::Behind {
            self.rooms.serve(&self.room, &member);
        }
        Ok(())
    }

    /// Ends an earlier stay of the connection.
    fn end_earlier_stay(&self) {
        let mut state = lock(&self.room.state);
        let id = self.entering.recipient.id();
        if let Some(earlier) = state.members.leave(id) {
            self.entering.was_shown(earlier.shown());
        }
        state.renew_if_left();
    }

    /// Checks that a page that was read, and the room, are of this generation.
    fn check(&self, page: Generation, generation: Generation) -> Result<(), NotAdmitted> {
        let mut state = lock(&self.room.state);
        match self.rooms.is_current(self.room.id, &mut state, page) && page == generation {
            true => Ok(()),
            false => Err(NotAdmitted::Outdated),
        }
    }

    fn released(&self) -> Seq {
        lock(&self.room.state).order.released()
    }

    fn start(&self, newest: Seq, rev: Rev, generation: Generation) -> Result<(), NotAdmitted> {
        let mut state = lock(&self.room.state);
        if !self.rooms.is_current(self.room.id, &mut state, generation) {
            return Err(NotAdmitted::Outdated);
        }
        state.order.start(newest);
        state.changes.start(rev);
        self.rooms.hand_out(&self.room, state);
        Ok(())
    }
}

impl<R: Recipient> Drop for Entrance<'_, R> {
    fn drop(&mut self) {
        self.rooms.deactivate(&self.room, &self.entering);
    }
}
