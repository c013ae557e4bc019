//! The right of one task to do a job in a room, and the flags of all jobs.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

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
    /// Hands out changes of the room's rules.
    HandOutChanges,
    /// Hands out changes of messages, paced.
    HandOutMessageChanges,
    /// Hands out who is typing, paced.
    PaceTyping,
}

/// The jobs that have a task now. The flags are not part of the room's state, because a
/// claim may end while the state is locked: when the runtime has shut down, a task is
/// dropped where it is spawned.
#[derive(Debug, Default)]
pub(crate) struct Claimed {
    fill_gap: AtomicBool,
    hand_out: AtomicBool,
    pace_reads: AtomicBool,
    hand_out_changes: AtomicBool,
    hand_out_message_changes: AtomicBool,
    pace_typing: AtomicBool,
}

impl Claimed {
    fn flag(&self, job: Job) -> &AtomicBool {
        match job {
            Job::FillGap => &self.fill_gap,
            Job::HandOut => &self.hand_out,
            Job::PaceReads => &self.pace_reads,
            Job::HandOutChanges => &self.hand_out_changes,
            Job::HandOutMessageChanges => &self.hand_out_message_changes,
            Job::PaceTyping => &self.pace_typing,
        }
    }

    /// Returns whether a task hands out messages.
    pub(crate) fn is_handing_out(&self) -> bool {
        self.hand_out.load(Ordering::Acquire)
    }
}

/// The right to do a job in a room. It ends when this is dropped, even if the task panics:
/// a room must never wait for a task that no longer exists. Unless it was released, work is
/// left, and the room is visited after the next comparison with the log.
pub(crate) struct Claim<R: Recipient> {
    room: Arc<Room<R>>,
    job: Job,
    is_released: bool,
}

impl<R: Recipient> Claim<R> {
    /// Claims a job under the lock that showed that there is something to do; `None` if a
    /// task already does it.
    pub(crate) fn take(room: &Arc<Room<R>>, _: &mut State<R>, job: Job) -> Option<Self> {
        let is_claimed = room.claimed.flag(job).swap(true, Ordering::AcqRel);
        (!is_claimed).then(|| Self {
            room: room.clone(),
            job,
            is_released: false,
        })
    }

    /// Gives the job up under the lock that showed that nothing is left to do: whatever
    /// comes next claims it anew.
    pub(crate) fn release(mut self, _: &mut State<R>) {
        self.is_released = true;
    }
}

impl<R: Recipient> Drop for Claim<R> {
    fn drop(&mut self) {
        let flag = self.room.claimed.flag(self.job);
        flag.store(false, Ordering::Release);
        // After the flag, so that the visit can claim the job.
        if !self.is_released {
            self.room.unfinished.add(self.room.id);
        }
    }
}
