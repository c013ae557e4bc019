//! Who is in a room, and what each has been given.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard};

use bytes::Bytes;
use chat_domain::{RoomId, Seq, UserId};
use socketioxide_core::Sid;

use super::reads::{self, LateReads};
use super::run::Run;
use crate::lock;
use crate::socket::connection::Connection;
use crate::socket::packet::Packet;

/// Who is in a room.
#[derive(Default)]
pub(super) struct Members {
    by_id: HashMap<Sid, Arc<Member>>,
    /// All of them, to be walked without the room's lock; made when it is needed after
    /// somebody has come or gone.
    all: Option<Arc<[Arc<Member>]>>,
}

/// Somebody who is in a room, for one stay.
pub(super) struct Member {
    pub(super) connection: Arc<Connection>,
    place: Mutex<Place>,
}

/// Where a member stands. Lock order: a room's state before a member's place, and that
/// before an outbox.
struct Place {
    /// The last message that was given to it.
    cursor: Seq,
    /// Served from the log, by a task, and not with what is live.
    is_behind: bool,
    has_left: bool,
    /// Who has read up to where, to be told when it has caught up.
    late_reads: LateReads,
}

/// Whether a member was given what is live.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shown {
    /// It was, or needs nothing from here.
    Well,
    /// It takes too little: from now on somebody has to serve it from the log.
    FellBehind,
}

/// The member has left: nothing of the room goes to it any more.
pub(super) struct HasLeft;

impl Members {
    pub(super) fn len(&self) -> usize {
        self.by_id.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.by_id.is_empty()
    }

    /// Somebody enters, who has been given everything up to the seam. An earlier stay
    /// of the same connection ends.
    pub(super) fn enter(&mut self, connection: Arc<Connection>, seam: Seq) {
        self.leave(connection.id);
        let id = connection.id;
        let place = Mutex::new(Place {
            cursor: seam,
            is_behind: false,
            has_left: false,
            late_reads: LateReads::default(),
        });
        self.by_id
            .insert(id, Arc::new(Member { connection, place }));
    }

    /// After this, nothing of the room goes to the connection.
    pub(super) fn leave(&mut self, id: Sid) {
        if let Some(member) = self.by_id.remove(&id) {
            member.lock().has_left = true;
        }
        self.all = None;
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Arc<Member>> {
        self.by_id.values()
    }

    /// Everybody who is in the room now.
    pub(super) fn all(&mut self) -> Arc<[Arc<Member>]> {
        let by_id = &self.by_id;
        self.all
            .get_or_insert_with(|| by_id.values().cloned().collect())
            .clone()
    }
}

impl Member {
    fn lock(&self) -> MutexGuard<'_, Place> {
        lock(&self.place)
    }

    /// Gives it what is live and comes after what it has.
    pub(super) fn show(&self, run: &Run) -> Shown {
        let mut place = self.lock();
        // One that was let in from the log may be ahead of the hints.
        if place.has_left || place.is_behind || run.last() <= place.cursor {
            return Shown::Well;
        }
        let (packets, frames) = run.after(place.cursor);
        if self.connection.session.outbox().push_live(packets, &frames) {
            place.cursor = run.last();
            return Shown::Well;
        }
        place.is_behind = true;
        Shown::FellBehind
    }

    /// Gives it a message that it missed, unless it has it.
    ///
    /// # Errors
    /// [`HasLeft`].
    pub(super) fn give(&self, seq: Seq, packet: Packet) -> Result<(), HasLeft> {
        let mut place = self.staying()?;
        if seq > place.cursor {
            self.connection.send([packet]);
            place.cursor = seq;
        }
        Ok(())
    }

    /// Notes that nothing is stored up to this position that it does not have.
    ///
    /// # Errors
    /// [`HasLeft`].
    pub(super) fn skip(&self, absent: Seq) -> Result<(), HasLeft> {
        let mut place = self.staying()?;
        place.cursor = absent.max(place.cursor);
        Ok(())
    }

    fn staying(&self) -> Result<MutexGuard<'_, Place>, HasLeft> {
        let place = self.lock();
        match place.has_left {
            true => Err(HasLeft),
            false => Ok(place),
        }
    }

    /// What it has, if that is not everything that was `released`; otherwise it is
    /// shown again what is live.
    ///
    /// # Errors
    /// [`HasLeft`].
    pub(super) fn catch_up(&self, room_id: RoomId, released: Seq) -> Result<Option<Seq>, HasLeft> {
        let mut place = self.staying()?;
        if place.cursor < released {
            return Ok(Some(place.cursor));
        }
        place.is_behind = false;
        self.tell_late(&mut place, room_id);
        Ok(None)
    }

    /// Tells it who has read up to where, now or when it has the message that this
    /// names.
    pub(super) fn tell_read(&self, packet: &Packet, user_id: &UserId, seq: Seq) {
        let mut place = self.lock();
        let has_seen = !place.is_behind && place.cursor >= seq;
        if !(has_seen && self.give_live(packet)) {
            place.late_reads.note(user_id, seq);
        }
    }

    /// Tells it who has read what it has now.
    pub(super) fn tell_late_reads(&self, room_id: RoomId) {
        let mut place = self.lock();
        if !place.is_behind {
            self.tell_late(&mut place, room_id);
        }
    }

    fn tell_late(&self, place: &mut Place, room_id: RoomId) {
        for (user_id, seq) in place.late_reads.take(place.cursor) {
            if !self.give_live(&reads::packet(room_id, &user_id, seq)) {
                place.late_reads.note(&user_id, seq);
            }
        }
    }

    fn give_live(&self, packet: &Packet) -> bool {
        let frame: &Bytes = packet.frame();
        let outbox = self.connection.session.outbox();
        outbox.push_live(std::slice::from_ref(packet), frame)
    }
}
