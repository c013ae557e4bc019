//! Reading the log for what is missing: in a member that has fallen behind, and in a room
//! that a hint did not reach.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use chat_domain::ports::ReadLimit;
use chat_domain::use_cases::OwnReactions;
use chat_domain::{Message, Seq, one_line};

use crate::changes_batch::{ChangesBatch, Part};
use crate::claim::Claim;
use crate::encoder::Frame;
use crate::lock;
use crate::member::{Lacking, Member, NextRead};
use crate::observer::Why;
use crate::recipient::Recipient;
use crate::room::Room;
use crate::rooms::Rooms;

/// How much is read for one member at once. It is held for the member until the client
/// takes it, so it is bounded in bytes.
pub(crate) const PAGE: ReadLimit = ReadLimit {
    messages: 100,
    bytes: 64 * 1024,
};
/// How much is read for a room at once.
const ROOM_PAGE: ReadLimit = ReadLimit {
    messages: 500,
    bytes: 1024 * 1024,
};
/// How long a member that has fallen behind waits when the log cannot be read.
const LOG_RETRY: Duration = Duration::from_millis(500);

impl<R: Recipient> Rooms<R> {
    /// Gives a member what it missed, as the client takes it, until it has caught up or is
    /// gone.
    pub(crate) async fn serve_behind(self: Arc<Self>, room: Arc<Room<R>>, member: Arc<Member<R>>) {
        let _lagging = Lagging::new(&self.behind);
        let unfinished = Unfinished {
            room: &room,
            member: &member,
            is_finished: false,
        };
        while member.recipient.space().await.is_ok() {
            let next = {
                let mut state = lock(&room.state);
                if state.is_closed {
                    break;
                }
                let released = state.order.released();
                match member.catch_up(released, state.changes.handed()) {
                    NextRead::After(cursor) => {
                        let missing = cursor..released;
                        let recent = state.order.recent(&missing, PAGE.messages);
                        Ok((missing, recent))
                    }
                    NextRead::Changes(lacking) => Err(lacking),
                    NextRead::CaughtUp | NextRead::Left => break,
                }
            };
            let (missing, recent) = match next {
                Ok(messages) => messages,
                Err(lacking) => match self.give_changes(&room, &member, lacking).await {
                    Ok(()) => continue,
                    Err(()) => break,
                },
            };
            let (frames, complete_to) = match recent {
                Some(recent) => known_page(recent, missing.end),
                None => match self.messages.after(room.id, missing.start, PAGE).await {
                    Ok(page) => {
                        let mut state = lock(&room.state);
                        if !self.is_current(room.id, &mut state, page.generation) {
                            break;
                        }
                        drop(state);
                        let complete_to = page.complete_to();
                        let frames = page.messages.into_iter();
                        let encode = |message: Message| {
                            (message.seq, Frame::logged(message, &[], &*self.encoder))
                        };
                        (frames.map(encode).collect(), complete_to)
                    }
                    Err(error) => {
                        tracing::debug!(error = %one_line(&error), room = %room.id, "the log cannot be read");
                        tokio::time::sleep(LOG_RETRY).await;
                        continue;
                    }
                },
            };
            if complete_to <= missing.start {
                // The read was not fresh enough.
                tokio::time::sleep(LOG_RETRY).await;
                continue;
            }
            let count = frames.len();
            if give(&member, frames).await.is_err() {
                break;
            }
            self.observer.caught_up(Why::Behind, count);
            member.pass(complete_to);
        }
        unfinished.finish();
    }

