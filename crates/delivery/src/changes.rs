//! Changes of messages: the members receive the newest state of what has changed.
//!
//! Hints only say that something has changed. The log holds the newest state of every message,
//! by its latest change, so that is what is read and encoded, once for all members. What has
//! changed is handed out in rounds, the first at once and the next [`PAUSE`] after it. A round
//! hands out what had changed when it began, in as many pages as that takes, so that it contains
//! each message once: however often one message changes, each member receives it at most six
//! times within any second.

use std::sync::Arc;
use std::time::Duration;

use chat_domain::ports::ReadLimit;
use chat_domain::use_cases::OwnReactions;
use chat_domain::{Rev, one_line};
use tokio::task::yield_now;
use tokio::time::{Instant, sleep_until};

use crate::changes_batch::{ChangesBatch, Part, Progress};
use crate::claim::{Claim, Job};
use crate::lock;
use crate::member::Handed;
use crate::recipient::Recipient;
use crate::room::{Room, State};
use crate::rooms::Rooms;

/// The minimum time between two rounds of one room.
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
    handed: Option<Progress>,
    /// The newest change that is known to exist.
    newest: Rev,
}

impl MessageChanges {
    /// Begins after a change, unless it has begun.
    pub(crate) fn start(&mut self, rev: Rev) {
        self.handed.get_or_insert(Progress::at(rev));
        self.reaches(rev);
    }

    /// Notes that a change exists.
    pub(crate) fn reaches(&mut self, rev: Rev) {
        self.newest = self.newest.max(rev);
    }

    /// Returns up to which change all were handed out.
    pub(crate) fn handed(&self) -> Rev {
        self.handed.unwrap_or_default().reach
    }

    /// Returns what was handed out, if there is more.
    pub(crate) fn pending(&self) -> Option<Progress> {
        self.handed.filter(|handed| handed.reach < self.newest)
    }

    /// Notes that a batch is being handed out.
    fn pass(&mut self, batch: &ChangesBatch) {
        if let Some(handed) = &mut self.handed {
            handed.pass(batch);
        }
        self.reaches(batch.reach);
    }

    fn forget_beyond(&mut self, newest: Rev) {
        self.newest = self.handed().max(newest);
    }
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
        let (mut next, mut round) = (Instant::now(), None);
        loop {
            if round.is_none() {
                sleep_until(next).await;
                next = Instant::now() + PAUSE;
            }
            let from = {
                let mut state = lock(&room.state);
                match state.changes.pending() {
                    Some(from) if !state.is_idle() && !state.is_closed => from,
                    _ => return claim.release(&mut state),
                }
            };
            let read = self
                .changes
                .changed_after(room.id, from.reach, None, ROOM_PAGE);
            let page = match read.await {
                Ok(page) => page,
                Err(error) => {
                    tracing::debug!(error = %one_line(&error), room = %room.id, "changes cannot be read");
                    return drop(claim);
                }
            };
            let (batch, groups) = {
                let mut state = lock(&room.state);
                if !self.is_current(room.id, &mut state, page.generation)
                    || state.changes.handed() != from.reach
                {
                    return drop(claim);
                }
                if page.messages.is_empty() && page.newest <= from.reach {
                    // The read was not fresh enough, or a hint was wrong.
                    state.changes.forget_beyond(page.newest);
                    return drop(claim);
                }
                let part = Part {
                    from,
                    released: state.handed_out(&room),
                    to: round,
                };
                let batch = ChangesBatch::new(
                    room.id,
                    part,
                    page,
                    OwnReactions::of_no_user(),
                    self.encoder.clone(),
                );
                state.order.forget_recent(batch.newest_seq());
                state.changes.pass(&batch);
                (batch, state.members.snapshot())
            };
            let end = round.unwrap_or(batch.seen);
            round = (batch.has_more && batch.reach < end).then_some(end);
            for group in groups {
                for member in group.iter() {
                    if member.hand_out_message_changes(&batch) == Handed::FellBehind {
                        self.serve(&room, member);
                    }
                }
                yield_now().await;
            }
        }
    }
}
