//! The generation of a room: what becomes of a room here that is deleted, and whose number may be
//! used again.
//!
//! Everything that this node learns of a room states its generation. If that is later than the
//! generation of the room here, the room here was closed: nothing more is handed out, and its
//! members are excluded. Only then can connections join the room that has its number now.

use std::sync::Arc;

use bytes::Bytes;
use chat_domain::{ConnectionId, Generation, RoomId};

use crate::changes::MessageChanges;
use crate::lock;
use crate::order::Order;
use crate::read_pointers::ReadPointers;
use crate::recipient::Recipient;
use crate::room::State;
use crate::rooms::Rooms;
use crate::rules::Rules;
use crate::typing::Typing;

impl<R: Recipient> State<R> {
    /// Begins anew if the room was closed and has no member of the closed room left.
    pub(crate) fn renew_if_left(&mut self) {
        if self.is_closed && self.members.is_empty() {
            self.renew();
        }
    }

    fn renew(&mut self) {
        self.is_closed = false;
        self.order = Order::default();
        self.reads = ReadPointers::default();
        self.typing = Typing::default();
        self.rules = Rules::default();
        self.changes = MessageChanges::default();
        self.is_log_ahead = false;
        self.announced = None;
        self.unserved.clear();
    }
}

impl<R: Recipient> Rooms<R> {
    /// Returns whether something of this generation is of the room here, and may be handed out.
    /// If it is of a later one, the room here is closed.
    pub(crate) fn is_current(
        &self,
        room_id: RoomId,
        state: &mut State<R>,
        generation: Generation,
    ) -> bool {
        if generation > state.generation {
            state.generation = generation;
            match state.members.is_empty() {
                true => state.renew(),
                false => {
                    state.is_closed = true;
                    self.rules.room_closed(room_id);
                }
            }
        }
        generation == state.generation && !state.is_closed
    }

    /// Notes of which generation a room is. If it is a later one than that of the room here, the
    /// room here is closed: when this returns, nothing from it is handed to its members, which
    /// have to be [excluded](Self::exclude_closed). Returns whether it is the one of the room
    /// here.
    pub fn note_generation(&self, room_id: RoomId, generation: Generation) -> bool {
        self.find(room_id)
            .is_none_or(|room| self.is_current(room_id, &mut lock(&room.state), generation))
    }

    /// Returns the members of a room that was closed here: those that have to be
    /// [excluded](Self::exclude_closed).
    pub fn members_of_closed(&self, room_id: RoomId) -> Vec<Arc<R>> {
        let Some(room) = self.find(room_id) else {
            return Vec::new();
        };
        let groups = {
            let state = lock(&room.state);
            match state.is_closed {
                true => state.members.snapshot(),
                false => Vec::new(),
            }
        };
        let members = groups.iter().flat_map(|group| group.iter());
        members.map(|member| member.recipient.clone()).collect()
    }

    /// Excludes a connection as [`exclude`](Self::exclude) does, if the room was closed here and
    /// the connection is still in it.
    pub fn exclude_closed(
        &self,
        room_id: RoomId,
        connection: ConnectionId,
        farewell: Bytes,
    ) -> bool {
        self.exclude_if(room_id, connection, farewell, |state| {
            state.is_closed && state.members.contains(connection)
        })
    }
}
