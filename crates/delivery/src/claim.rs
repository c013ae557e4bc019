//! The guards that clear the flags which a room's tasks set.

use std::sync::Arc;

use crate::lock;
use crate::recipient::Recipient;
use crate::room::{Job, Room, State};

/// The right to do a job in a room. It ends when this is dropped, even if the task panics:
/// a room must never wait for a task that no longer exists.
pub(crate) struct Claim<R: Recipient> {
    room: Option<Arc<Room<R>>>,
    job: Job,
}

impl<R: Recipient> Claim<R> {
    /// Claims a job; `None` if a task already does it.
    pub(crate) fn take(room: &Arc<Room<R>>, state: &mut State<R>, job: Job) -> Option<Self> {
        let is_claimed = std::mem::replace(state.claimed.flag(job), true);
        (!is_claimed).then(|| Self {
            room: Some(room.clone()),
            job,
        })
    }

    /// Gives the job up under the lock that showed that nothing is left to do: whatever
    /// comes next claims it anew.
    pub(crate) fn release(mut self, state: &mut State<R>) {
        self.room = None;
        *state.claimed.flag(self.job) = false;
    }
}

impl<R: Recipient> Drop for Claim<R> {
    fn drop(&mut self) {
        if let Some(room) = &self.room {
            *lock(&room.state).claimed.flag(self.job) = false;
        }
    }
}
