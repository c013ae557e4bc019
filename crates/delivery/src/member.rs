//! One member of a room, and what it has been handed.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};

use bytes::Bytes;
use chat_domain::{Rev, Seq, UserId};

use crate::batch::Batch;
use crate::changes::ChangesBatch;
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
    /// The last change that it has.
    rev: Rev,
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
    /// It reads the changes after this one; the member has the messages up to the position.
    ChangesAfter(Rev, Seq),
    /// The member has caught up and is live again.
    CaughtUp,
    /// The member has left.
    Left,
}

/// The error for a member that has left the room.
pub(crate) struct HasLeft;

impl<R: Recipient> Member<R> {
    /// Creates a member that has everything up to the cursor.
    pub(crate) fn enter(recipient: Arc<R>, (cursor, rev): (Seq, Rev), start: Start) -> Self {
        let standing = match start {
            Start::Live => Standing::Live,
            Start::Behind => Standing::Behind,
        };
        Self {
            recipient,
            place: Mutex::new(Place {
                cursor,
                rev,
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
                self.give_late_reads(&mut place)
            }
            Handed::FellBehind => Handed::FellBehind,
        }
    }

    /// Hands over a message that the member missed, unless it has it.
    ///
    /// # Errors
    /// [`HasLeft`].
    pub(crate) fn give(&self, seq: Seq, frame: Bytes) -> Result<(), HasLeft> {
        let mut place = self.staying()?;
        if seq > place.cursor {
            self.recipient.give(frame);
            place.cursor = seq;
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
        if place.standing != Standing::Live || batch.reach <= place.rev {
            return Handed::Done;
        }
        if place.rev < batch.after || place.cursor < batch.newest_seq() {
            place.standing = Standing::Behind;
            return Handed::FellBehind;
        }
        if let Some(frames) = batch.after(place.rev)
            && self.give_live(&mut place, &frames) == Handed::FellBehind
        {
            return Handed::FellBehind;
        }
        place.rev = batch.reach;
        Handed::Done
    }

    /// Hands over a change that the member missed, unless it has it.
    ///
    /// # Errors
    /// [`HasLeft`].
    pub(crate) fn give_change(&self, rev: Rev, frame: Bytes) -> Result<(), HasLeft> {
        let mut place = self.staying()?;
        if rev > place.rev {
            self.recipient.give(frame);
            place.rev = rev;
        }
        Ok(())
    }

    /// Notes that the member has every change up to one.
    pub(crate) fn pass_changes(&self, reach: Rev) {
        let mut place = self.lock();
        place.rev = place.rev.max(reach);
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
        if place.rev < handed {
            return NextRead::ChangesAfter(place.rev, place.cursor);
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

    /// Hands over changes of the room's rules if the member keeps up. Otherwise it misses
    /// them: they say what a client can ask for, and a client that reads too slowly must not
    /// cost memory for them. What they forbid is enforced without them.
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
mod tests {
    use chat_domain::{ConnectionId, RoomSequencer};

    use super::*;
    use crate::recipient::Gone;

    /// A recipient that records what it is given.
    #[derive(Default)]
    struct Recorder(Mutex<Vec<Bytes>>);

    impl Recipient for Recorder {
        fn id(&self) -> ConnectionId {
            ConnectionId::new(1)
        }

        fn give(&self, frames: Bytes) {
            lock(&self.0).push(frames);
        }

        fn give_live(&self, frames: &Bytes) -> LiveGive {
            self.give(frames.clone());
            LiveGive::Taken
        }

        async fn space(&self) -> Result<(), Gone> {
            Ok(())
        }

        fn is_gone(&self) -> bool {
            false
        }
    }

    fn seq(n: u64) -> Seq {
        Seq::new(n).unwrap()
    }

    fn enter(start: Start) -> Member<Recorder> {
        Member::enter(Arc::default(), (seq(4), Rev::START), start)
    }

    fn given(member: &Member<Recorder>) -> Vec<Bytes> {
        std::mem::take(&mut lock(&member.recipient.0))
    }

    fn frame(text: &'static str) -> Bytes {
        Bytes::from_static(text.as_bytes())
    }

    /// The messages 4 to 6.
    fn batch() -> Batch {
        let mut sequencer = RoomSequencer::start(seq(3), 9);
        for (n, text) in [(4, "4"), (5, "5"), (6, "6")] {
            sequencer.offer(seq(n), frame(text));
        }
        Batch::release(&mut sequencer).unwrap()
    }

    fn updates(at: u64, text: &'static str) -> Updates {
        let update = Update {
            seq: seq(at),
            frame: frame(text),
        };
        Updates {
            list: vec![(UserId::new("7").unwrap(), update)],
            frames: frame(text),
            newest: seq(at),
        }
    }

    /// Two tasks may serve a member after one of them panicked.
    #[test]
    fn a_member_is_not_given_a_message_that_it_has() {
        let member = enter(Start::Behind);
        for n in [4, 5, 5, 6] {
            assert!(member.give(seq(n), frame("x")).is_ok());
        }
        assert_eq!(given(&member).len(), 2);
    }

    #[test]
    fn a_batch_that_overlaps_what_a_member_has_is_handed_over_in_part() {
        let member = enter(Start::Live);
        for expected in [vec![frame("56")], Vec::new()] {
            assert_eq!(member.hand_out(&batch()), Handed::Done);
            assert_eq!(given(&member), expected);
        }
    }

    #[test]
    fn a_read_pointer_follows_the_batch_with_the_message_that_it_names() {
        let member = enter(Start::Live);
        assert_eq!(member.hand_out_reads(&updates(6, "read")), Handed::Done);
        assert!(given(&member).is_empty());
        assert_eq!(member.hand_out(&batch()), Handed::Done);
        assert_eq!(given(&member), [frame("56"), frame("read")]);
    }

    /// A room forgets users when there are very many, and may then hand out an old pointer.
    #[test]
    fn an_older_read_pointer_does_not_replace_a_newer_one_that_waits() {
        let member = enter(Start::Behind);
        for updates in [updates(3, "3"), updates(4, "4"), updates(2, "2")] {
            assert_eq!(member.hand_out_reads(&updates), Handed::Done);
        }
        assert!(given(&member).is_empty());
        assert_eq!(member.catch_up(seq(4), Rev::START), NextRead::CaughtUp);
        assert_eq!(given(&member), [frame("4")]);
    }
}
