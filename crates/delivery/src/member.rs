//! One member of a room, and what it has been handed.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};

use bytes::Bytes;
use chat_domain::{Rev, Seq, UserId};

use crate::batch::Batch;
use crate::changes_batch::{ChangesBatch, Progress};
use crate::encoder::Frame;
use crate::lock;
use crate::read_pointers::{Update, Updates};
use crate::recipient::{LiveGive, Recipient};

/// For how many users a member that has fallen behind keeps read pointers; those of further
/// users are dropped, because a client that reads nothing must not cost unbounded memory.
const MAX_LATE_READS: usize = 1000;

/// A connection in a room, from one join to the next leave.
pub(crate) struct Member<R> {
    pub(crate) recipient: Arc<R>,
    place: Mutex<Place>,
}

/// What a member has been handed. Lock order: a room's state, then a member's place, then
/// the recipient.
struct Place {
    /// The last message that was handed to it.
    cursor: Seq,
    changes: Progress,
    /// The newest change that a message that it was handed shows. The log may show a change before
    /// it is the turn of that change, and nothing older may follow.
    shown: Rev,
    standing: Standing,
    /// Read pointers to be handed over once the member has the messages that they name. It
    /// is empty unless the member has fallen behind, or is about to be handed a batch.
    late_reads: BTreeMap<UserId, Update>,
}

/// How a member is served.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Standing {
    /// It is handed what is live.
    Live,
    /// A task serves it from the log.
    Behind,
    /// Nothing from the room is handed to it any more.
    Left,
}

/// What a member has as it enters a room.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Seam {
    /// The last message.
    pub(crate) seq: Seq,
    /// The changes.
    pub(crate) changes: Progress,
    /// The newest change that its connection has been shown.
    pub(crate) shown: Rev,
}

/// How a member enters a room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Start {
    /// It has everything that was released.
    Live,
    /// It has to be served from the log first.
    Behind,
}

/// The result of handing something live to a member.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub(crate) enum Handed {
    /// The member has it, or does not need it from here.
    Done,
    /// The member has just fallen behind: the caller starts a task that serves it.
    FellBehind,
}

/// What a task that serves a member from the log does next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NextRead {
    /// It reads on after the member's cursor.
    After(Seq),
    /// It reads the changes that the member lacks.
    Changes(Lacking),
    /// The member has caught up and is live again.
    CaughtUp,
    /// The member has left.
    Left,
}

/// Which changes a member that has fallen behind lacks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Lacking {
    /// What it has.
    pub(crate) from: Progress,
    /// The last message that it has.
    pub(crate) cursor: Seq,
    /// A read that did not see this change is not fresh enough.
    pub(crate) shown: Rev,
}

/// The error for a member that has left the room.
pub(crate) struct HasLeft;

impl<R: Recipient> Member<R> {
    /// Creates a member that has everything up to the seam.
    pub(crate) fn enter(recipient: Arc<R>, seam: Seam, start: Start) -> Self {
        let standing = match start {
            Start::Live => Standing::Live,
            Start::Behind => Standing::Behind,
        };
        Self {
            recipient,
            place: Mutex::new(Place {
                cursor: seam.seq,
                changes: seam.changes,
                shown: seam.shown,
                standing,
                late_reads: BTreeMap::new(),
            }),
        }
    }

    /// Ends the stay. When this returns, nothing from the room is handed to the member any
    /// more.
    pub(crate) fn leave(&self) {
        self.lock().standing = Standing::Left;
    }

    /// Returns whether the stay has ended.
    pub(crate) fn has_left(&self) -> bool {
        self.lock().standing == Standing::Left
    }