    /// Gives a member a page of changes that it lacks, as the client takes them.
    ///
    /// # Errors
    /// The member is not to be served any more.
    async fn give_changes(
        &self,
        room: &Room<R>,
        member: &Member<R>,
        lacking: Lacking,
    ) -> Result<(), ()> {
        let after = lacking.from.reach;
        let page = match self.changes.changed_after(room.id, after, None, PAGE).await {
            Ok(page) => page,
            Err(error) => {
                tracing::debug!(error = %one_line(&error), room = %room.id, "changes cannot be read");
                tokio::time::sleep(LOG_RETRY).await;
                return Ok(());
            }
        };
        if !self.is_current(room.id, &mut lock(&room.state), page.generation) {
            return Err(());
        }
        let part = Part {
            from: lacking.from,
            released: lacking.cursor,
            to: None,
        };
        let batch = ChangesBatch::new(
            room.id,
            part,
            page,
            OwnReactions::of_no_user(),
            self.encoder.clone(),
        );
        if batch.reach <= after || batch.seen < lacking.shown {
            // The read was not fresh enough.
            tokio::time::sleep(LOG_RETRY).await;
            return Ok(());
        }
        for (rev, frame) in batch.each_after(lacking.from) {
            member.recipient.space().await.map_err(|_| ())?;
            member.give_change(rev, frame).map_err(|_| ())?;
        }
        member.pass_changes(&batch);
        Ok(())
    }

    /// Reads the log until nothing is missing, or until it cannot be read: then the room
    /// stays unfinished, and is tried again after the next comparison with the log.
    pub(crate) async fn fill_gap(
        self: Arc<Self>,
        room: Arc<Room<R>>,
        claim: Claim<R>,
        is_log_ahead: bool,
    ) {
        let released = || lock(&room.state).order.released();
        let before = released();
        if !is_log_ahead && self.patience.wait().await {
            self.patience.waited(released() == before);
        }
        loop {
            let missing = {
                let mut state = lock(&room.state);
                match state.order.missing() {
                    Some(missing) if !state.is_idle() => missing,
                    _ => return claim.release(&mut state),
                }
            };
            let page = self.messages.after(room.id, missing.start, ROOM_PAGE).await;
            let mut state = lock(&room.state);
            match page {
                // The room was closed, and may have begun anew meanwhile.
                Ok(page) if !self.is_current(room.id, &mut state, page.generation) => {
                    return drop(claim);
                }
                Ok(page) if page.complete_to() > missing.start => {
                    state.is_log_ahead = page.has_more;
                    state.order.fill(missing.start, page, &*self.encoder);
                    self.hand_out(&room, state);
                }
                // The read was not fresh enough, or a hint was wrong.
                Ok(page) => {
                    state.order.forget_beyond(page.newest);
                    return drop(claim);
                }
                Err(error) => {
                    tracing::debug!(error = %one_line(&error), room = %room.id, "the log cannot be read");
                    return drop(claim);
                }
            }
        }
    }
}

/// A page of messages that the room still has, and the position up to which it is complete.
fn known_page(recent: Vec<(Seq, Frame)>, end: Seq) -> (Vec<(Seq, Frame)>, Seq) {
    let complete_to = recent.last().map_or(end, |(last, _)| *last);
    (recent, complete_to)
}

/// Gives a member messages, each when the client has taken enough of those before.
async fn give<R: Recipient>(member: &Member<R>, frames: Vec<(Seq, Frame)>) -> Result<(), ()> {
    for (seq, frame) in frames {
        member.recipient.space().await.map_err(|_| ())?;
        member.give(seq, frame).map_err(|_| ())?;
    }
    Ok(())
}

/// Counts a member that has fallen behind, while a task serves it.
struct Lagging<'a>(&'a AtomicUsize);

impl<'a> Lagging<'a> {
    fn new(count: &'a AtomicUsize) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(count)
    }
}

impl Drop for Lagging<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Returns a member to its room if the task that serves it ends early, by a panic: the next
/// comparison with the log starts another task.
struct Unfinished<'a, R: Recipient> {
    room: &'a Room<R>,
    member: &'a Arc<Member<R>>,
    is_finished: bool,
}

impl<R: Recipient> Unfinished<'_, R> {
    fn finish(mut self) {
        self.is_finished = true;
    }
}

impl<R: Recipient> Drop for Unfinished<'_, R> {
    fn drop(&mut self) {
        if !self.is_finished {
            lock(&self.room.state).unserved.push(self.member.clone());
            self.room.unfinished.add(self.room.id);
        }
    }
}
