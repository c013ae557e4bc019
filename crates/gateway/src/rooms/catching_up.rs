//! Reading the log for those who miss something: a member that has fallen behind, and
//! a room that a hint did not reach.

use std::sync::Arc;
use std::time::Duration;

use super::members::Member;
use super::run::new_message;
use super::{PAGE, Room, Rooms};
use crate::lock;

/// Two commits and their hints may cross: a gap this young closes by itself.
const GAP_PATIENCE: Duration = Duration::from_millis(25);
/// How long a member that has fallen behind waits for a log that cannot be read.
const LOG_RETRY: Duration = Duration::from_millis(500);

impl Rooms {
    /// Gives a member what it missed, as it takes it, until it has caught up or is
    /// gone.
    pub(super) async fn serve_fallen(self: Arc<Self>, room: Arc<Room>, member: Arc<Member>) {
        let outbox = member.connection.session.outbox();
        while outbox.space().await.is_ok() {
            let (missed, recent) = {
                let state = lock(&room.state);
                let released = state.order.released();
                let Ok(Some(cursor)) = member.catch_up(room.id, released) else {
                    return;
                };
                let missed = cursor..released;
                let recent = state.order.recent(&missed, PAGE);
                (missed, recent)
            };
            let page = match recent {
                Some(recent) => recent,
                None => match self.messages.after(room.id, missed.start, PAGE).await {
                    Ok(page) => page
                        .into_iter()
                        .map(|message| (message.seq, new_message(&message.into())))
                        .collect(),
                    Err(error) => {
                        tracing::warn!(%error, room = %room.id, "the log cannot be read");
                        tokio::time::sleep(LOG_RETRY).await;
                        continue;
                    }
                },
            };
            // All of it had been stored before it was looked for: what is not there was
            // deleted.
            if page.is_empty() && member.skip(missed.end).is_err() {
                return;
            }
            for (seq, packet) in page {
                if outbox.space().await.is_err() || member.give(seq, packet).is_err() {
                    return;
                }
            }
        }
    }

    /// Reads the log until nothing is missing, or it cannot be read: then the next
    /// comparison tries again.
    pub(super) async fn fill_gap(self: Arc<Self>, room: Arc<Room>) {
        tokio::time::sleep(GAP_PATIENCE).await;
        loop {
            let missing = {
                let mut state = lock(&room.state);
                match state.order.missing() {
                    Some(missing) if !state.is_idle() => missing,
                    _ => {
                        state.is_reading = false;
                        return;
                    }
                }
            };
            let page = self.messages.after(room.id, missing.start, PAGE).await;
            let mut state = lock(&room.state);
            match page {
                Ok(page) => {
                    state.order.fill(missing.end, page);
                    self.show(&room, state);
                }
                Err(error) => {
                    state.is_reading = false;
                    tracing::warn!(%error, room = %room.id, "the log cannot be read");
                    return;
                }
            }
        }
    }
}
