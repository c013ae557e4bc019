//! Changes of messages: the members receive the newest state of what has changed.
//!
//! Hints only say that something has changed. The log holds the newest state of every message,
//! by its latest change, so that is what is read and encoded, once for all members. The first
//! change is handed out at once, and then one page per [`PAUSE`]: however often one message
//! changes within a second, each member receives at most six packets.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use chat_domain::ports::{ChangesPage, ReadLimit};
use chat_domain::use_cases::OwnReactions;
use chat_domain::{Rev, RoomId, Seq, one_line};
use tokio::task::yield_now;
use tokio::time::{Instant, sleep_until};

use crate::batch::join;
use crate::claim::{Claim, Job};
use crate::encoder::Encoder;
use crate::lock;
use crate::member::Handed;
use crate::recipient::Recipient;
use crate::room::{Room, State};
use crate::rooms::Rooms;

/// The minimum time between two pages of one room.
const PAUSE: Duration = Duration::from_millis(200);
/// How much is read for a room at once.
const ROOM_PAGE: ReadLimit = ReadLimit {
    messages: 500,
    bytes: 1024 * 1024,
};

/// How far a room's changes have come on this node.
#[derive(Default)]
pub(crate) struct MessageChanges {
    /// What was handed out; `None` until a connection joins.
    handed: Option<Rev>,
    /// The newest change that is known to exist.
    newest: Rev,
}

impl MessageChanges {
    /// Begins after a change, unless it has begun.
    pub(crate) fn start(&mut self, rev: Rev) {
        self.handed.get_or_insert(rev);
        self.reaches(rev);
    }

    /// Notes that a change exists.
    pub(crate) fn reaches(&mut self, rev: Rev) {
        self.newest = self.newest.max(rev);
    }

    /// Returns up to which change all were handed out.
    pub(crate) fn handed(&self) -> Rev {
        self.handed.unwrap_or_default()
    }

    /// Returns after which change some wait to be handed out, if any do.
    pub(crate) fn pending(&self) -> Option<Rev> {
        self.handed.filter(|handed| *handed < self.newest)
    }

    fn forget_beyond(&mut self, newest: Rev) {
        self.newest = self.handed().max(newest);
    }
}

/// Encoded changes, of messages that have been released.
pub(crate) struct ChangesBatch {
    /// It contains everything after this change.
    pub(crate) after: Rev,
    /// It contains everything up to this change.
    pub(crate) reach: Rev,
    changes: Vec<(Rev, Seq, Bytes)>,
    frames: Bytes,
    newest_seq: Seq,
}

impl ChangesBatch {
    /// Encodes what a reader that has everything up to `after`, and the messages up to
    /// `released`, may receive of a page, with these reactions marked as its own.
    pub(crate) fn encode(
        room_id: RoomId,
        (after, released): (Rev, Seq),
        page: ChangesPage,
        own: &OwnReactions,
        encoder: &dyn Encoder,
    ) -> Self {
        let (mut reach, mut blocked) = (after, None);
        let mut changes = Vec::new();
        for changed in page.messages {
            let (rev, seq) = (rev_of(&changed.message), changed.message.seq);
            if seq > released {
                // What precedes it was superseded, or is here.
                blocked = Rev::new(rev.get().saturating_sub(1));
                break;
            }
            reach = reach.max(rev);
            let is_merged = changed.previous > after;
            let frame = encoder.changed_message(room_id, changed, is_merged, own.to(seq));
            changes.push((rev, seq, frame));
        }
        reach = match blocked {
            Some(blocked) => reach.max(blocked),
            None if page.has_more => reach,
            None => reach.max(page.newest),
        };
        let frames: Vec<_> = changes.iter().map(|(_, _, frame)| frame.clone()).collect();
        Self {
            after,
            reach,
            frames: join(&frames),
            newest_seq: changes
                .iter()
                .map(|(_, seq, _)| *seq)
                .max()
                .unwrap_or_default(),
            changes,
        }
    }

    /// Returns the frames of the changes after this one; `None` without any.
    pub(crate) fn after(&self, rev: Rev) -> Option<Bytes> {
        if rev <= self.after {
            return (!self.changes.is_empty()).then(|| self.frames.clone());
        }
        let rest = self.changes.iter().filter(|(other, _, _)| *other > rev);
        let rest: Vec<_> = rest.map(|(_, _, frame)| frame.clone()).collect();
        (!rest.is_empty()).then(|| join(&rest))
    }

    /// Returns the last of the messages that changed.
    pub(crate) fn newest_seq(&self) -> Seq {
        self.newest_seq
    }

    /// Returns the changes with their numbers.
    pub(crate) fn into_frames(self) -> impl Iterator<Item = (Rev, Bytes)> {
        self.changes.into_iter().map(|(rev, _, frame)| (rev, frame))
    }
}

/// Returns the number of a message's latest change.
pub(crate) fn rev_of(message: &chat_domain::Message) -> Rev {
    message
        .changes
        .as_ref()
        .map_or(Rev::START, |changes| changes.rev)
}

impl<R: Recipient> Rooms<R> {
    /// Starts the task that hands out changes, if any wait.
    pub(crate) fn resume_changes(&self, room: &Arc<Room<R>>, state: &mut State<R>) {
        if state.changes.pending().is_some()
            && !state.is_closed
            && let Some(claim) = Claim::take(room, state, Job::HandOutMessageChanges)
        {
            self.spawn(|this| this.hand_out_message_changes(room.clone(), claim));
        }
    }

    async fn hand_out_message_changes(self: Arc<Self>, room: Arc<Room<R>>, claim: Claim<R>) {
        loop {
            let after = {
                let mut state = lock(&room.state);
                match state.changes.pending() {
                    Some(after) if !state.is_idle() && !state.is_closed => after,
                    _ => return claim.release(&mut state),
                }
            };
            let next = Instant::now() + PAUSE;
            let page = match self
                .changes
                .changed_after(room.id, after, None, ROOM_PAGE)
                .await
            {
                Ok(page) => page,
                Err(error) => {
                    tracing::debug!(error = %one_line(&error), room = %room.id, "changes cannot be read");
                    return drop(claim);
                }
            };
            let (batch, groups) = {
                let mut state = lock(&room.state);
                if !self.is_current(room.id, &mut state, page.generation)
                    || state.changes.handed() != after
                {
                    return drop(claim);
                }
                if page.messages.is_empty() && page.newest <= after {
                    // The read was not fresh enough, or a hint was wrong.
                    state.changes.forget_beyond(page.newest);
                    return drop(claim);
                }
                let released = state.order.released();
                let batch = ChangesBatch::encode(
                    room.id,
                    (after, released),
                    page,
                    &OwnReactions::of_no_user(),
                    &*self.encoder,
                );
                state.changes.handed = Some(batch.reach);
                state.changes.reaches(batch.reach);
                (batch, state.members.snapshot())
            };
            for group in groups {
                for member in group.iter() {
                    if member.hand_out_message_changes(&batch) == Handed::FellBehind {
                        self.serve(&room, member);
                    }
                }
                yield_now().await;
            }
            sleep_until(next).await;
        }
    }
}
