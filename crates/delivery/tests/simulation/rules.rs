//! What the listener of rules is told.

use chat_delivery::RulesListener;
use chat_domain::{RoomId, RulesNumber, UserId};

use crate::judge::Judge;

impl RulesListener for Judge {
    fn rules_changed(&self, room_id: RoomId, number: RulesNumber, user: Option<&UserId>) {
        let number = number.get();
        self.note(format_args!("room {room_id}: rules {number}, {user:?}"));
        if number > self.log.rules(room_id) {
            self.accuse(format!("rules {number} of {room_id} are not stored"));
        }
        let mut state = self.state.lock().unwrap();
        let told = state.told.entry(room_id).or_default();
        *told = number.max(*told);
    }

    fn room_closed(&self, room_id: RoomId) {
        self.accuse(format!("{room_id} was never closed"));
    }
}