    fn lock(&self) -> MutexGuard<'_, Place> {
        lock(&self.place)
    }

    /// Hands over the part of a batch that comes after what the member has.
    pub(crate) fn hand_out(&self, batch: &Batch) -> Handed {
        let mut place = self.lock();
        // A member that was served from the log may be ahead of the hints.
        if place.standing != Standing::Live || batch.end() <= place.cursor {
            return Handed::Done;
        }
        // A task that panicked did not reach this member: only the log has what it lacks.
        if place.cursor < batch.start() {
            place.standing = Standing::Behind;
            return Handed::FellBehind;
        }
        let frames = batch.after(place.cursor);
        match self.give_live(&mut place, &frames) {
            Handed::Done => {
                batch.delivered_after(place.cursor);
                place.cursor = batch.end();
                place.shown = place.shown.max(batch.shown());
                self.give_late_reads(&mut place)
            }
            Handed::FellBehind => Handed::FellBehind,
        }
    }

    /// Hands over a message that the member missed, unless it has it.
    ///
    /// # Errors
    /// [`HasLeft`].
    pub(crate) fn give(&self, seq: Seq, frame: Frame) -> Result<(), HasLeft> {
        let mut place = self.staying()?;
        if seq > place.cursor {
            self.recipient.give(frame.bytes);
            place.cursor = seq;
            place.shown = place.shown.max(frame.rev);
        }
        Ok(())
    }

    /// Notes that the member has everything that is stored up to a position.
    pub(crate) fn pass(&self, complete_to: Seq) {
        let mut place = self.lock();
        place.cursor = place.cursor.max(complete_to);
    }

    /// Hands over the part of the changes that the member does not have.
    pub(crate) fn hand_out_message_changes(&self, batch: &ChangesBatch) -> Handed {
        let mut place = self.lock();
        if place.standing != Standing::Live || batch.reach <= place.changes.reach {
            return Handed::Done;
        }
        let follows = place.changes.reach >= batch.after() && place.cursor >= batch.newest_seq();
        // What the read did not see, it may show in an older state.
        if !follows || batch.seen < place.shown {
            place.standing = Standing::Behind;
            return Handed::FellBehind;
        }
        if let Some(frames) = batch.frames_after(place.changes)
            && self.give_live(&mut place, &frames) == Handed::FellBehind
        {
            return Handed::FellBehind;
        }
        place.changes.pass(batch);
        Handed::Done
    }

    /// Hands over a change that the member missed, unless it has it.
    ///
    /// # Errors
    /// [`HasLeft`].
    pub(crate) fn give_change(&self, rev: Rev, frame: Bytes) -> Result<(), HasLeft> {
        let mut place = self.staying()?;
        if rev > place.changes.reach {
            self.recipient.give(frame);
            place.changes.reach = rev;
        }
        Ok(())
    }

    /// Notes that the member has the changes of a batch.
    pub(crate) fn pass_changes(&self, batch: &ChangesBatch) {
        self.lock().changes.pass(batch);
    }

    /// Returns the newest change that the member has been shown.
    pub(crate) fn shown(&self) -> Rev {
        let place = self.lock();
        place.shown.max(place.changes.reach)
    }

    /// Notes that the connection has been shown a change.
    pub(crate) fn was_shown(&self, rev: Rev) {
        let mut place = self.lock();
        place.shown = place.shown.max(rev);
    }

    /// Returns what is left to do for a member that has fallen behind. If it has everything
    /// that was released, it is live again from here on.
    pub(crate) fn catch_up(&self, released: Seq, handed: Rev) -> NextRead {
        let Ok(mut place) = self.staying() else {
            return NextRead::Left;
        };
        if place.cursor < released {
            return NextRead::After(place.cursor);
        }
        if place.changes.reach < handed {
            return NextRead::Changes(Lacking {
                from: place.changes,
                cursor: place.cursor,
                shown: place.shown,
            });
        }
        place.standing = Standing::Live;
        match self.give_late_reads(&mut place) {
            Handed::Done => NextRead::CaughtUp,
            Handed::FellBehind => NextRead::After(place.cursor),
        }
    }

    /// Hands over read pointers, now or once the member has the messages that they name.
    pub(crate) fn hand_out_reads(&self, updates: &Updates) -> Handed {
        let mut place = self.lock();
        match place.standing {
            Standing::Left => Handed::Done,
            Standing::Live if updates.newest <= place.cursor => {
                let handed = self.give_live(&mut place, &updates.frames);
                if handed == Handed::FellBehind {
                    place.postpone(updates);
                }
                handed
            }
            Standing::Live | Standing::Behind => {
                place.postpone(updates);
                Handed::Done
            }
        }
    }

    /// Hands over changes of the room's rules, or who is typing, if the member keeps up.
    /// Otherwise it misses them: they say what a client can ask for or may miss, and a client
    /// that reads too slowly must not cost memory for them. What rules forbid is enforced
    /// without them.
    pub(crate) fn hand_out_changes(&self, frames: &Bytes) {
        let place = self.lock();
        if place.standing == Standing::Live {
            // Full: it misses them as well, and falls behind with the next message.
            let _: LiveGive = self.recipient.give_live(frames);
        }
    }

    fn give_late_reads(&self, place: &mut Place) -> Handed {
        if place.late_reads.is_empty() {
            return Handed::Done;
        }
        let cursor = place.cursor;
        let due: Vec<_> = place
            .late_reads
            .extract_if(.., |_, update| update.seq <= cursor)
            .collect();
        let mut due = due.into_iter();
        while let Some((user_id, update)) = due.next() {
            if self.give_live(place, &update.frame) == Handed::FellBehind {
                place.late_reads.insert(user_id, update);
                place.late_reads.extend(due);
                return Handed::FellBehind;
            }
        }
        Handed::Done
    }

    fn give_live(&self, place: &mut Place, frames: &Bytes) -> Handed {
        match self.recipient.give_live(frames) {
            LiveGive::Taken => Handed::Done,
            LiveGive::Full => {
                place.standing = Standing::Behind;
                Handed::FellBehind
            }
        }
    }

    fn staying(&self) -> Result<MutexGuard<'_, Place>, HasLeft> {
        let place = self.lock();
        match place.standing {
            Standing::Left => Err(HasLeft),
            Standing::Live | Standing::Behind => Ok(place),
        }
    }
}

impl Place {
    /// Keeps read pointers for later: the newest of each user.
    fn postpone(&mut self, updates: &Updates) {
        for (user_id, update) in &updates.list {
            let is_full = self.late_reads.len() >= MAX_LATE_READS;
            match self.late_reads.get_mut(user_id) {
                Some(late) if late.seq >= update.seq => {}
                Some(late) => *late = update.clone(),
                None if is_full => {}
                None => {
                    self.late_reads.insert(user_id.clone(), update.clone());
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
