//! Who is in a room, and what each has been given.

use std::collections::HashMap;
use std::sync::Arc;

use chat_domain::{RoomId, RoomSequencer, Seq};
use socketioxide_core::Sid;

use super::Frame;
use super::reads::{self, LateReads};
use crate::socket::connection::Connection;
use crate::socket::outbox::Packet;

/// Who is in a room.
#[derive(Default)]
pub(super) struct Members {
    pub(super) by_id: HashMap<Sid, Member>,
    /// Those who have fallen behind just now, and have nobody who serves them yet.
    pub(super) fallen: Vec<Sid>,
}

/// Somebody who is in a room, for one stay.
pub(super) struct Member {
    pub(super) connection: Arc<Connection>,
    pub(super) stay: u64,
    /// The last message that was given to it.
    pub(super) cursor: Seq,
    /// Served from the log, by a task, and not from here.
    pub(super) is_behind: bool,
    /// Who has read up to where, to be told when it has caught up.
    pub(super) late_reads: LateReads,
}

impl Members {
    /// The member of this stay, if it has not left meanwhile.
    pub(super) fn staying(&mut self, id: Sid, stay: u64) -> Option<&mut Member> {
        self.by_id.get_mut(&id).filter(|member| member.stay == stay)
    }

    /// Sends everything that is next to everybody who keeps up; who does not has fallen
    /// behind.
    pub(super) fn show(&mut self, sequencer: &mut RoomSequencer<Frame>) {
        while let Some((seq, frame)) = sequencer.release() {
            for (id, member) in &mut self.by_id {
                // One that was let in from the log may be ahead of the hints.
                if member.is_behind || seq <= member.cursor {
                    continue;
                }
                if member.give_live(Packet::Event("newMessage", frame.clone())) {
                    member.cursor = seq;
                } else {
                    member.is_behind = true;
                    self.fallen.push(*id);
                }
            }
        }
    }
}

impl Member {
    /// Gives it a message from the log, unless it has it.
    pub(super) fn give(&mut self, seq: Seq, frame: Frame) {
        if seq > self.cursor {
            self.connection.send([Packet::Event("newMessage", frame)]);
            self.cursor = seq;
        }
    }

    /// Gives it what is live, if it keeps up; says whether it did.
    pub(super) fn give_live(&self, packet: Packet) -> bool {
        self.connection.session.outbox().push_live(packet)
    }

    /// Tells it who has read what it has now.
    pub(super) fn tell_late_reads(&mut self, room_id: RoomId) {
        for (user_id, seq) in self.late_reads.take(self.cursor) {
            if !self.give_live(reads::packet(room_id, &user_id, seq)) {
                self.late_reads.note(&user_id, seq);
            }
        }
    }
}
