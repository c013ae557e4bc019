//! What happens when a connection leaves a room, and what else is asked of a room's delivery.

use std::collections::HashMap;
use std::sync::{Arc, MutexGuard};

use chat_domain::ports::RoomDelivery;
use chat_domain::{ConnectionId, RoomId, RulesNumber, User};

use crate::lock;
use crate::recipient::Recipient;
use crate::room::{Room, State};
use crate::rooms::Rooms;

impl<R: Recipient> Rooms<R> {
    /// Ends what a connection was doing in a room that it has left.
    pub(crate) fn end_stay(
        &self,
        mut active: MutexGuard<'_, HashMap<RoomId, Arc<Room<R>>>>,
        room: &Room<R>,
        mut state: MutexGuard<'_, State<R>>,
        connection: ConnectionId,
    ) {
        state.renew_if_left();
        let is_idle = state.is_idle();
        let was_typing = state.typing.leave(connection);
        let was_typing = was_typing.filter(|_| !state.is_closed);
        let generation = state.generation;
        drop(state);
        self.close_if_idle(&mut active, room, is_idle);
        drop(active);
        if let Some(user) = was_typing {
            self.announce_end_of_typing(room.id, generation, user);
        }
    }
}

impl<R: Recipient> RoomDelivery for Rooms<R> {
    fn leave(&self, room_id: RoomId, connection: ConnectionId) {
        let active = lock(&self.active);
        let Some(room) = active.get(&room_id).cloned() else {
            return;
        };
        let mut state = lock(&room.state);
        state.members.leave(connection);
        self.end_stay(active, &room, state, connection);
    }

    fn set_typing(&self, room_id: RoomId, connection: ConnectionId, user: &User, typing: bool) {
        self.announce_typing(room_id, connection, user, typing);
    }

    fn rules(&self, room_id: RoomId) -> RulesNumber {
        let room = self.find(room_id);
        room.map_or(RulesNumber::NONE, |room| lock(&room.state).rules.known())
    }
}
