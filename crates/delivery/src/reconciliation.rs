//! Reconciliation: comparing the active rooms with the log, so that a message is delivered
//! even if its hint was lost.

use std::sync::Arc;
use std::time::Duration;

use chat_domain::ports::{LogCursor, RoomPosition};
use chat_domain::{RoomId, StorageError, one_line};
use tokio::task::yield_now;
use tokio::time::MissedTickBehavior;

use crate::recipient::Recipient;
use crate::rooms::Rooms;
use crate::watching::ChangesListener;

/// How often active rooms are compared with the log. A message whose hint was lost is
/// delivered within a second: this, and the time to read it.
const RECONCILIATION_INTERVAL: Duration = Duration::from_millis(500);
/// How many rooms are compared in one query, and between two turns of other tasks.
const ROOMS_AT_ONCE: usize = 2000;

impl<R: Recipient> Rooms<R> {
    /// Compares the active rooms with the log, and tells the listener what has changed in any
    /// room. Runs until it is dropped.
    pub async fn reconcile(self: Arc<Self>, listener: Arc<dyn ChangesListener>) {
        let mut ticks = tokio::time::interval(RECONCILIATION_INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut cursor = None;
        loop {
            ticks.tick().await;
            match self.compare(cursor.clone(), &*listener).await {
                Ok(reached) => {
                    cursor = Some(reached);
                    self.resume_unfinished().await;
                }
                // What the cursor does not cover is compared next time.
                Err(error) => {
                    tracing::debug!(error = %one_line(&error), "rooms cannot be compared with the log");
                }
            }
        }
    }

    /// Notes what has changed in the log since the cursor. Returns the cursor for the next
    /// time.
    async fn compare(
        &self,
        cursor: Option<LogCursor>,
        listener: &dyn ChangesListener,
    ) -> Result<LogCursor, StorageError> {
        let changes = self.log.changed_since(cursor).await?;
        match &changes.rooms {
            Some(changed) => {
                for changed in changed.chunks(ROOMS_AT_ONCE) {
                    self.note(changed);
                    yield_now().await;
                }
            }
            // One that becomes active later reads its newest position itself.
            None => self.compare_rooms(&self.ids()).await?,
        }
        listener.changed(&changes);
        Ok(changes.cursor)
    }

    /// Compares each of these rooms with its log.
    ///
    /// # Errors
    /// The last one, after all rooms that can be compared were.
    async fn compare_rooms(&self, rooms: &[RoomId]) -> Result<(), StorageError> {
        let mut outcome = Ok(());
        for rooms in rooms.chunks(ROOMS_AT_ONCE) {
            match self.log.newest(rooms).await {
                Ok(newest) => self.note(&newest),
                Err(error) => outcome = Err(error),
            }
            yield_now().await;
        }
        outcome
    }

    fn note(&self, positions: &[RoomPosition]) {
        let mut is_behind = false;
        for position in positions {
            let room_id = position.room_id;
            self.advance(room_id, |state| {
                let generation = position.generation.unwrap_or(state.generation);
                if !self.is_current(room_id, state, generation) {
                    return;
                }
                is_behind |= state.order.reaches(position.newest);
                state.changes.reaches(position.rev);
                self.note_rules(room_id, state, position.rules, None);
            });
        }
        if is_behind {
            self.observer.found_difference();
        }
    }

    /// Resumes the work of unfinished rooms. What the room knew of its log may be forgotten
    /// after a read that was not fresh enough, and its log may not grow again.
    async fn resume_unfinished(&self) {
        let rooms = self.unfinished.take();
        let outcome = self.compare_rooms(&rooms).await;
        for room_id in rooms {
            if outcome.is_err() {
                self.unfinished.add(room_id);
            }
            self.advance(room_id, |_| ());
        }
    }
}
