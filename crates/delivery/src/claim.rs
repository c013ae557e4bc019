//! The flags that a room's tasks set, and the guards that clear them.

use std::sync::Arc;

use crate::lock;
use crate::recipient::Recipient;
use crate::room::{Room, State};

/// A kind of task of which a room has at most one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Job {
    /// Reads missing messages from the log.
    FillGap,
    /// Hands released messages to many members.
    HandOut,
    /// Hands out read pointers, paced.
    PaceReads,
}

/// The jobs that have a task now.
#[derive(Debug, Default)]
pub(crate) struct Claimed {
    fill_gap: bool,
    hand_out: bool,
    pace_reads: bool,
}

impl Claimed {
    fn flag(&mut self, job: Job) -> &mut bool {
        match job {
            Job::FillGap => &mut self.fill_gap,
            Job::HandOut => &mut self.hand_out,
            Job::PaceReads => &mut self.pace_reads,
        }
    }

    /// Returns whether a task hands out messages.
    pub(crate) fn is_handing_out(&self) -> bool {
        self.hand_out
    }
}

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
