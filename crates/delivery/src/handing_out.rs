//! Handing out messages: what a room has released goes to its members, and what is missing is
//! read.

use std::sync::{Arc, MutexGuard};
use std::time::Instant;

use chat_domain::RoomId;
use tokio::task::yield_now;

use crate::batch::Batch;
use crate::claim::{Claim, Job};
use crate::lock;
use crate::member::{Handed, Member};
use crate::observer::HandedOut;
use crate::recipient::Recipient;
use crate::room::{Room, State};
use crate::rooms::Rooms;
use crate::unfinished::UnfinishedOnPanic;

/// In a room with at most this many members, messages are handed out by the task that
/// announces them.
const FEW_MEMBERS: usize = 32;

impl<R: Recipient> Rooms<R> {
    /// Changes a room's state, then hands out what can be released.
    pub(crate) fn advance(&self, room_id: RoomId, change: impl FnOnce(&mut State<R>)) {
        if let Some(room) = self.find(room_id) {
            let mut state = lock(&room.state);
            change(&mut state);
            self.hand_out(&room, state);
        }
    }

    /// Hands out what can be released, and reads what is missing.
    pub(crate) fn hand_out(&self, room: &Arc<Room<R>>, mut state: MutexGuard<'_, State<R>>) {
        if room.claimed.is_handing_out() || state.is_closed {
            return;
        }
        if state.order.has_next() && state.members.len() > FEW_MEMBERS {
            if let Some(claim) = Claim::take(room, &mut state, Job::HandOut) {
                state.walked = state.order.released();
                self.spawn(|this| this.hand_out_in_turns(room.clone(), claim));
            }
            return;
        }
        let _guard = UnfinishedOnPanic(room);
        while let Some((batch, announced)) = next_batch(&mut state) {
            for member in state.members.iter() {
                self.hand_to(room, member, &batch);
            }
            self.handed_out(&batch, announced);
        }
        self.resume_work(room, &mut state);
    }

    async fn hand_out_in_turns(self: Arc<Self>, room: Arc<Room<R>>, claim: Claim<R>) {
        // What is about to be released as well goes into the same batch.
        yield_now().await;
        loop {
            let (batch, announced, groups) = {
                let mut state = lock(&room.state);
                let Some((batch, announced)) = next_batch(&mut state) else {
                    claim.release(&mut state);
                    self.resume_work(&room, &mut state);
                    return;
                };
                state.walked = batch.start();
                (batch, announced, state.members.snapshot())
            };
            for group in groups {
                for member in group.iter() {
                    self.hand_to(&room, member, &batch);
                }
                yield_now().await;
            }
            self.handed_out(&batch, announced);
        }
    }

    fn handed_out(&self, batch: &Batch, announced: Option<Instant>) {
        self.observer.handed_out(HandedOut {
            messages: batch.len(),
            deliveries: batch.deliveries(),
            announced,
        });
    }

    fn hand_to(&self, room: &Arc<Room<R>>, member: &Arc<Member<R>>, batch: &Batch) {
        if member.hand_out(batch) == Handed::FellBehind {
            self.serve(room, member);
        }
    }

    /// Starts a task that serves a member from the log.
    pub(crate) fn serve(&self, room: &Arc<Room<R>>, member: &Arc<Member<R>>) {
        self.spawn(|this| this.serve_behind(room.clone(), member.clone()));
    }

    /// Starts the tasks for which the state has work and that do not run.
    pub(crate) fn resume_work(&self, room: &Arc<Room<R>>, state: &mut State<R>) {
        if state.is_closed {
            return;
        }
        if state.order.missing().is_some()
            && let Some(claim) = Claim::take(room, state, Job::FillGap)
        {
            let is_log_ahead = state.is_log_ahead;
            self.spawn(|this| this.fill_gap(room.clone(), claim, is_log_ahead));
        }
        if !state.order.is_waiting() {
            // What was announced is handed out, or was known before.
            state.announced = None;
        }
        self.resume_changes(room, state);
        for member in std::mem::take(&mut state.unserved) {
            self.serve(room, &member);
        }
    }
}

/// Releases the next messages; also returns when the first of them was announced.
fn next_batch<R: Recipient>(state: &mut State<R>) -> Option<(Batch, Option<Instant>)> {
    if state.is_closed {
        return None;
    }
    let members = state.members.len();
    let batch = state.order.next_batch(members)?;
    let announced = state.announced.take();
    // What waits behind a full batch or a gap was announced later.
    if state.order.is_waiting() {
        state.announced = Some(Instant::now());
    }
    Some((batch, announced))
}
